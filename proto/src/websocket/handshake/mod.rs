//! The opening handshake (RFC 6455 section 4), for the server role and for the client role.
//!
//! Both begin with a head from [`http`](crate::http). In the server role, [`server::Upgrade`] is a
//! request that passed, [`server::Acceptance`] the answer that opens the connection, and
//! [`server::Rejection`] every answer that does not. In the client role,
//! [`client::UpgradeRequest`] asks and [`client::Accepted`] is an answer that passed.

pub mod client;
pub mod key;
mod rejection;
pub mod server;

/// The one protocol version that is spoken here (RFC 6455 section 4.1).
pub const VERSION: &str = "13";

/// The most subprotocols that a request may offer.
///
/// They are compared with each other, so their number is what bounds that work.
pub const MAX_SUBPROTOCOLS: usize = 32;
