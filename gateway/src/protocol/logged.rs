//! How much the log says of what others have chosen: no more than a line has room for beside the
//! rest, and what was left out is said.

use tidegate_proto::http::{RequestHead, list_elements};

use super::request::{PeerCertificate, ProxyFacts, TlsToProxy};
use crate::checks::BEARER_PROTOCOL;

/// The bytes of names that a line has: a quarter of the longest line, and any one name.
const NAMES_MAX: usize = 256;

/// The bytes that a line has of one value that a proxy tells.
const VALUE_MAX: usize = 128;

/// The bytes of the longest subprotocol that is said: what is longer may be a secret.
const SUBPROTOCOL_MAX: usize = 40;

/// The bytes of the longest name in a query that is said: likewise.
const QUERY_NAME_MAX: usize = 40;

/// What stands for a secret.
const HIDDEN: &str = "…";

/// What a line says of a query: its names. Any value may be a token.
pub(super) fn query(query: &str) -> String {
    let pair = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if name.len() <= QUERY_NAME_MAX => format!("{name}={HIDDEN}"),
        _ => HIDDEN.to_owned(),
    };
    query.split('&').map(pair).collect::<Vec<_>>().join("&")
}

/// What a line says of the address of a page: without what stands in front of its host, and without
/// query and fragment, of which any may be a secret.
pub(super) fn page(address: &str) -> String {
    let bare = address.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = bare.split_once("://") else { return bare.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// What a line says of the subprotocols that a request offers: a token may be among them.
pub(super) fn subprotocols(head: &RequestHead<'_>) -> Option<String> {
    let elements = head.header_values("sec-websocket-protocol").flat_map(list_elements);
    let mut was_bearer = false;
    let said = elements.map(|element| {
        let is_secret = was_bearer || element.len() > SUBPROTOCOL_MAX;
        was_bearer = element == BEARER_PROTOCOL.as_bytes();
        let text = String::from_utf8_lossy(element);
        if is_secret { HIDDEN.to_owned() } else { text.into_owned() }
    });
    let said: Vec<_> = said.collect();
    (!said.is_empty()).then(|| said.join(", "))
}

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

/// What a line says of what a proxy has told of its client. What is no text is escaped.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LoggedFacts<'l> {
    /// The Unix socket that the client has connected from.
    pub(super) peer: Option<String>,
    pub(super) authority: Option<String>,
    pub(super) alpn: Option<String>,
    pub(super) unique_id: Option<String>,
    /// The version of TLS, if the client came over that.
    pub(super) tls: Option<&'l str>,
    pub(super) cipher: Option<String>,
    pub(super) common_name: Option<String>,
    /// Of a client that has shown a certificate, whether that was found good.
    pub(super) is_verified: Option<bool>,
    /// Not all of it was kept.
    pub(super) is_cut: Option<bool>,
}

impl<'l> LoggedFacts<'l> {
    pub(super) fn of(facts: &'l ProxyFacts) -> Self {
        let ProxyFacts { authority, alpn, unique_id, tls, unix_source: _, is_cut } = facts;
        let bytes = |value: &Option<Box<[u8]>>| {
            value.as_ref().map(|value| short(value.escape_ascii().to_string()))
        };
        let text = |value: &Option<Box<str>>| value.as_deref().map(|text| short(text.to_owned()));
        let only_tls = tls.as_ref().map_or_else(Self::default, |tls| {
            let TlsToProxy { version, cipher, common_name, has_certificate, is_verified } = tls;
            let version = version.as_deref().filter(|version| version.len() <= VALUE_MAX);
            Self {
                tls: Some(version.unwrap_or("unknown")),
                cipher: text(cipher),
                common_name: text(common_name),
                is_verified: has_certificate.then_some(*is_verified),
                ..Self::default()
            }
        });
        Self {
            peer: facts.unix_name().map(short),
            authority: text(authority),
            alpn: bytes(alpn),
            unique_id: bytes(unique_id),
            is_cut: is_cut.then_some(true),
            ..only_tls
        }
    }
}

/// A value, or its first bytes and how many it has.
fn short(mut text: String) -> String {
    let length = text.len();
    if length > VALUE_MAX {
        text.truncate(text.floor_char_boundary(VALUE_MAX));
        text.push_str(&format!("... ({length} bytes)"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_proxy_tells_is_said_if_it_is_there() {
        assert_eq!(LoggedFacts::of(&ProxyFacts::default()), LoggedFacts::default());
        let long = "\u{e4}".repeat(100);
        let facts = ProxyFacts {
            authority: Some(long.into()),
            alpn: Some((*b"h2\xff").into()),
            unique_id: Some([0; 128].into()),
            tls: Some(TlsToProxy { has_certificate: true, ..TlsToProxy::default() }),
            unix_source: Some((*b"\0name").into()),
            is_cut: true,
        };
        let said = LoggedFacts {
            peer: Some("unix:@name".into()),
            authority: Some(format!("{}... (200 bytes)", "\u{e4}".repeat(64))),
            alpn: Some("h2\\xff".into()),
            unique_id: Some(format!("{}... (512 bytes)", "\\x00".repeat(32))),
            tls: Some("unknown"),
            cipher: None,
            common_name: None,
            is_verified: Some(false),
            is_cut: Some(true),
        };
        assert_eq!(LoggedFacts::of(&facts), said);
        let plain = ProxyFacts { tls: Some(TlsToProxy::default()), ..ProxyFacts::default() };
        assert_eq!(LoggedFacts::of(&plain).is_verified, None, "there is no certificate");
    }

    #[test]
    fn secrets_in_addresses_are_hidden() {
        let token = "a".repeat(41);
        for (written, said) in [
            ("token=a&b=&c", "token=…&b=…&…"),
            (&format!("{token}==&a={token}"), "…&a=…"),
            ("", "…"),
        ] {
            assert_eq!(query(written), said);
        }
        for (written, said) in [
            ("https://a.test/b?c#d", "https://a.test/b"),
            ("https://u:p@a.test", "https://a.test"),
            ("https://u:p@a.test/@b", "https://a.test/@b"),
            ("/b?c", "/b"),
            ("about:blank#a?b", "about:blank"),
        ] {
            assert_eq!(page(written), said);
        }
    }

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
