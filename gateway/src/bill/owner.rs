//! Who holds memory, in the order of the bill.

named! {
    /// An owner of memory. A line of the bill says what it may come to hold; those that grow on the
    /// way tell as well what they do hold ([`Holdings`](super::Holdings)).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Owner {
        /// The memory that receives go to.
        ReceiveBuffers = "receive buffers",
        /// The memory of a batch's answers.
        Staging = "staging",
        /// The pool of blocks.
        Blocks = "blocks",
        /// What is known of each connection.
        Records = "connection records",
        /// A byte for each slot.
        Deadlines = "deadlines",
        /// Who can be read from.
        Ready = "set of ready connections",
        /// Who opens or ends.
        Crowd = "set of those who come or go",
        /// Whom a drain closes.
        Drains = "sets of whom a drain closes",
        /// Whose route is there no longer.
        Gone = "set of those without route",
        /// Which slots are free.
        Vacant = "set of vacant slots",
        /// Who has yet to open, or lingers.
        Strangers = "set of strangers",
        /// Who publishes and has to pause.
        HeldPublishers = "set of held publishers",
        /// Whose peer takes nothing.
        Stalled = "stalled peers",
        /// What says the bodies of responses.
        Sources = "sources of responses",
        /// Who has sent half a message.
        Halves = "half messages",
        /// In how many frames half messages have come.
        Fragments = "frames of half messages",
        /// What clients have left of what they may send.
        Allotments = "allotments of clients",
        /// Who sends more than it may.
        Slowed = "slowed clients",
        /// What connections are counted by.
        Turnstiles = "counts of connections",
        /// Of whose backlog something is sealed.
        Sealed = "sealed bytes",
        /// What transports keep of input.
        Kept = "input kept by transports",
        /// Keys and secrets of connections over TLS.
        TlsKeys = "keys of TLS",
        /// Handshakes of TLS in progress.
        TlsHandshakes = "handshakes of TLS",
        /// Connections of TLS 1.2.
        Tls12 = "connections of TLS 1.2",
        /// Who clients are by their certificates.
        ClientCertificates = "certificates of clients",
        /// What those have who were let in by a token.
        Permits = "permits",
        /// What their tokens say of topics.
        Permissions = "permissions",
        /// Tokens that were verified.
        Tokens = "tokens that were verified",
        /// Passwords that were hashed and are right.
        Passwords = "passwords that were hashed",
        /// Which tokens were taken back.
        Revocations = "tokens that were taken back",
        /// What certificates, keys and authorities were read from.
        TlsFiles = "files of TLS",
        /// Which receive buffers are free.
        FreeBuffers = "list of free buffers",
        /// What is known of each block.
        BlockBookkeeping = "block bookkeeping",
        /// What a ring, or epoll, is told.
        SubmissionQueue = "submission queue",
        /// What a ring, or epoll, tells.
        CompletionQueue = "completion queue",
        /// What a ring has told and was not handled yet.
        Events = "list of events",
        /// The sends whose outcome is open.
        Batch = "list of the batch",
        /// For whom a deadline has passed.
        PassedDeadlines = "sets of passed deadlines",
        /// Input that has to wait.
        PutOff = "list of input put off",
        /// Receive buffers that a ring, or epoll, was lent.
        ProvidedRing = "provided-buffer ring",
        /// What the driver of epoll knows of each connection.
        Sockets = "sockets",
        /// What it sends when its peer takes it.
        ArmedSends = "armed sends",
        /// Where a request head is put together.
        RequestHead = "request head",
        /// Who has yet to be told of by a proxy.
        Proxied = "sets of proxied connections",
        /// What proxies have said of clients.
        ProxyFacts = "facts told by proxies",
        /// Who the peers are.
        PeerAddresses = "peer addresses",
        /// What the log says of each connection.
        Accounts = "accounts for the log",
        /// Why connections end that have yet to.
        EndReasons = "reasons of ends",
        /// The last connections that have ended.
        LastEnds = "last ends",
        /// What inflates.
        Decompressor = "decompressor",
        /// What deflates.
        Compressors = "compressors",
        /// Listeners and accepts in flight.
        Listeners = "listeners and accepts",
        /// Routes and what answers them.
        Routes = "routes and handlers",
        /// The stack of a shard's thread.
        ThreadStack = "thread stack",
        /// Topics at their homes and with their subscribers.
        Topics = "topics",
        /// Who is subscribed to what.
        Subscriptions = "subscriptions",
        /// Connections on routes of the hub.
        Members = "members of the hub",
        /// What was published and waits for a peer.
        PublishedQueues = "queues of published messages",
        /// What is on its way between shards.
        Mailboxes = "mailboxes",
        /// What finds a mailbox full.
        WaitingMail = "mail that waits",
        /// Connections that other shards have given away, and that wait for a slot.
        HandedOver = "connections handed over",
        /// What is on its way to many.
        Deliveries = "deliveries on their way",
        /// Who gets what was missed.
        Recoveries = "those who come back",
        /// Who is on which topic.
        Presence = "presence",
        /// Who could not be on a topic, and is on its way out.
        Denied = "subscriptions denied",
        /// Whose presence there was no room for.
        Unlisted = "users not listed",
        /// What was published with an idempotency key.
        Repeats = "idempotency keys",
        /// How many connections addresses and users have.
        Headcounts = "addresses and users",
        /// What passwords hash to.
        PasswordFiles = "files of passwords",
        /// What hashes passwords, and those that wait for it.
        Hashing = "hashing of passwords",
        /// The messages of all shards.
        Messages = "messages on their way",
        /// What the control thread is sent.
        AdminRequests = "admin: requests",
        /// The bodies of it.
        AdminBodies = "admin: bodies",
        /// What it answers.
        AdminAnswers = "admin: answers",
        /// What it keeps of the last hour.
        AdminRecent = "admin: the last hour",
        /// The stack of the control thread.
        AdminStack = "admin: thread stack",
        /// What is to be logged.
        LogLines = "log lines that wait",
        /// Lines of the access log that wait.
        AccessLines = "access log: lines that wait",
        /// What writes them.
        AccessThread = "access log: thread",
    }
}

impl Owner {
    /// Whether what was made for it once stays until the end, or as long as connections that there
    /// is no measure of.
    pub(super) const fn stays(self) -> bool {
        matches!(
            self,
            Self::Headcounts
                | Self::Compressors
                | Self::Proxied
                | Self::Slowed
                | Self::TlsHandshakes
                | Self::Tls12
        )
    }

    /// Whether the process has it once, however many shards there are.
    #[must_use]
    pub const fn is_common(self) -> bool {
        matches!(
            self,
            Self::Revocations
                | Self::TlsFiles
                | Self::Headcounts
                | Self::PasswordFiles
                | Self::Hashing
                | Self::Messages
                | Self::AdminRequests
                | Self::AdminBodies
                | Self::AdminAnswers
                | Self::AdminRecent
                | Self::AdminStack
                | Self::LogLines
                | Self::AccessLines
                | Self::AccessThread
        )
    }
}
