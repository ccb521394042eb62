//! A gateway that runs as a process of its own.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::counters::Counters;
use crate::process::Process;
use crate::{Signal, binary, wait_until};

/// What a gateway says before each address that it listens on.
const LISTENING: &str = "listening on ";

/// What a gateway says before the address of its control thread.
const ADMIN: &str = "admin on ";

/// The variable with the driver of all gateways that are started: what is tested of one holds of
/// each.
const DRIVER: &str = "TIDEGATE_TEST_DRIVER";

/// The driver of all gateways that are started: their own choice without that variable.
pub(crate) fn driver() -> String {
    env::var(DRIVER).unwrap_or_else(|_| "auto".into())
}

/// Whether the gateways that are started ask the kernel by epoll.
#[must_use]
pub fn are_by_epoll() -> bool {
    driver() == "epoll"
}

/// How to start a gateway.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    config: Option<String>,
    arguments: Vec<OsString>,
    listen: usize,
    /// Without, it has no admin address, because several gateways may run.
    admin: Option<String>,
    /// A program and its arguments that starts the gateway.
    wrapper: Vec<OsString>,
    /// The driver is its own choice, whatever is tested.
    has_choice: bool,
    /// Further variables of its environment.
    variables: Vec<(OsString, OsString)>,
    /// Sockets for what starts the gateway, which passes them on.
    passed: Vec<Arc<OwnedFd>>,
}

/// A program that ran to its end.
#[derive(Clone, Debug)]
pub struct Exited {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

/// A gateway that runs; it is killed when this is dropped.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    addresses: Vec<SocketAddr>,
    stdout: Stream,
    stderr: Stream,
    // Dropped last: it takes the file away.
    config: Option<ConfigFile>,
}

/// What comes out of a process, collected as it comes.
#[derive(Debug)]
struct Stream {
    text: Arc<Mutex<String>>,
    thread: Option<JoinHandle<()>>,
}

/// A configuration in a folder of its own.
#[derive(Debug)]
struct ConfigFile {
    folder: PathBuf,
}

impl Launch {
    /// Without a configuration file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With this configuration, as it stands.
    #[must_use]
    pub fn config(self, text: &str) -> Self {
        Self { config: Some(text.into()), ..self }
    }

    /// With another argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Listening on this address in place of the configured ones.
    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        self.listen += 1;
        self.argument("--listen").argument(address)
    }

    /// With an admin address on a free port of 127.0.0.1.
    #[must_use]
    pub fn admin(self) -> Self {
        self.admin_at("127.0.0.1:0")
    }

    /// With this admin address.
    #[must_use]
    pub fn admin_at(self, address: &str) -> Self {
        Self { admin: Some(address.into()), ..self }
    }

    /// Asking the kernel by what it chooses, or is told here: for tests of the choice itself, and
    /// of words that are of one driver.
    #[must_use]
    pub fn choosing(self) -> Self {
        Self { has_choice: true, ..self }
    }

    /// Started by this program, with these arguments before the gateway's own command line. What
    /// is said of the process, and what signals it is sent, is that program's.
    #[must_use]
    pub fn under(self, wrapper: &[&str]) -> Self {
        Self { wrapper: wrapper.iter().map(OsString::from).collect(), ..self }
    }

    /// With this variable in its environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Started by the program `pass-sockets`, which is `launcher`, with this socket.
    ///
    /// # Panics
    /// No descriptor is left.
    #[must_use]
    pub fn passing(self, launcher: &str, socket: impl AsFd) -> Self {
        self.passing_more(socket).under(&[launcher])
    }

    /// As [`Launch::passing`], for each further one.
    ///
    /// # Panics
    /// No descriptor is left.
    #[must_use]
    pub fn passing_more(mut self, socket: impl AsFd) -> Self {
        let socket = socket.as_fd().try_clone_to_owned().expect("a descriptor");
        self.passed.push(Arc::new(socket));
        self
    }

    /// Starts the gateway and waits until it listens on all addresses that were given, or on one.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> Gateway {
        let count = self.listen.max(1);
        self.start_with_addresses(count)
    }

    /// Starts the gateway and waits until it listens on `count` addresses.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    #[track_caller]
    pub fn start_with_addresses(self, count: usize) -> Gateway {
        let (child, config) = self.spawn();
        let mut gateway = Gateway::new(child, config);
        gateway.addresses = wait_until("the gateway listens", || gateway.listening(count));
        gateway
    }

    /// Starts the gateway and waits until it listens or has ended.
    ///
    /// # Errors
    /// It has ended.
    ///
    /// # Panics
    /// It does neither.
    #[track_caller]
    pub fn try_start(self) -> Result<Gateway, Exited> {
        let count = self.listen.max(1);
        let (child, config) = self.spawn();
        let mut gateway = Gateway::new(child, config);
        wait_until("the gateway listens or ends", || {
            (gateway.has_ended() || gateway.said(count).is_some()).then_some(())
        });
        match gateway.said(count) {
            Some(addresses) => {
                gateway.addresses = addresses;
                Ok(gateway)
            }
            None => Err(gateway.wait()),
        }
    }

    /// Runs the program to its end.
    ///
    /// # Panics
    /// It does not end.
    #[must_use]
    #[track_caller]
    pub fn run(self) -> Exited {
        let (child, config) = self.spawn();
        Gateway::new(child, config).wait()
    }

    fn spawn(self) -> (Child, Option<ConfigFile>) {
        let config = self.config.as_deref().map(ConfigFile::new);
        let mut words = self.wrapper.iter().cloned().chain([binary::path().into()]);
        let mut command = Command::new(words.next().expect("the gateway's own path at least"));
        command.args(words);
        if let Some(config) = &config {
            command.arg("--config").arg(config.path());
        }
        if let Some(driver) = env::var_os(DRIVER).filter(|_| !self.has_choice) {
            command.arg("--driver").arg(driver);
        }
        let admin = self.admin.as_deref().unwrap_or("off");
        command.args(["--admin", admin]);
        command.args(&self.arguments).env("NO_COLOR", "1").env_remove("TIDEGATE_LOG");
        command.envs(self.variables).stdin(Stdio::null());
        if !self.passed.is_empty() {
            command.stdin(in_transit(&self.passed));
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        (command.spawn().expect("the program can be started"), config)
    }
}

