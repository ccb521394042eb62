//! The control thread: one address over which the gateway is steered and watched by HTTP.
//!
//! It has a thread of its own, and asks shards through [`Door`], which never waits; so nothing here
//! can hold a shard up. What is asked has a deadline, and everything that comes in has a bound:
//! connections, heads, bodies, items of a batch, pages of a list, answers on their way.
//!
//! `server` has the connections, `pace` says how long each may stay, `gate` lets only what is HTTP
//! to the letter through to hyper, `service` answers, `access` says who may, `ask` brings requests
//! to the shards and answers back, `page` is what a browser shows of it; the other modules are one
//! subject of the API each.

mod access;
mod answer;
mod ask;
mod audit;
mod aws;
mod body;
mod certificates;
mod chunks;
mod clock;
mod configuration;
mod connections;
mod cursor;
mod drain;
mod ends;
mod error;
mod exposition;
mod gate;
mod health;
mod listing;
mod metrics;
mod object;
mod openapi;
mod overview;
mod pace;
mod page;
mod publish;
mod recent;
mod reload;
mod renewing;
mod revocations;
mod router;
mod runtime;
mod server;
mod service;
mod socket;
mod subscriptions;
mod tally;
mod topics;
mod whom;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::bill::{Line, Owner};
use crate::config::{Config, ListenAddress};
use crate::hub::Door;
use crate::kernel::{Driver, ListeningSocket};
use crate::shard::{ListenerTable, RouteTable};
use crate::steering::{Certificates, Handle, Reloader};

pub use metrics::{Family, counts, families};

use answer::Answers;
use ask::Questions;
use body::Bodies;
use overview::LastLook;
use recent::LastHour;
use socket::AdminSocket;
use tally::Tally;

/// The stack of the control thread, in bytes: JSON may be nested 128 deep.
const THREAD_STACK: usize = 1 << 20;

/// Connections that there may be beyond `admin.connections`.
pub(crate) const CONNECTIONS_BEYOND: u64 = server::BEYOND as u64;

/// The keys that decide what bodies and answers may hold.
const BODIES: &[&str] = &["admin.connections", "hub.max_message"];

/// What the control thread works with.
pub struct AdminParts {
    /// Says whether the gateway drains, and what it has counted.
    pub handle: Handle,
    /// The way to the shards.
    pub door: Door,
    /// What listeners show, to be told of and read anew.
    pub certificates: Certificates,
    /// What is in force of the configuration, to be told of and read anew.
    pub reloader: Reloader,
    /// How the shards ask the kernel, and so how this thread does.
    pub chosen: ChosenDriver,
    /// What the start has warned of, of its driver.
    pub warnings: Vec<String>,
    /// What it listens on.
    pub socket: ListeningSocket,
}

/// How the shards ask the kernel.
#[derive(Clone, Debug)]
pub struct ChosenDriver {
    /// By what.
    pub driver: Driver,
    /// Why they do: in words for people, with what to do about it if that is not the best.
    pub why: Arc<str>,
}

