//! What certificates say about themselves and whom they name.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::x509::{AttributeTypeAndValue, RelativeDistinguishedName, X509Name};

/// Of a certificate at most so many names are told, each of so many bytes, and so many together; a
/// longer one is left out, not cut: part of a name is another's.
pub(super) const MOST_NAMES: usize = 16;
pub(super) const LONGEST_NAMES: usize = 1024;
const LONGEST_NAME: usize = 255;

/// A subject is told to so many bytes.
pub(super) const LONGEST_SUBJECT: usize = 512;

/// The domains that a certificate is for, in lower case.
pub(super) fn domains(certificate: &X509Certificate<'_>) -> Vec<String> {
    let domain = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.trim_end_matches('.').to_ascii_lowercase()),
        _ => None,
    };
    alternative(certificate, domain).collect()
}

/// Names of a certificate's subject that are told, and how many it has besides.
pub(super) struct ToldNames {
    pub(super) names: Vec<String>,
    pub(super) left_out: u32,
}

/// All names of a certificate's subject that people use: domains, addresses, URIs, mail.
pub(super) fn all(certificate: &X509Certificate<'_>) -> ToldNames {
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
            Some((*text).to_owned())
        }
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    };
    let mut room = LONGEST_NAMES;
    let has_room = |name: &String| {
        let left = room.checked_sub(name.len());
        room = left.unwrap_or(room);
        left.is_some()
    };
    let names: Vec<String> =
        alternative(certificate, text).filter(has_room).take(MOST_NAMES).collect();
    let left_out = general(certificate).len() - names.len();
    ToldNames { names, left_out: left_out as u32 }
}

fn alternative<'c>(
    certificate: &'c X509Certificate<'_>,
    text: impl Fn(&GeneralName<'_>) -> Option<String> + 'c,
) -> impl Iterator<Item = String> + 'c {
    let is_plain = |name: &String| {
        !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(|b| b.is_ascii_graphic())
    };
    general(certificate).iter().filter_map(text).filter(is_plain)
}

/// The names of the subject besides that of its own (RFC 5280, 4.2.1.6), whatever they are.
fn general<'c>(certificate: &'c X509Certificate<'_>) -> &'c [GeneralName<'c>] {
    let extension = certificate.subject_alternative_name().ok().flatten();
    extension.map_or(&[], |extension| extension.value.general_names.as_slice())
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(four).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|sixteen| Ipv6Addr::from(sixteen).to_string())
}

/// A subject's name in one line, without control characters, and cut where it is too long.
pub(super) fn subject(certificate: &X509Certificate<'_>) -> String {
    let mut told = String::new();
    for letter in distinguished(certificate.subject()).chars() {
        let letter = if letter.is_control() { '\u{fffd}' } else { letter };
        if told.len() + letter.len_utf8() > LONGEST_SUBJECT {
            break;
        }
        told.push(letter);
    }
    told
}

/// A distinguished name, in the certificate's order, in which no value can look like two.
fn distinguished(name: &X509Name<'_>) -> String {
    let part = |rdn: &RelativeDistinguishedName<'_>| {
        rdn.iter().map(attribute).collect::<Vec<_>>().join("+")
    };
    name.iter_rdn().map(part).collect::<Vec<_>>().join(", ")
}

/// RFC 4514, 2.4: of a value `"`, `+`, `,`, `;`, `<`, `>` and `\` are escaped, and a number sign or
/// a space at its beginning, and a space at its end; "the hexadecimal representation" of what is no
/// text stands behind a number sign.
fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let kind = attribute.attr_type();
    let kind = oid2abbrev(kind, oid_registry()).map_or_else(|_| kind.to_id_string(), str::to_owned);
    let Ok(value) = attribute.as_str() else {
        return format!("{kind}=#{}", hexadecimal(attribute.as_slice()));
    };
    let last = value.len().saturating_sub(1);
    let escaped = value.char_indices().fold(String::new(), |mut text, (at, letter)| {
        let is_at_an_end =
            (at == 0 && matches!(letter, '#' | ' ')) || (at == last && letter == ' ');
        if is_at_an_end || matches!(letter, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
            text.push('\\');
        }
        text.push(letter);
        text
    });
    format!("{kind}={escaped}")
}

/// Bytes in lower-case hexadecimal digits.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}
