//! The processes that were started here: they end with this one, also when it is told to end.
//!
//! (`PR_SET_PDEATHSIG` would not do: it is about the thread that starts a child, and those are gone
//! long before.)

use std::io;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// A child process. What has been waited for is not killed by its number any more, which may be
/// somebody else's by then: [`Child`] knows.
pub(crate) type Shared = Arc<Mutex<Child>>;

/// All that run.
static RUNNING: Mutex<Vec<Shared>> = Mutex::new(Vec::new());

/// From now on, a signal that ends this process ends those first that were started here.
///
/// # Errors
/// The kernel has no descriptors for it.
pub fn end_with_signals() -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            // Kept until this process has ended: nobody starts any more.
            let running = lock(&RUNNING);
            for child in running.iter() {
                // It fails only for a process that has ended.
                let _ = lock(child).kill();
            }
            let _ = emulate_default_handler(signal);
        }
    })?;
    Ok(())
}

/// Starts a process that ends with this one.
///
/// # Errors
/// It could not be started.
pub(crate) fn start(command: &mut Command) -> io::Result<Shared> {
    let mut running = lock(&RUNNING);
    let child = Arc::new(Mutex::new(command.spawn()?));
    running.push(Arc::clone(&child));
    Ok(child)
}

/// Ends a process, and forgets it.
pub(crate) fn end(child: &Shared) {
    {
        let mut child = lock(child);
        // Both fail only for a process that has ended.
        let _ = child.kill();
        let _ = child.wait();
    }
    lock(&RUNNING).retain(|one| !Arc::ptr_eq(one, child));
}

/// What a panic left is as good as before: nothing here is half done.
pub(crate) fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
