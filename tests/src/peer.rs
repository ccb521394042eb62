//! The other end of a connection, which can behave in any way.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::frame::{BINARY, CLOSE, CONTINUATION, Frame, TEXT};
use crate::gateway::Gateway;
use crate::http::{ACCEPT, Request, Response};
use crate::{PATIENCE, read_some};

/// A TCP connection to the gateway, and what was received on it.
///
/// Reading waits up to [`PATIENCE`]; so does sending. Both panic on failure unless they begin with
/// `try_`.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    /// Received, and not read yet from `at` on.
    buffer: Vec<u8>,
    at: usize,
}

/// How what was received ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// By FIN.
    Finished,
    /// By RST.
    Reset,
}

impl Read for Peer {
    /// Reads what comes as it is, behind what was read in another way.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.buffer.len() {
            return read_some(&mut self.stream, into);
        }
        let count = (&self.buffer[self.at..]).read(into)?;
        self.at += count;
        Ok(count)
    }
}

impl Peer {
    /// Connects and sends nothing.
    ///
    /// # Panics
    /// The connection is refused.
    #[must_use]
    #[track_caller]
    pub fn connect(gateway: &Gateway) -> Self {
        Self::try_connect(gateway.address()).expect("the gateway listens")
    }

    /// Connects to an address.
    ///
    /// # Errors
    /// The connection is refused or takes too long.
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        Self::new(TcpStream::connect_timeout(&address, PATIENCE)?)
    }

    /// Connects to an address from this one, of which all of 127.0.0.0/8 can be had.
    ///
    /// # Errors
    /// The connection is refused or takes too long, or the address is not this machine's.
    pub fn try_connect_from(from: IpAddr, address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        socket.connect_timeout(&address.into(), PATIENCE)?;
        Self::new(socket.into())
    }

    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: Vec::new(), at: 0 })
    }

    /// Over a Unix socket that is connected: what is done with one of TCP by its descriptor can be
    /// done with it as well, but for asking for its address.
    ///
    /// # Panics
    /// The socket refuses a timeout.
    #[must_use]
    pub fn over(stream: UnixStream) -> Self {
        let stream = TcpStream::from(OwnedFd::from(stream));
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Self { stream, buffer: Vec::new(), at: 0 }
    }

    /// Opens a WebSocket connection, without compression.
    ///
    /// # Panics
    /// The gateway does not agree.
    #[must_use]
    #[track_caller]
    pub fn open(gateway: &Gateway, path: &str) -> Self {
        Self::open_with(gateway, &Request::open(path)).0
    }

    /// Opens a WebSocket connection with another request; yields the response too.
    ///
    /// # Panics
    /// The gateway does not agree.
    #[must_use]
    #[track_caller]
    pub fn open_with(gateway: &Gateway, request: &Request) -> (Self, Response) {
        Self::open_at(gateway.address(), request)
    }

    /// As [`Peer::open_with`], for a gateway that listens on `address`.
    ///
    /// # Panics
    /// The gateway does not agree.
    #[must_use]
    #[track_caller]
    pub fn open_at(address: SocketAddr, request: &Request) -> (Self, Response) {
        let mut peer = Self::try_connect(address).expect("the gateway listens");
        peer.request(request);
        let response = peer.expect_open();
        (peer, response)
    }

    /// Our own address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket has an address")
    }

    /// The socket, for what is not said here.
    #[must_use]
    pub fn socket(&self) -> SockRef<'_> {
        SockRef::from(&self.stream)
    }

    /// Waits no longer than this for what is read.
    pub fn set_patience(&mut self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).expect("a time-out that is not zero");
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// They are not taken.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the gateway takes the bytes");
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// They are not taken.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends each of the parts as a segment of its own. The kernel may still hand several to the
    /// gateway at once; [`Witness::send_apart`](crate::Witness::send_apart) prevents that.
    #[track_caller]
    pub fn send_segments<B: AsRef<[u8]>>(&mut self, parts: impl IntoIterator<Item = B>) {
        for part in parts {
            self.send(part);
        }
    }

    /// Sends bytes from a thread of their own, so that what answers them can be read meanwhile.
    /// Nothing else may be sent until the thread is joined.
    pub fn send_meanwhile(&self, bytes: Vec<u8>) -> JoinHandle<()> {
        let mut stream = self.stream.try_clone().expect("a descriptor is left");
        thread::spawn(move || stream.write_all(&bytes).expect("the gateway takes the bytes"))
    }

    /// As [`Peer::send_meanwhile`], and finishes sending behind it.
    pub fn send_then_finish(&self, bytes: Vec<u8>) {
        let mut stream = self.stream.try_clone().expect("a descriptor is left");
        thread::spawn(move || {
            stream.write_all(&bytes).expect("the gateway takes the bytes");
            stream.shutdown(Shutdown::Write).expect("the connection is there");
        });
    }

    /// Sends the head of a request.
    #[track_caller]
    pub fn request(&mut self, request: &Request) {
        self.send(request.bytes());
    }

    /// Sends a frame as a client does.
    #[track_caller]
    pub fn frame(&mut self, frame: &Frame) {
        self.send(frame.masked());
    }

    /// Sends a text.
    #[track_caller]
    pub fn text(&mut self, text: &str) {
        self.frame(&Frame::text(text));
    }

    /// Reads an HTTP response with its body, as long as Content-Length says.
    ///
    /// # Panics
    /// None comes, or it is malformed.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        let mut response = self.response_head();
        let length = response
            .header("Content-Length")
            .map_or(0, |length| length.parse().expect("Content-Length is a number"));
        response.body = self.bytes(length);
        response
    }

    /// Reads the head of an HTTP response: all of the response to HEAD.
    #[track_caller]
    pub fn response_head(&mut self) -> Response {
        self.read("a response", Response::read)
    }

    /// Reads the response that opens a connection.
    ///
    /// # Panics
    /// It is another one.
    #[track_caller]
    pub fn expect_open(&mut self) -> Response {
        let response = self.response_head();
        assert_eq!(response.status, 101, "{response:?}");
        // RFC 6455 section 4.2.2, 5.
        assert_eq!(response.header("Upgrade"), Some("websocket"), "{response:?}");
        assert_eq!(response.header("Connection"), Some("Upgrade"), "{response:?}");
        assert_eq!(response.header("Sec-WebSocket-Accept"), Some(ACCEPT), "{response:?}");
        response
    }

    /// Reads a whole response with this status and the end behind it.
    #[track_caller]
    pub fn expect_refusal(&mut self, status: u16) -> Response {
        let response = self.response();
        assert_eq!(response.status, status, "{response:?}");
        self.expect_eof();
        response
    }

    /// Reads so many bytes.
    #[track_caller]
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        self.read("bytes", |bytes| Some((bytes.get(..count)?.to_vec(), count)))
    }

    /// Reads a frame.
    #[track_caller]
    pub fn read_frame(&mut self) -> Frame {
        self.read("a frame", Frame::read)
    }

    /// Reads a frame if one comes in time.
    ///
    /// # Errors
    /// None came: the time is over, or the connection.
    pub fn try_read_frame(&mut self) -> io::Result<Frame> {
        self.try_read(Frame::read)
    }

    /// Reads a frame, or the end if that comes first.
    ///
    /// # Panics
    /// Neither comes.
    #[track_caller]
    pub fn read_frame_or_end(&mut self) -> Option<Frame> {
        match self.try_read_frame() {
            Ok(frame) => Some(frame),
            Err(error) => match error.kind() {
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => None,
                _ => panic!("a frame or the end was expected, but {error}"),
            },
        }
    }

    /// Waits for anything to read, and leaves it there.
    ///
    /// # Errors
    /// Nothing came: the time is over, or the connection.
    pub fn try_peek(&mut self) -> io::Result<()> {
        self.try_read(|bytes| (!bytes.is_empty()).then_some(((), 0)))
    }

    /// Reads a message, fragment by fragment: its opcode, and its payload.
    ///
    /// # Panics
    /// Something else comes, a control frame between fragments too.
    #[track_caller]
    pub fn message(&mut self) -> (u8, Vec<u8>) {
        let Frame { mut fin, rsv, opcode, mut payload } = self.read_frame();
        assert!(matches!(opcode, TEXT | BINARY), "no message: {opcode:#x} {payload:?}");
        assert_eq!(rsv, 0, "a message with reserved bits");
        while !fin {
            let next = self.read_frame();
            assert_eq!((next.opcode, next.rsv), (CONTINUATION, 0), "{next:?}");
            payload.extend(next.payload);
            fin = next.fin;
        }
        (opcode, payload)
    }

    /// Reads a frame, which is this one.
    #[track_caller]
    pub fn expect(&mut self, expected: &Frame) {
        let frame = self.read_frame();
        assert_eq!(frame, *expected);
    }

    /// Reads a message, which is this text.
    #[track_caller]
    pub fn expect_text(&mut self, expected: &str) {
        let (opcode, payload) = self.message();
        assert_eq!((opcode, String::from_utf8_lossy(&payload)), (TEXT, expected.into()));
    }

    /// Reads a message, which is these bytes.
    #[track_caller]
    pub fn expect_binary(&mut self, expected: &[u8]) {
        let (opcode, payload) = self.message();
        assert_eq!((opcode, payload.len()), (BINARY, expected.len()));
        let wrong = payload.iter().zip(expected).position(|(one, other)| one != other);
        assert_eq!(wrong, None, "the first byte that is wrong");
    }

    /// Sends a text and reads it back.
    #[track_caller]
    pub fn echo(&mut self, text: &str) {
        self.text(text);
        self.expect_text(text);
    }

    /// Reads a Close frame with this code; yields the reason.
    #[track_caller]
    pub fn expect_close(&mut self, code: u16) -> String {
        let frame = self.read_frame();
        assert_eq!(frame.opcode, CLOSE, "{frame:?}");
        let (found, reason) = frame.close_reason();
        assert_eq!(found, Some(code), "{reason}");
        reason
    }

    /// Reads a Close frame with this code, and the end behind it; yields the reason.
    #[track_caller]
    pub fn expect_failed(&mut self, code: u16) -> String {
        let reason = self.expect_close(code);
        self.expect_eof();
        reason
    }

    /// The connection ends here, by FIN.
    #[track_caller]
    pub fn expect_eof(&mut self) {
        let (rest, end) = self.rest();
        assert!(rest.is_empty(), "more before the end: \"{}\"", rest.escape_ascii());
        assert_eq!(end, End::Finished);
    }

    /// The connection ends here, by FIN or by RST, whatever was sent before.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let _ = self.rest();
    }

    /// Finishes sending (FIN), and goes on receiving.
    #[track_caller]
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection is there");
    }

    /// Ends the connection by RST, with whatever is in flight.
    pub fn reset(self) {
        let _ = self.socket().set_linger(Some(Duration::ZERO));
    }

    /// Answers a Close frame with the same, and reads the end.
    #[track_caller]
    pub fn agree_to_close(&mut self, code: u16) {
        self.expect_close(code);
        self.frame(&Frame::close(code, ""));
        self.expect_eof();
    }

    #[track_caller]
    fn read<T>(&mut self, what: &str, read: impl Fn(&[u8]) -> Option<(T, usize)>) -> T {
        match self.try_read(read) {
            Ok(found) => found,
            Err(error) => {
                let rest = &self.buffer[self.at..];
                let rest = rest[..rest.len().min(200)].escape_ascii();
                panic!("{what} was expected, but {error}, behind \"{rest}\"")
            }
        }
    }

    fn try_read<T>(&mut self, read: impl Fn(&[u8]) -> Option<(T, usize)>) -> io::Result<T> {
        loop {
            if let Some((found, length)) = read(&self.buffer[self.at..]) {
                self.at += length;
                return Ok(found);
            }
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Receives something.
    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let mut some = [0; 65_536];
        let count = read_some(&mut self.stream, &mut some)?;
        self.buffer.extend(&some[..count]);
        Ok(count)
    }

    /// Receives until the end.
    #[track_caller]
    fn rest(&mut self) -> (Vec<u8>, End) {
        let end = loop {
            match self.fill() {
                Ok(0) => break End::Finished,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break End::Reset,
                Err(error) => panic!("the end was expected, but {error}"),
            }
        };
        (std::mem::take(&mut self.buffer), end)
    }
}
