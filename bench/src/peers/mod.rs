//! The servers that the gateway is measured beside: how to get each, and how to start it.
//!
//! Their sources are in `tools/peers`; what is built of them goes to `target/peers`.

mod haproxy;
mod nginx;

use std::env;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use clap::ValueEnum;

use crate::tls::Certificate;

/// A server to measure beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Peer {
    /// Accepts TCP connections and holds them: the floor for memory.
    Hold,
    /// A WebSocket echo on bare epoll, without any checks: the floor for speed.
    Epoll,
    /// libwebsockets on poll, with buffers as small as is recommended.
    LwsLean,
    /// The same on libuv.
    LwsUvLean,
    /// The same on libev.
    LwsEvLean,
    /// libwebsockets on poll as it comes.
    Lws,
    /// An echo on monoio, over Tidegate's protocol code.
    Monoio,
    /// An echo on tokio-uring, over Tidegate's protocol code.
    TokioUring,
    /// tokio-tungstenite with small buffers.
    TungsteniteLean,
    /// tokio-tungstenite as it comes.
    Tungstenite,
    /// fastwebsockets with small buffers.
    FastwebsocketsLean,
    /// fastwebsockets as it comes.
    Fastwebsockets,
    /// npm's ws.
    Ws,
    /// uWebSockets itself, in C++.
    Uwebsockets,
    /// uWebSockets under Python, through PyPI's socketify: what it says is about both.
    UwebsocketsPython,
    /// nginx, which ends TLS in front of the echo on bare epoll. What is measured is nginx alone.
    Nginx,
    /// HAProxy in front of the same, over TLS or not, likewise.
    Haproxy,
}

/// Where a peer is to be.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Where it listens.
    pub port: u16,
    /// What it shows, if it is over TLS.
    pub certificate: Option<&'a Certificate>,
    /// Where the server is that it stands in front of.
    pub upstream: Option<SocketAddr>,
}

/// Why a peer cannot be measured, and what would help.
#[derive(Clone, Debug)]
pub struct Missing {
    /// What went wrong.
    pub why: String,
    /// The command that mends it.
    pub install: &'static str,
}

