//! What checks may hold, for the bill.

use super::Gatekeeper;
use crate::bill::{Line, Owner};
use crate::config::{AdmissionCheck, Config};

/// What a shard of this configuration may hold, if some route asks for tokens.
pub(crate) fn lines(config: &Config) -> Vec<Line> {
    let is_token =
        |check: &AdmissionCheck| matches!(check, AdmissionCheck::Jwt(_) | AdmissionCheck::Token(_));
    if !config.routes.iter().flat_map(|route| &route.admission).any(is_token) {
        return Vec::new();
    }
    let limits = &config.limits;
    vec![
        Line::new(Owner::Permits, Gatekeeper::bytes(limits.slots()), &["limits.connections"]),
        Line::new(Owner::Permissions, limits.permissions.into(), &["limits.permissions"]),
        Line::new(Owner::Tokens, limits.tokens.into(), &["limits.tokens"]),
    ]
}
