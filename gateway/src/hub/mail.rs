//! What shards send each other.

use super::Request;
use super::door::Reply;

/// One piece of mail. Two words, so that a mailbox is small.
pub(crate) enum Mail {
    /// A thread that is no shard asks for something.
    Ask(Box<Ask>),
}

const _: () = assert!(size_of::<Mail>() <= 16);

/// A request, and what to call with the answer.
pub(crate) struct Ask {
    pub(crate) request: Request,
    pub(crate) reply: Reply,
}
