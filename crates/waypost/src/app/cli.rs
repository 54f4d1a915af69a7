//! The command line: flags, `--help`, `--version`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::Program;
use super::config::layers::{self, Layer, Source};
use super::config::settings::{Arity, SETTINGS};
use super::config::{Config, Positions};
use super::exit::{Failure, USAGE};

const CONFIG_VARIABLE: &str = "WAYPOST_CONFIG";

/// Reads flags, environment and file; or says what to exit with, everything printed.
pub(crate) fn parse(program: Program) -> Result<Config, ExitCode> {
    let matches = command(program).try_get_matches().map_err(|error| {
        // Nobody is left to be told when the output is closed.
        let _ = error.print();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
            _ => ExitCode::from(USAGE),
        }
    })?;
    configure(program, &matches, |name| std::env::var_os(name))
        .map_err(|error| Failure::usage(error).report(program))
}

fn configure(
    program: Program,
    matches: &ArgMatches,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Config> {
    let mut layer = Layer::default();
    for setting in SETTINGS
        .iter()
        .filter(|setting| setting.programs.contains(&program))
    {
        if let Some(values) = matches.get_many::<String>(setting.key) {
            layer.set(setting, values.cloned().collect(), Source::Flag);
        }
    }
    layer.stack_on(layers::from_environment(&variable)?);
    let file = matches.get_one::<PathBuf>("config").cloned();
    let file = file.or_else(|| {
        variable(CONFIG_VARIABLE)
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
    });
    if let Some(file) = file {
        layer.stack_on(layers::from_file(&file)?);
    }
    let position = |name| matches.try_get_one::<u32>(name).ok().flatten().copied();
    Config::new(
        program,
        Positions {
            id: position("ID"),
            total: position("TOTAL"),
        },
        &layer,
    )
}

fn command(program: Program) -> Command {
    let stores = crate::store_registry().schemes().collect::<Vec<_>>().join(", ");
    // Once per process: the command line is read once.
    let version: &'static str = format!("{}\nstores: {stores}", crate::version()).leak();
    let mut command = Command::new(program.name())
        .version(version)
        .about(about(program))
        .after_help(format!("{}\n\n{NOTES}", examples(program)))
        .max_term_width(120);
    if program.is_server() {
        let number = |name: &'static str| Arg::new(name).value_parser(value_parser!(u32));
        command = command
            .arg(number("ID").help("Which server of the demo this is, from 1 on"))
            .arg(number("TOTAL").help("How many servers play the demo"));
    }
    command = command.arg(
        Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("Reads settings from a TOML file"),
    );
    for setting in SETTINGS
        .iter()
        .filter(|setting| setting.programs.contains(&program))
    {
        let arg = Arg::new(setting.key)
            .long(setting.key)
            .value_name(setting.value)
            .help(setting.help);
        command = command.arg(match setting.arity {
            Arity::One => arg.action(ArgAction::Set),
            Arity::Many => arg.action(ArgAction::Append),
            Arity::Switch => arg
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true"),
        });
    }
    command
}

fn about(program: Program) -> &'static str {
    match program {
        Program::Broker => "A Waypost broker: servers attach to it, and it passes their messages on",
        Program::Server => {
            "A Waypost server attached to a broker: plays the demo, or serves by JSON lines with --stdio"
        }
        Program::Brokerless => {
            "A Waypost server that is a node of the mesh: plays the demo, or serves by JSON lines with --stdio"
        }
    }
}

fn examples(program: Program) -> &'static str {
    match program {
        Program::Broker => {
            "Examples:
  waypost-broker
  waypost-broker --listen tcp://10.0.0.1:4600 --listen unix:/run/waypost.sock --store redis://db:6379
  WAYPOST_STORE=redis://db:6379 waypost-broker --config /etc/waypost.toml"
        }
        Program::Server => {
            "Examples:
  waypost-server 1 3
  waypost-server --stdio --identity game-7 --broker tcp://a:4600 --broker tcp://b:4600"
        }
        Program::Brokerless => {
            "Examples:
  waypost-brokerless 1 3
  waypost-brokerless --stdio --identity game-7 --listen tcp://10.0.0.7:4700 --store redis://db:6379"
        }
    }
}

const NOTES: &str =
    "Settings: a flag wins over its environment variable (WAYPOST_LEASE_TERM for --lease-term, and \
so on), that over the TOML file of --config or WAYPOST_CONFIG (lease-term = \"10s\"), that over the default.

Exit codes:
    0  ended as asked: by a signal, by the end of stdin, or with stdout's reader gone
    1  failed
   64  bad usage or configuration
   69  the session store or the broker cannot be reached at start
  130, 143  ended at once by a second SIGINT or SIGTERM";

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(program: Program, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Config> {
        let matches = command(program).try_get_matches_from([&[program.name()], arguments].concat())?;
        configure(program, &matches, |name| {
            environment
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.into())
        })
    }

    #[test]
    fn the_commands_are_well_formed() {
        for program in [Program::Broker, Program::Server, Program::Brokerless] {
            command(program).debug_assert();
        }
    }

    #[test]
    fn flags_may_be_repeated_or_separated_by_commas() {
        let config = parsed(
            Program::Server,
            &["1", "3", "--broker", "tcp://a:1,tcp://b:1", "--broker=tcp://c:1"],
            &[],
        );
        assert_eq!(config.unwrap().brokers, ["tcp://a:1", "tcp://b:1", "tcp://c:1"]);
    }

    #[test]
    fn a_flag_wins_over_its_variable_and_the_variable_over_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("waypost.toml");
        std::fs::write(
            &path,
            "lease-term = \"3s\"\nsend-deadline = \"3s\"\nqueue-bytes = 2097152\n",
        )
        .unwrap();
        let environment = [
            ("WAYPOST_CONFIG", path.to_str().unwrap()),
            ("WAYPOST_LEASE_TERM", "2s"),
            ("WAYPOST_SEND_DEADLINE", "2s"),
        ];
        let settings = parsed(Program::Broker, &["--lease-term", "1s"], &environment)
            .unwrap()
            .settings;
        assert_eq!(settings.lease_term.as_secs(), 1);
        assert_eq!(settings.send_deadline.as_secs(), 2);
        assert_eq!(settings.queue_bytes_max, 2 << 20);
    }

    #[test]
    fn a_setting_of_another_program_is_fine_in_shared_places_and_refused_as_a_flag() {
        assert!(parsed(Program::Server, &["1", "3"], &[("WAYPOST_STORE", "redis://h")]).is_ok());
        assert!(parsed(Program::Server, &["1", "3", "--store", "redis://h"], &[]).is_err());
        assert!(parsed(Program::Broker, &["1", "3"], &[]).is_err());
    }

    #[test]
    fn stdio_does_not_swallow_a_position() {
        let config = parsed(Program::Brokerless, &["--stdio", "2", "3"], &[]).unwrap();
        assert_eq!(config.identity.unwrap().as_str(), "server-2");
    }
}
