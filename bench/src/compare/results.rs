//! The page with the results, and its plots.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use super::contest::Contender;
use super::plot::Bars;
use super::report::{Comparison, Report};

/// The page.
const PAGE: &str = "RESULTS.md";

/// The folder beside it for the plots.
const PLOTS: &str = "plots";

/// Writes the page and its plots to `folder`. Plots of an earlier run are replaced.
///
/// # Errors
/// The folder cannot be written to.
pub fn write(report: &Report, folder: &Path) -> io::Result<()> {
    let plots = folder.join(PLOTS);
    if plots.is_dir() {
        fs::remove_dir_all(&plots)?;
    }
    fs::create_dir_all(&plots)?;
    for comparison in &report.comparisons {
        if let Some(bars) = bars(comparison) {
            fs::write(plots.join(file_name(comparison)), bars.draw()?)?;
        }
    }
    fs::write(folder.join(PAGE), page(report))
}

fn page(report: &Report) -> String {
    let mut page = String::new();
    put(&mut page, report).expect("a string takes everything");
    page
}

fn put(page: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(page, "# Results\n")?;
    writeln!(page, "Made by `{}`;", report.command())?;
    writeln!(page, "{}. It took {:.0} minutes.\n", report.machine, report.seconds / 60.0)?;
    writeln!(page, "{READING}\n")?;
    for comparison in &report.comparisons {
        writeln!(page, "{comparison}")?;
        if bars(comparison).is_some() {
            writeln!(page, "![{}]({PLOTS}/{})\n", comparison.title, file_name(comparison))?;
        }
    }
    writeln!(page, "## Servers\n")?;
    for (server, description) in report.servers() {
        writeln!(page, "- {server}: {description}")?;
    }
    for left_out in &report.missing {
        writeln!(page, "- {}: left out: {}", left_out.server, left_out.why)?;
    }
    Ok(())
}

/// How the tables are to be read.
const READING: &str = "\
Servers take turns in short rounds. A ratio is to the figure of the named server in the same \
round: the median of all rounds, and in brackets the quartiles. There is no verdict where the \
quartiles are further apart than the median is from 1. Every server has core 0 to itself and the \
load generator the last core; the generator's own CPU is in the tables, and where it is near one \
core, throughput and latency are its limit and not the server's. Absolute times mean little on a \
shared machine.

Where a title ends with TLS, it is TLS 1.3 for all, with AES-128-GCM, X25519 and a certificate on \
P-256. There `epoll` is a bare loop over the same AEAD as the gateway's, which keeps its keys, and \
`nginx` stands in front of an echo: what is counted is nginx alone. rustls alone shakes hands \
without sockets, which all others open and close for it.";

/// The first figure of a comparison, for each server that has it.
fn bars(comparison: &Comparison) -> Option<Bars> {
    let first = comparison.rows.iter().find_map(|row| row.figures.first())?;
    let bars = comparison.rows.iter().filter_map(|row| {
        let figure = row.figures.iter().find(|figure| figure.metric == first.metric)?;
        Some((row.server.clone(), figure.value))
    });
    Some(Bars {
        title: format!("{}: {}", comparison.title, first.metric.head()),
        bars: bars.collect(),
        emphasis: Contender::Gateway.name(),
    })
}

/// Made of the letters and digits of the title.
fn file_name(comparison: &Comparison) -> String {
    let words = comparison.title.split(|letter: char| !letter.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    format!("{}.svg", words.join("-").to_lowercase())
}
