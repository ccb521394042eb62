//! The HTTP server of the control thread: HTTP/1.1, so many connections at once, and none that
//! could stay for ever.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::audit::Caller;
use super::gate::{Gate, HEAD_BYTES};
use super::pace::{Due, HeadFault, Pace};
use super::service::ConnectionService;
use super::socket::{AdminSocket, AdminStream};
use super::{Shared, router, runtime};

/// Connections beyond `admin.connections`: each is for one request, which has little time.
pub(super) const BRIEF: usize = 8;

/// Connections beyond those, for /healthz and /readyz alone, so that whether the gateway lives can
/// be asked whatever others do. Whoever asks for something else there waits for another place.
const PROBES: usize = 8;

/// Connections beyond `admin.connections` in all.
pub(super) const BEYOND: usize = BRIEF + PROBES;

/// How long somebody at a place for [`PROBES`] waits for another, unless others need it.
const WAIT: Duration = Duration::from_secs(1);

/// The wait after an accept that failed, which it may do as long as descriptors are lacking.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How long one that makes room is waited for before the next is asked.
const ROOM: Duration = Duration::from_millis(50);

/// How long after somebody found no room answers say that their connection ends.
const CROWDED: Duration = Duration::from_secs(1);

/// How late it may be seen that a head has begun, and so that it takes too long.
const LOOK: Duration = Duration::from_secs(1);

/// All connections, and the places that they have.
pub(super) struct House {
    control: Shared,
    plain: Arc<Semaphore>,
    brief: Arc<Semaphore>,
    probes: Arc<Semaphore>,
    /// Those that are kept alive; at most as many as there are places, once those that ended are
    /// gone.
    kept: RefCell<Vec<Weak<Pace>>>,
    /// When somebody found no room last.
    crowded_at: Cell<Option<Instant>>,
}

/// A connection's place among those that are served.
pub(super) struct Seat {
    kind: SeatUse,
    _permit: OwnedSemaphorePermit,
}

/// What a place is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SeatUse {
    Plain,
    /// One request that comes soon.
    Brief,
    /// One that asks how the gateway is.
    Probe,
}

/// Serves until `stopped`'s other end is gone.
pub(super) async fn serve(
    listener: AdminSocket,
    control: Shared,
    mut stopped: oneshot::Receiver<()>,
) {
    let app = router::new(Shared::clone(&control));
    let house = Rc::new(House::new(control));
    loop {
        let next = async {
            let accepted = listener.accept().await;
            (house.place().await, accepted)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            _ = &mut stopped => return,
        };
        let Some(place) = place else { return };
        match accepted {
            Ok((stream, peer)) => {
                let app = app.clone().layer(Extension(Caller(peer)));
                let house = Rc::clone(&house);
                runtime::spawn(async move {
                    let _present = house.control.tally.connected();
                    house.connection(stream, app, place).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin address could not accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Seat {
    /// `None` if there are no more places at all, since their semaphore was closed; none ever is.
    fn of(permit: Result<OwnedSemaphorePermit, AcquireError>, kind: SeatUse) -> Option<Self> {
        Some(Self { kind, _permit: permit.ok()? })
    }
}

impl House {
    fn new(control: Shared) -> Self {
        Self {
            plain: Arc::new(Semaphore::new(control.config().admin.connections.into())),
            brief: Arc::new(Semaphore::new(BRIEF)),
            probes: Arc::new(Semaphore::new(PROBES)),
            kept: RefCell::default(),
            crowded_at: Cell::new(None),
            control,
        }
    }

    /// A place for a connection that waits: a plain one if one is free or somebody makes room, else
    /// whichever becomes free first.
    async fn place(&self) -> Option<Seat> {
        if let Ok(permit) = Arc::clone(&self.plain).try_acquire_owned() {
            return Seat::of(Ok(permit), SeatUse::Plain);
        }
        loop {
            self.crowded_at.set(Some(Instant::now()));
            let is_making_room = self.make_room();
            tokio::select! {
                biased;
                permit = Arc::clone(&self.plain).acquire_owned() => {
                    return Seat::of(permit, SeatUse::Plain);
                }
                permit = Arc::clone(&self.brief).acquire_owned(), if !is_making_room => {
                    return Seat::of(permit, SeatUse::Brief);
                }
                permit = Arc::clone(&self.probes).acquire_owned(), if !is_making_room => {
                    return Seat::of(permit, SeatUse::Probe);
                }
                () = sleep(ROOM) => {}
            }
        }
    }

    /// Whether any request may be answered at `place`, which is changed for another if it is one
    /// for [`PROBES`], and another becomes free.
    pub(super) async fn admits(&self, place: &RefCell<Seat>) -> bool {
        if place.borrow().kind != SeatUse::Probe {
            return true;
        }
        // So many of them wait at most, so that the other places are taken by heads alone.
        let is_scarce = self.probes.available_permits() < PROBES / 2;
        let free = async {
            tokio::select! {
                biased;
                permit = Arc::clone(&self.plain).acquire_owned() => permit,
                permit = Arc::clone(&self.brief).acquire_owned() => permit,
            }
        };
        let wait = if is_scarce { Duration::ZERO } else { WAIT };
        let free = timeout(wait, free).await.ok();
        let free = free.and_then(|permit| Seat::of(permit, SeatUse::Brief));
        free.map(|free| place.replace(free)).is_some()
    }

    /// Ends the connection that has been idle longest, if there is one that has been for a while.
    fn make_room(&self) -> bool {
        let kept = self.kept.borrow();
        let idle = kept.iter().filter_map(Weak::upgrade);
        let idle = idle.filter_map(|pace| Some((pace.can_give_way()?, pace)));
        let Some((_, longest)) = idle.min_by_key(|(since, _)| *since) else { return false };
        longest.give_way();
        self.control.tally.gave_way();
        true
    }

    /// Whether connections are kept alive now: neither do others need them, nor does all end.
    pub(super) fn keeps(&self) -> bool {
        let is_crowded = self.crowded_at.get().is_some_and(|at| at.elapsed() < CROWDED);
        !is_crowded && self.control.handle.is_serving()
    }

    /// What is answered with.
    pub(super) fn control(&self) -> &Shared {
        &self.control
    }

    fn keep(&self, pace: &Rc<Pace>) {
        let mut kept = self.kept.borrow_mut();
        kept.retain(|pace| pace.strong_count() > 0);
        kept.push(Rc::downgrade(pace));
    }

    /// The whole life of one connection, whose place is given back at the end.
    async fn connection(self: &Rc<Self>, stream: AdminStream, app: axum::Router, place: Seat) {
        let pace =
            Rc::new(Pace::new(place.kind != SeatUse::Plain, self.control.config().admin.keepalive));
        self.keep(&pace);
        let service = ConnectionService::new(app, Rc::clone(self), place, Rc::clone(&pace));
        let serving = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(Gate::new(stream, Rc::clone(&pace))), service);
        let mut serving = std::pin::pin!(serving);
        loop {
            let look = pace.deadline().min(Instant::now() + LOOK);
            tokio::select! {
                biased;
                // How a connection ends is of no interest: whoever asked has the answer or is gone.
                _ = serving.as_mut() => return,
                () = pace.is_told() => {}
                () = sleep_until(look) => {}
            }
            match pace.due() {
                Due::Nothing => {}
                Due::End => serving.as_mut().graceful_shutdown(),
                Due::RefuseHead => pace.refuse(HeadFault::Slow),
                Due::GiveUp => return,
            }
        }
    }
}