/// The control thread. Dropped, it is told to end and waited for.
#[derive(Debug)]
pub struct AdminThread {
    address: ListenAddress,
    /// Ends the thread when it is dropped.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The control thread did not start. Displayed, it says what to do.
#[derive(Debug)]
pub enum AdminError {
    /// Its address cannot be listened on.
    Listen(ListenAddress, io::Error),
    /// Its thread could not be started.
    Thread(io::Error),
    /// What runs it could not be set up.
    Runtime(io::Error),
}

/// What every request may use.
struct ControlRoom {
    handle: Handle,
    shards: Questions,
    certificates: Certificates,
    reloader: Reloader,
    chosen: ChosenDriver,
    warnings: Vec<String>,
    started: Instant,
    bodies: Bodies,
    answers: Answers,
    last_look: LastLook,
    last_hour: LastHour,
    tally: Tally,
}

/// How handlers get it.
type Shared = Arc<ControlRoom>;

/// Starts the control thread of `parts.config.admin`.
///
/// # Errors
/// What kept it from starting. Nothing of it is left then.
pub fn start(parts: AdminParts) -> Result<AdminThread, AdminError> {
    let config = &parts.reloader.in_force().config;
    let address = socket::address(&parts.socket, config).map_err(AdminError::Runtime)?;
    let (stop, stopped) = oneshot::channel();
    let (ready, readiness) = sync_channel(1);
    let driver = parts.chosen.driver;
    let (control, listener) = ControlRoom::new(parts);
    let control = Arc::new(control);
    let serve = move || {
        let serving = async move {
            // A runtime that cannot watch the socket is as good as none.
            match AdminSocket::new(listener) {
                Ok(listener) => {
                    let _ = ready.send(Ok(()));
                    runtime::spawn(recent::watch(Arc::clone(&control)));
                    server::serve(listener, control, stopped).await;
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        };
        runtime::run(driver, serving)
    };
    let spawned = thread::Builder::new().name("admin".into()).stack_size(THREAD_STACK);
    let thread = spawned.spawn(move || {
        if let Err(error) = serve() {
            tracing::error!(%error, "the control thread could not be set up");
        }
    });
    let thread = thread.map_err(AdminError::Thread)?;
    let admin = AdminThread { address, stop: Some(stop), thread: Some(thread) };
    match readiness.recv() {
        Ok(Ok(())) => Ok(admin),
        Ok(Err(error)) => Err(AdminError::Runtime(error)),
        Err(_) => Err(AdminError::Runtime(io::Error::other("its thread ended early"))),
    }
}

/// What the control thread may hold: for what it is sent, for what it answers, and its stack.
#[must_use]
pub(crate) fn lines(config: &Config) -> Vec<Line> {
    if config.admin.address.is_none() {
        return Vec::new();
    }
    let max_message = config.hub.max_message;
    let plain = config.admin.connections;
    let connections = u64::from(plain) + CONNECTIONS_BEYOND;
    // What is read, what of it is looked at, and what is written of answers that are small.
    let heads = 3 * connections * gate::HEAD_BYTES as u64;
    let answers = answer::bytes_max(max_message, plain);
    vec![
        Line::new(Owner::AdminRequests, heads, &["admin.connections"]),
        Line::new(Owner::AdminBodies, body::bytes_max(max_message, plain), BODIES),
        Line::new(Owner::AdminAnswers, answers, BODIES),
        Line::new(Owner::AdminRecent, recent::bytes_max(), &["admin.address"]),
        Line::new(Owner::AdminStack, THREAD_STACK as u64, &["admin.address"]),
    ]
}

impl ControlRoom {
    /// And what it is reached by.
    fn new(parts: AdminParts) -> (Self, ListeningSocket) {
        let AdminParts { handle, door, certificates, reloader, chosen, .. } = parts;
        let config = Arc::clone(&reloader.in_force().config);
        let AdminParts { warnings, socket, .. } = parts;
        let (message, connections) = (door.max_message(), config.admin.connections);
        let room = Self {
            handle,
            started: Instant::now(),
            bodies: Bodies::new(message, connections),
            answers: Answers::new(message, connections),
            shards: Questions::new(door),
            last_look: LastLook::default(),
            last_hour: LastHour::default(),
            tally: Tally::default(),
            certificates,
            reloader,
            chosen,
            warnings,
        };
        (room, socket)
    }

    /// The routes that are in force, which know those that were there before as well.
    fn routes(&self) -> Arc<RouteTable> {
        Arc::clone(&self.reloader.in_force().routes)
    }

    /// The listeners that are in force, which know those that were there before as well.
    fn listening(&self) -> Arc<ListenerTable> {
        Arc::clone(&self.reloader.in_force().listening)
    }

    /// The configuration that is in force.
    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.reloader.in_force().config)
    }
}

impl AdminThread {
    /// The address that it listens on, with its real port.
    #[must_use]
    pub fn address(&self) -> ListenAddress {
        self.address.clone()
    }
}

impl Drop for AdminThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic was said by the thread itself, and nothing depends on it.
            let _ = thread.join();
        }
    }
}

impl fmt::Display for AdminError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, error) => write!(
                out,
                "the admin address {address} cannot be listened on ({error}): set `address` in \
                 [admin], or --admin, to another one, or to \"off\""
            ),
            Self::Thread(error) => write!(
                out,
                "the control thread could not be started ({error}): raise the limit of threads \
                 (`ulimit -u`, or `TasksMax` in a systemd unit), or set --admin off"
            ),
            Self::Runtime(error) => write!(
                out,
                "the control thread could not be set up ({error}): raise `ulimit -n` or \
                 `ulimit -l`, or set --admin off"
            ),
        }
    }
}

impl std::error::Error for AdminError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen(_, error) | Self::Thread(error) | Self::Runtime(error) => Some(error),
        }
    }
}
