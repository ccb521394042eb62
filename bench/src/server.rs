//! The server that is measured: started here, or somebody else's.

use std::env;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::children::{self, Shared, lock};
use crate::peers::{Peer, Place};
use crate::random::Random;
use crate::target::Target;
use crate::tls::{Certificate, Dialer, Exchange};

/// The variable in which cargo tells a program that it runs where its manifest is.
const MANIFEST: &str = "CARGO_MANIFEST_PATH";

/// How long a server may take until it listens.
const START_MAX: Duration = Duration::from_secs(20);

/// What is measured.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Choice {
    /// A server that is running, such as ws://127.0.0.1:8080/echo.
    #[arg(long)]
    pub url: Option<String>,
    /// The process of that server, on this machine; without it, neither its CPU time nor its
    /// memory can be reported.
    #[arg(long, requires = "url")]
    pub pid: Option<u32>,
    /// The gateway to start; `tidegate` beside this program if not given.
    #[arg(long, conflicts_with = "url")]
    pub gateway: Option<PathBuf>,
    /// Another server to build and start.
    #[arg(long, conflicts_with_all = ["url", "gateway"])]
    pub peer: Option<Peer>,
    /// Shards of the gateway that is started; 1 if not given.
    #[arg(long, conflicts_with_all = ["url", "peer"])]
    pub shards: Option<u32>,
    /// How the gateway that is started asks the kernel, `io_uring` or `epoll`; as it chooses if not
    /// given.
    #[arg(long, conflicts_with_all = ["url", "peer"])]
    pub driver: Option<String>,
    /// Over TLS 1.3 (AES-128-GCM, X25519), with a certificate on P-256 that is made for it. Of a
    /// server that is running, the URL says so: wss://.
    #[arg(long, conflicts_with = "url")]
    pub tls: bool,
}

impl Choice {
    /// Whether it is somebody else's server, over TLS.
    #[must_use]
    pub fn is_wss(&self) -> bool {
        self.url.as_ref().is_some_and(|url| url.starts_with("wss://"))
    }
}

/// A server that runs. One that was started here ends with this value.
#[derive(Debug)]
pub struct Server {
    /// Where it answers.
    pub target: Target,
    /// Where it answers without TLS as well, if it does.
    pub plain: Option<Target>,
    /// Its process, if known.
    pub pid: Option<u32>,
    /// What it says of itself: name, version, configuration.
    pub description: String,
    child: Option<Running>,
    /// What it was started with, if it is over TLS.
    _certificate: Option<Certificate>,
    /// The server that it stands in front of.
    _behind: Option<Box<Server>>,
}

/// A child process that ends with this value.
#[derive(Debug)]
struct Running {
    child: Shared,
    /// The lines of its standard output.
    lines: Receiver<String>,
}

/// What is measured of the gateway: an echo, and rooms that pass on what is said and, as those of
/// the peers, keep nothing.
const ROUTES: &str = "[[route]]\npath = \"/echo\"\nhandler = \"echo\"\n\
                      [[route]]\npath = \"/rooms/{room}\"\nhandler = \"hub?topic=rooms/{room}\"\n";

/// Listeners over TLS and without it, for the gateway's configuration.
fn listeners(certificate: &Certificate) -> String {
    let (cert, key) = (certificate.cert(), certificate.key());
    let tls = format!("ws!tls?cert={}&key={}!tcp", cert.display(), key.display());
    let listener = |stack| format!("{LISTENER}address = \"127.0.0.1:0\"\nstack = \"{stack}\"\n");
    listener(&*tls) + &listener("ws!tcp")
}

/// What a listener of the configuration begins with.
const LISTENER: &str = "[[listener]]\n";

impl Server {
    /// Starts or finds the server that was chosen. One that is started gets core 0 to itself.
    ///
    /// # Errors
    /// The URL is not valid, or the server did not start.
    pub fn find(choice: &Choice) -> io::Result<Self> {
        if let Some(url) = &choice.url {
            let (target, pid) = (url.parse()?, choice.pid);
            let description = url.clone();
            return Ok(Self {
                target,
                plain: None,
                pid,
                description,
                child: None,
                _certificate: None,
                _behind: None,
            });
        }
        let certificate = choice.tls.then(Certificate::new).transpose()?;
        if let Some(peer) = choice.peer {
            return Self::start_peer_with(peer, certificate);
        }
        let driver = choice.driver.as_ref().map(|driver| format!("driver = \"{driver}\"\n"));
        let config = driver.unwrap_or_default() + ROUTES;
        let config = config + &certificate.as_ref().map(listeners).unwrap_or_default();
        let shards = choice.shards.unwrap_or(1);
        Self::start_gateway(choice.gateway.as_deref(), shards, &config)?.over(certificate)
    }

