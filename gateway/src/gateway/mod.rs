//! A gateway: its shards, each on a thread of its own.
//!
//! A [`Gateway`] is started from a configuration. [`Gateway::start`] checks it, and says what keeps
//! the gateway from serving as a [`StartError`]. What the program adds is a [`Program`]: handlers
//! for routes, layers and protocols for listeners. While it runs, any thread may watch and steer it
//! by its [`Handle`], and publish by its [`Door`]. It ends by a drain, by a stop, or because a
//! shard has failed; [`Gateway::join`] waits for that, and says whether a shard has failed.
//!
//! ```no_run
//! use tidegate::config::Config;
//! use tidegate::gateway::Gateway;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::default().with_listen(&["127.0.0.1:0".parse()?]).with_admin(None);
//! let gateway = Gateway::start(config)?;
//! println!("listening on {}", gateway.addresses()[0]);
//! println!("{} connections", gateway.counters().connections);
//! // From any thread, at any time:
//! gateway.handle().drain();
//! gateway.join()?;
//! # Ok(())
//! # }
//! ```

mod bill;
mod driver;
mod error;
mod group_watch;
mod here;
mod identity;
mod made_of;
mod settings;
mod thread;
mod trial;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use std::thread::JoinHandle;
use std::time::Duration;

use crate::access_log;
use crate::bill::Bill;
use crate::config::{Config, ListenAddress, Route, RouteHandler};
use crate::control::{self, AdminThread, ChosenDriver};
use crate::hub::{self, Door};
use crate::kernel::{Driver, ListeningSocket};
use crate::listen::{self, ListeningSockets, Passed};
use crate::shard::{self, Assembly, BuildError};
use crate::steering::{
    Certificates, Counters, Handle, InForce, Judge, Judged, NotChanged, Reloader, ReloaderParts,
};

#[doc(inline)]
pub use crate::access_log::AccessFeed;
#[doc(inline)]
pub use crate::control::counts;
#[doc(inline)]
pub use crate::protocol::program::Program;
pub use bill::{bill, bill_with};
use driver::Resolved;
pub(crate) use driver::{OpenFiles, bytes_of_rings, choose, lowered};
pub use error::{
    AccessLogError, AdminError, ListenError, NoHandler, PassedError, RingError, ShardEnd,
    ShardError, StartError, TooFewDescriptors,
};
use group_watch::GroupWatch;
pub use here::{bill_here, check_files, cores, doubts_here, driver_here};
use identity::identity;
use made_of::{listening, read_certificates, read_checks};
pub use settings::hub_settings;
use thread::{Parts, panic_message};
pub use trial::Trial;

/// A gateway that runs. Dropped, it stops at once, as by [`Gateway::stop`], and waits for the end.
#[derive(Debug)]
pub struct Gateway {
    bill: Bill,
    handle: Handle,
    door: Door,
    certificates: Certificates,
    threads: Vec<JoinHandle<io::Result<()>>>,
    /// It has threads that end behind the shards: those have more to say until then.
    reloader: Reloader,
    group_watch: Option<GroupWatch>,
    /// Ends behind the shards, so that a drain can be watched.
    admin: Option<AdminThread>,
}

/// What a start has found out, for whoever asks the control thread.
struct FoundOut {
    chosen: ChosenDriver,
    warnings: Vec<String>,
}

/// How often a shard of a rehearsal looks whether it is over.
const REHEARSAL_PAUSE: Duration = Duration::from_millis(1);

