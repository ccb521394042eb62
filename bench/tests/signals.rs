//! Whatever ends the benchmark ends what it has started.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take: the peer may have to be compiled.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `what` is there.
fn wait_for<T>(mut what: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(it) = what() {
            return it;
        }
        assert!(Instant::now() < until, "waited for {PATIENCE:?} in vain");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The child of process `pid` that is called `name`.
fn child(pid: u32, name: &str) -> Option<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let children =
        threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
    let children: Vec<_> = children.collect();
    let mut pids = children.iter().flat_map(|line| line.split_ascii_whitespace());
    pids.find_map(|pid| {
        let command = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        (command.trim() == name).then(|| pid.parse().ok()).flatten()
    })
}

#[test]
fn a_signal_ends_the_servers_that_were_started() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut bench = Command::new(env!("CARGO_BIN_EXE_tidegate-bench"));
        bench.args(["fanout", "--peer", "epoll", "--subscribers", "10", "--seconds", "600"]);
        let mut bench = bench.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = wait_for(|| child(bench.id(), "epoll_echo"));
        kill_process(Pid::from_child(&bench), signal).unwrap();
        let status = wait_for(|| bench.try_wait().unwrap());
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status}");
        // Its parent has gone, and whoever has taken it in may not have asked for its end yet.
        wait_for(|| {
            let stat = fs::read_to_string(format!("/proc/{server}/stat")).unwrap_or_default();
            let state = stat.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]);
            matches!(state, None | Some(b'Z' | b'X')).then_some(())
        });
    }
}
