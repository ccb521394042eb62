//! The files that TLS is spoken with: all are read and checked before any is used.

mod bytes;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{Context, SHA256};
use rustls::RootCertStore;
use rustls::pki_types::UnixTime;
use rustls::server::{ProducesTickets, ResolvesServerCert};

use super::certificates::{
    ByName, CertificateFacts, Chooser, HeldCertificate, WrongFile, certificates, may_be_read_by_all,
};
use super::server::{ClientRule, ServerSettings, TlsServer, TlsTerms};
use super::tickets::{Binding, ListenerTickets, NoTickets, TicketKeys};
use crate::config::stack::{ClientCertificates, TlsLayer};
use crate::config::{Certificate, Config};

pub(crate) use self::bytes::lines;

/// The files that the listeners of a gateway speak TLS with, and what was made of them.
///
/// It is read at the start, and by [`Self::reload`] whenever somebody says so: connections that are
/// there go on as they are, and handshakes that begin are made with what was read.
pub struct TlsFiles(ArcSwap<FilesInUse>);

/// What is in use.
struct FilesInUse {
    /// Those of `[[certificate]]`.
    certificates: Vec<Certificate>,
    /// By listener.
    served: Vec<ServedLayer>,
    tickets: Vec<TicketSource>,
    facts: Arc<Vec<CertificateFacts>>,
}

/// What a listener speaks TLS with; nothing of it where it has no layer `tls`.
#[derive(Clone, Default)]
struct ServedLayer {
    layer: Option<TlsLayer>,
    server: Option<Arc<TlsServer>>,
}

/// A listener of another configuration, and the place of the one before it that it follows.
#[derive(Clone, Debug)]
pub struct FollowingLayer {
    /// Its layer `tls`, if it has one.
    pub layer: Option<TlsLayer>,
    /// That place.
    pub before: Option<usize>,
}

/// Keys of tickets that were read anew, and those whose place they take.
type RenewedKeys = Vec<(Arc<TicketKeys>, TicketKeys)>;

/// Keys of tickets, and the file that they are of.
#[derive(Clone)]
struct TicketSource {
    file: Option<PathBuf>,
    keys: Arc<TicketKeys>,
}

/// What was read anew, and is not used yet.
pub struct ReadAnew {
    next: FilesInUse,
    keys: RenewedKeys,
    /// What handshakes of servers that stay are made with from then on.
    settings: Vec<(Arc<TlsServer>, ServerSettings)>,
}

impl ReadAnew {
    /// What handshakes are made with, by listener.
    #[must_use]
    pub fn servers(&self) -> Vec<Option<Arc<TlsServer>>> {
        self.next.servers()
    }
}

/// What was read of certificates, and what came of it.
struct ReadFiles {
    settings: Vec<Option<ServerSettings>>,
    facts: Vec<CertificateFacts>,
}

impl FilesInUse {
    fn servers(&self) -> Vec<Option<Arc<TlsServer>>> {
        self.served.iter().map(|one| one.server.clone()).collect()
    }
}

impl TlsFiles {
    /// Reads the files of all listeners, and makes what their handshakes are made with.
    ///
    /// # Errors
    /// All files that cannot be used.
    pub fn read(config: &Config, now: UnixTime) -> Result<Self, Vec<WrongFile>> {
        let none = FilesInUse {
            certificates: Vec::new(),
            served: Vec::new(),
            tickets: Vec::new(),
            facts: Arc::default(),
        };
        let layers = config.listeners.iter().map(|one| one.stack.tls.clone());
        let layers = layers.map(|layer| FollowingLayer { layer, before: None }).collect();
        let this = Self(ArcSwap::from_pointee(none));
        let read = this.read_anew(config.certificates.clone(), layers, now)?;
        this.take(read);
        Ok(this)
    }

    /// What handshakes are made with, by listener in the order of the configuration; `None` for one
    /// without the layer `tls`. It stays the same when files are read anew.
    #[must_use]
    pub fn servers(&self) -> Vec<Option<Arc<TlsServer>>> {
        self.0.load().servers()
    }

    /// What is told of the certificates that are in use, those of `[[certificate]]` first.
    #[must_use]
    pub fn certificates(&self) -> Arc<Vec<CertificateFacts>> {
        Arc::clone(&self.0.load().facts)
    }

