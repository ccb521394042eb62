//! On monoio.

use std::io;
use std::net::TcpListener;

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use monoio::{IoUringDriver, RuntimeBuilder};

use super::ENTRIES;
use super::echo::{Connection, HEADROOM};

/// Serves until killed.
pub(super) fn run(listener: TcpListener) -> io::Result<()> {
    let builder = RuntimeBuilder::<IoUringDriver>::new().with_entries(ENTRIES);
    builder.build()?.block_on(async {
        let listener = monoio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // A peer that is gone is not the server's concern.
            monoio::spawn(async move { serve(stream).await.ok() });
        }
    })
}

/// One connection. Between two reads it has no buffer: it waits until there is something to read.
async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut connection = Connection::default();
    loop {
        stream.readable(false).await?;
        let buffer = connection.buffer(Vec::new());
        let (count, buffer) = stream.read(buffer.slice_mut(HEADROOM..)).await;
        if count? == 0 {
            return Ok(());
        }
        let answer = connection.answer(buffer.into_inner());
        if !answer.range.is_empty() {
            stream.write_all(answer.buffer.slice(answer.range)).await.0?;
        }
        if answer.closes {
            return stream.shutdown().await;
        }
    }
}
