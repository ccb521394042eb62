//! The command line.

use std::fs;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand, ValueEnum};
use tidegate::config::{
    BuiltWrong, Config, DriverChoice, ListenAddress, MAX_SHARDS, Shards, parse_admin_address,
};

use crate::client::{
    Asking, ConnectionsArguments, DisconnectArguments, DrainArguments, PublishArguments,
    ReloadArguments, RevokeArguments, TopArguments,
};
use crate::manual::Printed;

/// Command lines, and what they do.
pub const EXAMPLES: &str = "\
\x20 tidegate                                 a page, /echo and /rooms/… on 127.0.0.1:8080
  tidegate --listen 0.0.0.0:80 --shards 4  the same for everyone, on four shards
  tidegate --config /etc/tidegate.toml     what the file says
  tidegate --config new.toml --check       whether it may, and how much memory it may take
  tidegate --config new.toml --check=machine
                                           whether it would start here and now
  tidegate doctor --connections 100000     whether this machine lets it have so many
  tidegate top                             what the gateway that runs here does, each second
  tidegate drain --watch --rate 500        close its connections, and say how far that is
  tidegate drain --cancel                  take that back
  tidegate reload --dry-run                what would change if it read its file anew
  echo hello | tidegate publish rooms/a    publish on a topic";

/// What signals mean.
pub const SIGNALS: &str = "\
SIGTERM, SIGINT and SIGQUIT drain; another one stops at once, unless it comes within a
second of the first: then it counts as the same. SIGUSR1 logs all counters. SIGHUP reads the
configuration anew, with the files that it names, and opens the file of the access log anew;
connections stay, and the log says what has come of it. SIGUSR2 is ignored, and the log says so.";

/// What exit codes mean.
pub const EXITS: &str = "\
0 after a drain or a stop, 1 if the gateway cannot start or fails, 2 for a wrong
command line or configuration, for files of TLS that cannot be used, for an access log that cannot
be opened, or for sockets that were passed and are at no configured address, 3 after a drain that
ran out of time, so that connections were cut off, by `drain --watch` as well. Of commands that ask
a gateway: 1 if it did not do what it was asked for, 2 for a wrong command line or file, or a token
that cannot be one, 4 if no gateway answers at the admin address, 5 if the token is missing, or a
wrong one.";

/// What variables mean.
pub const ENVIRONMENT: &str = "\
TIDEGATE_LOG replaces the filter `log` of the configuration. TIDEGATE_TOKEN is the token that
commands which ask a gateway bring, if it is not empty: they bring it unencrypted, and warn where an
address is not loopback. Of a service manager, LISTEN_FDS
passes sockets that listeners of the same address serve, NOTIFY_SOCKET is told how the gateway is,
and WATCHDOG_USEC that all shards live.";

/// What stands below the options.
fn help() -> String {
    format!(
        "Examples:\n{EXAMPLES}\n\nSignals: {SIGNALS}\nExit codes: {EXITS}\n\
         Environment: {ENVIRONMENT}"
    )
}

/// An edge gateway for WebSocket on io_uring, or epoll
#[derive(Clone, Parser)]
#[command(version, about, after_help = help())]
pub struct Arguments {
    /// Read the configuration from a TOML file; without, the defaults
    #[arg(short, long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Listen on this address in place of the configured ones; may be repeated
    #[arg(short, long, value_name = "ADDR", value_parser = address, global = true)]
    pub listen: Vec<ListenAddress>,
    /// Run so many shards in place of the configured number: 1 to 1024, or `auto` for one a core
    #[arg(short, long, value_name = "N|auto", value_parser = shards, global = true)]
    pub shards: Option<Shards>,
    /// Ask the kernel by this in place of what is configured: `io_uring`, `epoll`, or `auto` for
    /// the first of them that is to be had
    #[arg(long, value_name = "DRIVER", value_parser = driver, global = true)]
    pub driver: Option<DriverChoice>,
    /// Be steered and watched at this address in place of the configured one, or not, by `off`; of
    /// commands that ask a gateway, where they ask it
    #[arg(long, value_name = "ADDR|off", value_parser = admin, global = true)]
    pub admin: Option<AdminAddress>,
    /// Check the configuration and the files that it names, print what is understood and what
    /// memory it may take, and exit; with `=machine`, also whether a start would succeed here and
    /// now: rings, open files, addresses, threads
    #[arg(
        long,
        value_name = "WHAT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "configuration"
    )]
    pub check: Option<DryRun>,
    /// Print the man page, or what completes this command line in a shell, and exit
    #[arg(long, value_name = "WHAT")]
    pub print: Option<Printed>,
    /// What to do in place of serving.
    #[command(subcommand)]
    pub task: Option<Task>,
}

