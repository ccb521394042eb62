//! The HTTP server of the control thread: HTTP/1.1, so many connections at once, and none that
//! could stay for ever.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::{Shared, router, runtime};

/// How long a request head may take, and so how long a connection may be idle.
const HEAD: Duration = Duration::from_secs(5);

/// The same of the connections beyond `admin.connections`.
const BRIEF_HEAD: Duration = Duration::from_secs(1);

/// Connections beyond `admin.connections`: each is for one request, so that whether the gateway
/// lives can be asked however many others say nothing.
pub(super) const BRIEF: usize = 8;

/// How long a peer may leave what is sent to it unacknowledged (TCP_USER_TIMEOUT, tcp(7)).
const STALL: Duration = Duration::from_secs(30);

/// How long a connection is served; then it ends behind the request that it is at.
const LIFETIME: Duration = Duration::from_secs(600);

/// How long that last request may take.
const LAST_REQUEST: Duration = Duration::from_secs(60);

/// Bytes of a request head, and of what hyper reads ahead, at most.
pub(super) const READ_BUFFER: usize = 32 << 10;

/// Header lines of a request, at most.
const HEADERS: usize = 100;

/// The wait after an accept that failed, which it may do as long as descriptors are lacking.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A connection's place among those that are served.
struct Place {
    /// For one request that comes soon.
    is_brief: bool,
    _permit: OwnedSemaphorePermit,
}

/// Serves until `stopped`'s other end is gone.
pub(super) async fn serve(
    listener: TcpListener,
    control: Shared,
    mut stopped: oneshot::Receiver<()>,
) {
    let places = Arc::new(Semaphore::new(control.config.admin.connections.into()));
    let brief = Arc::new(Semaphore::new(BRIEF));
    let app = router::new(Shared::clone(&control));
    loop {
        let next = async {
            let accepted = listener.accept().await;
            (place(&places, &brief).await, accepted)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            _ = &mut stopped => return,
        };
        let Some(place) = place else { return };
        match accepted {
            Ok((stream, _)) => {
                let (app, control) = (app.clone(), Shared::clone(&control));
                runtime::spawn(async move {
                    let _present = control.tally.connected();
                    connection(stream, app, place).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin address could not accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A place for a connection that waits: of the plain ones if one is free, else whichever becomes
/// free first.
async fn place(plain: &Arc<Semaphore>, brief: &Arc<Semaphore>) -> Option<Place> {
    let taken = tokio::select! {
        biased;
        place = Arc::clone(plain).acquire_owned() => (place, false),
        place = Arc::clone(brief).acquire_owned() => (place, true),
    };
    // The semaphores are never closed.
    let (Ok(permit), is_brief) = taken else { return None };
    Some(Place { is_brief, _permit: permit })
}

/// The whole life of one connection, which gives its place back at the end.
async fn connection(stream: TcpStream, app: axum::Router, place: Place) {
    // Both only make it better; a socket that refuses them is as good as gone.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(STALL));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(if place.is_brief { BRIEF_HEAD } else { HEAD })
        .keep_alive(!place.is_brief)
        .max_buf_size(READ_BUFFER)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut serving = std::pin::pin!(serving);
    // How a connection ends is of no interest: whoever asked has the answer or is gone.
    if timeout(LIFETIME, serving.as_mut()).await.is_err() {
        serving.as_mut().graceful_shutdown();
        let _ = timeout(LAST_REQUEST, serving).await;
    }
}
