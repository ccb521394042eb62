//! How much the log says of what others have chosen: no more than a line has room for beside the
//! rest, and what was left out is said.

use super::request::PeerCertificate;

/// The bytes of names that a line has: a quarter of the longest line, and any one name.
const NAMES_MAX: usize = 256;

/// What a line says of the names in a client's certificate.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LoggedNames {
    /// The first of them, as far as there is room, with a space between two: they have none.
    pub(super) said: Option<String>,
    /// How many others it has, if any.
    pub(super) left_out: Option<u32>,
}

impl LoggedNames {
    pub(super) fn of(certificate: &PeerCertificate) -> Self {
        let PeerCertificate { names, names_left_out, .. } = certificate;
        let mut room = NAMES_MAX;
        let fits = |name: &&String| {
            let left = room.checked_sub(name.len());
            room = left.unwrap_or(0);
            left.is_some()
        };
        let count = names.iter().take_while(fits).count();
        let left_out = names_left_out + (names.len() - count) as u32;
        Self {
            said: (count > 0).then(|| names[..count].join(" ")),
            left_out: (left_out > 0).then_some(left_out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_said_in_a_row_as_far_as_there_is_room() {
        let of = |names: &[&str], names_left_out| {
            let LoggedNames { said, left_out } = LoggedNames::of(&PeerCertificate {
                subject: String::new(),
                names: names.iter().map(ToString::to_string).collect(),
                names_left_out,
                serial: String::new(),
                fingerprint_sha256: String::new(),
            });
            (said.unwrap_or_default(), left_out)
        };
        assert_eq!(of(&[], 0), (String::new(), None));
        assert_eq!(of(&["spiffe://a.test/b", "c"], 0), ("spiffe://a.test/b c".into(), None));
        assert_eq!(of(&["a"], 3), ("a".into(), Some(3)));
        let longest = "l".repeat(255);
        assert_eq!(of(&[&longest, "ab", "c"], 3), (longest.clone(), Some(5)), "one always fits");
    }
}