/// What is done in place of serving.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Task {
    /// Serve, as without a command
    Serve,
    /// Check the configuration and the files that it names, and print what is understood of it and
    /// what memory it may take; the same as --check
    Check {
        /// Look as well whether a start would succeed here and now; the same as --check=machine
        #[arg(long)]
        machine: bool,
    },
    /// Drain the gateway that runs, or close some of its connections, at a pace
    Drain {
        #[command(flatten)]
        asking: Asking,
        #[command(flatten)]
        arguments: DrainArguments,
    },
    /// Show what the gateway does: connections, messages and bytes per second, by shard
    ///
    /// On a terminal it is drawn anew each second, and `q` or ^C quits; otherwise each look is a
    /// line.
    Top {
        #[command(flatten)]
        asking: Asking,
        #[command(flatten)]
        arguments: TopArguments,
    },
    /// List connections
    Connections {
        #[command(flatten)]
        asking: Asking,
        #[command(flatten)]
        arguments: ConnectionsArguments,
    },
    /// Close a connection
    Disconnect {
        #[command(flatten)]
        asking: Asking,
        #[command(flatten)]
        arguments: DisconnectArguments,
    },
    /// Publish a text on a topic
    Publish {
        #[command(flatten)]
        asking: Asking,
        #[command(flatten)]
        arguments: PublishArguments,
    },
    /// Have the gateway read its configuration anew and take it over, with the files that it names
    ///
    /// Connections stay. If anything is wrong with it, nothing changes. What needs a restart is
    /// told.
    Reload {
        #[command(flatten)]
        asking: Asking,
        #[command(flatten)]
        arguments: ReloadArguments,
    },
    /// Take tokens back: those of a user, one by its id, or all that were issued before a moment
    ///
    /// They are refused from then on, and connections that were let in by them are closed.
    Revoke {
        #[command(flatten)]
        asking: Asking,
        #[command(flatten)]
        arguments: RevokeArguments,
    },
    /// Print the version
    Version,
    /// Look whether this machine lets a gateway have so many connections, and say what to change
    ///
    /// Prints what there is, what is wanted, and what to change where that is more. Exit codes: 0
    /// if nothing is in the way, 1 if something is, 2 for a wrong command line or configuration.
    Doctor {
        /// Connections of all shards together, in place of what `limits.connections` says
        #[arg(
            short = 'n',
            long,
            value_name = "N",
            value_parser = clap::value_parser!(u64).range(1..)
        )]
        connections: Option<u64>,
    },
}

/// What is checked in place of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// The file, those that it names, and the memory bill
    Configuration,
    /// All that a start does, but serving
    Machine,
}

/// An address of the control thread; `None` for none.
#[derive(Clone, Debug)]
pub struct AdminAddress(pub Option<ListenAddress>);

impl Arguments {
    /// What is checked in place of a start.
    ///
    /// # Errors
    /// It is asked for twice, or together with something else.
    pub fn dry_run(&self) -> Result<Option<DryRun>, String> {
        match (&self.task, self.check) {
            (Some(Task::Check { machine: true }), None) => Ok(Some(DryRun::Machine)),
            (Some(Task::Check { machine: false }), None) => Ok(Some(DryRun::Configuration)),
            (None | Some(Task::Serve), check) => Ok(check),
            (Some(_), None) => Ok(None),
            (Some(_), Some(_)) => {
                Err("--check and a command do not go together: ask for one of them".into())
            }
        }
    }

    /// The configuration that the arguments ask for.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or all that is wrong with it, an error on each line.
    pub fn configuration(&self) -> Result<Config, String> {
        let mut config = match &self.config {
            None => Config::default(),
            Some(path) => read(path)?,
        };
        config.shards = self.shards.unwrap_or(config.shards);
        config.driver = self.driver.unwrap_or(config.driver);
        if let Some(AdminAddress(address)) = &self.admin {
            config = config.with_admin(address.clone());
        }
        let config = config.with_listen(&self.listen);
        // Without arguments it is a file's, or the default one, and right.
        config.check().map_err(|error| self.blame(&error))?;
        Ok(config)
    }

