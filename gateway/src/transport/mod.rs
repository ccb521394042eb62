//! What is between a socket and what is spoken on it.
//!
//! Plain: nothing, and it costs nothing. A [`Layer`] opens what was received where it lies, and
//! seals what is sent into staging memory, when its turn has come and not before: so it seals in
//! the order in which its bytes leave, each of them once. What of sealed bytes a peer does not take
//! waits as it is, in front of all else. What a layer cannot open yet it has handed in again, with
//! more behind it. It may have words of its own, which leave as it writes them: those of a
//! handshake, before anything is said, an alert, and the last ones.
//!
//! In front of either there may be the header of a proxy ([`proxy`]), which is read once.

use std::ops::Range;
use std::sync::Arc;

mod kept;
#[doc(hidden)]
pub mod proxy;
#[doc(hidden)]
pub mod tls;

use crate::config::{Config, Listener, Stack};
use crate::kernel::Peer;
use proxy::{Believed, Proxied};
use tls::{TlsConnections, TlsServer};

/// What names a connection to a layer, from [`Layer::begin`] to [`Layer::end`]: later it may be
/// another's.
#[doc(inline)]
pub use crate::kernel::Slot;
#[doc(hidden)]
pub use kept::{KeptInput, KeptRest};

/// A transport that a program brings along. It belongs to one shard and one listener, and what it
/// keeps of its connections it keeps by their [`Slot`].
pub trait Layer {
    /// A connection has come in.
    fn begin(&mut self, _slot: Slot) {}

    /// Opens bytes in the order in which they came in, where they lie: those that were not used the
    /// last time, and what has come since. What is written to `words`, which is empty, leaves as it
    /// is; once the connection is ready, there are such words beside an error alone, and whoever
    /// has others is closed.
    ///
    /// # Errors
    /// They are not what a peer may send. The connection is closed once `words` have left, or at
    /// once if something else is on its way.
    fn open(
        &mut self,
        slot: Slot,
        received: &mut [u8],
        words: &mut Vec<u8>,
    ) -> Result<OpenedInput, Broken>;

    /// Whether anything can be said and heard: before, there is a handshake, and nothing is sealed.
    /// That changes in [`Layer::open`] alone, and once.
    fn is_ready(&self, _slot: Slot) -> bool {
        true
    }

    /// Whether the connection has to wait with its first bytes because too many others are amid
    /// their handshakes. It is asked again once one of them has become ready, or ended.
    fn must_wait(&mut self, _slot: Slot) -> bool {
        false
    }

    /// Seals bytes from the front of `plain`, as many as there is room for what they become. They
    /// leave in the order of these calls. If there was room for more than 1 KiB and none is taken,
    /// the connection is dropped.
    fn seal(&mut self, slot: Slot, plain: &[u8], wire: &mut [u8]) -> Sealed;

    /// All that was said has left, and we say nothing more: the last words are written to `words`,
    /// which is empty. They are asked for once.
    fn farewell(&mut self, _slot: Slot, _words: &mut Vec<u8>) {}

    /// Whether a peer says that it will send nothing more, so that without it the connection was
    /// cut off.
    fn ends_with_words(&self) -> bool {
        false
    }

    /// A connection has ended.
    fn end(&mut self, _slot: Slot) {}
}

/// What opening has come to, in what was handed in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenedInput {
    /// Where plain bytes are. They are within the first `used` ones.
    pub plain: Range<usize>,
    /// How many bytes need not be handed in again. The others are kept in a block until more
    /// comes: so many of them that a receive buffer has no room for more are an error.
    pub used: usize,
    /// The peer has said that it will send nothing more.
    pub has_ended: bool,
}

impl OpenedInput {
    /// All of so many bytes is plain.
    #[must_use]
    pub fn all(length: usize) -> Self {
        Self { plain: 0..length, used: length, has_ended: false }
    }

    /// The same within so many bytes: what a program says is not trusted to be.
    fn within(self, length: usize) -> Self {
        let used = self.used.min(length);
        let end = self.plain.end.min(used);
        Self { plain: self.plain.start.min(end)..end, used, ..self }
    }

    /// The same where so many bytes stand in front that are used.
    fn behind(self, length: usize) -> Self {
        let Self { plain, used, has_ended } = self;
        Self { plain: length + plain.start..length + plain.end, used: length + used, has_ended }
    }
}

/// What sealing has come to, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Plain ones that were taken.
    pub taken: usize,
    /// Sealed ones that were written.
    pub written: usize,
}

