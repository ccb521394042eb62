//! Pages that may connect to a route: patterns of their origins.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use tidegate_proto::http::{OriginHeader, RequestHead, WebOrigin, default_port};
use toml::de::DeValue;

use super::reader::{Setting, TableReader, expected};
use super::route::RouteHandler;
use super::value;
use crate::units::quote;

/// The pages that may connect to a route, by their origins (RFC 6454), which browsers send. Who
/// sends none is no page, and is not kept out by this.
///
/// A browser lets every page connect to every WebSocket, with the cookies of the one who looks at
/// it. So where cookies say who may connect, only pages that are known should. Where nothing but
/// the network says it that somebody is in, `same` is not enough: a page may have its own name led
/// to the gateway's address (DNS rebinding), so list the gateway's origins by name there.
///
/// ```
/// use tidegate::config::Origins;
///
/// # fn main() -> Result<(), String> {
/// let origins = Origins::new(["same", "https://*.example.com"])?;
/// assert_eq!(origins.to_string(), "same https://*.example.com");
/// assert!(Origins::new(["https://example.com/"]).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins {
    rules: Vec<OriginRule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum OriginRule {
    /// `same`: the host that is asked for, at the same port.
    Same,
    /// `any`.
    Any,
    /// `null`.
    Null,
    Pattern(OriginPattern),
}

/// Such as `https://*.example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OriginPattern {
    text: String,
    scheme: String,
    host: HostPattern,
    port: PortPattern,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    Name(String),
    /// What is behind the `*`, with its dot.
    Below(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PortPattern {
    Any,
    /// `None` for schemes that have none of their own.
    One(Option<u16>),
}

/// Why a pattern in front of an address is none.
const BELOW_ADDRESS: &str = "nothing stands in front of an address: remove the `*.`";

/// The most rules of a route.
const RULES_MAX: usize = 64;

impl Default for Origins {
    /// `same` alone.
    fn default() -> Self {
        Self { rules: vec![OriginRule::Same] }
    }
}

impl Origins {
    /// Whether pages are let in that any other page can make.
    #[must_use]
    pub(super) fn has_null(&self) -> bool {
        self.rules.contains(&OriginRule::Null)
    }

    /// These: `same`, `null`, `any`, an origin such as `https://app.example.com:8443`, or a pattern
    /// of them: `*.` in front of a host stands for one label or more, `:*` for any port. No port is
    /// that of the scheme. With none at all, no page may connect.
    ///
    /// # Errors
    /// One is none of that, or there are more than 64.
    pub fn new<'t>(rules: impl IntoIterator<Item = &'t str>) -> Result<Self, String> {
        let rules = rules.into_iter().map(OriginRule::new).collect::<Result<Vec<_>, _>>()?;
        if rules.len() > RULES_MAX {
            return Err(format!("has {} origins, and may have {RULES_MAX}", rules.len()));
        }
        if rules.len() > 1 && rules.contains(&OriginRule::Any) {
            return Err("has \"any\" beside others, which mean nothing then: remove them".into());
        }
        Ok(Self { rules })
    }

    /// Every page may connect.
    #[must_use]
    pub fn any() -> Self {
        Self { rules: vec![OriginRule::Any] }
    }

    /// Whether somebody may connect by this request, which came by TLS or not as far as is known.
    /// Of one that says more than one origin, or what is none, nobody knows where it comes from.
    #[must_use]
    pub fn let_in(&self, request: &RequestHead<'_>, is_by_tls: bool) -> bool {
        let mut values = request.header_values("origin");
        let (first, second) = (values.next(), values.next());
        let Some(value) = first else { return true };
        if self.rules.contains(&OriginRule::Any) {
            return true;
        }
        match OriginHeader::parse(value) {
            Some(origin) if second.is_none() => {
                self.rules.iter().any(|rule| rule.lets_in(&origin, request, is_by_tls))
            }
            _ => false,
        }
    }

    /// The rules, as they are written.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| match rule {
            OriginRule::Same => "same",
            OriginRule::Any => "any",
            OriginRule::Null => "null",
            OriginRule::Pattern(pattern) => &pattern.text,
        })
    }
}

/// Reads `origins` of a route.
pub(super) fn read(
    table: &mut TableReader<'_, '_>,
    handler: &Setting<Option<RouteHandler>>,
) -> Origins {
    let is_plain = handler.value.as_ref().is_some_and(|handler| !handler.takes_websockets());
    let idle = is_plain.then_some("while no WebSocket comes to `handler`: remove it");
    let read = |value: &DeValue<'_>| {
        let DeValue::Array(written) = value else {
            return Err(expected(
                "an array of origins such as [\"https://app.example.com\"]",
                value,
            ));
        };
        let texts = written.iter().map(|one| value::text(one.get_ref()));
        Origins::new(texts.collect::<Result<Vec<_>, _>>()?)
    };
    table.read_unless("origins", idle, Origins::default(), read).value
}

