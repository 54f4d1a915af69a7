//! `cargo xtask cluster` against stand-ins for the executables: starting, showing, and leaving nothing behind.
//!
//! The stand-ins are shell scripts that keep the executables' contract (ready file, demo lines, drain on SIGTERM), so
//! that these tests are about xtask alone and build nothing.

mod stage;

use std::time::Duration;

use rustix::process::Signal;
use stage::Stage;

#[test]
fn foreground_cluster_shows_prefixed_lines_and_ctrl_c_leaves_nothing() {
    let stage = Stage::new();
    let mut up = stage.up(&["--servers", "2"]);
    up.wait_for("server-2 | Received: seven 7");
    up.wait_for("cluster | all 2 servers have received");
    let pids = stage.pids();
    assert_eq!(pids.len(), 2);
    up.signal(Signal::INT);
    assert!(up.wait_exit().success());
    assert!(
        up.text().contains("server-1 | Received: one 1\n"),
        "{}",
        up.text()
    );
    assert!(up.text().contains("server-1 | drained\n"), "{}", up.text());
    stage.assert_nothing_left(&pids);
}

#[test]
fn a_signal_delivered_twice_at_once_still_drains() {
    let stage = Stage::new();
    let mut up = stage.up(&[]);
    up.wait_for("cluster | all 3 servers");
    let pids = stage.pids();
    up.signal(Signal::INT);
    up.signal(Signal::INT);
    assert!(up.wait_exit().success());
    assert!(up.text().contains("server-3 | drained\n"), "{}", up.text());
    stage.assert_nothing_left(&pids);
}

#[test]
fn servers_stop_before_brokers_and_learn_every_broker() {
    let stage = Stage::new();
    let mut up = stage.up(&["--topology", "broker", "--brokers", "2", "--servers", "2"]);
    up.wait_for("cluster | all 2 servers");
    let pids = stage.pids();
    assert_eq!(pids.len(), 4);
    up.signal(Signal::TERM);
    assert!(up.wait_exit().success());
    let order = stage.drained();
    assert!(
        order[..2].iter().all(|name| name == "waypost-server"),
        "{order:?}"
    );
    assert!(
        order[2..].iter().all(|name| name == "waypost-broker"),
        "{order:?}"
    );
    let text = up.text();
    assert!(
        text.contains("server-1 | broker tcp://127.0.0.1:1111,tcp://127.0.0.1:2222\n"),
        "{text}"
    );
    assert!(
        text.contains("server-2 | broker tcp://127.0.0.1:2222,tcp://127.0.0.1:1111\n"),
        "{text}"
    );
    stage.assert_nothing_left(&pids);
}

#[test]
fn closing_stdout_ends_the_cluster() {
    let stage = Stage::new();
    let mut up = stage.up(&[]);
    up.wait_for("cluster | all 3 servers");
    let pids = stage.pids();
    up.close_stdout();
    up.wait_exit();
    stage.assert_nothing_left(&pids);
}

#[test]
fn detached_cluster_is_seen_killed_and_ended_by_other_commands() {
    let stage = Stage::new();
    let up = stage.run(&["up", "--detach"]);
    assert!(up.ok, "{}", up.text);
    let pids = stage.pids();
    assert_eq!(pids.len(), 3);

    let again = stage.run(&["up"]);
    assert!(!again.ok && again.text.contains("cluster down"), "{}", again.text);

    stage.wait_until("every server has printed its lines", || {
        stage.run(&["logs"]).text.matches("Received: seven 7").count() == 3
    });
    let logs = stage.run(&["logs", "server-2"]);
    assert!(
        logs.text.contains("server-2 | Received: one 1") && !logs.text.contains("server-1 | "),
        "{}",
        logs.text
    );
    assert!(!stage.run(&["logs", "server-9"]).ok);

    let killed = stage.run(&["kill", "server-2"]);
    assert!(killed.ok && killed.text.contains("was killed"), "{}", killed.text);
    stage.wait_until("status says dead", || {
        let status = stage.run(&["status"]).text;
        status
            .lines()
            .any(|line| line.starts_with("server-2") && line.contains(" dead "))
            && status.matches(" alive ").count() == 2
    });
    assert!(stage.run(&["kill", "server-2"]).text.contains("dead already"));

    assert!(stage.run(&["down"]).ok);
    stage.assert_nothing_left(&pids);
    let again = stage.run(&["down"]);
    assert!(
        again.ok && again.text.contains("none is running"),
        "{}",
        again.text
    );
    assert!(stage.run(&["status"]).text.contains("no cluster is running"));
}

#[test]
fn down_ends_a_foreground_cluster_too() {
    let stage = Stage::new();
    let mut up = stage.up(&[]);
    up.wait_for("cluster | all 3 servers");
    let pids = stage.pids();
    let down = stage.run(&["down"]);
    assert!(down.ok, "{}", down.text);
    assert!(up.wait_exit().success());
    stage.assert_nothing_left(&pids);
}

#[test]
fn down_ends_what_a_killed_foreground_left() {
    let stage = Stage::new();
    let mut up = stage.up(&[]);
    up.wait_for("cluster | all 3 servers");
    let pids = stage.pids();
    up.signal(Signal::KILL);
    up.wait_exit();
    assert!(!stage.run(&["up"]).ok, "the servers still run");
    assert!(stage.run(&["down"]).ok);
    stage.assert_nothing_left(&pids);
}