impl Gateway {
    /// Starts the shards of `config`; when this returns, all of them serve. It sets up no log
    /// ([`Config::log`] is for the binary), and does not raise the limit of open files: the program
    /// does, if it wants to.
    ///
    /// # Errors
    ///
    /// What kept the gateway from starting.
    pub fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with(config, Program::default())
    }

    /// As [`Gateway::start`], with what the embedding program brings along. What that holds itself
    /// is not on the bill.
    ///
    /// # Errors
    ///
    /// What kept the gateway from starting.
    pub fn start_with(config: Config, program: Program) -> Result<Self, StartError> {
        Self::start_on(config, program, Vec::new())
    }

    /// As [`Gateway::start_with`], with sockets that others have opened, who may have them as well:
    /// what starts services as their clients come, say (sd_listen_fds(3)). Each has the address of
    /// a listener, or of the control thread, which serves it in place of one of its own. Several
    /// may have one address (`SO_REUSEPORT`): they are dealt out to the shards. If there are fewer
    /// of them than shards, several serve the same one. A drain closes them after `drain_delay`,
    /// and leaves those who wait there to whoever has them too; that of the control thread is
    /// closed at the end.
    ///
    /// # Errors
    ///
    /// What kept the gateway from starting; [`StartError::Passed`] if one of these is not wanted.
    pub fn start_on(
        config: Config,
        program: Program,
        sockets: Vec<OwnedFd>,
    ) -> Result<Self, StartError> {
        let passed = Passed::new(sockets).map_err(StartError::Passed)?;
        let open = |config: &Config, shards| {
            let dealt = passed.deal(config, shards).map_err(StartError::Passed)?;
            listen::open(&config.listeners, shards, dealt).map_err(StartError::Listen)
        };
        Self::launch(config, program, open, |assembly, driver| {
            let shard = shard::build(assembly, driver)?;
            Ok(move || shard.run())
        })
    }

    /// Whether the machine would let a gateway of `config` start: sets all of it up, its rings and
    /// memory and threads, with sockets that nobody can connect to, and takes it down again. The
    /// control thread serves meanwhile, but at a port that nobody knows. Returns what the gateway
    /// may come to hold.
    ///
    /// # Errors
    ///
    /// What would keep the gateway from starting.
    pub fn rehearse(config: Config) -> Result<Bill, StartError> {
        Self::rehearse_with(config, Program::default())
    }

    /// As [`Gateway::rehearse`], of a gateway with what the embedding program brings along: it is
    /// made, and asked nothing.
    ///
    /// # Errors
    ///
    /// What would keep the gateway from starting.
    pub fn rehearse_with(config: Config, program: Program) -> Result<Bill, StartError> {
        Self::rehearse_on(config, program, Vec::new())
    }

    /// As [`Gateway::rehearse_with`], with sockets as [`Gateway::start_on`] is given them. They are
    /// left as they are, and nobody is accepted from them.
    ///
    /// # Errors
    ///
    /// What would keep the gateway from starting.
    pub fn rehearse_on(
        config: Config,
        program: Program,
        sockets: Vec<OwnedFd>,
    ) -> Result<Bill, StartError> {
        let shards = config.shards.resolve(cores());
        let passed = Passed::new(sockets).and_then(|passed| passed.deal(&config, shards));
        let mut dealt = passed.map_err(StartError::Passed)?;
        let config = here::set_aside(config, &mut dealt)?;
        let bind_only = |config: &Config, shards| {
            listen::bind_only(&config.listeners, shards, dealt).map_err(StartError::Listen)
        };
        let gateway = Self::launch(config, program, bind_only, |assembly, driver| {
            let panel = Arc::clone(&assembly.panel);
            let shard = shard::build(assembly, driver)?;
            // All of them are there at once, as when they serve.
            Ok(move || {
                while !panel.stops() {
                    std::thread::sleep(REHEARSAL_PAUSE);
                }
                drop(shard);
                Ok(())
            })
        })?;
        let bill = gateway.bill.clone();
        gateway.stop();
        gateway.join().map(|()| bill).map_err(StartError::Shard)
    }

    /// Starts with `open` as what opens the sockets, and `build` as what sets a shard up, and gives
    /// what then runs on the same thread.
    fn launch<O, B, R>(
        mut config: Config,
        program: Program,
        open: O,
        build: B,
    ) -> Result<Self, StartError>
    where
        O: FnOnce(&Config, usize) -> Result<ListeningSockets, StartError>,
        B: Fn(Assembly, Driver) -> Result<R, BuildError> + Clone + Send + 'static,
        R: FnOnce() -> io::Result<()>,
    {
        config.check().map_err(StartError::Config)?;
        let configured = Arc::new(config.clone());
        let stray = program.stray_path(&config.routes);
        stray.map_or(Ok(()), |path| Err(StartError::NoRoute(path.to_owned())))?;
        let resolved = driver::resolve(&mut config).map_err(StartError::Descriptors)?;
        let warnings = driver::announce(&resolved, config.driver);
        let Resolved { shards, chosen, .. } = resolved;
        let bill = bill_with(&config, &program, shards, chosen.driver);
        bill.check(config.memory.limit()).map_err(StartError::Budget)?;
        let certificates = read_certificates(&config)?;
        let handle = Handle::new(shards, &config).map_err(StartError::Waker)?;
        let (checks, threads) = read_checks(&config, &handle)?;
        let sockets = open(&config, shards)?;
        let access_log = access_log::start(&config).map_err(StartError::AccessLog)?;
        let wakers: Vec<_> = handle.wires().iter().map(|wire| wire.waker.clone()).collect();
        let (hubs, door) = hub::open(&hub_settings(&config), identity(&config), &wakers);
        // From here on, an error drops the gateway, and that ends the threads there are.
        let config = Arc::new(config);
        let judge = judge(program.clone(), shards, chosen.driver);
        let listening = listening(&config, &sockets, &certificates);
        let parts = Parts::new(Arc::clone(&config), program, listening, shards, chosen.driver);
        let reloader = Reloader::new(ReloaderParts {
            handle: handle.clone(),
            certificates: certificates.clone(),
            door: door.clone(),
            threads,
            judge,
            in_force: InForce {
                configured,
                warnings: config.doubts(),
                config,
                routes: Arc::clone(&parts.routes),
                listening: Arc::clone(&parts.listening),
                checks: checks.clone(),
                census: Arc::clone(&parts.census),
                access_log: None,
                access_totals: None,
                bill: bill.clone(),
            },
            access_log,
        });
        let mut gateway = Self {
            group_watch: GroupWatch::start(handle.clone(), reloader.clone()),
            threads: Vec::with_capacity(shards),
            admin: None,
            bill,
            handle,
            door,
            certificates,
            reloader,
        };
        gateway.reloader.start_threads().map_err(StartError::Verifier)?;
        let parts = parts.with_checks(checks).with_access_log(gateway.access_log());
        let begin = gateway.start_shards(&parts, sockets.by_shard.into_iter().zip(hubs), &build)?;
        gateway.start_control(FoundOut { chosen, warnings }, sockets.admin)?;
        // A shard that has ended since is told of by `join`.
        begin.iter().for_each(|begins| _ = begins.send(()));
        Ok(gateway)
    }

    /// Starts the control thread, if there is to be one, on what was passed if there is that.
    fn start_control(
        &mut self,
        FoundOut { chosen, warnings }: FoundOut,
        passed: Option<ListeningSocket>,
    ) -> Result<(), StartError> {
        let config = Arc::clone(&self.reloader.in_force().config);
        let Some(address) = &config.admin.address else { return Ok(()) };
        let socket = passed.map_or_else(|| listen::open_admin(address), Ok);
        let listen = |error| StartError::Admin(AdminError::Listen(address.clone(), error));
        let socket = socket.map_err(listen)?;
        let started = control::start(control::AdminParts {
            handle: self.handle(),
            door: self.door.clone(),
            certificates: self.certificates.clone(),
            reloader: self.reloader.clone(),
            chosen,
            warnings,
            socket,
        });
        self.admin = Some(started.map_err(StartError::Admin)?);
        Ok(())
    }

    /// The address of the control thread, with its real port; `None` if there is none.
    #[must_use]
    pub fn admin_address(&self) -> Option<ListenAddress> {
        self.admin.as_ref().map(AdminThread::address)
    }

    /// The addresses that are listened on, in the order of the configuration, each with its real
    /// port.
    #[must_use]
    pub fn addresses(&self) -> Vec<ListenAddress> {
        self.reloader.addresses()
    }

    /// What the gateway may come to hold: each of its shards, and what it has once.
    #[must_use]
    pub fn bill(&self) -> &Bill {
        &self.bill
    }

    /// The way into the hub for other threads: to publish, to ask, to close.
    #[must_use]
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// The certificates that its listeners show, which can be read anew from any thread.
    #[must_use]
    pub fn certificates(&self) -> Certificates {
        self.certificates.clone()
    }

    /// What has it take over another configuration, from any thread.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// The access log that is in force, if there is one, whose file can be opened anew from any
    /// thread.
    #[must_use]
    pub fn access_log(&self) -> Option<AccessFeed> {
        self.reloader.access_log()
    }

    /// What steers the gateway from other threads.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// As [`Handle::drain`].
    pub fn drain(&self) {
        self.handle.drain();
    }

    /// As [`Handle::stop`].
    pub fn stop(&self) {
        self.handle.stop();
    }

    /// As [`Handle::counters`].
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.handle.counters()
    }

    /// Whether all shards have ended, so that [`Gateway::join`] would not wait.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits until all shards have ended: drained, stopped, or because one of them failed.
    ///
    /// # Errors
    ///
    /// A shard failed.
    pub fn join(mut self) -> Result<(), ShardError> {
        self.join_threads()
    }

    fn join_threads(&mut self) -> Result<(), ShardError> {
        let mut result = Ok(());
        for (shard, thread) in self.threads.drain(..).enumerate() {
            let cause = match thread.join() {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => ShardEnd::Ring(error),
                Err(panic) => ShardEnd::Panic(panic_message(&*panic)),
            };
            result = result.and(Err(ShardError { shard, cause }));
        }
        self.group_watch = None;
        self.reloader.close();
        result
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop();
        // Whoever wants to know how the shards ended calls `join`.
        let _ = self.join_threads();
    }
}