    /// The same server over TLS, if it was started with a certificate.
    fn over(self, certificate: Option<Certificate>) -> io::Result<Self> {
        if certificate.is_none() {
            return Ok(self);
        }
        let target = self.target.over_tls(Dialer::new(Exchange::default(), false)?);
        let description = format!("{}, TLS", self.description);
        Ok(Self { target, description, _certificate: certificate, ..self })
    }

    /// Starts a gateway on a free port, at `program` or beside this one. `config` is TOML with the
    /// lines that differ from the default configuration; if it has listeners, they are on free
    /// ports as well, and the first of them is what is measured. A single shard is kept on core 0;
    /// several take the cores as they come.
    ///
    /// # Errors
    /// It did not start.
    pub fn start_gateway(program: Option<&Path>, shards: u32, config: &str) -> io::Result<Self> {
        let program = program.map_or_else(gateway_program, |path| Ok(path.into()))?;
        let admin = if knows_admin(&program) { &["--admin", "off"][..] } else { &[] };
        Self::launch(&program, shards, config, admin)
    }

    /// The same, over TLS if there is a certificate, with an admin address, which is yielded as
    /// well.
    ///
    /// # Errors
    /// As for [`Server::start_gateway`].
    pub fn start_gateway_with_admin(
        program: Option<&Path>,
        shards: u32,
        config: &str,
        certificate: Option<Certificate>,
    ) -> io::Result<(Self, SocketAddr)> {
        let program = program.map_or_else(gateway_program, |path| Ok(path.into()))?;
        let config = config.to_owned() + &certificate.as_ref().map(listeners).unwrap_or_default();
        let listeners = config.matches(LISTENER).count();
        let command = with_config(&program, &config)?;
        let (server, admin) = Self::launch_with_admin(&program, shards, listeners, command)?;
        Ok((server.over(certificate)?, admin))
    }

    /// The same with an admin address, of a configuration in a file, which may be changed. It has
    /// one listener.
    ///
    /// # Errors
    /// As for [`Server::start_gateway`].
    pub fn start_gateway_from(
        program: Option<&Path>,
        shards: u32,
        file: &Path,
    ) -> io::Result<(Self, SocketAddr)> {
        let program = program.map_or_else(gateway_program, |path| Ok(path.into()))?;
        let mut command = Command::new(&program);
        command.arg("--config").arg(file).stdin(Stdio::null());
        Self::launch_with_admin(&program, shards, 1, command)
    }

    fn launch_with_admin(
        program: &Path,
        shards: u32,
        listeners: usize,
        command: Command,
    ) -> io::Result<(Self, SocketAddr)> {
        let admin = &["--admin", "127.0.0.1:0"];
        let mut server = Self::launch_by(program, shards, listeners, command, admin)?;
        let running = server.child.as_mut().expect("it was started just now");
        let admin = running.says("its admin address", START_MAX, |line| {
            line.strip_prefix("admin on ")?.parse().ok()
        })?;
        Ok((server, admin))
    }

    fn launch(program: &Path, shards: u32, config: &str, admin: &[&str]) -> io::Result<Self> {
        let listeners = config.matches(LISTENER).count();
        Self::launch_by(program, shards, listeners, with_config(program, config)?, admin)
    }

