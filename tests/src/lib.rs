//! The gateway from outside: the binary itself, real sockets, hand-made bytes.
//!
//! A test starts a [`Gateway`], which is a process of its own, and talks to it as a [`Peer`], which
//! can send anything at all. Frames and HTTP heads are put together and taken apart here by a few
//! plain lines that share nothing with the gateway, so that a mistake in its protocol code cannot
//! hide behind the same mistake in its tests. [`mod@reference`] reads whole streams in the same
//! way; only the bodies of the fuzz targets, in [`fuzzing`], call the gateway's code.
//!
//! What a test waits for is awaited, up to [`PATIENCE`]; nothing sleeps and hopes.

pub mod admin;
mod binary;
mod codec;
mod counters;
mod exposition;
mod frame;
pub mod fuzzing;
mod gateway;
mod http;
pub mod hub;
pub mod layered;
pub mod line_echo;
mod peer;
mod process;
pub mod reference;
pub mod reload;
pub mod tls;
pub mod tokens;
mod witness;
pub mod xor;

use std::io::{self, ErrorKind, Read};
use std::time::{Duration, Instant};

pub use binary::{build_example, path as binary_path};
pub use codec::{Codec, inflate};
pub use counters::Counters;
pub use exposition::Exposition;
pub use frame::{BINARY, CLOSE, CONTINUATION, Frame, PING, PONG, RSV1, TEXT};
pub use gateway::{Exited, Gateway, Launch, are_by_epoll};
pub use http::{ACCEPT, Request, Response};
pub use peer::Peer;
pub use process::Process;
pub use witness::Witness;

pub use rustix::process::Signal;

/// How long anything may take that should happen at once: long enough for a machine that is busy
/// with other things.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Looks every few milliseconds until `probe` finds something, and yields it.
///
/// # Panics
/// Nothing was found within [`PATIENCE`]; the message says `what` was waited for.
#[track_caller]
pub fn wait_until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reads what is there, once there is something. A socket with a time limit is interrupted when a
/// process that was stopped goes on (signal(7)), as it is with a machine that was.
///
/// # Errors
/// As from `read`, but for the interruption.
pub fn read_some(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(into) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Runs one case of a table; a failure says which one it was.
pub fn case<T>(name: impl std::fmt::Display, run: impl FnOnce() -> T) -> T {
    struct Name<N: std::fmt::Display>(N);
    impl<N: std::fmt::Display> Drop for Name<N> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("in the case: {}", self.0);
            }
        }
    }
    let _name = Name(name);
    run()
}

/// Bytes that no codec can make shorter, the same at each run: xorshift64* from `seed`.
#[must_use]
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}
