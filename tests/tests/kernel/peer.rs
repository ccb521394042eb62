//! The other end of a connection: a plain socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;
use tidegate::kernel;
use tidegate_tests::{PATIENCE, wait_until};

use crate::fixture::MOMENT;

/// A socket whose reads wait up to [`PATIENCE`].
pub struct Peer {
    stream: TcpStream,
}

impl Peer {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_nodelay(true).expect("an option of every TCP socket");
        let this = Self { stream };
        this.set_patience(PATIENCE);
        this
    }

    /// As whom the kernel knows it.
    pub fn address(&self) -> kernel::Peer {
        self.stream.local_addr().expect("it is connected").into()
    }

    pub fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the kernel has room for a few bytes");
    }

    /// Says one byte out of band (tcp(7)): it is not part of the stream.
    pub fn say_urgently(&mut self, byte: u8) {
        let sent = SockRef::from(&self.stream).send_out_of_band(&[byte]);
        assert_eq!(sent.expect("the kernel has room for a byte"), 1);
    }

    /// Reads `count` bytes.
    #[track_caller]
    pub fn hear(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).expect("so much comes in time");
        bytes
    }

    /// Reads until the end of the stream.
    #[track_caller]
    pub fn hear_all(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).expect("an end comes in time");
        bytes
    }

    /// Reads what is there already, up to `count` bytes.
    pub fn hear_some(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.set_patience(Duration::from_millis(1));
        let heard = match self.stream.read(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            result => result.expect("the connection stands"),
        };
        self.set_patience(PATIENCE);
        bytes.truncate(heard);
        bytes
    }

    #[track_caller]
    pub fn expect_end(&mut self) {
        assert_eq!(self.hear_all(), b"", "nothing but the end");
    }

    #[track_caller]
    pub fn expect_reset(&mut self) {
        let error = self.stream.read(&mut [0]).expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }

    /// Neither bytes nor an end come.
    #[track_caller]
    pub fn expect_silence(&mut self) {
        self.set_patience(MOMENT);
        let error = self.stream.read(&mut [0]).expect_err("silence");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        self.set_patience(PATIENCE);
    }

    /// Nobody is there any more: what is said fails, sooner or later.
    #[track_caller]
    pub fn expect_gone(&mut self) {
        wait_until("saying something fails", || self.stream.write(b"x").err());
    }

    /// Says that nothing more is said (FIN).
    pub fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection stands");
    }

    /// Ends the connection without an end of the stream (RST).
    pub fn reset(self) {
        let at_once = Some(Duration::ZERO);
        SockRef::from(&self.stream).set_linger(at_once).expect("an option of every TCP socket");
    }

    fn set_patience(&self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).expect("the time is not zero");
    }
}