/// A socket from which these can be received.
fn in_transit(sockets: &[Arc<OwnedFd>]) -> OwnedFd {
    let (from, to) = UnixStream::pair().expect("descriptors");
    let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(|socket| socket.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&sockets)), "too many sockets");
    sendmsg(from, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::empty()).expect("room");
    to.into()
}

impl Gateway {
    /// Starts a gateway of one shard that listens on a free port of 127.0.0.1. `more` is the rest
    /// of its configuration: keys of the root first, then tables. A listener in there lends its
    /// stack; its address does not count.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    #[track_caller]
    pub fn start(more: &str) -> Self {
        let text = format!("shards = 1\npin = false\n{more}");
        Launch::new().config(&text).listen("127.0.0.1:0").start()
    }

    /// As [`Gateway::start`], with an admin address on a free port.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    #[track_caller]
    pub fn with_admin(more: &str) -> Self {
        let text = format!("shards = 1\npin = false\n{more}");
        Launch::new().config(&text).listen("127.0.0.1:0").admin().start()
    }

    /// As [`Gateway::start`], with a layer stack and all else by default.
    #[must_use]
    #[track_caller]
    pub fn with_stack(stack: &str) -> Self {
        Self::start(&Self::listener(stack))
    }

    /// The table of a listener with this layer stack, to be part of a configuration.
    #[must_use]
    pub fn listener(stack: &str) -> String {
        format!("[[listener]]\naddress = \"127.0.0.1:0\"\nstack = \"{stack}\"\n")
    }

    /// The first address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// All addresses that it listens on.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The address of its control thread.
    ///
    /// # Panics
    /// It has none.
    #[must_use]
    #[track_caller]
    pub fn admin_address(&self) -> SocketAddr {
        wait_until("the admin address", || {
            let said = self.stdout.text();
            let lines = said.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            lines.filter_map(|line| line.strip_prefix(ADMIN)?.parse().ok()).next()
        })
    }

