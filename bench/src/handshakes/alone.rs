//! Handshakes of rustls alone: both sides in one thread, without sockets.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use nix::time::ClockId;
use rustls::{ServerConfig, ServerConnection};

use crate::tls::{self, Certificate, Dialer, Dialing, Exchange, Progress};

/// Lets `count` clients shake hands, and yields the CPU time that the server's side of it took.
///
/// # Errors
/// One of them failed, or was not resumed though it should have been.
pub fn alone(exchange: Exchange, is_resuming: bool, count: usize) -> io::Result<Duration> {
    let certificate = Certificate::new()?;
    let config = tls::server_config(&certificate.cert(), &certificate.key())?;
    let dialer = Dialer::new(exchange, is_resuming)?;
    // The first one is full in any case, and warms up.
    shake_hands(&config, &dialer)?;
    let mut used = Duration::ZERO;
    for _ in 0..count {
        used += shake_hands(&config, &dialer)?;
    }
    let (full, resumed) = dialer.counts();
    let all = count as u64 + 1;
    if (full, resumed) != if is_resuming { (1, all - 1) } else { (all, 0) } {
        return Err(tls::failed(format!(
            "{full} of {all} handshakes were full, {resumed} resumed"
        )));
    }
    Ok(used)
}

/// One handshake, with the ticket behind it.
fn shake_hands(config: &Arc<ServerConfig>, dialer: &Dialer) -> io::Result<Duration> {
    let mut to_server = Vec::new();
    let mut dialing = Dialing::new(dialer, "localhost", vec![b'.'], &mut to_server)?;
    let mut used = Duration::ZERO;
    let before = thread_time()?;
    let mut server = ServerConnection::new(Arc::clone(config)).map_err(tls::failed)?;
    used += thread_time()?.saturating_sub(before);
    loop {
        let before = thread_time()?;
        let mut said = &to_server[..];
        while !said.is_empty() {
            server.read_tls(&mut said)?;
            server.process_new_packets().map_err(tls::failed)?;
        }
        let mut to_client = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut to_client)?;
        }
        used += thread_time()?.saturating_sub(before);
        to_server.clear();
        dialing = match dialing.advance(&to_client, &mut to_server)? {
            Progress::Dialing(dialing) => dialing,
            // A client that waits for no ticket is through before the server is.
            Progress::Open(_) if server.is_handshaking() => {
                return finish(server, &to_server, used);
            }
            Progress::Open(_) => return Ok(used),
        };
    }
}

/// Lets the server take the last of it.
fn finish(mut server: ServerConnection, last: &[u8], used: Duration) -> io::Result<Duration> {
    let before = thread_time()?;
    let mut said = last;
    while !said.is_empty() {
        server.read_tls(&mut said)?;
        server.process_new_packets().map_err(tls::failed)?;
    }
    let mut ticket = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut ticket)?;
    }
    drop(server);
    Ok(used + thread_time()?.saturating_sub(before))
}

/// The CPU time that this thread has used.
fn thread_time() -> io::Result<Duration> {
    Ok(ClockId::CLOCK_THREAD_CPUTIME_ID.now()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_are_through_in_full_and_resumed() {
        for exchange in [Exchange::X25519, Exchange::X25519Mlkem768] {
            for is_resuming in [false, true] {
                assert!(alone(exchange, is_resuming, 3).unwrap() > Duration::ZERO);
            }
        }
    }
}
