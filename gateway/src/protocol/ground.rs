//! What refusals are counted by.

/// What refusals are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ground {
    /// The head is malformed, or names what is no name.
    BadRequest,
    /// A part of the head is too large, or a body follows.
    HeadTooLarge,
    /// The head did not come in time.
    HeadTimeout,
    /// A plain HTTP request for what is only spoken over WebSocket.
    NotUpgrade,
    /// A handshake that RFC 6455 does not allow.
    BadHandshake,
    /// Who asks may not enter.
    Forbidden,
    /// Nothing is served here.
    NotFound,
    /// What is served here does not know the method.
    MethodNotAllowed,
    /// It was not decided in time.
    DecisionTimeout,
    /// There is no room.
    Full,
    /// Its handler has refused it, with a response of its own.
    Handler,
    /// TLS came in where the listener is plain.
    Tls,
    /// A client may not connect there, by the network that it comes from.
    Network,
    /// Likewise, by its listener.
    ListenerNetwork,
    /// A page may not connect there, by its origin.
    Origin,
    /// There is no token, or it is not good.
    Token,
    /// There is no password, or it is not good.
    Password,
    /// The client has shown no certificate.
    Certificate,
    /// As many connections are there as may be on all shards together.
    GatewayFull,
    /// As many are there of its listener.
    ListenerFull,
    /// As many are there of its route.
    RouteFull,
    /// As many are there of its address.
    AddressFull,
    /// As many are there of its user.
    UserFull,
    /// As many have come to its listener in so short a time.
    ListenerRate,
    /// As many have come from its address in so short a time.
    AddressRate,
    /// Memory is short.
    Memory,
}

impl Ground {
    /// All of them, each at its own number.
    pub const ALL: [Self; 26] = [
        Self::BadRequest,
        Self::HeadTooLarge,
        Self::HeadTimeout,
        Self::NotUpgrade,
        Self::BadHandshake,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::DecisionTimeout,
        Self::Full,
        Self::Handler,
        Self::Tls,
        Self::Network,
        Self::ListenerNetwork,
        Self::Origin,
        Self::Token,
        Self::Password,
        Self::Certificate,
        Self::GatewayFull,
        Self::ListenerFull,
        Self::RouteFull,
        Self::AddressFull,
        Self::UserFull,
        Self::ListenerRate,
        Self::AddressRate,
        Self::Memory,
    ];

    /// The name in metrics and in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::HeadTooLarge => "head_too_large",
            Self::HeadTimeout => "head_timeout",
            Self::NotUpgrade => "not_upgrade",
            Self::BadHandshake => "bad_handshake",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::DecisionTimeout => "decision_timeout",
            Self::Full => "full",
            Self::Handler => "handler",
            Self::Tls => "tls",
            Self::Network => "network",
            Self::ListenerNetwork => "listener_network",
            Self::Origin => "origin",
            Self::Token => "token",
            Self::Password => "password",
            Self::Certificate => "certificate",
            Self::GatewayFull => "gateway_full",
            Self::ListenerFull => "listener_full",
            Self::RouteFull => "route_full",
            Self::AddressFull => "address_full",
            Self::UserFull => "user_full",
            Self::ListenerRate => "listener_rate",
            Self::AddressRate => "address_rate",
            Self::Memory => "memory",
        }
    }
}
