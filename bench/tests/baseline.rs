//! All baselines echo, so that none rots.
#![expect(clippy::unwrap_used, reason = "a test: what fails here fails the test")]

use std::io;
use std::net::TcpStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use tidegate_bench::baseline::{self, Arguments, Runtime};
use tidegate_bench::peer::{self, Peer};
use tidegate_bench::runtime;
use tidegate_bench::server::free_address;
use tidegate_bench::target::Target;
use tidegate_bench::tls::{Certificate, Dialer, Exchange};

/// How long a server may take to listen.
const START_MAX: Duration = Duration::from_secs(10);

/// Starts a server in a thread that ends with the process.
fn start(runtime: Runtime) -> Target {
    let address = free_address().unwrap();
    let port = address.port();
    thread::spawn(move || {
        // It is there for as long as the server is.
        let certificate = (runtime == Runtime::Epoll).then(|| Certificate::new().unwrap());
        let file = |of: fn(&Certificate) -> PathBuf| certificate.as_ref().map(of);
        let (cert, key) = (file(Certificate::cert), file(Certificate::key));
        baseline::run(&Arguments { runtime, port, cert, key }).unwrap();
    });
    let begin = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(begin.elapsed() < START_MAX, "{runtime:?} does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    let target = Target::new(address, "/echo");
    if runtime != Runtime::Epoll {
        return target;
    }
    target.over_tls(Dialer::new(Exchange::default(), true).unwrap())
}

fn echo(runtime: Runtime) -> io::Result<()> {
    let target = start(runtime);
    runtime::run(0, async {
        let mut peer = Peer::open(&target).await?;
        // Over TLS, the next one resumes what this one has begun.
        drop(Peer::open(&target).await?);
        for size in [0, 64, 20_000, 100_000, 64, 0, 20_000] {
            peer.echo(&peer::message(size)?).await?;
            // They are meant for messages of one size.
            peer.forget_buffers();
        }
        Ok(())
    })?;
    let counts = target.tls.map(|dialer| dialer.counts());
    assert!(counts.is_none_or(|counts| counts == (1, 1)), "{counts:?}");
    Ok(())
}

#[test]
fn a_bare_loop_echoes_over_tls() {
    echo(Runtime::Epoll).unwrap();
}

#[test]
fn monoio_echoes() {
    echo(Runtime::Monoio).unwrap();
}

#[test]
fn tokio_uring_echoes() {
    echo(Runtime::TokioUring).unwrap();
}
