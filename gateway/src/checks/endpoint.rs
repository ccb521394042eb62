//! Keys that an issuer has at an endpoint (a JSON Web Key Set, RFC 7517 section 5), asked for on a
//! thread of its own for all issuers.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CACHE_CONTROL, HOST, HeaderMap, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsConnector;

use super::Issuer;
use super::keys::{FILE_MAX, IssuerKey, KEYS_MAX, of_jwk, parse_jwks};
use crate::config::Jwt;

/// The stack of the thread, in bytes.
const THREAD_STACK: usize = 512 << 10;

/// How long an answer may take, from the name of the host to its last byte.
const PATIENCE: Duration = Duration::from_secs(10);

/// After how long who has failed is asked again at first, and at last: twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// How often it is asked at most for tokens whose key is not known.
const ASKED_FOR_TOKENS: Duration = Duration::from_secs(30);

/// How old an answer becomes at least, and at most, if it says that itself.
const AGE_MIN: Duration = Duration::from_secs(60);
const AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// How often it is said that an endpoint fails.
const TOLD_EACH: u32 = 10;

/// Where an issuer has its keys.
pub(super) struct Endpoint {
    uri: Uri,
    /// By https.
    tls: Option<TlsConnector>,
}

/// What an endpoint has said.
struct EndpointAnswer {
    keys: Vec<IssuerKey>,
    /// For how long it holds, if that was said.
    age: Option<Duration>,
}

