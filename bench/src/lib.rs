//! Measurements of the gateway from outside, with a load generator on io_uring (monoio), one
//! thread per core.
//!
//! Each subcommand is a function from its arguments to a report; the report prints itself as a
//! table for people or as JSON.

pub mod arguments;
pub mod baseline;
pub mod bounds;
pub mod children;
pub mod compare;
pub mod echo;
pub mod fanout;
pub mod fleet;
pub mod flood;
pub mod handshakes;
pub mod hub;
pub mod idle;
pub mod latency;
pub mod load;
pub mod machine;
pub mod million;
pub mod others;
pub mod peer;
pub mod peers;
mod plain;
pub mod process;
pub mod progress;
pub mod random;
pub mod recover;
pub mod reload;
pub mod runtime;
pub mod rush;
mod scrape;
pub mod server;
pub mod slab;
mod spent;
pub mod storm;
pub mod target;
mod ticks;
pub mod tls;
pub mod tokens;