    /// Starts what `command` has a configuration with so many listeners for.
    fn launch_by(
        program: &Path,
        shards: u32,
        listeners: usize,
        mut command: Command,
        admin: &[&str],
    ) -> io::Result<Self> {
        command.args(["--shards", &shards.to_string()]).args(admin);
        if listeners == 0 {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let mut running = Running::start(&mut command, shards == 1).map_err(|error| {
            let program = program.display();
            io::Error::other(format!(
                "{program} did not start ({error}): build it, `cargo build --release -p tidegate`"
            ))
        })?;
        let mut next = || {
            let address = running.says("the address that it listens on", START_MAX, |line| {
                line.strip_prefix("listening on ")?.parse().ok()
            })?;
            io::Result::Ok(Target::new(address, "/echo"))
        };
        let target = next()?;
        let plain = if listeners > 1 { Some(next()?) } else { None };
        Ok(Self {
            target,
            plain,
            pid: Some(running.pid()),
            description: format!("{}, {shards} shard(s)", version(program)),
            child: Some(running),
            _certificate: None,
            _behind: None,
        })
    }

    /// Builds `peer`, if it has to be, and starts it on a free port.
    ///
    /// # Errors
    /// It is not on this machine, or did not start.
    pub fn start_peer(peer: Peer) -> io::Result<Self> {
        Self::start_peer_with(peer, None)
    }

    /// The same over TLS, if there is a certificate.
    fn start_peer_with(peer: Peer, certificate: Option<Certificate>) -> io::Result<Self> {
        let address = free_address()?;
        let stands_behind = peer.stands_in_front_of();
        let behind = stands_behind.map(Self::start_peer).transpose()?.map(Box::new);
        let upstream = behind.as_ref().map(|behind| behind.target.address);
        let place = Place { port: address.port(), certificate: certificate.as_ref(), upstream };
        let mut command = peer.prepare(place).map_err(|missing| {
            let (name, install) = (peer.name(), missing.install);
            io::Error::other(format!("{name}: {}: try `{install}`", missing.why))
        })?;
        let mut running = Running::start(command.stdin(Stdio::null()), true)?;
        let said = running.says("its name and version", START_MAX, |line| Some(line.to_owned()));
        let description = said.map_err(|error| {
            let (name, install) = (peer.name(), peer.install());
            io::Error::other(format!("{name}: {error}; does it lack `{install}`?"))
        })?;
        await_listener(address)?;
        let server = Self {
            target: Target::new(address, "/echo"),
            plain: None,
            pid: Some(running.pid()),
            description,
            child: Some(running),
            _certificate: None,
            _behind: behind,
        };
        server.over(certificate)
    }

    /// The server's process.
    ///
    /// # Errors
    /// It is somebody else's, and not known.
    pub fn known_pid(&self) -> io::Result<u32> {
        self.pid.ok_or_else(|| io::Error::other("--pid is needed to measure that server's process"))
    }
}

impl Running {
    /// Starts `command`, on core 0 alone if `pinned`.
    fn start(command: &mut Command, pinned: bool) -> io::Result<Self> {
        // What it has to say goes to the user: above all, why it did not start.
        command.stdout(Stdio::piped());
        // A child takes over the cores of the thread that starts it.
        let started = thread::scope(|scope| {
            let start = || {
                let cores = if pinned { core_affinity::get_core_ids() } else { None };
                if let Some(core) = cores.and_then(|cores| cores.first().copied()) {
                    core_affinity::set_for_current(core);
                }
                children::start(command)
            };
            scope.spawn(start).join().expect("starting a process does not panic")
        });
        started.map(|child| {
            let lines = lines(&mut lock(&child));
            Self { child, lines }
        })
    }

    fn pid(&self) -> u32 {
        lock(&self.child).id()
    }

    /// The first of the child's lines that `meaning` understands; `what` it is, for the error.
    ///
    /// # Errors
    /// It did not come `within` that time, or cannot come any more.
    fn says<T>(
        &mut self,
        what: &str,
        within: Duration,
        meaning: impl Fn(&str) -> Option<T>,
    ) -> io::Result<T> {
        let until = Instant::now() + within;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(meant) = meaning(&line) {
                        return Ok(meant);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    let why = format!("waited {within:?} in vain for the server to say {what}");
                    return Err(io::Error::new(io::ErrorKind::TimedOut, why));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let end = match self.ended(until)? {
                        Some(status) => format!("ended ({status})"),
                        None => "closed its standard output".to_owned(),
                    };
                    return Err(io::Error::other(format!(
                        "the server {end} before it said {what}"
                    )));
                }
            }
        }
    }

    /// Waits for the child's end.
    fn ended(&mut self, until: Instant) -> io::Result<Option<ExitStatus>> {
        loop {
            let status = lock(&self.child).try_wait()?;
            if status.is_some() || Instant::now() > until {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        children::end(&self.child);
    }
}

/// The lines of a child's standard output. They are read to the end, wanted or not: a child whose
/// output nobody reads comes to a halt, or is killed by a broken pipe.
fn lines(child: &mut Child) -> Receiver<String> {
    let output = child.stdout.take().expect("it was asked for when it started");
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}

/// What starts a gateway of this configuration.
fn with_config(program: &Path, config: &str) -> io::Result<Command> {
    let mut command = Command::new(program);
    // A file without a name: nothing to take away when this process is killed.
    command.args(["--config", "/dev/stdin"]).stdin(holding(config)?);
    Ok(command)
}

/// A pipe with `text` in it, which must fit what a pipe holds: 64 KiB (pipe(7)).
fn holding(text: &str) -> io::Result<io::PipeReader> {
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(text.as_bytes())?;
    Ok(reader)
}

/// What the gateway's program says of itself: its name and version.
fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    said.ok().filter(|said| !said.is_empty()).unwrap_or_else(|| "tidegate, version unknown".into())
}

/// Whether the gateway's program has an admin address to be turned off: one that was built before
/// there was any does not know the option.
fn knows_admin(program: &Path) -> bool {
    let output = Command::new(program).arg("--help").output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("--admin"))
}

/// The first ports that are not for servers: from here on they are those of clients (ip(7),
/// `ip_local_port_range`), and any of them may be in use as one.
const CLIENT_PORTS: u16 = 32_768;

/// The first port for a server to measure.
const SERVER_PORTS: u16 = 10_240;

/// How many ports are tried before there is none.
const PORTS_TRIED: usize = 100;

