//! Tidegate: an edge gateway for WebSocket.
//!
//! The binary is a thin layer over [`gateway::Gateway`], which an embedding program can use as
//! well: it starts the configured number of shards, by default one for each core, each with its own
//! ring, listeners and connections, and answers each route with a [`handler::Handler`]. Handlers
//! are built in, or the program's own:
//!
//! ```no_run
//! use tidegate::config::Config;
//! use tidegate::gateway::{Gateway, Program};
//! use tidegate::handler::{Admission, Context, Handler, Piece};
//!
//! struct Greet;
//!
//! impl Handler for Greet {
//!     fn opened(&mut self, context: &mut Context<'_, '_>, _admission: Admission) {
//!         // A connection that cannot take it is closed by the gateway.
//!         let _ = context.send_text("hello");
//!     }
//!
//!     fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
//!         let _ = context.echo(piece);
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let text = "[[route]]\npath = \"/greet\"\nhandler = \"embedded\"";
//! let config = Config::parse(text, "greet.toml")?;
//! let program = Program::default()
//!     .handlers(|route| (route.path == "/greet").then(|| Box::new(Greet) as Box<dyn Handler>));
//! let gateway = Gateway::start_with(config, program)?;
//! println!("ws://{}/greet", gateway.addresses()[0]);
//! gateway.join()?;
//! # Ok(())
//! # }
//! ```
//!
//! Begin with [`handler`] for what such a program may say and is told, and with
//! [`Gateway`](gateway::Gateway) for how it is started and ended.
//!
//! - [`config`]: what a gateway is started with, read from TOML or put together by the program;
//! - [`gateway`]: starting it, and everything that may keep it from that;
//! - [`handler`]: what answers a route, for those that bring their own;
//! - [`protocol`]: what is spoken on a listener, for those that bring their own;
//! - [`transport`]: what is between a listener's sockets and that, for those that bring their own;
//! - [`hub`]: publish and subscribe, from handlers and, by the [`hub::Door`], from other threads;
//! - [`names`]: topics, users, connections, as all of these name them;
//! - [`steering`]: draining and stopping it, and what it counts;
//! - [`bill`]: what it may come to hold.
#![deny(unsafe_code)]

pub mod bill;
pub mod config;
pub mod gateway;
pub mod handler;
pub mod hub;
pub mod names;
pub mod protocol;
pub mod steering;
pub mod transport;

// What a gateway is made of. It can be reached by the binary, the tests and the measurements, and
// is nothing that an embedding program may build on.
#[doc(hidden)]
pub mod connection;
#[doc(hidden)]
pub mod control;
#[doc(hidden)]
pub mod counters;
#[doc(hidden)]
pub mod doctor;
#[allow(unsafe_code)]
#[doc(hidden)]
pub mod kernel;
#[doc(hidden)]
pub mod listen;
#[doc(hidden)]
pub mod logging;
#[doc(hidden)]
pub mod machine;
#[doc(hidden)]
pub mod mailbox;
#[doc(hidden)]
pub mod memory;
#[doc(hidden)]
pub mod shard;
#[doc(hidden)]
pub mod units;

/// The programs of the README, built and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
