//! What it costs the gateway to let somebody in by a token, beside what the crypto library alone
//! takes for its signature.
//!
//! Each opening shows another token, so none is remembered. What the same opening costs on a route
//! that asks for none is taken off.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::{hmac, signature};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use nix::time::ClockId;
use serde::Serialize;
use serde_json::json;
use socket2::SockRef;
use tempfile::NamedTempFile;

use crate::arguments::count;
use crate::bounds::{self, BoundReport};
use crate::plain;
use crate::process::CpuTime;
use crate::random::Random;
use crate::server::Server;
use crate::target::Target;

/// Openings before anything is measured.
const WARM_UP: usize = 500;

/// When the tokens expire: in the year 2100.
const EXPIRY: u64 = 4_102_444_800;

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The gateway to start; `tidegate` beside this program if not given.
    #[arg(long)]
    pub gateway: Option<std::path::PathBuf>,
    /// Openings of each kind in a round.
    #[arg(long, short, default_value_t = 3000, value_parser = count)]
    pub openings: usize,
    /// Rounds, in which the kinds take turns.
    #[arg(long, default_value_t = 5, value_parser = count)]
    pub rounds: usize,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What the gateway says of itself.
    pub server: String,
    /// CPU of the gateway for an opening without a token, in microseconds: the median of rounds.
    pub opening_us: f64,
    /// By kind of token.
    pub kinds: Vec<KindReport>,
}

/// What was measured of one kind of token.
#[derive(Clone, Debug, Serialize)]
pub struct KindReport {
    /// Its algorithm (RFC 7518 section 3.1).
    pub algorithm: &'static str,
    /// CPU of the gateway for an opening with one, beyond one without, in microseconds.
    pub gateway_us: f64,
    /// CPU of the crypto library for its signature alone, in microseconds.
    pub crypto_us: f64,
    /// What is wanted of the ratio of the two, and whether it was so.
    pub bound: BoundReport,
}

/// A kind of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Es256,
    Hs256,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Es256, Self::Hs256];

    const fn algorithm(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Hs256 => "HS256",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Es256 => "/es",
            Self::Hs256 => "/hs",
        }
    }
}

/// The keys of both kinds, and the files that the gateway has them from.
struct Keys {
    secret: Vec<u8>,
    pair: rcgen::KeyPair,
    secret_file: NamedTempFile,
    public_file: NamedTempFile,
}

impl Keys {
    fn new() -> io::Result<Self> {
        let mut secret = Vec::new();
        let mut random = Random::new()?;
        // Letters, as a file of a secret has them.
        secret.extend((0..48).map(|_| b'a' + (random.next_u64() >> 32) as u8 % 26));
        let pair = rcgen::KeyPair::generate().map_err(io::Error::other)?;
        let file = |bytes: &[u8]| {
            let mut file = tempfile::Builder::new().prefix("tidegate-bench-").tempfile()?;
            file.write_all(bytes)?;
            io::Result::Ok(file)
        };
        let (secret_file, public_file) = (file(&secret)?, file(pair.public_key_pem().as_bytes())?);
        Ok(Self { secret, pair, secret_file, public_file })
    }

    /// So many tokens, of which each is another.
    fn tokens(&self, kind: Kind, count: usize, random: &mut Random) -> io::Result<Vec<String>> {
        let (algorithm, key) = match kind {
            Kind::Es256 => (Algorithm::ES256, EncodingKey::from_ec_der(self.pair.serialized_der())),
            Kind::Hs256 => (Algorithm::HS256, EncodingKey::from_secret(&self.secret)),
        };
        let header = Header::new(algorithm);
        let token = |index: usize| {
            let claims = json!({
                "iss": "https://login.example.com/", "sub": format!("user-{index}"),
                "exp": EXPIRY, "iat": EXPIRY - 3600, "jti": random.next_u64(),
            });
            jsonwebtoken::encode(&header, &claims, &key).map_err(io::Error::other)
        };
        (0..count).map(token).collect()
    }

    /// CPU time of this thread for the signatures of these tokens.
    fn verify(&self, kind: Kind, tokens: &[String]) -> io::Result<Duration> {
        let parts: Vec<_> = tokens.iter().map(|token| parts(token)).collect::<io::Result<_>>()?;
        let public = self.pair.public_key_raw();
        let public = signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, public);
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &self.secret);
        let wrong = |_| io::Error::other("a token is signed wrongly");
        let before = thread_cpu()?;
        for (message, signature) in &parts {
            match kind {
                Kind::Es256 => public.verify(message, signature).map_err(wrong)?,
                Kind::Hs256 => hmac::verify(&secret, message, signature).map_err(wrong)?,
            }
        }
        Ok(thread_cpu()?.saturating_sub(before))
    }
}