/// Says what so many shards of a configuration may come to hold, with what the program brings
/// along.
fn judge(program: Program, shards: usize, driver: Driver) -> Box<Judge> {
    Box::new(move |config: &Config, Judged { beside, makes_handlers }| {
        let files = driver::check_beside(config, beside, shards, driver);
        files.map_err(|error| NotChanged::OpenFiles(error.to_string()))?;
        if let Some(path) = program.stray_path(&config.routes) {
            return Err(NotChanged::NoRoute(path.to_owned()));
        }
        let is_made = |route: &&Route| {
            !makes_handlers
                || route.handler != RouteHandler::Embedded
                || (program.handlers)(route).is_some()
        };
        if let Some(route) = config.routes.iter().find(|route| !is_made(route)) {
            let nobody = NoHandler { path: route.path.clone() };
            return Err(NotChanged::Shard(nobody.into()));
        }
        Ok(bill_with(config, &program, shards, driver))
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::num::NonZeroU16;
    use std::slice::from_ref;
    use std::thread;
    use std::time::Instant;

    use super::*;
    use crate::config::{Limits, MemoryLimit, Shards};
    use crate::listen::Dealt;
    use crate::shard::Panel;
    use crate::steering::ReloadOptions;

    /// Free ports, few buffers, and two shards.
    fn config() -> Config {
        let limits = Limits { connections: 64, blocks: 8 << 20, ..Limits::default() };
        let shards = Shards::Count(NonZeroU16::new(2).unwrap());
        Config { limits, shards, ..Config::default() }
            .with_listen(&["127.0.0.1:0".parse().unwrap()])
            .with_admin(None)
    }

    fn open(config: &Config, shards: usize) -> Result<ListeningSockets, StartError> {
        listen::open(&config.listeners, shards, Dealt::default()).map_err(StartError::Listen)
    }

    /// Starts shards that do what `run` says of their number.
    fn launch(run: fn(usize, &Panel) -> io::Result<()>) -> Result<Gateway, StartError> {
        Gateway::launch(config(), Program::default(), open, move |assembly, _| {
            Ok(move || run(assembly.index, &assembly.panel))
        })
    }

    fn wait_until(is_told: fn(&Panel) -> bool, panel: &Panel) -> io::Result<()> {
        while !is_told(panel) {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether nobody listens there, or soon nobody will: the kernel ends rings in the background.
    fn is_free(address: &ListenAddress) -> bool {
        let address = address.ip().unwrap();
        let begun = Instant::now();
        while TcpListener::bind(address).is_err() {
            thread::sleep(Duration::from_millis(5));
            if begun.elapsed() > Duration::from_secs(2) {
                return false;
            }
        }
        true
    }

    #[test]
    fn it_serves_counts_and_drains() {
        let gateway = Gateway::start(config()).unwrap();
        let address = gateway.addresses()[0].clone();
        for _ in 0..4 {
            let mut peer = TcpStream::connect(address.ip().unwrap()).unwrap();
            peer.write_all(b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n").unwrap();
            let mut status = [0; 15];
            peer.read_exact(&mut status).unwrap();
            assert_eq!(&status, b"HTTP/1.1 200 OK");
        }
        let handle = gateway.handle();
        assert!(!gateway.is_finished());
        gateway.drain();
        gateway.join().unwrap();
        assert_eq!(handle.counters().pages, 4, "summed over the shards, and kept");
        assert!(is_free(&address));
    }

    #[test]
    fn dropping_it_stops_it() {
        let gateway = Gateway::start(config()).unwrap();
        let address = gateway.addresses()[0].clone();
        let begun = Instant::now();
        drop(gateway);
        assert!(begun.elapsed() < Duration::from_secs(3), "the sleep was not cut short");
        assert!(is_free(&address));
    }

    #[test]
    fn a_handler_that_nobody_makes_is_foreseen() {
        let gateway = Gateway::start(config()).unwrap();
        for dry_run in [true, false] {
            let wanted = config().with_routes(vec![Route::new("/x", RouteHandler::Embedded)]);
            let options = ReloadOptions { dry_run, ..ReloadOptions::default() };
            let why = gateway.reloader().change_to(wanted, options).unwrap_err();
            assert!(matches!(why, NotChanged::Shard(_)), "{why}");
        }
    }

    #[test]
    fn a_bill_over_the_limit_is_refused() {
        let config = Config { memory: MemoryLimit::Bytes(16 << 20), ..config() };
        let error = Gateway::start(config).unwrap_err();
        assert!(matches!(error, StartError::Budget(_)), "{error}");
    }

    #[test]
    fn a_rehearsal_finds_what_a_start_does_and_leaves_nothing() {
        let first = Gateway::start(config().with_admin("127.0.0.1:0".parse().ok())).unwrap();
        let taken = first.addresses()[0].clone();
        let error = Gateway::rehearse(config().with_listen(from_ref(&taken))).unwrap_err();
        assert!(matches!(error, StartError::Listen(_)), "{error}");
        let error = Gateway::rehearse(config().with_admin(first.admin_address())).unwrap_err();
        assert!(matches!(error, StartError::Admin(_)), "{error}");
        let bill = first.bill().total();
        let admin = config().with_admin(first.admin_address());
        drop(first);
        assert!(is_free(&taken));
        let rehearsed = Gateway::rehearse(admin.with_listen(from_ref(&taken))).unwrap();
        assert_eq!(rehearsed.total(), bill);
        assert!(is_free(&taken));
    }

    #[test]
    fn a_port_in_use_is_refused() {
        let first = Gateway::start(config()).unwrap();
        let error = Gateway::start(config().with_listen(&first.addresses())).unwrap_err();
        assert!(matches!(error, StartError::Listen(_)), "{error}");
    }

    #[test]
    fn an_admin_port_in_use_is_refused() {
        let admin = config().with_admin("127.0.0.1:0".parse().ok());
        let first = Gateway::start(admin).unwrap();
        let error = Gateway::start(config().with_admin(first.admin_address())).unwrap_err();
        assert!(matches!(error, StartError::Admin(_)), "{error}");
        let address = first.admin_address().unwrap();
        drop(first);
        assert!(is_free(&address));
    }

    #[test]
    fn a_shard_that_cannot_be_set_up_leaves_nothing_behind() {
        let probe = open(&config(), 1).unwrap().addresses[0].clone();
        let config = config().with_listen(from_ref(&probe));
        let error =
            Gateway::launch(config, Program::default(), open, |assembly, _| match assembly.index {
                0 => Ok(move || wait_until(Panel::stops, &assembly.panel)),
                _ => Err(RingError::NoMemory.into()),
            });
        let error = error.unwrap_err();
        assert!(matches!(error, StartError::Ring { shard: 1, .. }), "{error}");
        assert!(is_free(&probe), "the other shard has ended too");
    }

    #[test]
    fn a_shard_that_panics_while_it_is_set_up_is_an_error() {
        let program = Program::default().handlers(|_| panic!("no such room"));
        let error = Gateway::start_with(config(), program).unwrap_err();
        assert!(error.to_string().contains("panicked: no such room"), "{error}");
    }

    #[test]
    fn a_shard_that_fails_stops_the_others() {
        let gateway = launch(|index, panel| match index {
            0 => wait_until(Panel::stops, panel),
            _ => Err(io::Error::other("broken")),
        });
        let error = gateway.unwrap().join().unwrap_err();
        assert_eq!(error.shard, 1);
        assert!(error.to_string().contains("shard 1 failed: its ring: broken"), "{error}");
    }

    #[test]
    fn a_shard_that_panics_stops_the_others() {
        let gateway = launch(|index, panel| match index {
            0 => panic!("lost the thread"),
            _ => wait_until(Panel::stops, panel),
        });
        let error = gateway.unwrap().join().unwrap_err();
        assert!(matches!(&error.cause, ShardEnd::Panic(text) if text == "lost the thread"));
    }

    #[test]
    fn a_shard_that_is_drained_first_leaves_the_others_running() {
        let gateway = launch(|index, panel| match index {
            0 => wait_until(|panel| panel.ordered().is_some(), panel),
            _ => wait_until(Panel::stops, panel),
        })
        .unwrap();
        gateway.drain();
        thread::sleep(Duration::from_millis(50));
        assert!(!gateway.is_finished());
        gateway.stop();
        gateway.join().unwrap();
    }
}
