//! An echo server on fastwebsockets, with hyper for the opening handshake, on one thread.

use std::future::ready;
use std::{env, io};

use fastwebsockets::upgrade::{UpgradeFut, is_upgrade_request, upgrade};
use fastwebsockets::{FragmentCollector, OpCode, Role, WebSocket, WebSocketError};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tidegate_peers::{Arguments, MESSAGE_MAX, run};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{spawn_local, unconstrained};

/// What Cargo.toml requires, to the digit.
const VERSION: &str = "0.10.0";

/// The least that hyper takes for the buffer of a request head, in bytes.
const LEAN_HEAD_BUFFER: usize = 8 << 10;

fn main() -> io::Result<()> {
    let Arguments { port, lean } = Arguments::parse(env::args().skip(1))?;
    let how = if lean { "lean (bare socket, hyper buffer 8 KiB)" } else { "default" };
    let version = format!("fastwebsockets {VERSION}, {how}");
    run(port, &version, async move |stream| {
        let mut http = http1::Builder::new();
        if lean {
            http.max_buf_size(LEAN_HEAD_BUFFER);
        }
        let service = service_fn(move |request| ready(answer(request, lean)));
        // A peer that is gone, or broke the protocol, is not this program's concern.
        let _ = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    })
}

fn answer(
    mut request: Request<Incoming>,
    lean: bool,
) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    if !is_upgrade_request(&request) {
        let mut refused = Response::new(Empty::new());
        *refused.status_mut() = StatusCode::UPGRADE_REQUIRED;
        return Ok(refused);
    }
    let (response, upgraded) = upgrade(&mut request)?;
    spawn_local(async move {
        // As above. The budget of tokio's tasks is lifted as in the crate's own example.
        let _ = unconstrained(open(upgraded, lean)).await;
    });
    Ok(response)
}

/// Echoes on what hyper hands over, or if `lean` on the socket taken out of it: that saves a box
/// and a virtual call per read.
async fn open(upgraded: UpgradeFut, lean: bool) -> Result<(), WebSocketError> {
    let socket = upgraded.await?;
    if !lean {
        return echo(socket).await;
    }
    let stream = socket.into_inner().into_inner();
    let parts = stream.downcast::<TokioIo<TcpStream>>().expect("it was served above");
    // A client waits for the response before its first frame, as RFC 6455 section 4.1 asks of it.
    if !parts.read_buf.is_empty() {
        return Err(WebSocketError::ConnectionClosed);
    }
    echo(WebSocket::after_handshake(parts.io.into_inner(), Role::Server)).await
}

async fn echo<S>(mut socket: WebSocket<S>) -> Result<(), WebSocketError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // The crate refuses what is as long as its maximum.
    socket.set_max_message_size(MESSAGE_MAX + 1);
    let mut socket = FragmentCollector::new(socket);
    loop {
        // Pings and Close frames are answered by the crate.
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}
