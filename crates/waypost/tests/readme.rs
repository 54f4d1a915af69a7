//! What the repository's README has a reader type into `--stdio` servers, and what it says that they print.

mod support;

use std::path::Path;

use serde_json::Value;
use support::{BROKER, BROKERLESS, Process, SERVER, command, eventually};

const README: &str = include_str!("../../../README.md");

/// The code blocks of a language behind `after`, in their order.
fn blocks(language: &str, after: &str) -> Vec<&'static str> {
    let (_, text) = README.split_once(after).unwrap();
    let fence = format!("```{language}\n");
    let blocks = text.split(&fence[..]).skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap()).collect()
}

fn values(block: &str) -> Vec<Value> {
    block
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn what_is_typed_into_two_servers_of_a_broker_gives_what_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let ready = directory.path().join("ready");
    let store = format!("embedded:{}", directory.path().join("sessions").display());
    let mut broker = command(BROKER);
    broker.args(["--listen", "tcp://127.0.0.1:0", "--store", &store, "--ready-file"]);
    let _broker = Process::spawn(broker.arg(&ready));
    let url = eventually("the broker is ready", || read_url(&ready));
    let server = |identity: &str| {
        let arguments = ["--stdio", "--identity", identity, "--broker", &url];
        let mut process = Process::spawn(command(SERVER).args(arguments));
        process.event("registered");
        process
    };
    let (mut one, mut two) = (server("one"), server("two"));

    let [into_two, into_one, shown, ..] = blocks("json", "With `--stdio` a server obeys")[..] else {
        panic!("the README shows two inputs and what is printed");
    };
    for line in into_two.lines() {
        two.ask(line, "connected");
    }
    for line in into_one.lines() {
        one.write(line);
    }
    let mut shown = values(shown);
    assert_eq!(two.event("message"), shown.remove(0));
    let mut outcomes = [one.event("outcome"), one.event("outcome")];
    outcomes.sort_by_key(|outcome| outcome["id"].as_u64());
    assert_eq!(outcomes[..], shown[..]);
}

fn read_url(ready: &Path) -> Option<String> {
    let ready: Value = serde_json::from_slice(&std::fs::read(ready).ok()?).ok()?;
    Some(ready["listen"][0].as_str()?.to_owned())
}

#[test]
fn the_short_script_ends_by_itself_and_its_message_is_delivered() {
    let directory = tempfile::tempdir().unwrap();
    let scripts = blocks("sh", "So a script can be as short as this");
    let script = scripts[0]
        .replace("target/release/waypost-brokerless", BROKERLESS)
        .replace(
            "/tmp/waypost-sessions",
            directory.path().join("sessions").to_str().unwrap(),
        );
    let output = command("sh").args(["-c", &script]).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let printed = values(core::str::from_utf8(&output.stdout).unwrap());
    let outcome = printed.iter().find(|line| line["event"] == "outcome");
    assert_eq!(
        outcome.map(|it| &it["outcome"]),
        Some(&"delivered".into()),
        "{printed:?}"
    );
}

/// The program in Python that the README names. Its server's stdin ends with it.
#[test]
fn the_server_in_python_sends_back_what_comes() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("sessions");
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/echo.py");
    assert!(README.contains("crates/waypost/examples/echo.py"));
    let url = format!("embedded:{}", store.display());
    let mut python = command("python3");
    let _echo = Process::spawn(python.args([program, BROKERLESS, "--identity", "echo-1", "--store", &url]));

    let mut one = Process::brokerless("one", &store);
    one.ask(r#"{"op":"connect","client":"alice"}"#, "connected");
    eventually("the client `echo` is connected", || {
        one.write(r#"{"op":"locate","client":"echo"}"#);
        one.event("located")["identity"].is_string().then_some(())
    });
    one.write(r#"{"op":"send","from":"alice","to":"echo","body":"Hello!","ack":true}"#);
    let message = one.event("message");
    assert_eq!(
        (&message["from"], &message["body"]),
        (&"echo".into(), &"Hello!".into())
    );
    one.write(r#"{"op":"request","from":"alice","to":"echo","body_b64":"/w==","id":1}"#);
    assert_eq!(one.event("reply")["body_b64"], "/w==");
}
