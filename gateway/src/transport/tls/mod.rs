//! TLS: handshakes by rustls, of which only the secrets are kept, and records of our own.
//!
//! A [`Handshake`] is driven with what comes in, by the caller's memory, and ends with two traffic
//! secrets: what comes behind is opened and sealed by [`records`]. Of TLS 1.2 there are no such
//! secrets, so its connections stay with rustls ([`Established12`]) and cost what it costs.

mod capture;
mod certificates;
mod connections;
mod counts;
mod established12;
mod failure;
mod files;
mod first_bytes;
mod handshake;
mod provider;
pub mod records;
mod server;
mod servers;
#[cfg(test)]
mod tests;
mod tickets;

pub use capture::{TrafficSecret, TrafficSecrets};
pub use certificates::{CertificateFacts, PeerCertificate, WrongFile};
pub use connections::TlsConnections;
pub use counts::{RECORD_ERRORS, SUITES, TlsCounts, WORDS};
pub use established12::{Established12, OlderFailure, PlainFront};
pub use failure::HandshakeFailure;
pub(crate) use files::lines;
pub use files::{FollowingLayer, ReadAnew, TlsFiles};
pub use handshake::{Advanced, Established13, Handshake, HandshakeFailed, HandshakeStep, Settled};
pub use server::{ClientRule, TlsServer, TlsTerms};
pub use servers::TlsServers;
