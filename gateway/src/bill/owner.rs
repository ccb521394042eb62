//! Who holds memory, in the order of the bill.

/// An owner of memory. A line of the bill says what it may come to hold; those that grow on the way
/// tell as well what they do hold ([`Holdings`](super::Holdings)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// The memory that receives go to.
    ReceiveBuffers,
    /// The memory of a batch's answers.
    Staging,
    /// The pool of blocks.
    Blocks,
    /// What is known of each connection.
    Records,
    /// A byte for each slot.
    Deadlines,
    /// Who can be read from.
    Ready,
    /// Who opens or ends.
    Crowd,
    /// Which slots are free.
    Vacant,
    /// Who has yet to open, or lingers.
    Strangers,
    /// Who publishes and has to pause.
    HeldPublishers,
    /// Whose peer takes nothing.
    Stalled,
    /// What says the bodies of responses.
    Sources,
    /// Who has sent half a message.
    Halves,
    /// Of whose backlog something is sealed.
    Sealed,
    /// What transports keep of input.
    Kept,
    /// Keys and secrets of connections over TLS.
    TlsKeys,
    /// Handshakes of TLS in progress.
    TlsHandshakes,
    /// Connections of TLS 1.2.
    Tls12,
    /// Who clients are by their certificates.
    ClientCertificates,
    /// What certificates, keys and authorities were read from.
    TlsFiles,
    /// Which receive buffers are free.
    FreeBuffers,
    /// What is known of each block.
    BlockBookkeeping,
    /// What a ring, or epoll, is told.
    SubmissionQueue,
    /// What a ring, or epoll, tells.
    CompletionQueue,
    /// What a ring has told and was not handled yet.
    Events,
    /// The sends whose outcome is open.
    Batch,
    /// For whom a deadline has passed.
    PassedDeadlines,
    /// Input that has to wait.
    PutOff,
    /// Receive buffers that a ring, or epoll, was lent.
    ProvidedRing,
    /// What the driver of epoll knows of each connection.
    Sockets,
    /// What it sends when its peer takes it.
    ArmedSends,
    /// Where a request head is put together.
    RequestHead,
    /// Who has yet to be told of by a proxy.
    Proxied,
    /// Who the peers are.
    PeerAddresses,
    /// What the log says of each connection.
    Accounts,
    /// Why connections end that have yet to.
    EndReasons,
    /// The last connections that have ended.
    LastEnds,
    /// What inflates.
    Decompressor,
    /// What deflates.
    Compressors,
    /// Listeners and accepts in flight.
    Listeners,
    /// Routes and what answers them.
    Routes,
    /// The stack of a shard's thread.
    ThreadStack,
    /// Topics at their homes and with their subscribers.
    Topics,
    /// Who is subscribed to what.
    Subscriptions,
    /// Connections on routes of the hub.
    Members,
    /// What was published and waits for a peer.
    PublishedQueues,
    /// What is on its way between shards.
    Mailboxes,
    /// What finds a mailbox full.
    WaitingMail,
    /// Connections that other shards have given away, and that wait for a slot.
    HandedOver,
    /// What is on its way to many.
    Deliveries,
    /// Who gets what was missed.
    Recoveries,
    /// Who is on which topic.
    Presence,
    /// Who could not be on a topic, and is on its way out.
    Denied,
    /// Whose presence there was no room for.
    Unlisted,
    /// What was published with an idempotency key.
    Repeats,
    /// The messages of all shards.
    Messages,
    /// What the control thread is sent.
    AdminRequests,
    /// The bodies of it.
    AdminBodies,
    /// What it answers.
    AdminAnswers,
    /// What it keeps of the last hour.
    AdminRecent,
    /// The stack of the control thread.
    AdminStack,
    /// What is to be logged.
    LogLines,
}

impl Owner {
    /// Its name on the bill, in metrics and in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReceiveBuffers => "receive buffers",
            Self::Staging => "staging",
            Self::Blocks => "blocks",
            Self::Records => "connection records",
            Self::Deadlines => "deadlines",
            Self::Ready => "set of ready connections",
            Self::Crowd => "set of those who come or go",
            Self::Vacant => "set of vacant slots",
            Self::Strangers => "set of strangers",
            Self::HeldPublishers => "set of held publishers",
            Self::Stalled => "stalled peers",
            Self::Sources => "sources of responses",
            Self::Halves => "half messages",
            Self::Sealed => "sealed bytes",
            Self::Kept => "input kept by transports",
            Self::TlsKeys => "keys of TLS",
            Self::TlsHandshakes => "handshakes of TLS",
            Self::Tls12 => "connections of TLS 1.2",
            Self::ClientCertificates => "certificates of clients",
            Self::TlsFiles => "files of TLS",
            Self::FreeBuffers => "list of free buffers",
            Self::BlockBookkeeping => "block bookkeeping",
            Self::SubmissionQueue => "submission queue",
            Self::CompletionQueue => "completion queue",
            Self::Events => "list of events",
            Self::Batch => "list of the batch",
            Self::PassedDeadlines => "sets of passed deadlines",
            Self::PutOff => "list of input put off",
            Self::ProvidedRing => "provided-buffer ring",
            Self::Sockets => "sockets",
            Self::ArmedSends => "armed sends",
            Self::RequestHead => "request head",
            Self::Proxied => "sets of proxied connections",
            Self::PeerAddresses => "peer addresses",
            Self::Accounts => "accounts for the log",
            Self::EndReasons => "reasons of ends",
            Self::LastEnds => "last ends",
            Self::Decompressor => "decompressor",
            Self::Compressors => "compressors",
            Self::Listeners => "listeners and accepts",
            Self::Routes => "routes and handlers",
            Self::ThreadStack => "thread stack",
            Self::Topics => "topics",
            Self::Subscriptions => "subscriptions",
            Self::Members => "members of the hub",
            Self::PublishedQueues => "queues of published messages",
            Self::Mailboxes => "mailboxes",
            Self::WaitingMail => "mail that waits",
            Self::HandedOver => "connections handed over",
            Self::Deliveries => "deliveries on their way",
            Self::Recoveries => "those who come back",
            Self::Presence => "presence",
            Self::Denied => "subscriptions denied",
            Self::Unlisted => "users not listed",
            Self::Repeats => "idempotency keys",
            Self::Messages => "messages on their way",
            Self::AdminRequests => "admin: requests",
            Self::AdminBodies => "admin: bodies",
            Self::AdminAnswers => "admin: answers",
            Self::AdminRecent => "admin: the last hour",
            Self::AdminStack => "admin: thread stack",
            Self::LogLines => "log lines that wait",
        }
    }

    /// Whether the process has it once, however many shards there are.
    #[must_use]
    pub const fn is_common(self) -> bool {
        matches!(
            self,
            Self::TlsFiles
                | Self::Messages
                | Self::AdminRequests
                | Self::AdminBodies
                | Self::AdminAnswers
                | Self::AdminRecent
                | Self::AdminStack
                | Self::LogLines
        )
    }
}
