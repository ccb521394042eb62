//! Descriptors that whoever started this process has opened for it.

use std::env;
use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The environment variable that says to which process descriptors were passed.
const PASSED_TO: &str = "LISTEN_PID";

/// Takes the descriptors that were passed to this process (sd_listen_fds(3)), and takes out of the
/// environment what tells of them. Without any there are none, and a second call finds none. They
/// are closed on exec from here on.
///
/// # Errors
/// The variables contradict each other or what is open, or there are other threads already.
pub fn take_passed() -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if env::var_os(PASSED_TO).is_none() || TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("other threads run already, which might read them too"));
    }
    // SAFETY: this changes the environment, which no other thread may read meanwhile. There is no
    // other thread, as was just seen, and this one starts none before the call returns.
    let passed = unsafe { sd_notify::listen_fds_with_names_and_unset_env() }?;
    // SAFETY: each is open, as the call has seen, and the variables gave all of them to this
    // process to own. They are handed out once, and nobody else here knows them by number.
    Ok(passed.map(|(passed, _)| unsafe { OwnedFd::from_raw_fd(passed) }).collect())
}
