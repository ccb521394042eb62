//! On tokio-uring.

use std::io;
use std::net::{Shutdown, TcpListener};

use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::TcpStream;

use super::ENTRIES;
use super::echo::{Connection, HEADROOM};

/// Serves until killed.
pub(super) fn run(listener: TcpListener) -> io::Result<()> {
    tokio_uring::builder().entries(ENTRIES).start(async {
        let listener = tokio_uring::net::TcpListener::from_std(listener);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // A peer that is gone is not the server's concern.
            tokio_uring::spawn(async move { serve(stream).await.ok() });
        }
    })
}

/// One connection. Its buffer is lent to the read that waits: the runtime has no way to wait
/// without one.
async fn serve(stream: TcpStream) -> io::Result<()> {
    let mut connection = Connection::default();
    let mut buffer = Vec::new();
    loop {
        buffer = connection.buffer(buffer);
        let (count, filled) = stream.read(buffer.slice(HEADROOM..)).await;
        if count? == 0 {
            return Ok(());
        }
        let answer = connection.answer(filled.into_inner());
        buffer = answer.buffer;
        if !answer.range.is_empty() {
            let (sent, slice) = stream.write_all(buffer.slice(answer.range)).await;
            sent?;
            buffer = slice.into_inner();
        }
        if answer.closes {
            return stream.shutdown(Shutdown::Write);
        }
    }
}
