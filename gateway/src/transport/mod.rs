//! What is between a socket and what is spoken on it.
//!
//! Plain: nothing, and it costs nothing. A [`Layer`] opens what was received where it lies, and
//! seals what is sent into staging memory, when its turn has come and not before: so it seals in
//! the order in which its bytes leave, each of them once. What of sealed bytes a peer does not take
//! waits as it is, in front of all else.

use crate::config::Listener;

/// What names a connection to a layer, from [`Layer::begin`] to [`Layer::end`]: later it may be
/// another's.
#[doc(inline)]
pub use crate::kernel::Slot;

/// A transport that a program brings along. It belongs to one shard and one listener, and what it
/// keeps of its connections it keeps by their [`Slot`].
pub trait Layer {
    /// A connection has come in.
    fn begin(&mut self, _slot: Slot) {}

    /// Opens bytes in the order in which they came in; returns how many plain ones there are now at
    /// their front. That may be none, and never more than came in: what is held back has to fit
    /// later.
    ///
    /// # Errors
    /// They are not what a peer may send: the connection is dropped.
    fn open(&mut self, slot: Slot, received: &mut [u8]) -> Result<usize, Broken>;

    /// Seals bytes from the front of `plain`, as many as there is room for what they become. They
    /// leave in the order of these calls. If there was room for more than 1 KiB and none is taken,
    /// the connection is dropped.
    fn seal(&mut self, slot: Slot, plain: &[u8], wire: &mut [u8]) -> Sealed;

    /// A connection has ended.
    fn end(&mut self, _slot: Slot) {}
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
pub enum Transport {
    /// The bytes of the socket are those of the protocol.
    Plain,
    /// A program has brought it along.
    Brought(Box<dyn Layer>),
}

impl Transport {
    /// That of a listener.
    pub fn new(listener: &Listener, layers: &LayerFactory) -> Self {
        layers(listener).map_or(Self::Plain, Self::Brought)
    }

    /// Whether what is sent has to be sealed first.
    #[must_use]
    pub fn seals(&self) -> bool {
        matches!(self, Self::Brought(_))
    }

    /// A connection has come in.
    pub fn begin(&mut self, slot: Slot) {
        if let Self::Brought(layer) = self {
            layer.begin(slot);
        }
    }

    /// Opens what was received; returns how many plain bytes there are at its front.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(&mut self, slot: Slot, received: &mut [u8]) -> Result<usize, Broken> {
        match self {
            Self::Plain => Ok(received.len()),
            Self::Brought(layer) => {
                let length = received.len();
                // What a program says is not trusted to be within the buffer.
                layer.open(slot, received).map(|plain| plain.min(length))
            }
        }
    }

    /// Seals bytes, as many as there is room for. What is sent plain is not sealed, so nothing is
    /// taken of that.
    pub fn seal(&mut self, slot: Slot, plain: &[u8], wire: &mut [u8]) -> Sealed {
        let Self::Brought(layer) = self else { return Sealed { taken: 0, written: 0 } };
        let (most, room) = (plain.len(), wire.len());
        let Sealed { taken, written } = layer.seal(slot, plain, wire);
        Sealed { taken: taken.min(most), written: written.min(room) }
    }

    /// A connection has ended.
    pub fn end(&mut self, slot: Slot) {
        if let Self::Brought(layer) = self {
            layer.end(slot);
        }
    }
}
