//! What is spoken on a connection, and what it is spoken under.

pub mod context;
mod counted;
pub mod refusal;
mod router;
pub mod serve;
pub mod services;
