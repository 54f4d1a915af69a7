//! JSON lines: two servers of a mesh on one embedded store, driven as a script would.

mod support;

use serde_json::{Value, json};
use support::{BROKERLESS, Process, Signal, command, eventually};

struct Two {
    a: Process,
    b: Process,
    directory: tempfile::TempDir,
}

fn two() -> Two {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    Two {
        a: Process::brokerless("a", &store),
        b: Process::brokerless("b", &store),
        directory,
    }
}

fn one() -> (Process, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (
        Process::brokerless("a", &directory.path().join("store")),
        directory,
    )
}

#[test]
fn registered_is_the_first_line() {
    let directory = tempfile::tempdir().unwrap();
    let store = format!("embedded:{}", directory.path().join("store").display());
    let mut process = Process::spawn(command(BROKERLESS).args(["7", "9", "--stdio", "--store", &store]));
    process.write(r#"{"op":"connect","client":"x"}"#);
    let first = process.next();
    assert_eq!(
        (first["event"].as_str(), first["identity"].as_str()),
        (Some("registered"), Some("server-7"))
    );
    assert!(first["incarnation"].as_u64().unwrap() > 0);
    assert_eq!(process.next()["event"], "connected");
}

#[test]
fn a_message_reaches_a_client_of_another_server_and_its_sender_learns_it() {
    let Two { mut a, mut b, .. } = two();
    a.connect("alice");
    b.connect("bob");
    assert_eq!(a.send("alice", "bob", "hello"), "delivered");
    assert_eq!(
        b.event("message"),
        json!({"event":"message","from":"alice","to":"bob","body":"hello"})
    );
    assert_eq!(b.send("bob", "alice", "hi"), "delivered");
    assert_eq!(a.event("message")["body"], "hi");
    assert_eq!(a.send("alice", "nobody", "x"), "not_connected");
}

#[test]
fn bytes_that_are_no_text_come_as_base64() {
    let Two { mut a, mut b, .. } = two();
    a.connect("alice");
    b.connect("bob");
    a.write(r#"{"op":"send","from":"alice","to":"bob","body_b64":"/wA=","ack":true,"id":1}"#);
    assert_eq!(
        b.event("message"),
        json!({"event":"message","from":"alice","to":"bob","body_b64":"/wA="})
    );
    assert_eq!(
        a.event("outcome"),
        json!({"event":"outcome","id":1,"outcome":"delivered"})
    );
}

#[test]
fn a_request_is_answered_by_the_receiving_client() {
    let Two { mut a, mut b, .. } = two();
    a.connect("alice");
    b.connect("bob");
    a.write(r#"{"op":"request","from":"alice","to":"bob","body":"2+2","id":"sum"}"#);
    let request = b.event("request");
    assert_eq!(
        (request["from"].as_str(), request["body"].as_str()),
        (Some("alice"), Some("2+2"))
    );
    b.write(json!({"op":"reply","id":request["id"],"body":"4"}).to_string());
    assert_eq!(a.event("reply"), json!({"event":"reply","id":"sum","body":"4"}));
    b.write(json!({"op":"reply","id":request["id"],"body":"5"}).to_string());
    assert!(
        b.event("error")["message"]
            .as_str()
            .unwrap()
            .contains("awaits a reply")
    );
    let missed = a.ask(
        r#"{"op":"request","from":"alice","to":"nobody","body":"?","id":7}"#,
        "outcome",
    );
    assert_eq!(
        missed,
        json!({"event":"outcome","id":7,"outcome":"not_connected"})
    );
}

#[test]
fn a_broadcast_reaches_every_client_but_its_sender() {
    let Two { mut a, mut b, .. } = two();
    for client in ["a1", "a2"] {
        a.connect(client);
    }
    for client in ["b1", "b2"] {
        b.connect(client);
    }
    let outcome = a.ask(
        r#"{"op":"broadcast","from":"a1","body":"all","id":1}"#,
        "broadcast_outcome",
    );
    assert_eq!(
        (outcome["clients"].as_u64(), &outcome["unreached"]),
        (Some(3), &json!([]))
    );
    let mut reached: Vec<_> = [b.event("broadcast"), b.event("broadcast")]
        .map(|event| event["to"].clone())
        .to_vec();
    reached.sort_by_key(Value::to_string);
    assert_eq!(reached, ["b1", "b2"]);
    let at_home = a
        .passed()
        .into_iter()
        .map(|text| serde_json::from_str::<Value>(&text).unwrap());
    let at_home = at_home.into_iter().find(|event| event["event"] == "broadcast");
    assert_eq!(at_home.unwrap_or_else(|| a.event("broadcast"))["to"], "a2");
}

#[test]
fn locate_names_the_server_or_nobody() {
    let Two { mut a, mut b, .. } = two();
    b.connect("bob");
    let found = a.ask(r#"{"op":"locate","client":"bob","id":1}"#, "located");
    assert_eq!(
        found,
        json!({"event":"located","id":1,"client":"bob","identity":"b"})
    );
    let missing = a.ask(r#"{"op":"locate","client":"nobody","id":"x"}"#, "located");
    assert_eq!(
        missing,
        json!({"event":"located","id":"x","client":"nobody","identity":null})
    );
}

#[test]
fn a_late_disconnect_does_not_touch_the_client_that_has_moved() {
    let Two { mut a, mut b, .. } = two();
    let first = a.connect("eve");
    let second = b.connect("eve");
    assert!(second > first);
    assert_eq!(
        a.event("displaced"),
        json!({"event":"displaced","client":"eve","by":"b"})
    );
    a.ask(r#"{"op":"disconnect","client":"eve"}"#, "disconnected");
    a.connect("alice");
    assert_eq!(
        a.ask(r#"{"op":"locate","client":"eve","id":1}"#, "located")["identity"],
        "b"
    );
    assert_eq!(a.send("alice", "eve", "still there"), "delivered");
    assert_eq!(b.event("message")["body"], "still there");
}

#[test]
fn operations_on_one_client_take_effect_in_the_order_written() {
    let (mut a, _directory) = one();
    for round in 0..20 {
        a.write(r#"{"op":"connect","client":"x"}"#);
        a.write(r#"{"op":"connect","client":"y"}"#);
        a.write(format!(
            r#"{{"op":"send","from":"x","to":"y","body":"1","ack":true,"id":"{round}-1"}}"#
        ));
        a.write(format!(
            r#"{{"op":"send","from":"x","to":"y","body":"2","ack":true,"id":"{round}-2"}}"#
        ));
        a.write(r#"{"op":"disconnect","client":"y"}"#);
        a.write(format!(
            r#"{{"op":"send","from":"x","to":"y","body":"3","ack":true,"id":"{round}-3"}}"#
        ));
        // What is in a client's inbox may be printed after the outcomes that followed.
        let (mut outcomes, mut bodies) = (std::collections::BTreeMap::new(), Vec::new());
        while outcomes.len() < 3 || bodies.len() < 2 {
            let event = a.next();
            match event["event"].as_str().unwrap() {
                "outcome" => {
                    let earlier = outcomes.insert(event["id"].to_string(), event["outcome"].clone());
                    assert_eq!(earlier, None, "{event}");
                }
                "message" => bodies.push(event["body"].clone()),
                "connected" | "disconnected" => {}
                _ => panic!("{event}"),
            }
        }
        let outcomes: Vec<_> = outcomes.into_values().collect();
        assert_eq!(
            outcomes,
            ["delivered", "delivered", "not_connected"],
            "round {round}"
        );
        assert_eq!(bodies, ["1", "2"], "round {round}");
    }
}

/// Also when they had to wait for nothing before they were sent.
#[test]
fn a_client_leaves_when_what_it_has_sent_has_its_outcome() {
    let Two { mut a, mut b, .. } = two();
    a.connect("alice");
    b.connect("bob");
    assert_eq!(a.send("alice", "bob", "first"), "delivered");
    b.signal(Signal::STOP);
    for id in 0..3 {
        a.write(format!(
            r#"{{"op":"send","from":"alice","to":"bob","body":"","ack":true,"id":{id}}}"#
        ));
    }
    a.write(r#"{"op":"disconnect","client":"alice"}"#);
    a.write(r#"{"op":"connect","client":"alice"}"#);
    a.ask(r#"{"op":"locate","client":"nobody"}"#, "located");
    assert_eq!(a.passed(), Vec::<String>::new());
    b.signal(Signal::CONT);
    let events: Vec<_> = (0..5).map(|_| a.next()["event"].clone()).collect();
    assert_eq!(
        events,
        ["outcome", "outcome", "outcome", "disconnected", "connected"]
    );
}

/// However many have their outcome while one lacks it: more than there are places for in a row.
#[test]
fn one_send_without_outcome_holds_no_others_up() {
    const SENDS: usize = 40_000;
    let Two { mut b, directory, .. } = two();
    let mut a = third(directory.path(), ["--send-deadline", "60s"]);
    a.connect("alice");
    b.connect("bob");
    assert_eq!(a.send("alice", "bob", "first"), "delivered");
    b.signal(Signal::STOP);
    a.write(r#"{"op":"send","from":"alice","to":"bob","body":"","ack":true,"id":"slow"}"#);
    for start in (0..SENDS).step_by(1000) {
        let lines: Vec<String> = (start..start + 1000)
            .map(|id| {
                format!(r#"{{"op":"send","from":"carol","to":"alice","body":"","ack":true,"id":{id}}}"#)
            })
            .collect();
        a.write(lines.join("\n"));
        for _ in 0..1000 {
            let outcome = a.event("outcome");
            assert!(
                outcome["id"].is_u64() && outcome["outcome"] == "delivered",
                "{outcome}"
            );
        }
    }
    b.signal(Signal::CONT);
    let outcome = a.event("outcome");
    assert_eq!(
        (&outcome["id"], &outcome["outcome"]),
        (&"slow".into(), &"delivered".into())
    );
}

/// A server beside the two, with a setting of its own.
fn third(directory: &std::path::Path, setting: [&str; 2]) -> Process {
    let store = format!("embedded:{}", directory.join("store").display());
    let mut server = Process::spawn(
        command(BROKERLESS)
            .args(["--stdio", "--identity", "c", "--store", &store])
            .args(setting),
    );
    server.event("registered");
    server
}

/// A connect waits for the server that held the client; many of them, one after the other, for longer than a send may take.
#[test]
fn a_send_that_waits_for_connects_has_its_outcome_in_time() {
    const CONNECTS: usize = 20;
    let Two { mut b, directory, .. } = two();
    b.connect("cat");
    let mut a = third(directory.path(), ["--send-deadline", "200ms"]);
    b.signal(Signal::STOP);
    for _ in 0..CONNECTS {
        a.write(r#"{"op":"connect","client":"cat"}"#);
    }
    a.write(r#"{"op":"send","from":"cat","to":"nobody","body":"late","ack":true,"id":"late"}"#);
    a.write(r#"{"op":"request","from":"cat","to":"nobody","body":"late","id":"later"}"#);
    let outcome = a.event("outcome");
    assert_eq!(
        (&outcome["id"], &outcome["outcome"]),
        (&"late".into(), &"expired".into())
    );
    let outcome = a.event("outcome");
    assert_eq!(
        (&outcome["id"], &outcome["outcome"]),
        (&"later".into(), &"expired".into())
    );
    let connects = a.passed().len();
    assert!(connects < CONNECTS, "they did not wait for the connects");
    // What comes after them has its turn.
    for _ in connects..CONNECTS {
        a.next();
    }
    assert_eq!(a.send("other", "nobody", "in time"), "not_connected");
    b.signal(Signal::CONT);
}

#[test]
fn thousands_of_connects_are_pipelined_and_each_is_answered_once() {
    const CLIENTS: usize = 5000;
    let Two { mut a, mut b, .. } = two();
    for client in 0..CLIENTS {
        a.write(format!(r#"{{"op":"connect","client":"c{client}"}}"#));
    }
    let mut connected: Vec<_> = (0..CLIENTS)
        .map(|_| a.event("connected")["client"].to_string())
        .collect();
    connected.sort();
    connected.dedup();
    assert_eq!(connected.len(), CLIENTS);
    b.connect("bob");
    for client in 0..CLIENTS {
        b.write(format!(
            r#"{{"op":"send","from":"bob","to":"c{client}","body":"x","ack":true,"id":{client}}}"#
        ));
    }
    let mut ids: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let outcome = b.event("outcome");
            assert_eq!(outcome["outcome"], "delivered", "{outcome}");
            outcome["id"].as_u64().unwrap()
        })
        .collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..CLIENTS as u64));
    for _ in 0..CLIENTS {
        a.event("message");
    }
}

#[test]
fn a_bad_line_is_an_error_with_its_number_and_changes_nothing() {
    let (mut a, _directory) = one();
    for line in [
        "hello",
        r#"{"op":"fly"}"#,
        r#"{"op":"connect"}"#,
        r#"{"op":"connect","client":""}"#,
    ] {
        a.write(line);
    }
    a.write("");
    a.write(format!(
        r#"{{"op":"connect","client":"{}"}}"#,
        "x".repeat(4 << 20)
    ));
    for number in [1, 2, 3, 4, 6] {
        let error = a.next();
        assert_eq!(
            (error["event"].as_str(), error["line"].as_u64()),
            (Some("error"), Some(number)),
            "{error}"
        );
    }
    a.connect("x");
}

#[test]
fn the_end_of_stdin_finishes_what_is_under_way_and_exits_with_0() {
    let Two { mut a, mut b, .. } = two();
    b.connect("bob");
    a.connect("alice");
    for id in 0..100 {
        a.write(format!(
            r#"{{"op":"send","from":"alice","to":"bob","body":"x","ack":true,"id":{id}}}"#
        ));
    }
    a.close_stdin();
    let mut outcomes = 0;
    while let Some(line) = a.line() {
        let event: Value = serde_json::from_str(&line).unwrap();
        if event["event"] == "outcome" {
            assert_eq!(event["outcome"], "delivered");
            outcomes += 1;
        }
    }
    assert_eq!(outcomes, 100);
    assert_eq!(a.wait().code(), Some(0));
    assert_eq!(b.send("bob", "alice", "gone"), "not_connected");
}

#[test]
fn a_drained_server_stays_until_it_is_told_to_quit() {
    let (mut a, _directory) = one();
    a.connect("alice");
    a.ask(r#"{"op":"drain"}"#, "drained");
    let error = a.ask(r#"{"op":"connect","client":"late"}"#, "error");
    assert_eq!(
        error["message"],
        "connect late: draining: this server takes no new clients"
    );
    let missed = a.ask(
        r#"{"op":"broadcast","from":"alice","body":"all","id":1}"#,
        "outcome",
    );
    assert_eq!(
        missed,
        json!({"event":"outcome","id":1,"outcome":"not_connected"})
    );
    a.write(r#"{"op":"quit"}"#);
    assert_eq!(a.wait().code(), Some(0));
}

#[test]
fn a_signal_ends_it_with_0_and_a_closed_stdout_too() {
    let Two { mut a, b, .. } = two();
    a.connect("alice");
    a.signal(Signal::TERM);
    assert_eq!(a.wait().code(), Some(0));
    drop(b);

    let directory = tempfile::tempdir().unwrap();
    let store = format!("embedded:{}", directory.path().join("store").display());
    let mut child = command(BROKERLESS)
        .args(["--stdio", "--identity", "x", "--store", &store])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let status = eventually("it notices that nobody reads", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    let mut log = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut log).unwrap();
    assert!(!log.contains("panicked"), "{log}");
}

/// The signal may come before a line of it has been read.
#[test]
fn what_was_written_before_a_signal_is_done_and_has_its_outcome() {
    const SENDS: usize = 5000;
    let Two { mut a, mut b, .. } = two();
    a.connect("alice");
    b.connect("bob");
    let lines: Vec<String> = (0..SENDS)
        .map(|id| format!(r#"{{"op":"send","from":"alice","to":"bob","body":"{id}","ack":true,"id":{id}}}"#))
        .collect();
    a.write(lines.join("\n"));
    a.signal(Signal::TERM);
    for _ in 0..SENDS {
        assert_eq!(a.event("outcome")["outcome"], "delivered");
    }
    for id in 0..SENDS {
        assert_eq!(b.event("message")["body"], id.to_string());
    }
    assert_eq!(a.line(), None);
    assert_eq!(a.wait().code(), Some(0));
}

/// More is written than may be under way at once, and nothing of it can be delivered in time.
#[test]
fn what_a_signal_leaves_no_time_for_has_its_outcome_too() {
    const SENDS: usize = 10_000;
    let Two { mut b, directory, .. } = two();
    b.connect("bob");
    // Half of it is for what is under way; the rest is many times what the outcomes of the others take.
    let mut a = third(directory.path(), ["--drain-deadline", "4s"]);
    assert_eq!(a.send("alice", "bob", "first"), "delivered");
    b.signal(Signal::STOP);
    let lines: Vec<String> = (0..SENDS)
        .map(|id| format!(r#"{{"op":"send","from":"a","to":"bob","body":"","ack":true,"id":{id}}}"#))
        .collect();
    a.write(lines.join("\n"));
    a.signal(Signal::TERM);
    let mut ids: Vec<u64> = (0..SENDS)
        .map(|_| a.event("outcome")["id"].as_u64().unwrap())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), SENDS);
    assert_eq!(a.line(), None);
    assert_eq!(a.wait().code(), Some(0));
    b.signal(Signal::CONT);
}

#[test]
fn a_signal_after_quit_or_half_a_line_ends_it_at_once() {
    for written in [r#"{"op":"quit"}"#, r#"{"op":"qu"#] {
        let (mut process, _directory) = one();
        process.connect("alice");
        process.write_raw(written);
        process.signal(Signal::TERM);
        let since = std::time::Instant::now();
        assert_eq!(process.wait().code(), Some(0));
        // Half of the drain deadline is for what is under way.
        assert!(since.elapsed() < std::time::Duration::from_secs(4), "{written}");
    }
}

#[test]
fn the_ready_file_tells_where_it_serves() {
    let directory = tempfile::tempdir().unwrap();
    let store = format!("embedded:{}", directory.path().join("store").display());
    let ready = directory.path().join("ready.json");
    let mut process = Process::spawn(
        command(BROKERLESS)
            .args([
                "--stdio",
                "--identity",
                "x",
                "--store",
                &store,
                "--listen",
                "tcp://127.0.0.1:0",
            ])
            .args(["--ready-file".as_ref(), ready.as_os_str()]),
    );
    process.event("registered");
    let told: Value = serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();
    assert_eq!(
        (told["identity"].as_str(), told["pid"].as_u64()),
        (Some("x"), Some(process.child.id().into()))
    );
    assert_eq!(told["store"], store);
    let listen = told["listen"][0].as_str().unwrap();
    assert!(
        listen.starts_with("tcp://127.0.0.1:") && !listen.ends_with(":0"),
        "{listen}"
    );
    process.write(r#"{"op":"quit"}"#);
    assert_eq!(process.wait().code(), Some(0));
    assert!(!ready.exists());
}