/// What came in cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Makes a shard's own layer for a listener; with `None`, its connections are plain.
pub type LayerFactory = dyn Fn(&Listener) -> Option<Box<dyn Layer>> + Send + Sync;

/// The transport of a listener's connections.
pub struct Transport {
    /// Whose headers are believed, if a proxy is in front.
    proxies: Option<Believed>,
    seal: Seal,
}

/// What is done with the bytes of a connection, behind the header of a proxy.
enum Seal {
    /// The bytes of the socket are those of the protocol.
    Plain,
    /// They are sealed by TLS.
    Tls(Arc<TlsServer>),
    /// A program has brought it along.
    Brought(Box<dyn Layer>),
}

/// What a shard keeps of connections for the transports of all its listeners.
pub struct Transports {
    /// Of those that come through proxies.
    pub proxied: Proxied,
    /// Of those over TLS.
    pub tls: TlsConnections,
    /// Of their input.
    pub kept: KeptInput,
    /// What one of them has to say itself, until it is sent.
    pub words: Vec<u8>,
    /// Of which of these there may be some.
    needs: TransportNeeds,
}

/// Which transports a gateway has: what no listener has takes no memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct TransportNeeds {
    proxied: bool,
    tls: bool,
    kept: bool,
}

impl Transports {
    /// Nothing yet, of those that this configuration has; `brings_layers` says whether a program
    /// may have some of its own.
    #[must_use]
    pub fn new(config: &Config, brings_layers: bool) -> Self {
        let mut this = Self {
            proxied: Proxied::new(0),
            tls: TlsConnections::new(0, &config.limits),
            kept: KeptInput::new(0),
            words: Vec::new(),
            needs: TransportNeeds::default(),
        };
        this.fit(config, brings_layers);
        this
    }

    /// From now on there may be connections of those that this configuration has. What there was
    /// room for before has its room.
    pub fn fit(&mut self, config: &Config, brings_layers: bool) {
        let limits = &config.limits;
        let has = |layer: fn(&Stack) -> bool| {
            config.listeners.iter().any(|listener| layer(&listener.stack))
        };
        if has(|stack| stack.proxy.is_some()) && !self.needs.proxied {
            self.needs.proxied = true;
            self.proxied = Proxied::new(limits.slots());
        }
        if has(|stack| stack.tls.is_some()) && !self.needs.tls {
            self.needs.tls = true;
            self.tls = TlsConnections::new(limits.slots(), limits);
        }
        if KeptInput::is_needed(config, brings_layers) && !self.needs.kept {
            self.needs.kept = true;
            self.kept = KeptInput::new(limits.slots());
        }
    }

    /// Whether nothing is known of any connection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.proxied.is_empty() && self.tls.is_empty()
    }
}

impl Transport {
    /// That of a listener, whose handshakes are by `tls` if its stack has that.
    pub fn new(
        listener: &Listener,
        tls: Option<Arc<TlsServer>>,
        layers: Option<&LayerFactory>,
    ) -> Self {
        let seal = match (layers.and_then(|make| make(listener)), tls) {
            (Some(layer), _) => Seal::Brought(layer),
            (None, Some(server)) => Seal::Tls(server),
            (None, None) => Seal::Plain,
        };
        Self { proxies: listener.stack.proxy.as_ref().map(Believed::new), seal }
    }

    /// Whether bytes are opened and sealed.
    #[must_use]
    pub fn seals(&self) -> bool {
        !matches!(self.seal, Seal::Plain)
    }

    /// Whether connections begin with the header of a proxy.
    #[must_use]
    pub fn has_proxy(&self) -> bool {
        self.proxies.is_some()
    }

    /// Whether a connection from there is served: where a proxy is expected, it may be none.
    #[must_use]
    pub fn believes(&self, peer: Peer) -> bool {
        self.proxies.as_ref().is_none_or(|proxies| proxies.has(peer))
    }

    /// Whether what a connection receives is opened: behind the header of a proxy, what is not
    /// sealed is not.
    #[must_use]
    pub fn opens(&self, all: &Transports, slot: Slot) -> bool {
        self.seals() || (self.has_proxy() && all.proxied.looks_at(slot))
    }