/// What is signed of a token, and its signature.
fn parts(token: &str) -> io::Result<(&[u8], Vec<u8>)> {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let (message, signature) =
        token.rsplit_once('.').ok_or_else(|| io::Error::other("that is no token"))?;
    Ok((message.as_bytes(), URL_SAFE_NO_PAD.decode(signature).map_err(io::Error::other)?))
}

/// CPU that this thread has used so far.
fn thread_cpu() -> io::Result<Duration> {
    Ok(ClockId::CLOCK_THREAD_CPUTIME_ID.now()?.into())
}

/// Measures.
///
/// # Errors
/// The gateway did not start, or did not let somebody in.
pub fn run(arguments: &Arguments) -> io::Result<Report> {
    let keys = Keys::new()?;
    let config = configuration(keys.public_file.path(), keys.secret_file.path());
    let server = Server::start_gateway(arguments.gateway.as_deref(), 1, &config)?;
    let pid = server.known_pid()?;
    let mut random = Random::new()?;
    let count = arguments.openings;
    let mut opening = Opening { target: server.target.clone(), pid, random: Random::new()? };
    opening.all("/echo", &vec![String::new(); WARM_UP])?;
    let (mut plain, mut by_kind) = (Vec::new(), [Costs::default(), Costs::default()]);
    for _ in 0..arguments.rounds {
        plain.push(each_us(opening.all("/echo", &vec![String::new(); count])?, count));
        for (kind, costs) in Kind::ALL.into_iter().zip(&mut by_kind) {
            let tokens = keys.tokens(kind, count, &mut random)?;
            costs.gateway.push(each_us(opening.all(kind.path(), &tokens)?, count));
            costs.crypto.push(each_us(keys.verify(kind, &tokens)?, count));
        }
    }
    let opening_us = median(&mut plain);
    let kinds = Kind::ALL.into_iter().zip(by_kind).map(|(kind, mut costs)| {
        let gateway_us = median(&mut costs.gateway) - opening_us;
        let crypto_us = median(&mut costs.crypto);
        let bound = bounds::of_tokens(gateway_us, crypto_us);
        KindReport { algorithm: kind.algorithm(), gateway_us, crypto_us, bound }
    });
    Ok(Report { server: server.description.clone(), opening_us, kinds: kinds.collect() })
}

/// What one kind took in each round, in microseconds.
#[derive(Default)]
struct Costs {
    gateway: Vec<f64>,
    crypto: Vec<f64>,
}

fn each_us(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count.max(1) as f64
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// What differs from the gateway's default configuration.
fn configuration(public: &Path, secret: &Path) -> String {
    let (public, secret) = (public.display(), secret.display());
    format!(
        "[[jwt]]\nname = \"es\"\nkeys = [\"{public}\"]\n\
         [[jwt]]\nname = \"hs\"\nsecrets = [\"{secret}\"]\n\
         [[route]]\npath = \"/echo\"\nhandler = \"echo\"\n\
         [[route]]\npath = \"/es\"\nhandler = \"echo\"\nadmission = [\"jwt?by=es\"]\n\
         [[route]]\npath = \"/hs\"\nhandler = \"echo\"\nadmission = [\"jwt?by=hs\"]\n"
    )
}

/// Who opens one connection after the other.
struct Opening {
    target: Target,
    pid: u32,
    random: Random,
}

impl Opening {
    /// Opens a connection with each of these tokens, or with none where it is empty, and ends it.
    /// Yields the CPU time that the gateway took for that.
    fn all(&mut self, path: &str, tokens: &[String]) -> io::Result<Duration> {
        let target = self.target.at(path);
        let before = CpuTime::of(self.pid)?;
        for token in tokens {
            let stream = plain::open_with_token(&target, token, &mut self.random)?;
            // So that its port does not wait.
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        }
        Ok((CpuTime::of(self.pid)? - before).total())
    }
}

impl Report {
    /// The bounds that are not known to be reached.
    #[must_use]
    pub fn not_reached(&self) -> Vec<String> {
        let missed = self.kinds.iter().filter(|kind| !kind.bound.is_reached());
        missed.map(|kind| format!("{}: {}", kind.algorithm, kind.bound)).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, opening_us, kinds } = self;
        writeln!(out, "tokens: {server}; CPU of an opening without one {opening_us:.1} us")?;
        for KindReport { algorithm, gateway_us, crypto_us, bound } in kinds {
            write!(out, "  {algorithm}   with one {gateway_us:>8.2} us more; ")?;
            writeln!(out, "its signature alone {crypto_us:.2} us; {bound}")?;
        }
        Ok(())
    }
}