#[test]
fn a_server_that_dies_is_reported_and_the_others_go_on() {
    let stage = Stage::new();
    let mut up = stage.up(&[]);
    up.wait_for("cluster | all 3 servers");
    let pids = stage.pids();
    assert!(stage.run(&["kill", "server-1"]).ok);
    up.wait_for("cluster | server-1 has ended (signal: 9");
    up.wait_for("log line of 1");
    up.signal(Signal::INT);
    assert!(up.wait_exit().success());
    assert!(up.text().contains("server-3 | drained\n"), "{}", up.text());
    stage.assert_nothing_left(&pids);
}

#[test]
fn a_server_that_cannot_start_is_explained_and_the_others_are_ended() {
    let stage = Stage::new();
    stage.fail_server(3);
    let up = stage.run(&["up"]);
    assert!(!up.ok);
    assert!(
        up.text
            .contains("server-3 ended before it was ready (exit status: 69)"),
        "{}",
        up.text
    );
    assert!(up.text.contains("the store cannot be reached"), "{}", up.text);
    stage.assert_nothing_left(&stage.pids());
}

#[test]
fn redis_is_started_and_stopped_with_the_cluster() {
    let stage = Stage::new();
    let mut up = stage.up(&["--store", "redis"]);
    up.wait_for("cluster | all 3 servers");
    let text = up.text();
    let line = text
        .lines()
        .find(|line| line.starts_with("cluster | redis "))
        .unwrap()
        .to_owned();
    let port = line
        .split("redis://127.0.0.1:")
        .nth(1)
        .unwrap()
        .split_ascii_whitespace()
        .next()
        .unwrap();
    assert!(
        text.contains(&format!("server-1 | store redis://127.0.0.1:{port}\n")),
        "{text}"
    );
    let pids = stage.pids();
    up.signal(Signal::INT);
    assert!(up.wait_exit().success());
    stage.assert_nothing_left(&pids);
    let address = format!("127.0.0.1:{port}").parse().unwrap();
    assert!(std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err());
}

#[test]
fn a_password_reaches_the_servers_and_nothing_else() {
    let stage = Stage::new();
    let mut up = stage.up(&["--store", "redis://:sesame@db.example:6379", "--servers", "1"]);
    up.wait_for("server-1 | store from the environment redis://:sesame@db.example:6379");
    up.wait_for("cluster | topology brokerless, store redis://***@db.example:6379");
    assert!(!stage.state_text().contains("sesame"));
    up.signal(Signal::INT);
    assert!(up.wait_exit().success());
}

#[test]
fn riak_by_name_is_started_from_its_compose_file_and_stays() {
    let stage = Stage::new();
    // Ready when it is asked for the third time.
    stage.container_engine("[ \"$4\" != exec ] || [ \"$(grep -c ' exec -T riak riak-admin test' \"${0%/*}/../called\")\" -ge 3 ]");
    let mut up = stage.up(&["--store", "riak"]);
    up.wait_for("cluster | all 3 servers");
    let text = up.text();
    assert!(
        text.contains("server-1 | store riak+http://127.0.0.1:8098\n"),
        "{text}"
    );
    assert!(text.contains("deploy/riak/compose.yml down"), "{text}");
    let pids = stage.pids();
    up.signal(Signal::INT);
    assert!(up.wait_exit().success());
    stage.assert_nothing_left(&pids);
    assert_eq!(
        stage.composed("riak"),
        [
            "up --detach",
            "exec -T riak riak-admin test",
            "exec -T riak riak-admin test",
            "exec -T riak riak-admin test"
        ]
    );
}

#[test]
fn couchbase_by_name_is_set_up_first_and_its_password_is_not_shown() {
    let stage = Stage::new();
    stage.container_engine("exit 0");
    let mut up = stage.up(&["--store", "couchbase"]);
    up.wait_for("cluster | all 3 servers");
    let text = up.text();
    assert!(
        text.contains("server-1 | store from the environment couchbase://"),
        "{text}"
    );
    assert!(
        text.contains("topology brokerless, store couchbase://***@127.0.0.1/waypost"),
        "{text}"
    );
    up.signal(Signal::INT);
    assert!(up.wait_exit().success());
    let calls = stage.composed("couchbase");
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert_eq!(calls[0], "up --detach", "with the service that sets the node up");
    assert!(
        calls[1].starts_with("exec -T couchbase sh -c curl") && calls[1].contains("buckets/waypost"),
        "{calls:?}"
    );
}

#[test]
fn a_store_by_name_without_a_container_engine_says_what_to_do() {
    let stage = Stage::new();
    for (docker, says) in [
        ("exit 1", "cannot run compose files"),
        ("[ \"$1\" = compose ]", "`docker info` says why"),
    ] {
        stage.container_engine(docker);
        let up = stage.run(&["up", "--store", "riak"]);
        assert!(!up.ok && up.text.contains(says), "{}", up.text);
        assert!(up.text.contains("--store riak+http://HOST:8098"), "{}", up.text);
        assert!(stage.pids().is_empty());
    }
}

#[test]
fn a_node_that_does_not_start_ends_the_cluster_in_words() {
    let stage = Stage::new();
    stage.container_engine("[ \"$4\" != up ]");
    let up = stage.run(&["up", "--store", "riak"]);
    assert!(
        !up.ok && up.text.contains("the riak node does not start"),
        "{}",
        up.text
    );
    stage.assert_nothing_left(&stage.pids());
}
