//! Echoes: CPU per message, latency, throughput.
//!
//! In a closed loop every connection sends its next message when it has the last one back: the
//! server is as busy as it can be. In an open loop (`--rate`) messages are due at equal distances,
//! and latency is counted from when a message was due, so that a server that falls behind cannot
//! hide it by slowing the load down.

use std::fmt;
use std::io;
use std::time::Duration;

use serde::Serialize;

use crate::arguments::{count, seconds, size, some_seconds, threads};
use crate::latency::Latency;
use crate::load::{Load, Pace, Run, Shape};
use crate::process::MemoryUse;
use crate::server::{Choice, Server};

/// The rates of an open loop, in messages per second.
const RATE_MIN: f64 = 1.0;
const RATE_MAX: f64 = 10_000_000.0;

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// What to measure.
    #[command(flatten)]
    pub server: Choice,
    /// Connections, spread over the threads.
    #[arg(long, short, default_value_t = 1000, value_parser = count)]
    pub connections: usize,
    /// Payload of a message, in bytes.
    #[arg(long, short, default_value_t = 64, value_parser = size)]
    pub size: usize,
    /// Messages per second, all connections together: an open loop. Without it, each connection
    /// sends when it has the last echo.
    #[arg(long, value_parser = rate)]
    pub rate: Option<f64>,
    /// How long to measure, in seconds.
    #[arg(long, default_value_t = 5.0, value_parser = some_seconds)]
    pub seconds: f64,
    /// How long to do the same before, unmeasured, in seconds.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub warm_up: f64,
    /// Load threads, pinned from the last core down.
    #[arg(long, default_value_t = 1, value_parser = threads)]
    pub threads: usize,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().map_err(|error| error.to_string())?;
    let valid = (RATE_MIN..=RATE_MAX).contains(&rate);
    if valid { Ok(rate) } else { Err(format!("from {RATE_MIN} to {RATE_MAX} per second")) }
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What the server says of itself.
    pub description: String,
    /// Connections.
    pub connections: usize,
    /// Payload of a message, in bytes.
    pub size: usize,
    /// How long was measured, in seconds.
    pub seconds: f64,
    /// Messages that were sent and came back.
    pub messages: u64,
    /// The same per second.
    pub messages_per_second: f64,
    /// From before a message is put together, or in an open loop from when it was due, to after
    /// its echo is checked.
    pub latency: Latency,
    /// If it was an open loop.
    pub open_loop: Option<OpenLoop>,
    /// What the server used, if its process is known.
    pub server: Option<ServerUse>,
    /// CPU that the load generator used, of one core: at 1 per thread, the generator is what was
    /// measured.
    pub generator_cores: f64,
}

/// How an open loop went.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct OpenLoop {
    /// Messages per second that were to be sent.
    pub rate: f64,
    /// How late the load generator itself was: how long after its time a message was sent for which
    /// a connection was free.
    pub lateness: Latency,
    /// Messages that were not sent because no connection became free in time. Their latency is in
    /// no percentile.
    pub unsent: u64,
}

/// What the server used.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ServerUse {
    /// CPU in user mode, in seconds per million messages (so microseconds per message).
    pub user_s_per_million: f64,
    /// The same in kernel mode.
    pub system_s_per_million: f64,
    /// CPU of one core.
    pub cores: f64,
    /// Resident memory at the end, in bytes.
    pub resident_bytes: u64,
}

/// Measures.
///
/// # Errors
/// The server did not start, or a connection failed.
pub fn run(arguments: &Arguments) -> io::Result<Report> {
    let Arguments { connections, size, threads, .. } = *arguments;
    let server = Server::find(&arguments.server)?;
    let load = Load::open(&server, Shape { connections, size, threads })?;
    let pace = arguments.rate.map_or(Pace::Closed, Pace::Open);
    load.run(Duration::from_secs_f64(arguments.warm_up), pace)?;
    let run = load.run(Duration::from_secs_f64(arguments.seconds), pace)?;
    let memory = server.pid.map(MemoryUse::of).transpose()?;
    Ok(Report::new(arguments, server.description.clone(), &run, memory))
}

impl Report {
    fn new(
        arguments: &Arguments,
        description: String,
        run: &Run,
        memory: Option<MemoryUse>,
    ) -> Self {
        let (seconds, messages) = (run.time.as_secs_f64(), run.tally.messages);
        let server = run.server.zip(memory).map(|(cpu, memory)| ServerUse {
            user_s_per_million: per_million(cpu.user(), messages),
            system_s_per_million: per_million(cpu.system(), messages),
            cores: cpu.total().as_secs_f64() / seconds,
            resident_bytes: memory.resident_bytes,
        });
        Self {
            description,
            connections: arguments.connections,
            size: arguments.size,
            seconds,
            messages,
            messages_per_second: messages as f64 / seconds,
            latency: Latency::new(&run.tally.latency_ns),
            open_loop: arguments.rate.map(|rate| OpenLoop {
                rate,
                lateness: Latency::new(&run.tally.lateness_ns),
                unsent: run.tally.unsent,
            }),
            server,
            generator_cores: run.generator.total().as_secs_f64() / seconds,
        }
    }
}

fn per_million(time: Duration, messages: u64) -> f64 {
    time.as_secs_f64() / messages.max(1) as f64 * 1e6
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency { p50_us, p90_us, p99_us, p999_us, max_us } = self.latency;
        let Self { description, connections, size, seconds, .. } = self;
        writeln!(
            out,
            "echo: {connections} connections, {size} B, {seconds:.1} s to {description}"
        )?;
        writeln!(out, "  messages per second   {:>12.0}", self.messages_per_second)?;
        writeln!(out, "  latency p50           {p50_us:>12.1} us")?;
        writeln!(out, "          p90           {p90_us:>12.1} us")?;
        writeln!(out, "          p99           {p99_us:>12.1} us")?;
        writeln!(out, "          p99.9         {p999_us:>12.1} us")?;
        writeln!(out, "          max           {max_us:>12.1} us")?;
        if let Some(OpenLoop { rate, lateness, unsent }) = self.open_loop {
            writeln!(out, "  due per second        {rate:>12.0}")?;
            writeln!(out, "  never sent            {unsent:>12}")?;
            let Latency { p50_us, p99_us, max_us, .. } = lateness;
            write!(out, "  generator, late       {p50_us:>12.1} us p50, ")?;
            writeln!(out, "{p99_us:.1} us p99, {max_us:.1} us max")?;
        }
        match &self.server {
            Some(server) => server.fmt(out)?,
            None => writeln!(out, "  server                     unknown (--pid)")?,
        }
        writeln!(out, "  generator             {:>12.2} cores", self.generator_cores)
    }
}

impl fmt::Display for ServerUse {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resident_mib = self.resident_bytes as f64 / f64::from(1 << 20);
        writeln!(out, "  server, user          {:>12.2} s/1M messages", self.user_s_per_million)?;
        writeln!(out, "  server, system        {:>12.2} s/1M messages", self.system_s_per_million)?;
        writeln!(out, "  server                {:>12.2} cores", self.cores)?;
        writeln!(out, "  server, resident      {resident_mib:>12.1} MiB")
    }
}
