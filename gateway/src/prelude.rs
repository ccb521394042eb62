//! What a program with handlers of its own names, in one line:
//!
//! ```
//! use tidegate::prelude::*;
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
//!         // A connection that cannot take it is closed by the gateway.
//!         let _ = context.echo(piece);
//!     }
//! }
//!
//! let program = Program::default().handler("/echo", || Echo);
//! ```

pub use crate::config::Config;
pub use crate::gateway::{Gateway, Program};
pub use crate::handler::{
    Admission, Cause, Context, Decision, Desk, End, Event, Finding, Handler, Piece, Publishing,
    Refusal, Request, Response, Ticket, Wants, Why,
};
pub use crate::hub::{Door, Subscribing, Target};
pub use crate::names::{ConnectionId, Name};