/// Keeps the keys of issuers fresh until it is dropped.
pub(crate) struct KeyKeeper {
    /// Dropped, it ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl KeyKeeper {
    /// Of those that have their keys at an endpoint, if there are any.
    ///
    /// # Errors
    /// The thread could not be started.
    pub(crate) fn start(issuers: &[Arc<Issuer>]) -> io::Result<Option<Self>> {
        let away = |issuer: &&Arc<Issuer>| issuer.endpoint().is_some();
        let away: Vec<_> = issuers.iter().filter(away).cloned().collect();
        if away.is_empty() {
            return Ok(None);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("issuers".into()).stack_size(THREAD_STACK);
        let thread = thread.spawn(move || {
            runtime.block_on(async {
                for issuer in away {
                    tokio::spawn(keep_fresh(issuer));
                }
                // It is never sent: it ends with its sender.
                let _ = stopped.await;
            });
            // Whoever looks up a name is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Some(Self { stop: Some(stop), thread: Some(thread) }))
    }
}

impl Drop for KeyKeeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for KeyKeeper {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("KeyKeeper")
    }
}

impl Endpoint {
    /// Of an issuer that has one.
    ///
    /// # Errors
    /// Its authorities cannot be read.
    pub(super) fn of(jwt: &Jwt) -> Result<Option<Self>, String> {
        let Some(url) = &jwt.jwks else { return Ok(None) };
        let uri: Uri = url.parse().map_err(|error| format!("`jwks`: {error}"))?;
        let is_https = uri.scheme_str() == Some("https");
        let tls = is_https.then(|| connector(jwt.jwks_ca.as_deref())).transpose()?;
        Ok(Some(Self { uri, tls }))
    }

    /// Where it is, without what a query may have: that may be a secret.
    fn told(&self) -> String {
        let authority = self.uri.authority().map(ToString::to_string).unwrap_or_default();
        let scheme = self.uri.scheme_str().unwrap_or_default();
        format!("{scheme}://{authority}{}", self.uri.path())
    }
}

fn connector(authorities: Option<&Path>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(file) => {
            let cannot = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
            let open = File::open(file).map_err(|error| cannot(&error))?;
            let reader = BufReader::new(open.take(FILE_MAX));
            for one in CertificateDer::pem_reader_iter(reader) {
                let one = one.map_err(|error| cannot(&error))?;
                roots.add(one).map_err(|error| cannot(&error))?;
            }
            if roots.is_empty() {
                return Err(cannot(&"it has no certificate"));
            }
        }
        None => _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Asks for the keys of an issuer again and again.
async fn keep_fresh(issuer: Arc<Issuer>) {
    let Some(endpoint) = issuer.endpoint() else { return };
    let name = &issuer.config.name;
    let mut failures = 0_u32;
    loop {
        let asked = Instant::now();
        let said = match timeout(PATIENCE, ask(endpoint, &issuer.config)).await {
            Ok(said) => said,
            Err(_) => Err(format!("it has not answered within {} s", PATIENCE.as_secs())),
        };
        let pause = match said {
            Ok(EndpointAnswer { keys, age }) => {
                failures = 0;
                let count = keys.len();
                if issuer.take_keys(keys) {
                    tracing::info!(
                        target: "tidegate::tokens",
                        "jwt {name}: {count} keys are taken from {}", endpoint.told()
                    );
                }
                age.map_or(issuer.config.jwks_age, |age| age.clamp(AGE_MIN, AGE_MAX))
            }
            Err(why) => {
                issuer.has_failed();
                if failures.is_multiple_of(TOLD_EACH) {
                    tracing::warn!(
                        target: "tidegate::tokens",
                        "jwt {name}: its keys cannot be had from {}: {why}; {}",
                        endpoint.told(),
                        if issuer.has_keys() { "those that are known hold" } else {
                            "its tokens are answered with 503"
                        }
                    );
                }
                failures = failures.saturating_add(1);
                let doubled = FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(10));
                doubled.min(LAST_PAUSE).min(issuer.config.jwks_age)
            }
        };
        tokio::select! {
            () = sleep(jittered(pause)) => {}
            // Tokens have keys that it may know by now.
            () = issuer.is_asked() => sleep_until(asked + ASKED_FOR_TOKENS.min(pause)).await,
        }
    }
}

/// A tenth less at most, so that not all gateways ask at once.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness they do.
    let _ = getrandom::fill(&mut byte);
    pause - pause / 10 * u32::from(byte[0]) / 255
}

/// Asks for the keys.
///
/// # Errors
/// There are none: why.
async fn ask(endpoint: &Endpoint, jwt: &Jwt) -> Result<EndpointAnswer, String> {
    let Endpoint { uri, tls } = endpoint;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let socket = TcpStream::connect((host.as_str(), port)).await;
    let socket = socket.map_err(|error| format!("no connection: {error}"))?;
    let (headers, bytes) = match tls {
        None => get(uri, TokioIo::new(socket)).await?,
        Some(tls) => {
            let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
            let secured = tls.connect(name, socket).await.map_err(|error| error.to_string())?;
            get(uri, TokioIo::new(secured)).await?
        }
    };
    Ok(EndpointAnswer { keys: keys(&bytes, jwt)?, age: max_age(&headers) })
}

/// What is answered to a request of the URL.
async fn get<S>(uri: &Uri, socket: S) -> Result<(HeaderMap, Bytes), String>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let wrong = |error: hyper::Error| format!("no answer by HTTP: {error}");
    let (mut sender, connection) = http1::handshake(socket).await.map_err(wrong)?;
    let connection = tokio::spawn(connection);
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let request = Request::get(target)
        .header(HOST, uri.authority().map(ToString::to_string).unwrap_or_default())
        .header(USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(wrong)?;
    if response.status() != StatusCode::OK {
        // A redirection is not followed: whoever moves says so in the configuration.
        return Err(format!("it answers with {}", response.status()));
    }
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, FILE_MAX as usize).collect().await;
    let body = body.map_err(|error| format!("its answer cannot be read: {error}"))?;
    connection.abort();
    Ok((parts.headers, body.to_bytes()))
}

/// The keys of a set that can be used.
///
/// # Errors
/// It is none, or has no such key.
fn keys(bytes: &[u8], jwt: &Jwt) -> Result<Vec<IssuerKey>, String> {
    let all = parse_jwks(bytes)?;
    let mut why = String::from("it is empty");
    let mut taken = Vec::new();
    for jwk in all.iter().take(KEYS_MAX) {
        match of_jwk(jwk, jwt) {
            Ok(Some(key)) => taken.push(key),
            Ok(None) => why = "a key is not for signatures".into(),
            Err(wrong) => why = wrong,
        }
    }
    if taken.is_empty() {
        Err(format!("its set has no key that is of use: {why}"))
    } else {
        Ok(taken)
    }
}

/// RFC 9111 section 5.2.2.1: "the response is to be considered stale after its age is greater than
/// the specified number of seconds".
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(CACHE_CONTROL).into_iter().filter_map(|one| one.to_str().ok());
    let mut directives = values.flat_map(|value| value.split(','));
    let seconds = directives.find_map(|one| one.trim().strip_prefix("max-age="))?;
    seconds.trim_matches('"').parse().ok().map(Duration::from_secs)
}