    /// What may be a mistake about the files that are in use, one line each with its file.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        let in_use = self.0.load();
        let of_one = |one: &CertificateFacts| {
            let file = one.file.display().to_string();
            one.doubts.iter().map(move |doubt| format!("{file}: {doubt}")).collect::<Vec<_>>()
        };
        let files = in_use.tickets.iter().filter_map(|source| source.file.as_deref());
        let open = files.filter(|file| may_be_read_by_all(file)).map(|file| {
            let file = file.display();
            format!(
                "{file}: all users may read the keys of tickets, and come back as any client with \
                 tickets of their own: chmod o-r {file}"
            )
        });
        in_use.facts.iter().flat_map(of_one).chain(open).collect()
    }

    /// Reads all files anew: certificates, keys, authorities of clients, keys of tickets. Returns
    /// what is told of the certificates from then on.
    ///
    /// # Errors
    /// All files that cannot be used: then everything stays as it was.
    pub fn reload(&self, now: UnixTime) -> Result<Arc<Vec<CertificateFacts>>, Vec<WrongFile>> {
        let in_use = self.0.load_full();
        let layers = in_use.served.iter().enumerate();
        let layers = layers
            .map(|(place, one)| FollowingLayer { layer: one.layer.clone(), before: Some(place) });
        let layers = layers.collect();
        self.read_anew(in_use.certificates.clone(), layers, now).map(|read| self.take(read))
    }

    /// Reads all files anew, with these in place of those of `[[certificate]]`, and of listeners
    /// with these layers. What handshakes of a listener are made with stays the same if its layer
    /// does. Nothing has changed before [`Self::take`].
    ///
    /// # Errors
    /// All files that cannot be used.
    pub fn read_anew(
        &self,
        certificates: Vec<Certificate>,
        layers: Vec<FollowingLayer>,
        now: UnixTime,
    ) -> Result<ReadAnew, Vec<WrongFile>> {
        let in_use = self.0.load();
        let mut wrong = Vec::new();
        let (mut served, mut wanted) = (Vec::new(), Vec::new());
        for FollowingLayer { layer, before } in layers {
            let before = before.and_then(|place| in_use.served.get(place));
            let stays = before.filter(|before| before.layer == layer);
            served.push(stays.cloned().unwrap_or_default());
            wanted.push(layer);
        }
        let (tickets, keys) = in_use.tickets_of(&wanted, now, &mut wrong);
        let read = read_all(&certificates, &wanted, &tickets, now, &mut wrong);
        if !wrong.is_empty() {
            return Err(each_once(wrong));
        }
        let mut settings = Vec::new();
        for ((one, layer), made) in served.iter_mut().zip(wanted).zip(read.settings) {
            one.layer = layer;
            match (&one.server, made) {
                (Some(server), Some(made)) => settings.push((Arc::clone(server), made)),
                (None, Some(made)) => one.server = Some(Arc::new(TlsServer::with(made))),
                (_, None) => {}
            }
        }
        let facts = Arc::new(read.facts);
        Ok(ReadAnew { next: FilesInUse { certificates, served, tickets, facts }, keys, settings })
    }

    /// Handshakes that begin from now on are made with what was read. Returns what is told of it.
    pub fn take(&self, read: ReadAnew) -> Arc<Vec<CertificateFacts>> {
        let ReadAnew { next, keys, settings } = read;
        for (of, keys) in keys {
            of.become_those_of(&keys);
        }
        for (server, settings) in settings {
            server.replace(settings);
        }
        let facts = Arc::clone(&next.facts);
        self.0.store(Arc::new(next));
        facts
    }
}

/// The same without those that were there before: several listeners may name one file.
fn each_once(wrong: Vec<WrongFile>) -> Vec<WrongFile> {
    let mut all: Vec<WrongFile> = Vec::new();
    for one in wrong {
        if !all.contains(&one) {
            all.push(one);
        }
    }
    all
}

impl FilesInUse {
    /// The keys of tickets of all layers that have some: one source for each file, and one for
    /// those without a file. Those that there are stay, and are to become those that were read.
    fn tickets_of(
        &self,
        layers: &[Option<TlsLayer>],
        now: UnixTime,
        wrong: &mut Vec<WrongFile>,
    ) -> (Vec<TicketSource>, RenewedKeys) {
        let (mut sources, mut renewed) = (Vec::<TicketSource>::new(), Vec::new());
        for tickets in layers.iter().flatten().filter_map(|layer| layer.tickets.as_ref()) {
            let file = tickets.keys.clone();
            if sources.iter().any(|source| source.file == file) {
                continue;
            }
            let before = self.tickets.iter().find(|source| source.file == file);
            let read = match (&file, before) {
                // What was drawn stays.
                (None, Some(before)) => {
                    sources.push(before.clone());
                    continue;
                }
                (Some(file), _) => TicketKeys::read(file),
                (None, None) => TicketKeys::drawn(now.as_secs())
                    .ok_or_else(|| WrongFile::new(Path::new("getrandom(2)"), "gives no entropy")),
            };
            match (read, before) {
                (Ok(keys), Some(before)) => {
                    renewed.push((Arc::clone(&before.keys), keys));
                    sources.push(before.clone());
                }
                (Ok(keys), None) => sources.push(TicketSource { file, keys: Arc::new(keys) }),
                (Err(error), _) => wrong.push(error),
            }
        }
        (sources, renewed)
    }
}