impl OriginRule {
    fn new(text: &str) -> Result<Self, String> {
        match text {
            "same" => Ok(Self::Same),
            "any" => Ok(Self::Any),
            "null" => Ok(Self::Null),
            text => OriginPattern::new(text).map(Self::Pattern),
        }
    }

    fn lets_in(
        &self,
        origin: &OriginHeader<'_>,
        request: &RequestHead<'_>,
        is_by_tls: bool,
    ) -> bool {
        match (self, origin) {
            (Self::Any, _) | (Self::Null, OriginHeader::Null) => true,
            (Self::Same, OriginHeader::Of(origin)) => origin.is_of(request, is_by_tls),
            (Self::Pattern(pattern), OriginHeader::Of(origin)) => pattern.matches(origin),
            (Self::Null | Self::Same | Self::Pattern(_), _) => false,
        }
    }
}

impl OriginPattern {
    fn new(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|why| format!("{} is no origin: {why}", quote(text)))
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or(
            "write \"same\", \"null\", \"any\", or one as in \"https://app.example.com\", with its \
             scheme",
        )?;
        if text.contains([' ', ',']) {
            return Err("write each of several as a string of its own");
        }
        if rest.contains('/') {
            return Err("an origin has no path: remove what is behind the host");
        }
        if scheme.eq_ignore_ascii_case("ws") || scheme.eq_ignore_ascii_case("wss") {
            return Err("it is of the page, not of the WebSocket: write http:// or https://");
        }
        if !text.is_ascii() {
            return Err("browsers send such a host in ASCII: write it as \"xn--…\"");
        }
        let (rest, is_any_port) = match rest.strip_suffix(":*") {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let below = rest.strip_prefix("*.");
        let whole = format!("{scheme}://{}", below.unwrap_or(rest));
        let origin = WebOrigin::parse(&whole).filter(|_| !rest.ends_with(':')).ok_or(
            "it has to be a scheme, `://` and a host, with `:` and a port where that is not the \
             scheme's own",
        )?;
        if is_any_port && origin.port.is_some() {
            return Err("it has two ports");
        }
        let port = match is_any_port {
            true => PortPattern::Any,
            false => PortPattern::One(origin.port.or_else(|| default_port(scheme))),
        };
        let host = HostPattern::new(origin.host, below.is_some())?;
        Ok(Self { text: text.to_owned(), scheme: scheme.to_ascii_lowercase(), host, port })
    }

    /// RFC 6454 section 5: "If the two origins are scheme/host/port triples, the two origins are
    /// the same if, and only if, they have identical schemes, hosts, and ports." Section 4 has
    /// scheme and host in lower case.
    fn matches(&self, origin: &WebOrigin<'_>) -> bool {
        let is_host = match &self.host {
            HostPattern::Name(name) => name.eq_ignore_ascii_case(origin.host),
            HostPattern::Below(suffix) => {
                let labels = origin.host.len().checked_sub(suffix.len());
                labels.is_some_and(|length| {
                    length > 0
                        && origin.host.as_bytes()[length..].eq_ignore_ascii_case(suffix.as_bytes())
                })
            }
        };
        let is_port = match self.port {
            PortPattern::Any => true,
            PortPattern::One(port) => port == origin.whole_port(),
        };
        is_host && is_port && self.scheme.eq_ignore_ascii_case(origin.scheme)
    }
}

impl HostPattern {
    /// As browsers write hosts: in lower case, and addresses in their shortest form.
    fn new(host: &str, is_below: bool) -> Result<Self, &'static str> {
        let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(address) = address.and_then(|text| text.parse::<Ipv6Addr>().ok()) {
            let name = format!("[{address}]");
            return if is_below { Err(BELOW_ADDRESS) } else { Ok(Self::Name(name)) };
        }
        let is_label = |label: &str| !label.is_empty() && !label.contains(['%', '*']);
        if !host.split('.').all(is_label) {
            return Err(
                "a host is labels with dots between them, and a `*` stands for those in front of \
                 it, as in \"https://*.example.com\", or behind its colon for any port",
            );
        }
        let host = host.to_ascii_lowercase();
        match is_below {
            true if host.parse::<Ipv4Addr>().is_ok() => Err(BELOW_ADDRESS),
            true => Ok(Self::Below(format!(".{host}"))),
            false => Ok(Self::Name(host)),
        }
    }
}

