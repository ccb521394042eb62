//! An echo server on tokio-tungstenite, on one thread.

use std::{env, io};

use futures_util::{SinkExt, StreamExt};
use tidegate_peers::{Arguments, MESSAGE_MAX, run};
use tokio::net::TcpStream;
use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};

/// What Cargo.toml requires, to the digit.
const VERSION: &str = "0.30.0";

/// The bytes that a lean connection reads at once.
const LEAN_READ_BUFFER: usize = 1 << 10;

fn main() -> io::Result<()> {
    let Arguments { port, lean } = Arguments::parse(env::args().skip(1))?;
    let how = if lean { "lean (read buffer 1 KiB, write buffer 0)" } else { "default" };
    let version = format!("tokio-tungstenite {VERSION}, {how}");
    run(port, &version, async move |stream| {
        // A peer that is gone, or broke the protocol, is not this program's concern.
        let _ = echo(stream, config(lean)).await;
    })
}

fn config(lean: bool) -> WebSocketConfig {
    let limited = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_MAX))
        .max_frame_size(Some(MESSAGE_MAX));
    if !lean {
        return limited;
    }
    limited
        .read_buffer_size(LEAN_READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * MESSAGE_MAX)
}

async fn echo(stream: TcpStream, config: WebSocketConfig) -> Result<(), tungstenite::Error> {
    let mut socket = accept_async_with_config(stream, Some(config)).await?;
    // Pings and Close frames are answered by the crate, while it is read from.
    while let Some(message) = socket.next().await {
        let message = message?;
        if matches!(message, Message::Text(_) | Message::Binary(_)) {
            socket.send(message).await?;
        }
    }
    Ok(())
}
