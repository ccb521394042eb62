//! Which certificate a client is shown.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::held::HeldCertificate;

/// Certificates by the names that clients ask for (RFC 6066, 3).
#[derive(Debug, Default)]
pub(in super::super) struct ByName {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what is behind `*.`, which stands for one label.
    wildcards: HashMap<String, Arc<CertifiedKey>>,
}

impl ByName {
    /// Of certificates that have a name in common it is the first's.
    pub(in super::super) fn new<'h>(all: impl IntoIterator<Item = &'h HeldCertificate>) -> Self {
        let mut this = Self::default();
        for held in all {
            for name in &held.facts.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(suffix) => (&mut this.wildcards, suffix),
                    None => (&mut this.exact, name.as_str()),
                };
                names.entry(name.to_owned()).or_insert_with(|| Arc::clone(&held.key));
            }
        }
        this
    }

    /// That for a name, however its letters are written, with or without the dot of the root.
    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        self.exact.get(&name).or_else(|| {
            let (label, suffix) = name.split_once('.')?;
            if label.is_empty() { None } else { self.wildcards.get(suffix) }
        })
    }
}

/// Which certificate a client of a listener is shown: the listener's own for its names; for others
/// that of the name; and to who asks for no name, or one that none has, the listener's own, or the
/// first of all.
#[derive(Debug)]
pub(in super::super) struct Chooser {
    own: ByName,
    all: Arc<ByName>,
    otherwise: Arc<CertifiedKey>,
}

impl Chooser {
    /// With a listener's own certificate, or without.
    pub(in super::super) fn new(
        own: Option<&HeldCertificate>,
        all: &Arc<ByName>,
        first: &Arc<CertifiedKey>,
    ) -> Self {
        let otherwise = Arc::clone(own.map_or(first, |held| &held.key));
        Self { own: ByName::new(own), all: Arc::clone(all), otherwise }
    }

    /// The certificate for who asks for this name.
    pub(in super::super) fn choose(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let found = name.and_then(|name| self.own.find(name).or_else(|| self.all.find(name)));
        found.unwrap_or(&self.otherwise)
    }
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.choose(hello.server_name())))
    }
}
