//! The program that is tested.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The environment variable that names a program to test in place of the one that is built here: a
/// package that is about to be released, say.
const ELSEWHERE: &str = "TIDEGATE_BINARY";

/// Where the gateway's program is; built first, once, as the tests are built themselves.
///
/// # Panics
/// It cannot be built.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    let built = || build("--bin", "tidegate").join("tidegate");
    PATH.get_or_init(|| std::env::var_os(ELSEWHERE).map_or_else(built, PathBuf::from))
}

/// Where the program of one of the gateway's examples is; built first.
///
/// # Panics
/// It cannot be built.
#[must_use]
pub fn build_example(name: &str) -> PathBuf {
    build("--example", name).join("examples").join(name)
}

/// A test's program is `<target>/<profile>/deps/<name>`; what is built gets into
/// `<target>/<profile>`, which is returned. Where no time is spent on linking, all programs and
/// examples are built, whichever is asked for: then crates have the features that `cargo test
/// --workspace` has compiled them with, and none is compiled once more.
fn build(kind: &str, name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let built = test.ancestors().nth(2).expect("cargo puts tests two folders deep");
    let target = built.parent().expect("the profile's folder is in the target folder");
    let folder = built.file_name().and_then(|name| name.to_str()).expect("a profile's name");
    // Cargo's one profile whose folder has another name.
    let profile = if folder == "debug" { "dev" } else { folder };
    let wanted = if profile == "dev" { ["--bins", "--examples"] } else { [kind, name] };
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "tidegate"])
        .args(wanted)
        .args(["--profile", profile, "--manifest-path", env!("CARGO_MANIFEST_PATH")])
        .arg("--target-dir")
        .arg(target)
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    built.to_path_buf()
}
