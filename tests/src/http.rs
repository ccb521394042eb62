//! Requests of any shape, and responses taken apart.

/// What answers [`Request::open`]'s key: both are the example of RFC 6455 section 1.2.
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The head of a request.
#[derive(Clone, Debug)]
pub struct Request {
    line: String,
    headers: Vec<(String, String)>,
}

impl Request {
    /// A plain request of `method` for `path`.
    #[must_use]
    pub fn plain(method: &str, path: &str) -> Self {
        let headers = vec![("Host".into(), "gateway.example".into())];
        Self { line: format!("{method} {path} HTTP/1.1"), headers }
    }

    /// An opening handshake without fault.
    #[must_use]
    pub fn open(path: &str) -> Self {
        Self::plain("GET", path)
            .with("Upgrade", "websocket")
            .with("Connection", "Upgrade")
            .with("Sec-WebSocket-Key", KEY)
            .with("Sec-WebSocket-Version", "13")
    }

    /// The same with another request line.
    #[must_use]
    pub fn line(self, line: &str) -> Self {
        Self { line: line.into(), ..self }
    }

    /// The same with one more header line, behind the others.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same without the lines of this name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self
    }

    /// The same with one line of this name, with this value.
    #[must_use]
    pub fn set(self, name: &str, value: &str) -> Self {
        self.without(name).with(name, value)
    }

    /// What goes over the wire.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.line);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}

/// A response.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header lines in their order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of the only header line of this name.
    ///
    /// # Panics
    /// There are more of them.
    #[must_use]
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} stands twice: {self:?}");
        value
    }

    /// Reads the head of a response from the start of `bytes`, and its length; `None` if it is not
    /// whole.
    ///
    /// # Panics
    /// It is malformed.
    pub(crate) fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let text = str::from_utf8(&bytes[..end]).expect("a response's head is ASCII");
        let mut lines = text.split("\r\n");
        let line = lines.next().expect("a text has a first line");
        let status = line.strip_prefix("HTTP/1.1 ").expect("HTTP/1.1 answers by HTTP/1.1");
        let status = status.get(..3).and_then(|code| code.parse().ok()).expect("a status code");
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").expect("a header line has a colon");
            (name.into(), value.into())
        });
        Some((Self { status, headers: headers.collect(), body: Vec::new() }, end + 4))
    }
}