/// Reads all certificates, and makes what handshakes are made with. What is wrong is put into
/// `wrong`; then what comes of the others is not to be used.
fn read_all(
    all: &[Certificate],
    layers: &[Option<TlsLayer>],
    tickets: &[TicketSource],
    now: UnixTime,
    wrong: &mut Vec<WrongFile>,
) -> ReadFiles {
    let read = |cert: &Path, key: &Path, names: &[String], wrong: &mut Vec<WrongFile>| {
        HeldCertificate::read(cert, key, names, now).map_err(|error| wrong.push(error)).ok()
    };
    // Whether anybody is shown them or not, they are to be right.
    let mut held: Vec<_> =
        all.iter().filter_map(|one| read(&one.cert, &one.key, &one.names, wrong)).collect();
    doubt_shared_names(&mut held);
    let by_name = Arc::new(ByName::new(&held));
    let mut facts: Vec<_> = held.iter().map(|held| held.facts.clone()).collect();
    let mut settings = Vec::new();
    for layer in layers {
        let Some(layer) = layer else {
            settings.push(None);
            continue;
        };
        let files = layer.certificate.as_ref();
        let own = files.and_then(|files| read(&files.cert, &files.key, &[], wrong));
        if let Some(own) = &own
            && !facts.contains(&own.facts)
        {
            facts.push(own.facts.clone());
        }
        // Without any the configuration is refused, or what is wrong was said before; what else is
        // wrong is said all the same.
        let Some(first) = own.as_ref().or(held.first()) else {
            wrong.extend(layer.client.as_ref().and_then(|client| client_rule(client).err()));
            continue;
        };
        let chooser: Arc<dyn ResolvesServerCert> =
            Arc::new(Chooser::new(own.as_ref(), &by_name, &first.key));
        match made(layer, &chooser, tickets) {
            Ok(made) => settings.push(Some(made)),
            Err(error) => wrong.push(error),
        }
    }
    ReadFiles { settings, facts }
}

/// What the handshakes of a layer are made with.
fn made(
    layer: &TlsLayer,
    chooser: &Arc<dyn ResolvesServerCert>,
    tickets: &[TicketSource],
) -> Result<ServerSettings, WrongFile> {
    let (rule, binding) = match &layer.client {
        None => (None, bind(&[], "nobody")),
        Some(client) => {
            let (rule, binding) = client_rule(client)?;
            (Some(rule), binding)
        }
    };
    let file = layer.tickets.as_ref().map(|tickets| &tickets.keys);
    let source = file.and_then(|file| tickets.iter().find(|source| source.file == *file));
    let tickets: Arc<dyn ProducesTickets> = match source {
        Some(source) => Arc::new(ListenerTickets::new(&source.keys, binding)),
        None => Arc::new(NoTickets),
    };
    ServerSettings::new(&TlsTerms::of(layer, rule), chooser, &tickets).map_err(|error| {
        let file = layer.client.as_ref().map_or(Path::new("tls"), |client| &client.ca);
        WrongFile::new(file, format!("cannot be used: {error}"))
    })
}

/// Whose certificates clients show, and what binds tickets to that.
fn client_rule(client: &ClientCertificates) -> Result<(ClientRule, Binding), WrongFile> {
    let authorities = certificates(&client.ca)?;
    let mut roots = RootCertStore::empty();
    for (at, authority) in authorities.iter().enumerate() {
        roots.add(authority.clone()).map_err(|error| {
            let what =
                format!("has a certificate that is none of an authority ({}): {error}", at + 1);
            WrongFile::new(&client.ca, what)
        })?;
    }
    let mut authorities: Vec<&[u8]> = authorities.iter().map(AsRef::as_ref).collect();
    authorities.sort_unstable();
    let binding = bind(&authorities, if client.is_required { "required" } else { "optional" });
    Ok((ClientRule { roots: Arc::new(roots), is_required: client.is_required }, binding))
}

/// A digest of the rules about clients' certificates.
fn bind(authorities: &[&[u8]], who: &str) -> Binding {
    let mut digest = Context::new(&SHA256);
    digest.update(who.as_bytes());
    for authority in authorities {
        digest.update(&(authority.len() as u64).to_be_bytes());
        digest.update(authority);
    }
    let mut binding = Binding::default();
    binding.copy_from_slice(digest.finish().as_ref());
    binding
}

/// Says of names that two certificates have which of them is shown.
fn doubt_shared_names(held: &mut [HeldCertificate]) {
    for at in 1..held.len() {
        let (before, rest) = held.split_at_mut(at);
        for name in rest[0].facts.names.clone() {
            let has = |other: &&HeldCertificate| other.facts.names.contains(&name);
            if let Some(other) = before.iter().find(has) {
                let first = other.facts.file.display();
                rest[0].facts.doubts.push(format!(
                    "its name {name} is that of {first} as well, \
                                                   which is shown"
                ));
            }
        }
    }
}
