//! The man page, and the completions of shells: made of what the command line says of itself.

use std::io::{self, Write};

use clap::{Command, CommandFactory, ValueEnum};
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::arguments::{Arguments, ENVIRONMENT, EXAMPLES, EXITS, SIGNALS};

/// What is printed in place of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Printed {
    /// The man page, for man(1)
    Man,
    /// Completions for bash
    Bash,
    /// Completions for zsh
    Zsh,
    /// Completions for fish
    Fish,
}

/// Files that the page names, and what they are.
const FILES: [(&str, &str); 2] = [
    ("/etc/tidegate/tidegate.toml", "what the service of the Debian package reads"),
    (
        "/usr/share/doc/tidegate/examples/tidegate.toml",
        "every key with its default, its unit and what happens when a limit is met",
    ),
];

/// Prints it.
///
/// # Errors
/// It cannot be written.
pub fn print(what: Printed, out: &mut impl Write) -> io::Result<()> {
    let mut text = Vec::new();
    let shell = match what {
        Printed::Man => {
            page(Arguments::command(), &mut text)?;
            return out.write_all(&text);
        }
        Printed::Bash => Shell::Bash,
        Printed::Zsh => Shell::Zsh,
        Printed::Fish => Shell::Fish,
    };
    generate(shell, &mut Arguments::command(), "tidegate", &mut text);
    out.write_all(&text)
}

/// Writes the page of a command and of what stands below it.
fn page(mut command: Command, out: &mut Vec<u8>) -> io::Result<()> {
    command.build();
    let man = Man::new(command.clone()).manual("Tidegate").title("TIDEGATE");
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    let below = command.get_subcommands().filter(|one| !one.is_hide_set());
    for command in below.filter(|one| one.get_name() != "help") {
        subcommand(command, out)?;
    }
    let mut roff = Roff::new();
    prose(&mut roff, "SIGNALS", SIGNALS);
    prose(&mut roff, "EXIT STATUS", EXITS);
    prose(&mut roff, "ENVIRONMENT", ENVIRONMENT);
    roff.control("SH", ["FILES"]);
    for (path, what) in FILES {
        roff.control("TP", []);
        roff.text([bold(path)]);
        roff.text([roman(what)]);
    }
    roff.control("SH", ["EXAMPLES"]);
    roff.control("EX", []);
    for line in EXAMPLES.lines() {
        roff.text([roman(line)]);
    }
    roff.control("EE", []);
    prose(&mut roff, "SEE ALSO", "systemd.socket(5), logrotate(8)");
    roff.to_writer(out)
}

/// Writes what a subcommand is, and its options.
fn subcommand(command: &Command, out: &mut Vec<u8>) -> io::Result<()> {
    let man = Man::new(command.clone());
    let mut roff = Roff::new();
    roff.control("SH", [format!("TIDEGATE {}", command.get_name().to_uppercase()).as_str()]);
    roff.to_writer(out)?;
    for section in [Man::render_synopsis_section, Man::render_description_section] {
        below(|out| section(&man, out), out)?;
    }
    below(|out| man.render_options_section(out), out)
}

/// Writes a section one level further down.
fn below(
    section: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let mut text = Vec::new();
    section(&mut text)?;
    let text = String::from_utf8_lossy(&text).replace("\n.SH ", "\n.SS ");
    let text = text.strip_prefix(".SH ").map_or(text.clone(), |rest| format!(".SS {rest}"));
    out.write_all(text.as_bytes())
}

/// A section of one paragraph.
fn prose(roff: &mut Roff, heading: &str, text: &str) {
    roff.control("SH", [heading]);
    roff.text([roman(text.replace('\n', " "))]);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What a package installs, and what it is.
    const PACKAGED: [(&str, Printed); 4] = [
        ("tidegate.1", Printed::Man),
        ("tidegate", Printed::Bash),
        ("_tidegate", Printed::Zsh),
        ("tidegate.fish", Printed::Fish),
    ];

    fn printed(what: Printed) -> String {
        let mut text = Vec::new();
        print(what, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    /// All long options there are, with those of subcommands.
    fn options() -> Vec<String> {
        fn of(command: &Command) -> Vec<String> {
            let own = command.get_arguments().filter(|option| !option.is_hide_set());
            let own = own.filter_map(|option| Some(format!("--{}", option.get_long()?)));
            own.chain(command.get_subcommands().flat_map(of)).collect()
        }
        let mut command = Arguments::command().disable_help_subcommand(true);
        command.build();
        of(&command)
    }

    #[test]
    fn the_page_and_the_completions_name_every_option() {
        let options = options();
        assert!(options.contains(&"--config".to_owned()) && options.len() > 6, "{options:?}");
        for (name, what) in PACKAGED {
            let text = printed(what).replace("\\-", "-");
            for option in &options {
                // fish says them without their dashes.
                let bare = format!("-l {}", option.trim_start_matches('-'));
                let is_there = text.contains(option) || text.contains(&bare);
                assert!(is_there, "{name} does not name {option}");
            }
        }
    }

    #[test]
    fn the_page_says_what_signals_and_exit_codes_mean() {
        let page = printed(Printed::Man);
        for heading in ["NAME", "SYNOPSIS", "OPTIONS", "SIGNALS", "\"EXIT STATUS\"", "EXAMPLES"] {
            assert!(page.contains(&format!(".SH {heading}\n")), "{heading}");
        }
        assert!(page.contains("SIGTERM") && page.contains("TIDEGATE_LOG"), "{page}");
    }

    #[test]
    fn what_is_packaged_is_what_is_printed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/packages/printed");
        for (name, what) in PACKAGED {
            let (path, expected) = (folder.join(name), printed(what));
            if std::env::var_os("TIDEGATE_WRITE").is_some() {
                std::fs::write(&path, &expected).unwrap();
            }
            let packaged = std::fs::read_to_string(&path).unwrap();
            assert!(
                packaged == expected,
                "{} is not what is printed: write it anew by `TIDEGATE_WRITE=1 cargo test -p \
                 tidegate --bin tidegate packaged`",
                path.display()
            );
        }
    }
}
