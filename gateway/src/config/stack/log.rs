//! The layer `log`, which may stand in two places: what is said of connections above `ws`, and of
//! sockets below it.

use super::Stack;
use super::options::Options;
use super::place::Place;

/// Its place above `ws`.
pub(super) const ABOVE: Place = Place {
    at: " above `ws`",
    rank: 0,
    read: |options, stack| stack.log_websocket = is_read(options),
    shown: |stack| if stack.log_websocket { Some(&NAME) } else { None },
    ..BELOW
};

/// Its place below `ws`.
pub(super) const BELOW: Place = Place {
    name: NAME,
    at: " below `ws`",
    rank: 2,
    is_needed: false,
    read: |options, stack| stack.log_transport = is_read(options),
    agrees: |_| Ok(()),
    shown: |stack| if stack.log_transport { Some(&NAME) } else { None },
    check: |_: &Stack, _| Ok(()),
};

const NAME: &str = "log";

/// Reads a layer without options: that it is written is all there is to it.
fn is_read(options: Options<'_, '_>) -> bool {
    options.finish();
    true
}