/// An address that nobody uses, for a server that cannot choose one and say so.
///
/// # Errors
/// There is none.
pub fn free_address() -> io::Result<SocketAddr> {
    let mut random = Random::new()?;
    let count = u64::from(CLIENT_PORTS - SERVER_PORTS);
    for _ in 0..PORTS_TRIED {
        let port = SERVER_PORTS + (random.next_u64() % count) as u16;
        // Without SO_REUSEADDR, so that a port is refused that has connections in TIME_WAIT.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        if socket.bind(&everywhere.into()).is_ok() {
            return Ok((Ipv4Addr::LOCALHOST, port).into());
        }
    }
    Err(io::Error::other(format!("no port from {SERVER_PORTS} to {CLIENT_PORTS} is free")))
}

/// Waits until somebody listens.
fn await_listener(address: SocketAddr) -> io::Result<()> {
    let until = Instant::now() + START_MAX;
    loop {
        match TcpStream::connect(address) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > until => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// `tidegate` in the directory of this program; under `cargo run` and `cargo test` it is built
/// first, so that what is measured is what the sources say.
///
/// # Errors
/// It is not there, or does not build.
pub fn gateway_program() -> io::Result<PathBuf> {
    let this = env::current_exe()?;
    let folder = this.parent().ok_or_else(|| io::Error::other("this program has no path"))?;
    let folder = out_of_deps(folder);
    if let (Some(cargo), Some(manifest)) = (env::var_os("CARGO"), env::var_os(MANIFEST)) {
        build(Command::new(cargo).arg("build").arg("--manifest-path").arg(manifest), folder)?;
    }
    let program = folder.join("tidegate");
    if program.is_file() {
        return Ok(program);
    }
    Err(io::Error::other(
        "there is no `tidegate` beside this program: build it in the same profile (`cargo build \
         --release -p tidegate`), or say --gateway or --url",
    ))
}

/// The folder that cargo puts programs into, from the one where they, or tests, are run.
fn out_of_deps(folder: &Path) -> &Path {
    if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder }
}

/// Lets cargo build the gateway into `folder`, which is `<target>/<profile>`.
fn build(cargo: &mut Command, folder: &Path) -> io::Result<()> {
    let (Some(target), Some(name)) = (folder.parent(), folder.file_name()) else { return Ok(()) };
    // Cargo's one profile whose folder has another name.
    let profile = if name == "debug" { OsStr::new("dev") } else { name };
    cargo.args(["--quiet", "--package", "tidegate", "--bins"]);
    if profile == "dev" {
        // Then crates have the features that `cargo test --workspace` has compiled them with.
        cargo.arg("--examples");
    }
    let status = cargo.arg("--target-dir").arg(target).arg("--profile").arg(profile).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("the gateway was not built")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `script` is to say within `within`; it says nothing of use.
    fn says_nothing(script: &str, within: Duration) -> io::Error {
        let mut command = Command::new("sh");
        let mut running = Running::start(command.args(["-c", script]), false).unwrap();
        running.says("its address", within, |line| line.parse::<SocketAddr>().ok()).unwrap_err()
    }

    #[test]
    fn a_server_that_says_nothing_is_not_waited_for_for_ever() {
        let begun = Instant::now();
        for script in ["exec sleep 60", "echo hello; exec sleep 60"] {
            let error = says_nothing(script, Duration::from_millis(100));
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(error.to_string().ends_with("100ms in vain for the server to say its address"));
        }
        let error = says_nothing("exec sleep 60 >&-", Duration::from_millis(100)).to_string();
        assert_eq!(error, "the server closed its standard output before it said its address");
        assert!(begun.elapsed() < Duration::from_secs(30), "the children were killed");
    }

    #[test]
    fn a_server_that_ends_is_an_error_with_its_exit_code() {
        let error = says_nothing("exit 3", START_MAX).to_string();
        assert_eq!(error, "the server ended (exit status: 3) before it said its address");
    }

    #[test]
    fn a_server_may_say_more_than_it_is_asked() {
        let mut command = Command::new("sh");
        let script = "echo one; echo 127.0.0.1:80; seq 100000; exit 3";
        let mut running = Running::start(command.args(["-c", script]), false).unwrap();
        let said = running.says("its address", START_MAX, |line| line.parse::<SocketAddr>().ok());
        assert_eq!(said.unwrap(), SocketAddr::from(([127, 0, 0, 1], 80)));
        let status = running.ended(Instant::now() + START_MAX).unwrap().unwrap();
        assert_eq!(status.code(), Some(3), "a pipe that is full or broken did not end it");
    }

    #[test]
    fn tests_have_a_folder_of_their_own() {
        assert_eq!(out_of_deps(Path::new("target/debug/deps")), Path::new("target/debug"));
        assert_eq!(out_of_deps(Path::new("target/release")), Path::new("target/release"));
    }
}