    /// Writes its configuration file anew; it is read when the gateway is told to.
    ///
    /// # Panics
    /// It was started without one.
    pub fn rewrite(&self, text: &str) {
        let config = self.config.as_ref().expect("it has a file");
        // As editors do: whoever reads finds the old one or the new one.
        let beside = config.folder.join("beside.toml");
        fs::write(&beside, text).and_then(|()| fs::rename(&beside, config.path())).expect("room");
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> Process {
        Process::new(self.child.id())
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.stderr.text()
    }

    /// Waits until a line of the log has all of `words`; yields the line.
    #[track_caller]
    pub fn expect_log(&self, words: &[&str]) -> String {
        wait_until(&format!("a line of the log with {words:?}"), || {
            let log = self.log();
            let whole = &log[..log.rfind('\n').unwrap_or(0)];
            let found = whole.lines().find(|line| words.iter().all(|word| line.contains(word)));
            found.map(str::to_owned)
        })
    }

    /// Asks for all counters. They are those of the shards' last tick, which may be 250 ms old, and
    /// older while a gateway has no connection at all.
    ///
    /// # Panics
    /// They do not come.
    #[must_use]
    #[track_caller]
    pub fn counters(&self) -> Counters {
        let before = self.log().len();
        self.process().signal(Signal::USR1);
        wait_until("the counters in the log", || {
            let log = self.log();
            let whole = &log[..log.rfind('\n').unwrap_or(0)];
            let counters = Counters::read(whole.get(before..)?);
            counters.is_whole().then_some(counters)
        })
    }

    /// As [`Gateway::counters`], but those of one shard are not older than this call: all there
    /// are, where there is one. A gateway without any connection takes some seconds for that.
    #[must_use]
    #[track_caller]
    pub fn fresh_counters(&self) -> Counters {
        let before = self.counters().get("loops");
        wait_until("fresh counters", || {
            Some(self.counters()).filter(|counters| counters.get("loops") > before)
        })
    }

    /// Waits until the counter `name` is what is `expected`.
    ///
    /// # Panics
    /// It does not come to that.
    #[track_caller]
    pub fn expect_counter(&self, name: &str, expected: u64) {
        let mut last = None;
        let what = format!("counter {name} at {expected}");
        wait_until(&what, || {
            let value = self.counters().get(name);
            if last.replace(value) != Some(value) && value != expected {
                eprintln!("{name} is {value}, and should be {expected}");
            }
            (value == expected).then_some(())
        });
    }

    /// Waits until the counter `name` is at least `least`; yields it.
    #[track_caller]
    pub fn expect_counter_from(&self, name: &str, least: u64) -> u64 {
        wait_until(&format!("counter {name} from {least}"), || {
            Some(self.counters().get(name)).filter(|value| *value >= least)
        })
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    /// Ends the gateway by SIGTERM; yields its log.
    ///
    /// # Panics
    /// It does not end, or not well.
    #[track_caller]
    pub fn terminate(self) -> String {
        self.signal(Signal::TERM);
        let exited = self.wait();
        assert_eq!(exited.code, Some(0), "{exited:?}");
        exited.stderr
    }

    /// Waits until the process ends.
    ///
    /// # Panics
    /// It does not end.
    #[track_caller]
    pub fn wait(mut self) -> Exited {
        let status = wait_until("the gateway ends", || self.ended());
        self.stdout.finish();
        self.stderr.finish();
        Exited { code: status.code(), stdout: self.stdout.text(), stderr: self.stderr.text() }
    }

    /// Whether the process has ended.
    #[must_use]
    pub fn has_ended(&mut self) -> bool {
        self.ended().is_some()
    }

    fn new(mut child: Child, config: Option<ConfigFile>) -> Self {
        let stdout = Stream::collect(child.stdout.take().expect("it was asked for"));
        let stderr = Stream::collect(child.stderr.take().expect("it was asked for"));
        Self { child, addresses: Vec::new(), stdout, stderr, config }
    }

    /// The addresses that it listens on, once there are `count` of them.
    #[track_caller]
    fn listening(&mut self, count: usize) -> Option<Vec<SocketAddr>> {
        if let Some(status) = self.ended() {
            panic!("the gateway did not come up: {status}\n{}", self.log());
        }
        self.said(count)
    }

    /// The addresses that it said it listens on, if there are `count` of them.
    fn said(&self, count: usize) -> Option<Vec<SocketAddr>> {
        let said = self.stdout.text();
        let lines = said.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let addresses = lines.filter_map(|line| line.strip_prefix(LISTENING)?.parse().ok());
        Some(addresses.collect()).filter(|addresses: &Vec<_>| addresses.len() >= count)
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.stdout.finish();
        self.stderr.finish();
        let log = self.stderr.text();
        if std::thread::panicking() {
            // Counters that were asked for again and again say little.
            let lines = log.lines().filter(|line| !line.contains(" tidegate::counters: "));
            eprintln!("--- the gateway's log ---");
            lines.for_each(|line| eprintln!("{line}"));
        } else {
            assert!(!log.contains("panicked at"), "the gateway has panicked:\n{log}");
        }
    }
}

impl Stream {
    fn collect(from: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let collected = Arc::clone(&text);
        let thread = std::thread::spawn(move || {
            let mut lines = BufReader::new(from);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                let mut text = collected.lock().unwrap_or_else(PoisonError::into_inner);
                text.push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self { text, thread: Some(thread) }
    }

    fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn finish(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl ConfigFile {
    fn new(text: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidegate-tests-{}-{count}", std::process::id());
        let file = Self { folder: std::env::temp_dir().join(name) };
        fs::create_dir_all(&file.folder).expect("the folder for temporary files is writable");
        fs::write(file.path(), text).expect("the folder for temporary files is writable");
        file
    }

    fn path(&self) -> PathBuf {
        self.folder.join("tidegate.toml")
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
