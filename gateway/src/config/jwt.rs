//! A `[[jwt]]`: whose tokens say who a client is, where a request has them, and what they say.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;
use hyper::http::uri::Authority;
use tidegate_proto::token::is_token;
use toml::Spanned;
use toml::de::DeValue;

use super::built::{self, BuiltWrong};
use super::reader::{Origin, TableReader, expected};
use super::stack::values::{built_file_name, check_file_name};
use super::value;
use crate::units::quote;

/// The issuer of tokens (JWT, RFC 7519): by which keys they are verified, what they have to say,
/// and what they let a client do. Routes name it in `admission`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    /// What routes call it: 1 to 64 letters, digits, `-` and `_`. No two have the same.
    pub name: String,
    /// Files of public keys, at most 16: PEM (`BEGIN PUBLIC KEY`, `BEGIN RSA PUBLIC KEY`), or JSON
    /// (a JWK or a set of them, RFC 7517). One that is relative is relative to the working
    /// directory.
    pub keys: Vec<PathBuf>,
    /// Files of secrets that are shared with the issuer (HS256, HS384, HS512), at most 16. Each is
    /// all of its file, but for a line break at the end, and 32 bytes or more.
    pub secrets: Vec<PathBuf>,
    /// Where the issuer has its public keys as a set of JSON Web Keys, by `https` or `http`. It is
    /// asked for at the start, when what it has said is old, and when a token has a key that is
    /// not known.
    pub jwks: Option<String>,
    /// A file of the authorities that `jwks` has its certificate of, PEM. Default: those of this
    /// machine.
    pub jwks_ca: Option<PathBuf>,
    /// How old what `jwks` has said may become, 10 s to 24 h, unless it says so itself
    /// (`Cache-Control: max-age`). Default 10 min.
    pub jwks_age: Duration,
    /// The algorithms that tokens may be signed by. Empty, the default: all that fit the keys.
    pub algorithms: Vec<JwtAlgorithm>,
    /// What `iss` of a token may be, at most 16; empty, the default, for anything.
    pub issuers: Vec<String>,
    /// Of what `aud` of a token has to name one, at most 16. Empty, the default: a token that is
    /// for somebody (`aud`) is not taken (RFC 7519 section 4.1.3).
    pub audiences: Vec<String>,
    /// How far the issuer's clock may be off, 0 s to 10 min. Default 30 s.
    pub leeway: Duration,
    /// Whether a token has to expire (`exp`). Default yes.
    pub must_expire: bool,
    /// Where a request has its token, at most 8; the first place that has one counts. Default
    /// `bearer` and `subprotocol`.
    pub from: Vec<TokenSource>,
    /// The claim that names the user; empty for none. Default `sub`.
    pub user: String,
    /// The claim with the patterns of what may be subscribed to; empty for none. Default
    /// `subscribe`.
    pub subscribe: String,
    /// The claim with the patterns of what may be published on; empty for none. Default `publish`.
    pub publish: String,
    /// The code that connections are closed with when their token has expired, or is taken back,
    /// 3000 to 4999. Default 4401.
    pub expired: u16,
}

/// Where a request has its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// `bearer`: `Authorization: Bearer TOKEN` (RFC 6750 section 2.1).
    Bearer,
    /// `cookie.NAME`: that cookie.
    Cookie(String),
    /// `query.NAME`: that parameter of the query.
    Query(String),
    /// `subprotocol`: the subprotocol that is offered behind `bearer`. Pages can send no header,
    /// but these.
    Subprotocol,
}

named! {
    /// How a token may be signed (RFC 7518 section 3.1, RFC 8037).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum JwtAlgorithm {
        /// HMAC with SHA-256.
        Hs256 = "HS256",
        /// HMAC with SHA-384.
        Hs384 = "HS384",
        /// HMAC with SHA-512.
        Hs512 = "HS512",
        /// RSASSA-PKCS1-v1_5 with SHA-256.
        Rs256 = "RS256",
        /// RSASSA-PKCS1-v1_5 with SHA-384.
        Rs384 = "RS384",
        /// RSASSA-PKCS1-v1_5 with SHA-512.
        Rs512 = "RS512",
        /// RSASSA-PSS with SHA-256.
        Ps256 = "PS256",
        /// RSASSA-PSS with SHA-384.
        Ps384 = "PS384",
        /// RSASSA-PSS with SHA-512.
        Ps512 = "PS512",
        /// ECDSA on P-256 with SHA-256.
        Es256 = "ES256",
        /// ECDSA on P-384 with SHA-384.
        Es384 = "ES384",
        /// EdDSA on edwards25519.
        EdDsa = "EdDSA",
    }
}