    /// What is known of the gateway that is asked. The arguments say where it is; this process
    /// does not listen there.
    ///
    /// # Errors
    /// The file cannot be read, or all that is wrong with it, an error on each line.
    pub fn asked(&self) -> Result<Config, String> {
        let mut config = self.config.as_deref().map_or_else(|| Ok(Config::default()), read)?;
        if let Some(AdminAddress(address)) = &self.admin {
            config.admin.address = address.clone();
            // The token of a file is for the gateway of that file.
            config.admin.tokens.clear();
        }
        Ok(config)
    }

    /// Says which arguments may be to blame for what is wrong with a configuration.
    fn blame(&self, error: &BuiltWrong) -> String {
        let listen = (!self.listen.is_empty()).then_some("--listen");
        let admin = self.admin.as_ref().map(|_| "--admin");
        let given: Vec<&str> = listen.into_iter().chain(admin).collect();
        let is_open = |AdminAddress(address): &AdminAddress| {
            let ip = address.as_ref().and_then(ListenAddress::ip);
            ip.is_some_and(|one| !one.ip().is_loopback())
        };
        let hint = match self.admin.as_ref().is_some_and(is_open) {
            true => "; tokens stand in [admin] of a file given by --config",
            false => "",
        };
        format!("{}: {error}{hint}", given.join(", "))
    }
}

fn address(text: &str) -> Result<ListenAddress, String> {
    text.parse()
}

fn admin(text: &str) -> Result<AdminAddress, String> {
    parse_admin_address(text).map(AdminAddress)
}

fn driver(text: &str) -> Result<DriverChoice, String> {
    DriverChoice::parse(text).ok_or_else(|| "must be `auto`, `io_uring` or `epoll`".to_owned())
}

fn read(path: &Path) -> Result<Config, String> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    Config::parse(&text, &name).map_err(|errors| errors.to_string())
}

