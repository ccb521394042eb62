//! Tidegate: an edge gateway for WebSocket.
pub mod config;
pub mod connection;
pub mod handler;
pub mod shard;
pub mod uring;
