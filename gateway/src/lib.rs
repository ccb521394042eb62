//! Tidegate: an edge gateway for WebSocket.
//!
//! The binary is a thin layer over [`gateway::Gateway`], which an embedding program can use as
//! well: it starts the configured number of shards, by default one for each core, each with its own
//! ring, listeners and connections, and answers each route with a [`handler::Handler`]. Handlers
//! are built in, or the program's own:
//!
//! ```no_run
//! use tidegate::prelude::*;
//!
//! struct Greet;
//!
//! impl Handler for Greet {
//!     fn request(&mut self, request: &Request<'_>, _: &mut Desk<'_>) -> Decision {
//!         let name = request.parameter("name").unwrap_or_default();
//!         Admission::default().with_note(name.into_owned()).into()
//!     }
//!
//!     fn opened(&mut self, context: &mut Context<'_, '_>, admission: Admission) {
//!         if let Some(name) = admission.note::<String>() {
//!             // A connection that cannot take it is closed by the gateway.
//!             let _ = context.send_text(&format!("hello, {name}"));
//!         }
//!     }
//!
//!     fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
//!         let _ = context.echo(piece);
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let text = "[[route]]\npath = \"/greet/{name}\"\nhandler = \"embedded\"";
//! let config = Config::parse(text, "greet.toml")?;
//! let program = Program::default().handler("/greet/{name}", || Greet);
//! let gateway = Gateway::start_with(config, program)?;
//! println!("ws://{}/greet/ada", gateway.addresses()[0]);
//! gateway.join()?;
//! # Ok(())
//! # }
//! ```
//!
//! A handler may not wait. What it does not know it has others find out, and decides once they
//! have:
//!
//! ```
//! use std::sync::mpsc::Sender;
//!
//! use tidegate::prelude::*;
//!
//! /// Has a thread look up whose a token is.
//! struct Guarded(Sender<(Ticket, String)>);
//!
//! impl Handler for Guarded {
//!     fn request(&mut self, request: &Request<'_>, _: &mut Desk<'_>) -> Decision {
//!         let Ok(Some(token)) = request.query_value("token") else {
//!             return Refusal::Forbidden.into();
//!         };
//!         let (token, others) = (token.into_owned(), self.0.clone());
//!         Decision::later(move |ticket| _ = others.send((ticket, token)))
//!     }
//!
//!     // The thread has called `Door::found` with the ticket and a user: `Gateway::door`.
//!     fn decided(&mut self, _: &Request<'_>, user: Finding, _: &mut Desk<'_>) -> Decision {
//!         match user.take::<Name>() {
//!             Some(user) => Admission::default().of_user(user).into(),
//!             None => Refusal::Forbidden.into(),
//!         }
//!     }
//!
//!     fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
//!         let _ = context.echo(piece);
//!     }
//! }
//! ```
//!
//! # Examples
//!
//! Whole programs are in the folder `gateway/examples`, and run by `cargo run --example NAME`:
//!
//! - `greet` (`greet.rs`): a handler of one's own;
//! - `ask_first` (`ask_first.rs`): a request that a runtime of tokio looks something up for;
//!   refusals with a status and a header of the handler's own;
//! - `rooms_and_push` (`rooms_and_push.rs`): connections on topics, and a thread that publishes.
//!
//! # Modules
//!
//! Begin with [`handler`] for what such a program may say and is told, and with
//! [`Gateway`](gateway::Gateway) for how it is started and ended.
//!
//! - [`prelude`]: the names that such a program needs, at once;
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

#[macro_use]
mod named;

mod escapes;

pub mod bill;
pub mod config;
pub mod gateway;
pub mod handler;
pub mod hub;
pub mod names;
pub mod prelude;
pub mod protocol;
pub mod steering;
pub mod transport;

// What a gateway is made of. It can be reached by the binary, the tests and the measurements, and
// is nothing that an embedding program may build on.
#[doc(hidden)]
pub mod access_log;
#[doc(hidden)]
pub mod census;
#[doc(hidden)]
pub mod checks;
#[doc(hidden)]
pub mod connection;
#[doc(hidden)]
pub mod control;
#[doc(hidden)]
pub mod counters;
#[doc(hidden)]
pub mod doctor;
#[doc(hidden)]
pub mod histogram;
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
