//! Runs a program with the sockets that come in by a socket that is its standard input, as what
//! starts services does (sd_listen_fds(3)): `pass-sockets PROGRAM ARGUMENTS`.

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, id};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// The first descriptor that is passed.
const FIRST: i32 = 3;

fn main() -> ExitCode {
    match run() {
        Ok(never) => never,
        Err(error) => {
            eprintln!("pass-sockets: {error}");
            ExitCode::from(125)
        }
    }
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let mut words = env::args_os().skip(1);
    let program = words.next().ok_or("a program is missing")?;
    // Nothing else is open, so that they have the numbers that they have to have.
    let passed = receive()?;
    for (socket, expected) in passed.iter().zip(FIRST..) {
        if socket.as_raw_fd() != expected {
            return Err(format!("{} is where {expected} should be", socket.as_raw_fd()).into());
        }
    }
    let count = passed.len();
    // They belong to the program.
    passed.into_iter().for_each(|socket| _ = socket.into_raw_fd());
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    let mut command = Command::new(program);
    command.args(words).env("LISTEN_PID", id().to_string()).env("LISTEN_FDS", count.to_string());
    Err(command.env("LISTEN_FDNAMES", vec!["test"; count].join(":")).exec().into())
}

/// What has come in: sixteen at most.
fn receive() -> Result<Vec<OwnedFd>, Box<dyn Error>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let stdin = rustix::stdio::stdin();
    recvmsg(stdin, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::empty())?;
    let mut passed = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(sockets) = message {
            passed.extend(sockets);
        }
    }
    Ok(passed)
}
