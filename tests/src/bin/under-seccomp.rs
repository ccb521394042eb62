//! Runs a program to which io_uring is refused, as the seccomp profiles of container engines do:
//! `without-io-uring PROGRAM ARGUMENTS`. Behind `--kill`, whoever tries it is killed.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

/// What makes, enters and registers with a ring; the numbers are those of every architecture.
const CALLS: [i64; 3] = [425, 426, 427];

fn main() -> ExitCode {
    match run() {
        Ok(never) => never,
        Err(error) => {
            eprintln!("without-io-uring: {error}");
            ExitCode::from(125)
        }
    }
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let mut words = env::args_os().skip(1).peekable();
    let kills = words.next_if(|word| word == "--kill").is_some();
    let program = words.next().ok_or("a program is missing")?;
    let refusal = match kills {
        true => SeccompAction::KillProcess,
        false => SeccompAction::Errno(rustix::io::Errno::PERM.raw_os_error() as u32),
    };
    let calls: BTreeMap<_, _> = CALLS.into_iter().map(|call| (call, Vec::new())).collect();
    let here = env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(calls, SeccompAction::Allow, refusal, here)?;
    apply_filter(&BpfProgram::try_from(filter)?)?;
    Err(Command::new(program).args(words).exec().into())
}
