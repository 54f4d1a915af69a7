#![cfg(feature = "executables")]
//! The table of settings in `docs/config.md` is the one of the code. `WAYPOST_UPDATE_DOCS=1` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use waypost::app::Program;
use waypost::app::config::settings::{Arity, SETTINGS, Setting};

const BEGIN: &str = "<!-- settings: begin -->\n";
const END: &str = "<!-- settings: end -->";

#[test]
fn the_documented_settings_are_those_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text
        .split_once(BEGIN)
        .expect("docs/config.md marks where the table begins");
    let (table, after) = rest
        .split_once(END)
        .expect("docs/config.md marks where the table ends");
    let rendered = render();
    if std::env::var_os("WAYPOST_UPDATE_DOCS").is_some_and(|wanted| wanted == "1") {
        std::fs::write(&path, format!("{before}{BEGIN}{rendered}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(
        table, rendered,
        "docs/config.md is out of date: run `WAYPOST_UPDATE_DOCS=1 cargo test -p waypost --test docs_config`"
    );
}

fn render() -> String {
    let mut table = "| flag | variable | key in the file | takes | of | default | what it is |\n\
                     |---|---|---|---|---|---|---|\n"
        .to_owned();
    for setting in SETTINGS {
        let (help, default) = split(setting);
        writeln!(
            table,
            "| `--{key}` | `{}` | `{key}` | {} | {} | {default} | {help} |",
            setting.variable(),
            takes(setting),
            programs(setting.programs),
            key = setting.key,
        )
        .unwrap();
    }
    table
}

/// The help, and the default that it names in brackets at its end.
fn split(setting: &Setting) -> (String, String) {
    let cell = |text: &str| text.trim().replace('|', "\\|");
    match setting
        .help
        .strip_suffix(']')
        .and_then(|help| help.split_once("[default: "))
    {
        Some((help, default)) => (cell(help), cell(default)),
        None if setting.arity == Arity::Switch => (cell(setting.help), "`false`".to_owned()),
        None => (cell(setting.help), "none".to_owned()),
    }
}

fn takes(setting: &Setting) -> String {
    match setting.arity {
        Arity::One => format!("`{}`", setting.value),
        Arity::Many => format!("`{}`, several", setting.value),
        Arity::Switch => "`true` or `false`; the flag alone means `true`".to_owned(),
    }
}

fn programs(programs: &[Program]) -> &'static str {
    let has = |program| programs.contains(&program);
    match (
        has(Program::Broker),
        has(Program::Server),
        has(Program::Brokerless),
    ) {
        (true, true, true) => "all",
        (true, false, true) => "broker, brokerless",
        (false, true, true) => "server, brokerless",
        (true, false, false) => "broker",
        (false, true, false) => "server",
        (false, false, true) => "brokerless",
        (true, true, false) => "broker, server",
        (false, false, false) => "none",
    }
}