impl Peer {
    /// Its name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> String {
        let value = self.to_possible_value().expect("no variant is hidden");
        value.get_name().to_owned()
    }

    /// Whether a message of a connection to a path below `/rooms/` goes to all connections there.
    #[must_use]
    pub fn has_rooms(self) -> bool {
        matches!(self, Self::Epoll | Self::Ws | Self::Uwebsockets | Self::UwebsocketsPython)
    }

    /// Whether it can be had over TLS.
    #[must_use]
    pub fn has_tls(self) -> bool {
        let lws = matches!(self, Self::LwsLean | Self::LwsUvLean | Self::LwsEvLean | Self::Lws);
        lws || matches!(self, Self::Epoll | Self::Uwebsockets | Self::Nginx | Self::Haproxy)
    }

    fn check(self, is_over_tls: bool) -> io::Result<()> {
        let why = if is_over_tls && !self.has_tls() {
            "it is not measured over TLS"
        } else if self == Self::Nginx && !is_over_tls {
            "it is there to end TLS: say --tls"
        } else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::Unsupported, why))
    }

    /// The server that it hands on to.
    #[must_use]
    pub fn stands_in_front_of(self) -> Option<Self> {
        matches!(self, Self::Nginx | Self::Haproxy).then_some(Self::Epoll)
    }

    /// Builds the peer if it is not there; yields what starts it.
    ///
    /// # Errors
    /// It cannot be had on this machine as it is, or not over TLS.
    pub fn prepare(self, place: Place<'_>) -> Result<Command, Missing> {
        let missing =
            |error: io::Error| Missing { why: error.to_string(), install: self.install() };
        let certificate = place.certificate;
        self.check(certificate.is_some()).map_err(missing)?;
        let prepared = match self {
            Self::Hold => c("hold", &["hold", "peer"], &[]),
            Self::Nginx => nginx::prepare(place),
            Self::Haproxy => haproxy::prepare(place),
            Self::Epoll if certificate.is_some() => this_program().map(Command::new),
            Self::Epoll => c("epoll_echo", &["epoll_echo", "handshake", "sha1", "peer"], &[]),
            Self::LwsLean | Self::LwsUvLean | Self::LwsEvLean | Self::Lws => {
                c("lws_echo", &["lws_echo", "peer"], &["-lwebsockets"])
            }
            Self::Monoio | Self::TokioUring => this_program().map(Command::new),
            Self::TungsteniteLean | Self::Tungstenite => rust("tungstenite_echo"),
            Self::FastwebsocketsLean | Self::Fastwebsockets => rust("fastwebsockets_echo"),
            Self::Ws => node(),
            Self::Uwebsockets => uwebsockets(certificate.is_some()),
            Self::UwebsocketsPython => python(),
        };
        let mut command = prepared.map_err(missing)?;
        if self.stands_in_front_of().is_some() {
            // It is told all of it in a file.
            return Ok(command);
        }
        command.args(self.arguments(certificate.is_some()));
        command.args(["--port", &place.port.to_string()]);
        if let Some(certificate) = certificate {
            command.arg("--cert").arg(certificate.cert()).arg("--key").arg(certificate.key());
        }
        Ok(command)
    }

    fn arguments(self, is_over_tls: bool) -> &'static [&'static str] {
        match self {
            Self::Epoll if is_over_tls => &["baseline", "epoll"],
            Self::LwsLean => &["--loop", "poll", "--lean"],
            Self::LwsUvLean => &["--loop", "uv", "--lean"],
            Self::LwsEvLean => &["--loop", "ev", "--lean"],
            Self::Monoio => &["baseline", "monoio"],
            Self::TokioUring => &["baseline", "tokio-uring"],
            Self::TungsteniteLean | Self::FastwebsocketsLean => &["--lean"],
            _ => &[],
        }
    }

    /// The command that installs what it needs.
    #[must_use]
    pub fn install(self) -> &'static str {
        match self {
            Self::Hold | Self::Epoll => "apt-get install gcc libc6-dev",
            Self::LwsLean | Self::LwsUvLean | Self::LwsEvLean | Self::Lws => {
                "apt-get install gcc libc6-dev libwebsockets-dev libwebsockets-evlib-uv \
                 libwebsockets-evlib-ev"
            }
            Self::Monoio | Self::TokioUring => "cargo build --release -p tidegate-bench",
            Self::TungsteniteLean
            | Self::Tungstenite
            | Self::FastwebsocketsLean
            | Self::Fastwebsockets => {
                "cargo build --release --manifest-path tools/peers/rust/Cargo.toml \
                 --target-dir target/peers/rust"
            }
            Self::Ws => "apt-get install nodejs npm",
            Self::Nginx => "apt-get install nginx-light",
            Self::Haproxy => "apt-get install haproxy",
            Self::Uwebsockets => {
                "apt-get install g++ libssl-dev && \
                 cargo fetch --manifest-path tools/peers/rust/Cargo.toml"
            }
            Self::UwebsocketsPython => "pip install socketify==0.0.31",
        }
    }
}

/// The root of the tree that this program was built from.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the tree's root")
}

fn sources() -> PathBuf {
    root().join("tools/peers")
}

