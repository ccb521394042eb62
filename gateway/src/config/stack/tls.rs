//! The layer `tls`: what is above it is encrypted (RFC 8446, RFC 5246).

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::Stack;
use super::options::{Options, Switch, on_or_off};
use super::place::Place;
use super::values::{FileName, TIMES, built_file_name, file, time};
use super::writer::{CommaList, LayerWriter};
use crate::config::built::{self, BuiltWrong};
use crate::units::{Time, quote};

mod suite;

pub use suite::{CipherSuite, TlsVersion};

/// Its place in a stack.
pub(super) const PLACE: Place = Place {
    name: "tls",
    at: "",
    rank: 3,
    is_needed: false,
    read,
    agrees: |_| Ok(()),
    shown: |stack| match &stack.tls {
        Some(tls) => Some(tls),
        None => None,
    },
    check: |stack, field| match &stack.tls {
        Some(tls) => tls.check(&format!("{field}.tls")),
        None => Ok(()),
    },
};

/// The layer `tls`. File names in its options have `&`, `!` and `%` as `%26`, `%21` and `%25`;
/// those that are relative are relative to the working directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsLayer {
    /// Options `cert` and `key`, both or neither: what the gateway proves to clients who it is
    /// with. Default `None`: by the name that a client asks for, one of
    /// [`Config::certificates`](crate::config::Config::certificates).
    pub certificate: Option<CertificateFiles>,
    /// Options `client_ca` and `client_cert`: whose certificates clients may show. Default `None`:
    /// clients are not asked for one.
    pub client: Option<ClientCertificates>,
    /// Option `min`: the least version that is spoken. Default 1.3.
    pub least: TlsVersion,
    /// Option `ciphers`: the cipher suites in the order in which they are preferred, by their
    /// names, joined by commas; at least one of TLS 1.3, each once. Default
    /// [`CipherSuite::defaults`] of `least`.
    pub suites: Vec<CipherSuite>,
    /// Option `handshake`: how long a handshake may take, from the accept, 1 s to 4 h. Default
    /// 10 s.
    pub handshake: Duration,
    /// Options `tickets` and `ticket_keys`: by which clients that come back resume a session
    /// (RFC 8446 section 4.6.1). `None` for `tickets=off`: each handshake is a whole one.
    pub tickets: Option<Tickets>,
}

/// A chain of certificates and the private key of its first, both as PEM (RFC 7468).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Option `cert`: the file of the certificates, the gateway's own first.
    pub cert: PathBuf,
    /// Option `key`: the file of the private key.
    pub key: PathBuf,
}

/// Whose certificates clients may show, and whether they must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// Option `client_ca`: the file of those who have to have signed them, as PEM (RFC 7468).
    pub ca: PathBuf,
    /// Option `client_cert`: `required`, which is the default, or `optional`.
    pub is_required: bool,
}

/// How sessions are resumed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tickets {
    /// Option `ticket_keys`: the file of the keys, for gateways that share clients: lines of 32
    /// bytes in Base64, as `openssl rand -base64 32` writes them, at most 16. The first seals, all
    /// open. Default `None`: they are drawn by the process, replaced every 6 hours, and forgotten
    /// with it.
    pub keys: Option<PathBuf>,
}

impl Default for TlsLayer {
    fn default() -> Self {
        let least = TlsVersion::default();
        Self {
            certificate: None,
            client: None,
            least,
            suites: CipherSuite::defaults(least),
            handshake: Duration::from_secs(10),
            tickets: Some(Tickets::default()),
        }
    }
}

fn read(mut options: Options<'_, '_>, stack: &mut Stack) {
    let default = TlsLayer::default();
    let (certificate, client) = (certificate(&mut options), client(&mut options));
    let least = options.read("min", default.least, TlsVersion::read);
    let suites =
        options.read("ciphers", CipherSuite::defaults(least), |text| suite::read_all(text, least));
    stack.tls = Some(TlsLayer {
        certificate,
        client,
        least,
        suites,
        handshake: options.read("handshake", default.handshake, time),
        tickets: tickets(&mut options),
    });
    options.finish();
}

fn certificate(options: &mut Options<'_, '_>) -> Option<CertificateFiles> {
    let [has_cert, has_key] = ["cert", "key"].map(|key| options.has(key));
    let cert = options.read("cert", None, |text| match has_key {
        true => file(text).map(Some),
        false => Err("needs `key` beside it, the file of its private key".into()),
    });
    let key = options.read("key", None, |text| match has_cert {
        true => file(text).map(Some),
        false => Err("needs `cert` beside it, the file of its certificate".into()),
    });
    Some(CertificateFiles { cert: cert?, key: key? })
}

fn client(options: &mut Options<'_, '_>) -> Option<ClientCertificates> {
    let has_ca = options.has("client_ca");
    let ca = options.read("client_ca", None, |text| file(text).map(Some));
    let is_required = options.read("client_cert", true, |text| match (has_ca, text) {
        (true, "required") => Ok(true),
        (true, "optional") => Ok(false),
        (true, _) => Err(format!("must be `required` or `optional`, is {}", quote(text))),
        (false, _) => {
            Err("needs `client_ca` beside it, the file of those who sign such certificates".into())
        }
    });
    Some(ClientCertificates { ca: ca?, is_required })
}

fn tickets(options: &mut Options<'_, '_>) -> Option<Tickets> {
    let is_on = options.read("tickets", true, on_or_off);
    let switch = Switch { key: "tickets", is_on };
    let keys = options.read_unless_off("ticket_keys", switch, None, |text| file(text).map(Some));
    is_on.then_some(Tickets { keys })
}

impl TlsLayer {
    /// Checks what a program has put together, which is `field` of the configuration.
    fn check(&self, field: &str) -> Result<(), BuiltWrong> {
        let Self { certificate, client, least, suites, handshake, tickets } = self;
        if let Some(CertificateFiles { cert, key }) = certificate {
            built_file_name(format!("{field}.certificate.cert"), cert)?;
            built_file_name(format!("{field}.certificate.key"), key)?;
        }
        if let Some(client) = client {
            built_file_name(format!("{field}.client.ca"), &client.ca)?;
        }
        if let Some(keys) = tickets.as_ref().and_then(|tickets| tickets.keys.as_ref()) {
            built_file_name(format!("{field}.tickets.keys"), keys)?;
        }
        suite::check_all(suites, *least)
            .map_err(|wrong| BuiltWrong(format!("{field}.suites: {wrong}")))?;
        built::time(format!("{field}.handshake"), *handshake, &TIMES)
    }
}

impl fmt::Display for TlsLayer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::default();
        let mut written = LayerWriter::begin("tls", out)?;
        if let Some(CertificateFiles { cert, key }) = &self.certificate {
            written.option("cert", FileName(cert), false)?;
            written.option("key", FileName(key), false)?;
        }
        if let Some(ClientCertificates { ca, is_required }) = &self.client {
            written.option("client_ca", FileName(ca), false)?;
            written.option("client_cert", "optional", *is_required)?;
        }
        written.option("min", self.least.name(), self.least == default.least)?;
        let names = CommaList(self.suites.iter().map(|suite| suite.name()));
        written.option("ciphers", names, self.suites == CipherSuite::defaults(self.least))?;
        written.option("handshake", Time(self.handshake), self.handshake == default.handshake)?;
        match &self.tickets {
            None => written.option("tickets", "off", false),
            Some(Tickets { keys: None }) => Ok(()),
            Some(Tickets { keys: Some(keys) }) => {
                written.option("ticket_keys", FileName(keys), false)
            }
        }
    }
}
