//! The server that is measured: started here, or somebody else's.

use std::env;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::target::Target;

/// The variable in which cargo tells a program that it runs where its manifest is.
const MANIFEST: &str = "CARGO_MANIFEST_PATH";

/// What is measured.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Choice {
    /// A server that is running, such as ws://127.0.0.1:8080/echo.
    #[arg(long)]
    pub url: Option<String>,
    /// The process of that server, on this machine; without it, neither its CPU time nor its
    /// memory can be reported.
    #[arg(long, requires = "url")]
    pub pid: Option<u32>,
    /// The gateway to start; `tidegate` beside this program if not given.
    #[arg(long, conflicts_with = "url")]
    pub gateway: Option<PathBuf>,
}

/// A server that runs. One that was started here ends with this value.
#[derive(Debug)]
pub struct Server {
    /// Where it answers.
    pub target: Target,
    /// Its process, if known.
    pub pid: Option<u32>,
    _child: Option<Running>,
}

/// A child process that ends with this value.
#[derive(Debug)]
struct Running(Child);

impl Server {
    /// Starts or finds the server that was chosen.
    ///
    /// # Errors
    /// The URL is not valid, or the gateway did not start.
    pub fn find(choice: &Choice) -> io::Result<Self> {
        match &choice.url {
            Some(url) => Ok(Self { target: url.parse()?, pid: choice.pid, _child: None }),
            None => Self::start(choice.gateway.clone().map_or_else(beside_this_program, Ok)?),
        }
    }

    /// Starts a gateway with one shard, which it pins to core 0, on a free port.
    fn start(program: PathBuf) -> io::Result<Self> {
        let mut command = Command::new(&program);
        command.args(["--shards", "1", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
        let child = command.spawn().map_err(|error| {
            let program = program.display();
            io::Error::other(format!(
                "{program} did not start ({error}): build it, `cargo build --release -p tidegate`"
            ))
        })?;
        let mut running = Running(child);
        let output = running.0.stdout.take().expect("it was asked for above");
        for line in BufReader::new(output).lines() {
            if let Some(address) = line?.strip_prefix("listening on ") {
                let address = address.parse().map_err(io::Error::other)?;
                let target = Target::new(address, "/echo");
                return Ok(Self { target, pid: Some(running.0.id()), _child: Some(running) });
            }
        }
        Err(io::Error::other("the gateway ended without a word about where it listens"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `tidegate` in the directory of this program; under `cargo run` it is built first, so that what
/// is measured is what the sources say.
fn beside_this_program() -> io::Result<PathBuf> {
    let this = env::current_exe()?;
    let folder = this.parent().ok_or_else(|| io::Error::other("this program has no path"))?;
    if let (Some(cargo), Some(manifest)) = (env::var_os("CARGO"), env::var_os(MANIFEST)) {
        build(Command::new(cargo).arg("build").arg("--manifest-path").arg(manifest), folder)?;
    }
    let program = folder.join("tidegate");
    if program.is_file() {
        return Ok(program);
    }
    Err(io::Error::other(
        "there is no `tidegate` beside this program: build it in the same profile (`cargo build \
         --release -p tidegate`), or say --gateway or --url",
    ))
}

/// Lets cargo build the gateway into `folder`, which is `<target>/<profile>`.
fn build(cargo: &mut Command, folder: &Path) -> io::Result<()> {
    let (Some(target), Some(name)) = (folder.parent(), folder.file_name()) else { return Ok(()) };
    // Cargo's one profile whose folder has another name.
    let profile = if name == "debug" { OsStr::new("dev") } else { name };
    cargo.args(["--quiet", "--package", "tidegate", "--bin", "tidegate"]);
    let status = cargo.arg("--target-dir").arg(target).arg("--profile").arg(profile).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("the gateway was not built")) }
}
