//! The hub: publish and subscribe among the connections of all shards.
//!
//! It knows nothing of sockets. Every topic has a *home*: the shard that its name hashes to. The
//! home gives the topic's messages their order, keeps history and presence, and knows which shards
//! have subscribers; each of those gets one pointer to a message through its mailbox, and finds its
//! own subscribers. So a message takes two hops at most, and messages of one publisher to one topic
//! stay in order.

mod door;
mod id;
mod mail;
mod message;
mod name;
mod request;

pub use door::{Common, Door, Reply};
pub use id::{ConnectionId, NoConnectionId, Node};
pub use message::{MessageMemory, Payload, Position, Publication, Refusal};
pub use name::{Name, NameError};
pub use request::{
    Answer, ConnectionFilter, ConnectionInfo, History, Kept, Presence, Present, Published, Request,
    Target, TopicInfo,
};
