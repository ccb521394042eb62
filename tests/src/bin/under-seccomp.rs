//! Runs a program under a seccomp filter, as engines of containers do.
//!
//! `under-seccomp --refuse-io-uring PROGRAM ARGUMENTS`: as under their own profiles.
//! `under-seccomp --kill-io-uring …`: whoever tries io_uring is killed.
//! `under-seccomp --profile FILE …`: what a profile in the form of OCI allows, and nothing else.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::io::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter, compile_from_json,
};
use serde_json::{Value, json};

/// What sets up, enters and registers with a ring; the numbers are those of every architecture.
const RINGS: [i64; 3] = [425, 426, 427];

fn main() -> ExitCode {
    match run() {
        Ok(never) => never,
        Err(error) => {
            eprintln!("under-seccomp: {error}");
            ExitCode::from(125)
        }
    }
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let mut words = env::args_os().skip(1);
    let refused = SeccompAction::Errno(Errno::PERM.raw_os_error() as u32);
    let filter = match word(&mut words)?.to_str() {
        Some("--refuse-io-uring") => without_rings(refused)?,
        Some("--kill-io-uring") => without_rings(SeccompAction::KillProcess)?,
        Some("--profile") => profile(Path::new(&word(&mut words)?))?,
        _ => return Err("--refuse-io-uring, --kill-io-uring or --profile comes first".into()),
    };
    let program = word(&mut words)?;
    apply_filter(&filter)?;
    Err(Command::new(program).args(words).exec().into())
}

fn word(words: &mut impl Iterator<Item = OsString>) -> Result<OsString, &'static str> {
    words.next().ok_or("a program is missing")
}

fn here() -> Result<TargetArch, Box<dyn Error>> {
    Ok(env::consts::ARCH.try_into()?)
}

fn without_rings(refusal: SeccompAction) -> Result<BpfProgram, Box<dyn Error>> {
    let calls: BTreeMap<_, _> = RINGS.into_iter().map(|call| (call, Vec::new())).collect();
    Ok(SeccompFilter::new(calls, SeccompAction::Allow, refusal, here()?)?.try_into()?)
}

/// What the file allows on this architecture.
fn profile(file: &Path) -> Result<BpfProgram, Box<dyn Error>> {
    let profile: Value = serde_json::from_slice(&fs::read(file)?)?;
    let arch = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let groups = profile["syscalls"].as_array().into_iter().flatten();
    let here_too = groups.filter(|group| match group["includes"]["arches"].as_array() {
        Some(arches) => arches.iter().any(|one| one == arch),
        None => group["action"] == "SCMP_ACT_ALLOW",
    });
    let names = here_too.flat_map(|group| group["names"].as_array().into_iter().flatten());
    let allowed: Vec<Value> = names.map(|name| json!({ "syscall": name })).collect();
    let refusal = json!({ "errno": profile["defaultErrnoRet"] });
    let thread = json!({ "mismatch_action": refusal, "match_action": "allow", "filter": allowed });
    let text = json!({ "main": thread }).to_string();
    let mut filters = compile_from_json(text.as_bytes(), self::here()?)?;
    Ok(filters.remove("main").ok_or("no filter was made")?)
}