/// As a list, with spaces between.
impl fmt::Display for Origins {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rules.is_empty() {
            return out.write_str("none");
        }
        for (at, rule) in self.iter().enumerate() {
            if at > 0 {
                out.write_str(" ")?;
            }
            out.write_str(rule)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tidegate_proto::http::{Status, parse_request};

    use super::*;

    fn lets_in(rules: &[&str], origins: &[&str]) -> bool {
        let mut request = "GET / HTTP/1.1\r\nHost: gate.example:8080\r\n".to_owned();
        for origin in origins {
            request += &format!("Origin: {origin}\r\n");
        }
        request += "\r\n";
        let Ok(Status::Complete(head)) = parse_request(request.as_bytes(), 4096) else {
            panic!("{request}")
        };
        Origins::new(rules.iter().copied()).expect("rules").let_in(&head, false)
    }

    #[test]
    fn pages_of_the_same_host_and_who_is_no_page() {
        for (origins, is_let_in) in [
            (&[][..], true),
            (&["http://gate.example:8080"], true),
            (&["https://GATE.example:8080"], true),
            (&["https://gate.example"], false),
            (&["http://evil.example:8080"], false),
            (&["http://gate.example:8080.evil"], false),
            (&["null"], false),
            (&[""], false),
            (&["gate.example:8080"], false),
            (&["http://gate.example:8080", "http://gate.example:8080"], false),
            (&["http://gate.example:8080", "http://evil.example"], false),
            (&["http://gate.example:8080 http://evil.example"], false),
        ] {
            assert_eq!(lets_in(&["same"], origins), is_let_in, "{origins:?}");
            assert_eq!(lets_in(&[], origins), origins.is_empty(), "{origins:?}");
            assert!(lets_in(&["any"], origins), "{origins:?}");
        }
        assert!(lets_in(&["null"], &["null"]) && lets_in(&["null"], &["file://"]));
    }

    #[test]
    fn patterns_of_origins() {
        for (rule, origin, is_let_in) in [
            ("https://a.example", "https://a.example", true),
            ("https://a.example", "https://A.EXAMPLE:443", true),
            ("https://a.example:443", "https://a.example", true),
            ("https://a.example", "http://a.example", false),
            ("https://a.example", "https://a.example:444", false),
            ("https://a.example", "https://b.a.example", false),
            ("https://a.example", "null", false),
            ("https://a.example:8443", "https://a.example:8443", true),
            ("https://a.example:8443", "https://a.example", false),
            ("https://*.a.example", "https://b.a.example", true),
            ("https://*.a.example", "https://c.b.A.example", true),
            ("https://*.a.example", "https://a.example", false),
            ("https://*.a.example", "https://.a.example", false),
            ("https://*.a.example", "https://ba.example", false),
            ("https://*.a.example", "https://b.a.example.evil", false),
            ("https://*.a.example", "https://b.a.example:1", false),
            ("https://*.a.example:*", "https://b.a.example:1", true),
            ("http://localhost:*", "http://localhost:5173", true),
            ("http://localhost:*", "http://localhost", true),
            ("http://localhost:*", "http://localhost.evil:1", false),
            ("http://[::1]:*", "http://[::1]:3000", true),
            ("http://[0:0:0:0:0:0:0:1]:*", "http://[::1]:3000", true),
            ("http://127.0.0.1:*", "http://127.0.0.1:3000", true),
            ("capacitor://localhost", "capacitor://localhost", true),
            ("capacitor://localhost", "capacitor://localhost:80", false),
        ] {
            assert_eq!(lets_in(&[rule], &[origin]), is_let_in, "{rule} {origin}");
            assert!(lets_in(&["same", rule], &["http://gate.example:8080"]), "{rule}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused_with_advice() {
        for (rule, advice) in [
            ("", "with its scheme"),
            ("example.com", "with its scheme"),
            ("SAME", "with its scheme"),
            ("https://example.com/", "has no path"),
            ("https://example.com/a", "has no path"),
            ("https://", "a scheme, `://` and a host"),
            ("https://*", "labels with dots"),
            ("https://a.*.b", "labels with dots"),
            ("https://*a.b", "labels with dots"),
            ("https://*..com", "labels with dots"),
            ("https://ex%61mple.com", "labels with dots"),
            ("https://*.[::1]", "in front of an address"),
            ("https://*.127.0.0.1", "in front of an address"),
            ("wss://example.com", "http:// or https://"),
            ("https://a.b https://c.d", "a string of its own"),
            ("https://a.b,https://c.d", "a string of its own"),
            ("https://münchen.example", "xn--"),
            ("https://a.b:", "a scheme, `://` and a host"),
            ("https://a.b::*", "a scheme, `://` and a host"),
            ("https://a.b:80:*", "two ports"),
            ("https://a.b:99999", "a scheme, `://` and a host"),
        ] {
            let wrong = Origins::new([rule]).expect_err(rule);
            assert!(wrong.contains(advice), "{rule}: {wrong}");
        }
        assert!(Origins::new(["any", "same"]).expect_err("both").contains("beside others"));
        assert!(Origins::new(vec!["same"; 65]).expect_err("65").contains("may have 64"));
        let written = ["same", "null", "https://*.a:*"];
        let origins = Origins::new(written).expect("three");
        assert!(origins.iter().eq(written));
        assert_eq!(Origins::new([]).expect("none").to_string(), "none");
    }
}