/// The most issuers of a configuration.
pub(super) const JWTS_MAX: usize = 16;
/// The most of each list of one.
const LIST_MAX: usize = 16;
/// The most places that a token is looked for in.
pub(super) const SOURCES_MAX: usize = 8;
const JWKS_AGE: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(24 * 3600);
/// The most characters of a URL.
const URL_MAX: usize = 1024;
const LEEWAY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(600);
const EXPIRED: RangeInclusive<u16> = 3000..=4999;
/// The most characters of a name, of an issuer and of a claim.
const NAME_MAX: usize = 64;
const TEXT_MAX: usize = 256;

impl Jwt {
    /// The code that connections are closed with for their token, if nothing else is said.
    pub(crate) const EXPIRED: u16 = 4401;

    /// Of this name, without keys, and else as by default.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            keys: Vec::new(),
            secrets: Vec::new(),
            jwks: None,
            jwks_ca: None,
            jwks_age: Duration::from_secs(600),
            algorithms: Vec::new(),
            issuers: Vec::new(),
            audiences: Vec::new(),
            leeway: Duration::from_secs(30),
            must_expire: true,
            from: vec![TokenSource::Bearer, TokenSource::Subprotocol],
            user: "sub".into(),
            subscribe: "subscribe".into(),
            publish: "publish".into(),
            expired: Self::EXPIRED,
        }
    }

    /// Checks what a program has put together, which is `field` of the configuration.
    pub(super) fn check(&self, field: &str, earlier: &[Self]) -> Result<(), BuiltWrong> {
        let says = |key: &str, checked: Result<(), String>| {
            checked.map_err(|wrong| BuiltWrong(format!("{field}.{key}: {wrong}")))
        };
        says("name", check_name(&self.name))?;
        says("name", check_earlier(&self.name, earlier))?;
        for (key, files) in [("keys", &self.keys), ("secrets", &self.secrets)] {
            built::number(format!("{field}.{key}"), files.len(), &(0..=LIST_MAX))?;
            files.iter().try_for_each(|file| built_file_name(format!("{field}.{key}"), file))?;
        }
        says("keys", self.check_keys())?;
        if let Some(url) = &self.jwks {
            says("jwks", check_url(url))?;
        }
        if let Some(file) = &self.jwks_ca {
            built_file_name(format!("{field}.jwks_ca"), file)?;
            says("jwks_ca", self.check_ca())?;
        }
        built::time(format!("{field}.jwks_age"), self.jwks_age, &JWKS_AGE)?;
        for (key, list) in [("issuers", &self.issuers), ("audiences", &self.audiences)] {
            built::number(format!("{field}.{key}"), list.len(), &(0..=LIST_MAX))?;
            list.iter().try_for_each(|one| says(key, check_text(one)))?;
        }
        built::time(format!("{field}.leeway"), self.leeway, &LEEWAY)?;
        built::number(format!("{field}.from"), self.from.len(), &(1..=SOURCES_MAX))?;
        for source in &self.from {
            says("from", TokenSource::parse(&source.to_string()).map(|_| ()))?;
        }
        for (key, claim) in
            [("user", &self.user), ("subscribe", &self.subscribe), ("publish", &self.publish)]
        {
            says(key, check_claim(claim))?;
        }
        built::number(format!("{field}.expired"), self.expired, &EXPIRED)
    }

    /// Checks that some token can be verified.
    fn check_keys(&self) -> Result<(), String> {
        if self.keys.is_empty() && self.secrets.is_empty() && self.jwks.is_none() {
            return Err("there is no key: name files of public keys in `keys`, or of shared \
                        secrets in `secrets`, or where the issuer has its keys in `jwks`"
                .into());
        }
        for algorithm in &self.algorithms {
            let has_public = !self.keys.is_empty() || self.jwks.is_some();
            let (has_some, key) = match algorithm.is_shared() {
                true => (!self.secrets.is_empty(), "`secrets`"),
                false => (has_public, "`keys` or `jwks`"),
            };
            if !has_some {
                let name = algorithm.name();
                return Err(format!("nothing can be signed by {name} without {key}"));
            }
        }
        Ok(())
    }

    /// Checks that the file of authorities is of use.
    fn check_ca(&self) -> Result<(), String> {
        let is_https = self.jwks.as_ref().is_some_and(|url| url.starts_with("https://"));
        match self.jwks_ca.is_none() || is_https {
            true => Ok(()),
            false => Err("means nothing without a `jwks` by https".into()),
        }
    }

    /// Whether its keys come over a network where others may change them on the way.
    pub(super) fn believes_the_network(&self) -> bool {
        let uri = self.jwks.as_ref().and_then(|url| url.parse::<Uri>().ok());
        let host = uri.as_ref().filter(|uri| uri.scheme_str() == Some("http")).and_then(Uri::host);
        host.is_some_and(|host| {
            let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
            host != "localhost" && !address.is_ok_and(|address| address.is_loopback())
        })
    }
}

