//! The executables from outside: help, version, exit codes, configuration.

mod support;

use support::{BROKER, BROKERLESS, SERVER, command, run};

const ALL: [&str; 3] = [BROKER, SERVER, BROKERLESS];

#[test]
fn help_has_examples_and_exit_codes_and_ends_with_0() {
    for program in ALL {
        let (code, stdout, stderr) = run(program, &["--help"]);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{program}");
        for part in [
            "Examples:",
            "Exit codes:",
            "--lease-term",
            "--log-format",
            "--ready-file",
        ] {
            assert!(stdout.contains(part), "{program}: {part}");
        }
    }
}

#[test]
fn version_lists_the_stores_and_ends_with_0() {
    for program in ALL {
        let (code, stdout, _) = run(program, &["--version"]);
        assert_eq!(code, Some(0));
        assert!(stdout.contains(env!("CARGO_PKG_VERSION")), "{stdout}");
        let stores = stdout.lines().find_map(|line| line.strip_prefix("stores: "));
        let stores: Vec<_> = stores.unwrap_or_default().split(", ").collect();
        assert!(
            stores.contains(&"embedded") && stores.contains(&"memory"),
            "{stdout}"
        );
        assert_eq!(stores.contains(&"redis"), cfg!(feature = "redis"), "{stdout}");
    }
}

#[test]
fn bad_usage_ends_with_64_and_says_why() {
    for (program, arguments, part) in [
        (BROKER, &["--frobnicate"][..], "--frobnicate"),
        (BROKER, &["--lease-term", "soon"], "--lease-term: not a time"),
        (
            BROKER,
            &["--store", "riak+http://h:8098/b"],
            if cfg!(feature = "riak") {
                ""
            } else {
                "--features riak"
            },
        ),
        (
            BROKER,
            &["--store", "couchbase://u:hunter2@h/b"],
            if cfg!(feature = "couchbase") {
                ""
            } else {
                "--features couchbase"
            },
        ),
        (BROKER, &["--store", "mongodb://u:hunter2@h/b"], "mongodb"),
        (BROKER, &["--store", "nonsense"], "no scheme"),
        (BROKER, &["--log", "waypost=loud="], "not a filter"),
        (
            BROKER,
            &["--config", "/nowhere/waypost.toml"],
            "/nowhere/waypost.toml",
        ),
        (SERVER, &[], "ID and TOTAL"),
        (SERVER, &["4", "3"], "TOTAL"),
        (SERVER, &["one", "3"], "one"),
        (SERVER, &["--stdio"], "--identity"),
        (BROKERLESS, &["1", "3", "--identity", ""], "identity is empty"),
        (BROKERLESS, &["1", "3", "--broker", "tcp://h:1"], "--broker"),
        (
            BROKER,
            &["--store", "memory:", "--listen", "tcp://no-such-host.invalid:0"],
            "no-such-host.invalid",
        ),
        // An address that is for documentation alone.
        (
            BROKER,
            &["--store", "memory:", "--listen", "tcp://192.0.2.1:0"],
            "192.0.2.1",
        ),
        (
            BROKER,
            &["--store", "memory:", "--listen", "unix:/nowhere/waypost.sock"],
            "/nowhere/waypost.sock",
        ),
    ] {
        if part.is_empty() {
            // This build has the datastore that the line names.
            continue;
        }
        let (code, stdout, stderr) = run(program, arguments);
        assert_eq!(code, Some(64), "{arguments:?}: {stderr}");
        assert_eq!(stdout, "");
        assert!(stderr.contains(part), "{arguments:?}: {stderr}");
        assert!(
            !stderr.contains("hunter2") && !stderr.contains("panicked"),
            "{stderr}"
        );
    }
}

#[test]
fn an_unknown_key_in_the_file_and_a_bad_variable_end_with_64() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("waypost.toml");
    std::fs::write(&path, "store = \"memory:\"\nlease_term = \"5s\"\n").unwrap();
    let (code, _, stderr) = run(BROKER, &["--config", path.to_str().unwrap()]);
    assert_eq!(code, Some(64));
    assert!(stderr.contains("unknown key `lease_term`"), "{stderr}");

    let output = command(BROKER)
        .env("WAYPOST_INBOX_BYTES", "lots")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("WAYPOST_INBOX_BYTES: not a size"));
}

#[test]
fn a_user_error_is_one_line() {
    let (_, _, stderr) = run(BROKER, &["--config", "/nowhere/waypost.toml"]);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[cfg(feature = "redis")]
#[test]
fn a_store_that_cannot_be_reached_ends_with_69_and_without_its_password() {
    for (program, arguments) in [(BROKER, &[][..]), (BROKERLESS, &["1", "3"][..])] {
        // Nothing listens on the discard port of the loopback.
        let store = "redis://:hunter2@127.0.0.1:9";
        let (code, stdout, stderr) = run(program, &[&["--store", store], arguments].concat());
        assert_eq!(code, Some(69), "{stderr}");
        assert_eq!(stdout, "");
        assert!(
            stderr.contains("127.0.0.1:9") && !stderr.contains("hunter2"),
            "{stderr}"
        );
    }
}

/// What is wrong by itself is told first: nobody should have to start a datastore to hear of it.
#[cfg(feature = "redis")]
#[test]
fn a_wrong_setting_ends_with_64_although_the_store_cannot_be_reached() {
    for (setting, value) in [
        ("--heartbeat", "6s"),
        ("--listen", "http://127.0.0.1:0"),
        ("--listen", "tcp://0.0.0.0:0"),
        ("--advertise", "nonsense"),
    ] {
        for (program, arguments) in [(BROKER, &[][..]), (BROKERLESS, &["1", "3"][..])] {
            let store = "redis://127.0.0.1:9";
            let (code, _, stderr) = run(
                program,
                &[&["--store", store, setting, value], arguments].concat(),
            );
            assert_eq!(code, Some(64), "{setting} {value}: {stderr}");
        }
    }
}

#[test]
fn a_broker_that_cannot_be_reached_ends_with_69() {
    let (code, stdout, stderr) = run(
        SERVER,
        &[
            "--stdio",
            "--identity",
            "n",
            "--broker",
            "tcp://127.0.0.1:9",
            "--send-deadline",
            "500ms",
        ],
    );
    assert_eq!(code, Some(69), "{stderr}");
    assert_eq!(stdout, "");
    assert!(stderr.contains("127.0.0.1:9"), "{stderr}");
}