fn built() -> io::Result<PathBuf> {
    let folder = root().join("target/peers");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// This program, or the one beside it if this is a test.
fn this_program() -> io::Result<PathBuf> {
    let this = env::current_exe()?;
    let folder = this.parent().filter(|it| it.ends_with("deps")).and_then(Path::parent);
    Ok(folder.map_or(this.clone(), |folder| folder.join("tidegate-bench")))
}

/// Runs `command` to its end.
fn succeed(command: &mut Command) -> io::Result<()> {
    let output = command.output().map_err(|error| {
        io::Error::new(error.kind(), format!("{}: {error}", command.get_program().display()))
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let why = said.lines().find(|line| line.contains("error")).or(said.lines().last());
    Err(io::Error::other(why.unwrap_or("it failed without a word").to_owned()))
}

/// A program in C, of these files and libraries.
fn c(program: &str, files: &[&str], libraries: &[&str]) -> io::Result<Command> {
    compile(program, |command| {
        command.args(["-std=c11", "-O2", "-Wall", "-Wextra"]);
        command.args(files.iter().map(|file| sources().join(file).with_extension("c")));
        command.args(libraries);
        Ok(())
    })
}

/// Compiles what `add` says under a name of its own first: somebody else may start the program, or
/// compile it, at the same time.
fn compile(program: &str, add: impl FnOnce(&mut Command) -> io::Result<()>) -> io::Result<Command> {
    static COMPILED: AtomicU32 = AtomicU32::new(0);
    let number = COMPILED.fetch_add(1, Ordering::Relaxed);
    let program = built()?.join(program);
    if is_newer(&program, &sources())? {
        return Ok(Command::new(program));
    }
    let fresh = program.with_extension(format!("{}-{number}", process::id()));
    let mut command = Command::new("cc");
    command.arg("-o").arg(&fresh);
    add(&mut command)?;
    succeed(&mut command)?;
    fs::rename(fresh, &program)?;
    Ok(Command::new(program))
}

/// The package that brings the sources of uWebSockets; it is not built itself.
const UWEBSOCKETS: &str = "libuwebsockets-sys";

/// What of uSockets a loop on epoll is made of, in its folder; and beside it, over TLS.
const USOCKETS: [&str; 8] = [
    "bsd.c",
    "context.c",
    "loop.c",
    "quic.c",
    "socket.c",
    "udp.c",
    "eventing/epoll_kqueue.c",
    "crypto/openssl.c",
];

const USOCKETS_TLS: &str = "crypto/sni_tree.cpp";

fn uwebsockets(is_over_tls: bool) -> io::Result<Command> {
    compile(if is_over_tls { "uws_echo_tls" } else { "uws_echo" }, |command| {
        let (version, folder) = package(UWEBSOCKETS)?;
        let (uws, usockets) = (folder.join("uWebSockets"), folder.join("uWebSockets/uSockets/src"));
        command.args(["-O3", "-flto", "-w", "-DUWS_NO_ZLIB"]);
        command.arg(if is_over_tls { "-DLIBUS_USE_OPENSSL" } else { "-DLIBUS_NO_SSL" });
        command.arg(format!("-DUWS_PACKAGE=\"{UWEBSOCKETS} {version}\""));
        command.arg("-I").arg(uws.join("src")).arg("-I").arg(&usockets);
        command.args(["-x", "c"]).args(USOCKETS.iter().map(|file| usockets.join(file)));
        command.arg(sources().join("peer.c")).args(["-x", "c++", "-std=c++20"]);
        command.arg(sources().join("uws_echo.cpp"));
        if is_over_tls {
            command.arg(usockets.join(USOCKETS_TLS)).args(["-lssl", "-lcrypto"]);
        }
        command.arg("-lstdc++");
        Ok(())
    })
}

/// The version of a package that the Rust peers know of, and the folder that cargo keeps it in.
fn package(name: &str) -> io::Result<(String, PathBuf)> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["metadata", "--locked", "--format-version", "1", "--all-features"]);
    let output = command.arg("--manifest-path").arg(sources().join("rust/Cargo.toml")).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(said.lines().last().unwrap_or("cargo failed").to_owned()));
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let found = packages.into_iter().find(|it| it["name"] == name).and_then(|package| {
        let manifest = Path::new(package["manifest_path"].as_str()?);
        Some((package["version"].as_str()?.to_owned(), manifest.parent()?.to_owned()))
    });
    found.ok_or_else(|| io::Error::other(format!("cargo knows no package {name}")))
}

/// Whether `program` is there and newer than everything in `sources`.
fn is_newer(program: &Path, sources: &Path) -> io::Result<bool> {
    let Ok(built) = program.metadata().and_then(|it| it.modified()) else { return Ok(false) };
    for entry in fs::read_dir(sources)? {
        if entry?.metadata()?.modified()? >= built {
            return Ok(false);
        }
    }
    Ok(true)
}

fn rust(program: &str) -> io::Result<Command> {
    let folder = built()?.join("rust");
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--release", "--locked", "--target-dir"]).arg(&folder);
    succeed(command.arg("--manifest-path").arg(sources().join("rust/Cargo.toml")))?;
    Ok(Command::new(folder.join("release").join(program)))
}

fn node() -> io::Result<Command> {
    let folder = built()?.join("node");
    fs::create_dir_all(&folder)?;
    for file in ["ws_echo.mjs", "package.json", "package-lock.json", ".npmrc"] {
        fs::copy(sources().join(file), folder.join(file))?;
    }
    let has = |package: &str| folder.join("node_modules").join(package).is_dir();
    if !has("ws") || !has("bufferutil") {
        succeed(Command::new("npm").arg("--prefix").arg(&folder).arg("ci"))?;
    }
    let mut command = Command::new("node");
    command.arg(folder.join("ws_echo.mjs"));
    Ok(command)
}

fn python() -> io::Result<Command> {
    succeed(Command::new("python3").args(["-c", "import socketify"]))?;
    let mut command = Command::new("python3");
    command.arg(sources().join("socketify_echo.py"));
    Ok(command)
}
