//! Tidegate: an edge gateway for WebSocket.
#![deny(unsafe_code)]

pub mod config;
pub mod connection;
pub mod handler;
pub mod shard;
#[allow(unsafe_code)]
pub mod uring;
