//! The table of layers: which places a stack has, and what stands there.

use std::fmt;

use super::options::Options;
use super::{Stack, log, proxy, tcp, tls, unix, websocket};
use crate::config::built::BuiltWrong;

/// A place in a stack. A stack without the layer is as it is by default.
pub(super) struct Place {
    /// The layer that may stand there.
    pub(super) name: &'static str,
    /// Where that is, for a layer that has several places.
    pub(super) at: &'static str,
    /// How far out it is: the innermost is 0. Of those that have the same a stack has one.
    pub(super) rank: u8,
    /// Whether a stack needs it, or another one of its rank.
    pub(super) is_needed: bool,
    /// Takes the layer's options over.
    pub(super) read: fn(Options<'_, '_>, &mut Stack),
    /// Checks it beside the other layers of a stack that is whole: what is wrong and what to do.
    pub(super) agrees: fn(&Stack) -> Result<(), String>,
    /// The layer as it is displayed, if the stack has it.
    pub(super) shown: fn(&Stack) -> Option<&dyn fmt::Display>,
    /// Checks what a program has put together, the stack being a field of this name.
    pub(super) check: fn(&Stack, &str) -> Result<(), BuiltWrong>,
}

/// The rank of what is listened on.
pub(super) const SOCKET: u8 = 5;

/// The places of the layers that this version builds, from the inside out.
pub(super) const PLACES: [Place; 7] =
    [log::ABOVE, websocket::PLACE, log::BELOW, tls::PLACE, proxy::PLACE, tcp::PLACE, unix::PLACE];

/// The layers that have their name, but are not built yet.
pub(super) const NOT_BUILT: [&str; 3] = ["mqtt", "http", "h2"];
