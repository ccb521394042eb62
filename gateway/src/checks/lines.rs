//! What checks may hold, for the bill.

use super::check_threads::THREAD_STACK;
use super::{Gatekeeper, Revocations, hashers, password_file};
use crate::bill::{Line, Owner};
use crate::config::{AdmissionCheck, Config};

/// What a shard of this configuration may hold, if some route asks for tokens or passwords, and
/// what the process may hold for passwords.
pub(crate) fn lines(config: &Config) -> Vec<Line> {
    let has = |wanted: fn(&AdmissionCheck) -> bool| asks(config, wanted);
    let limits = &config.limits;
    let has_passwords = has(|check| matches!(check, AdmissionCheck::Basic(_)));
    let has_tokens =
        has(|check| matches!(check, AdmissionCheck::Jwt(_) | AdmissionCheck::Token(_)));
    let mut lines = Vec::new();
    if has_tokens || has_passwords {
        lines.extend([
            Line::new(
                Owner::Permits,
                Gatekeeper::bytes(limits.slots(), config.verifying.waiting),
                &["limits.connections", "verifications"],
            ),
            Line::new(Owner::Permissions, limits.permissions.into(), &["limits.permissions"]),
            Line::new(
                Owner::Revocations,
                u64::from(config.revocations) * Revocations::BYTES,
                &["revocations"],
            ),
        ]);
    }
    if has_tokens {
        lines.push(Line::new(Owner::Tokens, limits.tokens.into(), &["limits.tokens"]));
    }
    if has_passwords {
        let hashing = &config.hashing;
        let each = u64::from(hashing.memory) + THREAD_STACK as u64;
        let bytes = u64::from(hashing.threads) * each + hashers::bytes(hashing.waiting);
        let keys = &["hashing.threads", "hashing.memory", "hashing.waiting"];
        lines.extend([
            Line::new(Owner::Passwords, limits.passwords.into(), &["limits.passwords"]),
            Line::new(Owner::Hashing, bytes, keys),
        ]);
    }
    if !config.passwords.is_empty() {
        // While the configuration is read anew, the old ones and the new ones are there.
        let bytes = 2 * config.passwords.len() as u64 * password_file::HELD_MAX;
        lines.push(Line::new(Owner::PasswordFiles, bytes, &["passwords"]));
    }
    lines
}

/// Whether some route asks who comes, by tokens or passwords.
pub(crate) fn ask_who_comes(config: &Config) -> bool {
    asks(config, |check| !matches!(check, AdmissionCheck::Origin | AdmissionCheck::Certificate))
}

fn asks(config: &Config, wanted: fn(&AdmissionCheck) -> bool) -> bool {
    config.routes.iter().flat_map(|route| &route.admission).any(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_passwords_pays_for_them_and_nobody_else() {
        let owners = |route: &str, hashing: &str| -> Vec<(Owner, u64)> {
            let text = format!(
                "[[passwords]]\nfile = 'users'\n[[route]]\npath = '/'\nhandler = 'echo'\n\
                 {route}\n[hashing]\n{hashing}"
            );
            let config = Config::parse(&text, "t.toml").expect("right");
            lines(&config).iter().map(|line| (line.owner, line.bytes)).collect()
        };
        let bytes = |of: &[(Owner, u64)], owner: Owner| {
            of.iter().find(|(one, _)| *one == owner).map(|(_, bytes)| *bytes)
        };
        let none = owners("", "");
        let names: Vec<_> = none.iter().map(|(owner, _)| *owner).collect();
        assert_eq!(names, [Owner::PasswordFiles]);
        let one = owners("admission = ['basic']", "memory = '1MiB'");
        let more = owners("admission = ['basic']", "memory = '2MiB'\nthreads = 2");
        assert!(bytes(&one, Owner::Passwords).is_some() && bytes(&one, Owner::Permits).is_some());
        assert_eq!(bytes(&one, Owner::Tokens), None);
        let threads = |of| bytes(of, Owner::Hashing).expect("a line");
        assert_eq!(threads(&more) - threads(&one), (3 << 20) + THREAD_STACK as u64);
    }
}