impl JwtAlgorithm {
    /// Whether who verifies by it could sign by it as well.
    #[must_use]
    pub const fn is_shared(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }
}

impl TokenSource {
    /// What it may be.
    const FORMS: &'static str = "\"bearer\", \"subprotocol\", \"cookie.NAME\" or \"query.NAME\"";

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('.') {
            None if text == "bearer" => Ok(Self::Bearer),
            None if text == "subprotocol" => Ok(Self::Subprotocol),
            // RFC 6265 section 4.1.1: "cookie-name = token".
            Some(("cookie", name)) if is_token(name.as_bytes()) => Ok(Self::Cookie(name.into())),
            Some(("query", name)) if !name.is_empty() => Ok(Self::Query(name.into())),
            _ => Err(format!("must be {}, is {}", Self::FORMS, quote(text))),
        }
    }
}

impl std::fmt::Display for TokenSource {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bearer => out.write_str("bearer"),
            Self::Subprotocol => out.write_str("subprotocol"),
            Self::Cookie(name) => write!(out, "cookie.{name}"),
            Self::Query(name) => write!(out, "query.{name}"),
        }
    }
}

/// Reads one `[[jwt]]`, `earlier` being the ones before it.
pub(super) fn read(mut table: TableReader<'_, '_>, earlier: &[Jwt]) -> Option<Jwt> {
    let default = Jwt::new("jwt");
    let name = table.read("name", default.name, |value| {
        let name = value::text(value)?;
        check_name(name).map(|()| name.to_owned())
    });
    if let (true, Err(wrong)) =
        (name.origin != Origin::Refused, check_earlier(&name.value, earlier))
    {
        table.wrong("name", wrong);
    }
    let keys = table.read("keys", Vec::new(), files);
    let secrets = table.read("secrets", Vec::new(), files);
    let jwks = table.read("jwks", None, |value| {
        let url = value::text(value)?;
        check_url(url).map(|()| Some(url.to_owned()))
    });
    let is_known = jwks.origin != Origin::Refused
        && keys.origin != Origin::Refused
        && secrets.origin != Origin::Refused;
    let jwt = Jwt {
        name: name.value,
        keys: keys.value,
        secrets: secrets.value,
        jwks: jwks.value,
        jwks_ca: table.read("jwks_ca", None, |value| file(value).map(Some)).value,
        jwks_age: table
            .read("jwks_age", default.jwks_age, |value| value::time(value, &JWKS_AGE))
            .value,
        algorithms: table.read("algorithms", Vec::new(), |value| list(value, algorithm)).value,
        issuers: table.read("issuers", Vec::new(), texts).value,
        audiences: table.read("audiences", Vec::new(), texts).value,
        leeway: table.read("leeway", default.leeway, |value| value::time(value, &LEEWAY)).value,
        must_expire: table.read("must_expire", default.must_expire, value::boolean).value,
        from: table.read("from", default.from, sources).value,
        user: table.read("user", default.user, claim).value,
        subscribe: table.read("subscribe", default.subscribe, claim).value,
        publish: table.read("publish", default.publish, claim).value,
        expired: table
            .read("expired", default.expired, |value| value::integer(value, &EXPIRED))
            .value,
    };
    if let Err(wrong) = jwt.check_keys()
        && is_known
    {
        table.wrong("keys", wrong);
    }
    if let (true, Err(wrong)) = (is_known, jwt.check_ca()) {
        table.wrong("jwks_ca", wrong);
    }
    table.finish();
    Some(jwt)
}

