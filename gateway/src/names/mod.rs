//! What the configuration, the hub, the handlers and the control thread all name: topics and users,
//! connections and where they live, requests that are undecided, places in a topic, and what is
//! kept of one.

mod address;
mod id;
mod name;
mod position;
mod resume;
mod rule;
mod ticket;

pub(crate) use address::Address;
pub use id::{ConnectionId, NoConnectionId, Node};
pub use name::{Name, NameError};
pub use position::Position;
pub use resume::{ResumeKey, Resumes};
pub use rule::TopicRule;
pub use ticket::Ticket;