fn shards(text: &str) -> Result<Shards, String> {
    if text == "auto" {
        return Ok(Shards::Auto);
    }
    let count = text.parse().ok().filter(|count: &NonZeroU16| count.get() <= MAX_SHARDS);
    count.map(Shards::Count).ok_or_else(|| format!("must be 1 to {MAX_SHARDS}, or `auto`"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use tidegate::kernel::Driver;

    use super::*;

    fn configuration(arguments: &[&str]) -> Result<Config, String> {
        let all = [&["tidegate"], arguments].concat();
        let arguments = Arguments::try_parse_from(all).map_err(|error| error.to_string())?;
        arguments.configuration()
    }

    #[test]
    fn the_command_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn without_arguments_the_defaults_are_used() {
        assert_eq!(configuration(&[]), Ok(Config::default()));
    }

    #[test]
    fn arguments_replace_what_is_configured() {
        let config = configuration(&["--listen", "[::1]:80", "-l", "0.0.0.0:80", "--shards", "3"]);
        let config = config.unwrap();
        let addresses: Vec<String> =
            config.listeners.iter().map(|listener| listener.address.to_string()).collect();
        assert_eq!(addresses, ["[::1]:80", "0.0.0.0:80"]);
        assert_eq!(config.shards, Shards::Count(NonZeroU16::new(3).unwrap()));
    }

    #[test]
    fn an_address_that_is_none_is_answered_with_an_example() {
        let error = configuration(&["--listen", "localhost:80"]).unwrap_err();
        assert!(error.contains("[::1]:8080"), "{error}");
    }

    #[test]
    fn the_admin_address_is_replaced() {
        let address = |text| configuration(&["--admin", text]).map(|config| config.admin.address);
        assert_eq!(address("off"), Ok(None));
        assert_eq!(address("[::1]:0"), Ok("[::1]:0".parse().ok()));
        let error = address("localhost").unwrap_err();
        assert!(error.contains("or \"off\""), "{error}");
        let error = address("0.0.0.0:0").unwrap_err();
        assert!(error.starts_with("--admin: admin.address: is not loopback"), "{error}");
        assert!(error.ends_with("in [admin] of a file given by --config"), "{error}");
    }

    #[test]
    fn arguments_that_contradict_each_other_or_the_file_are_refused() {
        let error = configuration(&["--listen", "127.0.0.1:8081"]).unwrap_err();
        let said = "--listen: admin.address: 127.0.0.1:8081 cannot be listened on beside \
                    127.0.0.1:8081 of listeners[0]";
        assert!(error.starts_with(said), "{error}");
        let both = ["--listen", "[::]:9", "--admin", "[::1]:9"];
        let error = configuration(&both).unwrap_err();
        assert!(error.starts_with("--listen, --admin: admin.address: [::1]:9 cannot"), "{error}");
        assert!(!error.contains("tokens"), "{error}");
        let many: Vec<String> = (1..=65).map(|port| format!("--listen=[::1]:{port}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(
            configuration(&many).unwrap_err(),
            "--listen: listeners: must be between 1 and 64, is 65"
        );
    }

    #[test]
    fn a_number_of_shards_out_of_its_bounds_is_refused() {
        assert_eq!(configuration(&["--shards", "auto"]).unwrap().shards, Shards::Auto);
        for count in ["0", "1025", "-1", "all"] {
            let error = configuration(&[&format!("--shards={count}")]).unwrap_err();
            assert!(error.contains("must be 1 to 1024"), "{error}");
        }
    }

    #[test]
    fn the_driver_is_replaced() {
        let driver = |text| configuration(&["--driver", text]).map(|config| config.driver);
        assert_eq!(driver("auto"), Ok(DriverChoice::Auto));
        assert_eq!(driver("epoll"), Ok(DriverChoice::Only(Driver::Epoll)));
        let error = driver("kqueue").unwrap_err();
        assert!(error.contains("`auto`, `io_uring` or `epoll`"), "{error}");
    }

    #[test]
    fn the_doctor_is_told_what_a_start_is_told_on_either_side_of_its_name() {
        let parse = |words: &[&str]| Arguments::try_parse_from([&["tidegate"], words].concat());
        for words in [
            &["doctor", "--shards", "3", "--driver", "epoll", "--connections", "5"][..],
            &["--shards", "3", "--driver", "epoll", "doctor", "-n", "5"],
        ] {
            let arguments = parse(words).unwrap();
            assert_eq!(arguments.task, Some(Task::Doctor { connections: Some(5) }));
            let config = arguments.configuration().unwrap();
            assert_eq!(config.shards, Shards::Count(NonZeroU16::new(3).unwrap()));
            assert_eq!(config.driver, DriverChoice::Only(Driver::Epoll));
        }
        assert_eq!(parse(&[]).unwrap().task, None);
        assert!(parse(&["doctor", "--connections", "0"]).is_err());
        assert!(parse(&["nurse"]).is_err());
    }

    #[test]
    fn who_is_asked_may_be_at_any_address_and_is_sent_no_other_s_token() {
        let parse = |words: &[&str]| Arguments::try_parse_from([&["tidegate"], words].concat());
        let asked = parse(&["drain", "--admin", "192.0.2.1:80"]).unwrap().asked().unwrap();
        assert_eq!(asked.admin.address, "192.0.2.1:80".parse().ok());
        assert!(asked.admin.tokens.is_empty());
        assert!(parse(&["drain", "--cancel", "--rate", "5"]).is_err());
        assert!(parse(&["drain", "--status", "--route", "/a"]).is_err());
        assert!(parse(&["publish"]).is_err() && parse(&["top", "-n", "0"]).is_err());
        for wrong in [
            &["revoke"][..],
            &["revoke", "--issuer", "jwt"],
            &["revoke", "--jti", "a"],
            &["revoke", "--jti", "a", "--issuer", "jwt", "--user", "ada"],
            &["revoke", "--list", "--user", "ada"],
            &["revoke", "--list", "--end", "1"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(parse(&["revoke", "--jti", "a", "--issuer", "jwt"]).is_ok());
    }

    #[test]
    fn a_check_is_asked_for_by_its_name_or_by_an_option_but_not_twice() {
        let dry_run = |words: &[&str]| {
            let arguments = Arguments::try_parse_from([&["tidegate"], words].concat()).unwrap();
            arguments.dry_run()
        };
        assert_eq!(dry_run(&["check"]), dry_run(&["--check"]));
        assert_eq!(dry_run(&["check", "--machine"]), Ok(Some(DryRun::Machine)));
        assert_eq!((dry_run(&["serve"]), dry_run(&["drain"])), (Ok(None), Ok(None)));
        assert!(dry_run(&["--check", "check"]).is_err() && dry_run(&["--check", "top"]).is_err());
    }

    #[test]
    fn what_is_packaged_is_the_default_configuration() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/packages/tidegate.toml");
        assert_eq!(configuration(&["--config", path]), Ok(Config::default()));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = configuration(&["--config", "/nowhere/tidegate.toml"]).unwrap_err();
        assert!(error.starts_with("/nowhere/tidegate.toml: "), "{error}");
    }
}
