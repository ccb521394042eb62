//! Both baselines echo, so that neither rots.
#![expect(clippy::unwrap_used, reason = "a test: what fails here fails the test")]

use std::io;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use tidegate_bench::baseline::{self, Runtime};
use tidegate_bench::peer::{self, Peer};
use tidegate_bench::runtime;
use tidegate_bench::server::free_address;
use tidegate_bench::target::Target;

/// How long a server may take to listen.
const START_MAX: Duration = Duration::from_secs(10);

/// Starts a server in a thread that ends with the process.
fn start(runtime: Runtime) -> Target {
    let address = free_address().unwrap();
    let port = address.port();
    thread::spawn(move || baseline::run(runtime, port).unwrap());
    let begin = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(begin.elapsed() < START_MAX, "{runtime:?} does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    Target::new(address, "/echo")
}

fn echo(runtime: Runtime) -> io::Result<()> {
    let target = start(runtime);
    runtime::run(0, async {
        let mut peer = Peer::open(&target).await?;
        for size in [0, 64, 20_000, 100_000, 64, 0, 20_000] {
            peer.echo(&peer::message(size)?).await?;
            // They are meant for messages of one size.
            peer.forget_buffers();
        }
        Ok(())
    })
}

#[test]
fn monoio_echoes() {
    echo(Runtime::Monoio).unwrap();
}

#[test]
fn tokio_uring_echoes() {
    echo(Runtime::TokioUring).unwrap();
}
