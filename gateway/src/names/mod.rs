//! What the configuration, the hub, the handlers and the control thread all name: topics and users,
//! connections, places in a topic, and what is kept of one.

mod id;
mod name;
mod position;
mod rule;

pub use id::{ConnectionId, NoConnectionId, Node};
pub use name::{Name, NameError};
pub use position::Position;
pub use rule::TopicRule;
