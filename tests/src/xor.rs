//! A transport that hides nothing: each byte is changed by where it stands in its direction. A byte
//! that is opened or sealed twice, not at all, or out of order makes everything behind it nonsense.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use tidegate::kernel::Slot;
use tidegate::transport::{Broken, Layer, OpenedInput, Sealed};

/// One direction of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stream {
    at: u32,
}

impl Stream {
    /// Changes bytes, or changes them back.
    pub fn change(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte ^= (self.at.wrapping_mul(0x9E37_79B1) >> 24) as u8 | 1;
            self.at = self.at.wrapping_add(1);
        }
    }
}

/// Both directions of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Streams {
    /// What the client says.
    pub said: Stream,
    /// What it hears.
    pub heard: Stream,
}

/// The gateway's side of all connections of a listener.
#[derive(Debug, Default)]
pub struct Xor {
    by_slot: HashMap<Slot, Streams>,
}

impl Layer for Xor {
    fn begin(&mut self, slot: Slot) {
        let before = self.by_slot.insert(slot, Streams::default());
        assert!(before.is_none(), "slot {slot} begins twice");
    }

    fn open(
        &mut self,
        slot: Slot,
        received: &mut [u8],
        _: &mut Vec<u8>,
    ) -> Result<OpenedInput, Broken> {
        self.by_slot.get_mut(&slot).expect("it has begun").said.change(received);
        Ok(OpenedInput::all(received.len()))
    }

    fn seal(&mut self, slot: Slot, plain: &[u8], wire: &mut [u8]) -> Sealed {
        let count = plain.len().min(wire.len());
        wire[..count].copy_from_slice(&plain[..count]);
        self.by_slot.get_mut(&slot).expect("it has begun").heard.change(&mut wire[..count]);
        Sealed { taken: count, written: count }
    }

    fn end(&mut self, slot: Slot) {
        assert!(self.by_slot.remove(&slot).is_some(), "slot {slot} ends and has not begun");
    }
}

/// Lets clients that know nothing of it talk to a gateway behind [`Xor`]: changes what passes. It
/// ends with the process.
///
/// # Errors
/// No port could be had.
pub fn relay(gateway: SocketAddr) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            let Ok(server) = TcpStream::connect(gateway) else { return };
            let ends = (client.try_clone(), server.try_clone());
            let (Ok(client_too), Ok(server_too)) = ends else { return };
            thread::spawn(move || pass(client, server));
            thread::spawn(move || pass(server_too, client_too));
        }
    });
    Ok(address)
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut stream = Stream::default();
    let mut bytes = [0; 16 * 1024];
    loop {
        let count = match from.read(&mut bytes) {
            Ok(count @ 1..) => count,
            _ => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
        };
        stream.change(&mut bytes[..count]);
        if to.write_all(&bytes[..count]).is_err() {
            let _ = from.shutdown(Shutdown::Both);
            return;
        }
    }
}
