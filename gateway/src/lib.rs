//! Tidegate: an edge gateway for WebSocket.
//!
//! The binary is a thin layer over [`gateway::Gateway`], which an embedding program can use as
//! well: it starts one shard per core, each with its own ring, listeners and connections, and
//! answers each route with a [`handler::Handler`].
#![deny(unsafe_code)]

pub mod bill;
pub mod config;
pub mod connection;
pub mod control;
pub mod gateway;
pub mod handler;
pub mod hub;
#[allow(unsafe_code)]
pub mod kernel;
pub mod listen;
pub mod logging;
pub mod machine;
pub mod mailbox;
pub mod memory;
pub mod names;
pub mod shard;
pub mod steering;
pub mod units;
