//! Records of TLS 1.3 (RFC 8446 sections 4.6.3, 5 and 6) as pure state, for a server whose
//! handshake is over: what records may say, and what is said of them. Ciphers are the caller's.
//!
//! | module | what it is |
//! |---|---|
//! | [`record`] | the header of a record, and its bounds |
//! | [`content`] | what is inside a record once it is opened |
//! | [`incoming`] | what contents may follow each other, and what comes of them |
//! | [`alert`], [`key_update`] | what is said beside the data |
//! | [`nonce`] | which nonce a record has |
//! | [`error`] | what a peer can break |

pub mod alert;
pub mod content;
pub mod error;
pub mod incoming;
pub mod key_update;
pub mod nonce;
pub mod record;