pub(super) fn check_name(name: &str) -> Result<(), String> {
    let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    match (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(may_stand) {
        true => Ok(()),
        false => Err(format!(
            "must have 1 to {NAME_MAX} letters, digits, `-` and `_`, is {}",
            quote(name)
        )),
    }
}

fn check_earlier(name: &str, earlier: &[Jwt]) -> Result<(), String> {
    match earlier.iter().position(|other| other.name == name) {
        None => Ok(()),
        Some(index) => {
            Err(format!("{} is the name of jwt[{index}] too: give each its own", { quote(name) }))
        }
    }
}

fn check_text(text: &str) -> Result<(), String> {
    match (1..=TEXT_MAX).contains(&text.len()) {
        true => Ok(()),
        false => Err(format!("must have 1 to {TEXT_MAX} characters, has {}", text.len())),
    }
}

fn check_claim(name: &str) -> Result<(), String> {
    if name.is_empty() { Ok(()) } else { check_text(name) }
}

/// Reads an array of at most so many as a list of an issuer may have.
fn list<T>(
    value: &DeValue<'_>,
    one: impl Fn(&DeValue<'_>) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let DeValue::Array(written) = value else {
        return Err(expected("an array of strings", value));
    };
    if written.len() > LIST_MAX {
        return Err(format!("has {} elements, and may have {LIST_MAX}", written.len()));
    }
    let each = |(index, value): (usize, &Spanned<DeValue<'_>>)| {
        one(value.get_ref()).map_err(|wrong| format!("[{index}] {wrong}"))
    };
    written.iter().enumerate().map(each).collect()
}

fn files(value: &DeValue<'_>) -> Result<Vec<PathBuf>, String> {
    list(value, file)
}

pub(super) fn file(value: &DeValue<'_>) -> Result<PathBuf, String> {
    let name = PathBuf::from(value::text(value)?);
    check_file_name(&name).map(|()| name)
}

/// Checks that somebody can be asked there.
fn check_url(url: &str) -> Result<(), String> {
    let wrong = || {
        if url.contains('@') {
            // It is not shown: there may be a password.
            return "must be a URL without a user and a password".to_owned();
        }
        format!(
            "must be a URL such as \"https://login.example.com/.well-known/jwks.json\", by https \
             or http and without a password, is {}",
            quote(url)
        )
    };
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let authority = uri.authority().map(Authority::as_str).unwrap_or_default();
    let is_right = is_http
        && url.len() <= URL_MAX
        && !authority.contains('@')
        && uri.host().is_some_and(|host| !host.is_empty());
    if is_right { Ok(()) } else { Err(wrong()) }
}

fn texts(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    list(value, |value| {
        let text = value::text(value)?;
        check_text(text).map(|()| text.to_owned())
    })
}

fn algorithm(value: &DeValue<'_>) -> Result<JwtAlgorithm, String> {
    value::one_of(value, &JwtAlgorithm::ALL.map(|one| (one.name(), one)))
}

fn sources(value: &DeValue<'_>) -> Result<Vec<TokenSource>, String> {
    let sources = list(value, |value| TokenSource::parse(value::text(value)?))?;
    match (1..=SOURCES_MAX).contains(&sources.len()) {
        true => Ok(sources),
        false => Err(format!("must have 1 to {SOURCES_MAX} of {}", TokenSource::FORMS)),
    }
}

fn claim(value: &DeValue<'_>) -> Result<String, String> {
    let text = value::text(value)?;
    check_claim(text).map(|()| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    /// What is wrong with a file of this `[[jwt]]`.
    fn errors(written: &str) -> Vec<String> {
        let text = format!("[[jwt]]\n{written}");
        match Config::parse(&text, "t.toml") {
            Ok(_) => Vec::new(),
            Err(errors) => errors.to_string().lines().map(str::to_owned).collect(),
        }
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (written, wrong) in [
            ("", "jwt[0].keys: there is no key: name files"),
            ("keys = []", "jwt[0].keys: there is no key"),
            ("keys = [\"a\"]\nname = \"a b\"", "jwt[0].name: must have 1 to 64 letters"),
            ("keys = [\"a\"]\nalgorithms = [\"none\"]", "jwt[0].algorithms: [0] must be \"HS256\""),
            (
                "keys = [\"a\"]\nalgorithms = [\"HS256\"]",
                "jwt[0].keys: nothing can be signed by HS256 without `secrets`",
            ),
            ("jwks = \"login.example.com/keys\"", "jwt[0].jwks: must be a URL such as"),
            ("jwks = \"https://a:b@c/\"", "jwt[0].jwks: must be a URL without a user"),
            ("jwks = \"ftp://c/\"", "jwt[0].jwks: must be a URL such as"),
            (
                "jwks = \"http://c/\"\njwks_ca = \"ca\"",
                "jwt[0].jwks_ca: means nothing without a `jwks` by https",
            ),
            ("jwks = \"https://c/\"\njwks_age = \"1s\"", "jwt[0].jwks_age: must be"),
            ("keys = [\"a\"]\nfrom = []", "jwt[0].from: must have 1 to 8 of \"bearer\""),
            ("keys = [\"a\"]\nfrom = [\"cookie.a b\"]", "jwt[0].from: [0] must be \"bearer\""),
            ("keys = [\"a\"]\nfrom = [\"header\"]", "jwt[0].from: [0] must be \"bearer\""),
            ("keys = [\"a\"]\nexpired = 1008", "jwt[0].expired: must be between 3000 and 4999"),
            ("keys = [\"a\"]\nleeway = \"1h\"", "jwt[0].leeway: must be"),
            (
                "keys = [\"a\"]\n[[jwt]]\nkeys = [\"b\"]",
                "jwt[1].name: \"jwt\" is the name of jwt[0] too",
            ),
        ] {
            let errors = errors(written);
            let is_told = errors.iter().any(|line| line.contains(wrong));
            assert!(is_told, "{written}: {errors:?}");
        }
        assert_eq!(errors("keys = [\"a.pem\"]\nfrom = [\"query.token\"]"), [""; 0]);
        assert_eq!(errors("jwks = \"https://a.example/b?c\"\njwks_ca = \"ca\""), [""; 0]);
    }

    #[test]
    fn keys_by_plain_http_are_believed_from_this_machine_alone() {
        for (url, is_far) in [
            ("http://127.0.0.1:8080/keys", false),
            ("http://[::1]/keys", false),
            ("http://localhost/keys", false),
            ("http://keys.example/", true),
            ("https://keys.example/", false),
        ] {
            let jwt = Jwt { jwks: Some(url.into()), ..Jwt::new("a") };
            assert_eq!(jwt.believes_the_network(), is_far, "{url}");
        }
    }

    #[test]
    fn what_a_program_has_put_together_is_checked() {
        let right = Jwt { keys: vec!["a".into()], ..Jwt::new("a") };
        assert_eq!(right.check("jwts[0]", &[]), Ok(()));
        for (jwt, wrong) in [
            (Jwt::new("a"), "jwts[1].keys: there is no key"),
            (Jwt { name: String::new(), ..right.clone() }, "jwts[1].name: must have"),
            (Jwt { from: Vec::new(), ..right.clone() }, "jwts[1].from: must be between 1 and 8"),
            (
                Jwt { from: vec![TokenSource::Cookie("a b".into())], ..right.clone() },
                "jwts[1].from: must be \"bearer\"",
            ),
            (Jwt { expired: 1000, ..right.clone() }, "jwts[1].expired: must be between"),
            (Jwt { issuers: vec![String::new()], ..right.clone() }, "jwts[1].issuers: must have"),
        ] {
            let error = jwt.check("jwts[1]", &[]).expect_err(wrong);
            assert!(error.to_string().starts_with(wrong), "{error}");
        }
        let error = right.check("jwts[1]", std::slice::from_ref(&right)).expect_err("twice");
        assert!(error.to_string().contains("jwt[0] too"), "{error}");
    }
}