    /// Whether hands are shaken by TLS first.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self.seal, Seal::Tls(_))
    }

    /// A connection has come in.
    pub fn begin(&mut self, all: &mut Transports, slot: Slot) {
        if self.has_proxy() {
            all.proxied.begin(slot);
        }
        if let Seal::Brought(layer) = &mut self.seal {
            layer.begin(slot);
        }
    }

    /// Opens what was received, in place. See [`Layer::open`].
    ///
    /// # Errors
    /// It cannot be opened, or there are words in the middle of what is said, where they would
    /// leave in front of what waits to be sealed.
    pub fn open(
        &mut self,
        all: &mut Transports,
        slot: Slot,
        received: &mut [u8],
        words: &mut Vec<u8>,
    ) -> Result<OpenedInput, Broken> {
        let looked_at = self.proxies.as_ref().filter(|_| all.proxied.looks_at(slot));
        let Some(believed) = looked_at else {
            return self.unseal(all, slot, received, words);
        };
        let Some(header) = all.proxied.read(believed, slot, received)? else {
            return Ok(OpenedInput::default());
        };
        if header == received.len() {
            return Ok(OpenedInput::default().behind(header));
        }
        let opened = self.unseal(all, slot, &mut received[header..], words)?;
        Ok(opened.behind(header))
    }

    /// The same behind the header of a proxy.
    fn unseal(
        &mut self,
        all: &mut Transports,
        slot: Slot,
        received: &mut [u8],
        words: &mut Vec<u8>,
    ) -> Result<OpenedInput, Broken> {
        let length = received.len();
        let was_ready = self.is_unsealed(all, slot);
        let opened = match &mut self.seal {
            Seal::Plain => OpenedInput::all(length),
            Seal::Tls(server) => all.tls.open(server, slot, received, words)?,
            Seal::Brought(layer) => layer.open(slot, received, words)?.within(length),
        };
        if was_ready && !words.is_empty() { Err(Broken) } else { Ok(opened) }
    }

    /// Whether a connection has yet to send the header of a proxy, or a part of it.
    #[must_use]
    pub fn awaits_header(&self, all: &Transports, slot: Slot) -> bool {
        self.has_proxy() && all.proxied.awaits(slot)
    }

    /// Whether anything can be said and heard on a connection.
    #[must_use]
    pub fn is_ready(&self, all: &Transports, slot: Slot) -> bool {
        self.is_unsealed(all, slot) && !self.awaits_header(all, slot)
    }

    /// The same behind the header of a proxy.
    fn is_unsealed(&self, all: &Transports, slot: Slot) -> bool {
        match &self.seal {
            Seal::Plain => true,
            Seal::Tls(_) => all.tls.is_ready(slot),
            Seal::Brought(layer) => layer.is_ready(slot),
        }
    }

    /// Whether a connection has to wait with its first bytes. The header of a proxy waits as well:
    /// a handshake may have come with it.
    pub fn must_wait(&mut self, all: &Transports, slot: Slot) -> bool {
        match &mut self.seal {
            Seal::Plain => false,
            Seal::Tls(_) => all.tls.must_wait(slot),
            Seal::Brought(layer) => layer.must_wait(slot),
        }
    }

    /// Seals bytes, as many as there is room for. What is sent plain is not sealed, so nothing is
    /// taken of that.
    pub fn seal(
        &mut self,
        all: &mut Transports,
        slot: Slot,
        plain: &[u8],
        wire: &mut [u8],
    ) -> Sealed {
        match &mut self.seal {
            Seal::Plain => Sealed { taken: 0, written: 0 },
            Seal::Tls(_) => all.tls.seal(slot, plain, wire),
            Seal::Brought(layer) => {
                let (most, room) = (plain.len(), wire.len());
                let Sealed { taken, written } = layer.seal(slot, plain, wire);
                Sealed { taken: taken.min(most), written: written.min(room) }
            }
        }
    }

    /// Whether peers say that they will send nothing more.
    #[must_use]
    pub fn ends_with_words(&self) -> bool {
        match &self.seal {
            Seal::Plain => false,
            Seal::Tls(_) => true,
            Seal::Brought(layer) => layer.ends_with_words(),
        }
    }

    /// Writes the last words of a connection.
    pub fn farewell(&mut self, all: &mut Transports, slot: Slot, words: &mut Vec<u8>) {
        match &mut self.seal {
            Seal::Plain => {}
            Seal::Tls(_) => all.tls.farewell(slot, words),
            Seal::Brought(layer) => layer.farewell(slot, words),
        }
    }

    /// A connection has ended.
    pub fn end(&mut self, all: &mut Transports, slot: Slot) {
        if self.has_proxy() {
            all.proxied.end(slot);
        }
        match &mut self.seal {
            Seal::Plain => {}
            Seal::Tls(_) => all.tls.end(slot),
            Seal::Brought(layer) => layer.end(slot),
        }
    }
}
