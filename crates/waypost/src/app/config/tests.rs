//! Precedence and checks.

use std::ffi::OsString;
use std::path::Path;

use super::*;
use settings::find;

const ONE_OF_THREE: Positions = Positions {
    id: Some(1),
    total: Some(3),
};

fn layer(source: &Source, values: &[(&str, &str)]) -> Layer {
    let mut layer = Layer::default();
    for (key, value) in values {
        layer.set(find(key).unwrap(), vec![(*value).to_owned()], source.clone());
    }
    layer
}

fn flags(values: &[(&str, &str)]) -> Layer {
    layer(&Source::Flag, values)
}

fn config(layer: &Layer) -> Result<Config> {
    Config::new(Program::Brokerless, ONE_OF_THREE, layer)
}

fn error(values: &[(&str, &str)]) -> String {
    format!("{:#}", config(&flags(values)).unwrap_err())
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file_and_that_over_defaults() {
    let mut stacked = flags(&[("lease-term", "1s")]);
    stacked.stack_on(layer(
        &Source::Environment,
        &[("lease-term", "2s"), ("send-deadline", "2s")],
    ));
    let file = Source::File("f.toml".into());
    stacked.stack_on(layer(
        &file,
        &[
            ("lease-term", "3s"),
            ("send-deadline", "3s"),
            ("drain-deadline", "3s"),
        ],
    ));
    let config = config(&stacked).unwrap();
    assert_eq!(config.settings.lease_term, Duration::from_secs(1));
    assert_eq!(config.settings.send_deadline, Duration::from_secs(2));
    assert_eq!(config.drain_deadline, Duration::from_secs(3));
    assert_eq!(config.settings.frame_bytes_max, 1 << 20);
}

#[test]
fn a_list_of_a_higher_layer_replaces_the_lower_one_whole() {
    let mut stacked = flags(&[("listen", "tcp://a:1,unix:/b")]);
    stacked.stack_on(layer(&Source::Environment, &[("listen", "tcp://c:1")]));
    assert_eq!(config(&stacked).unwrap().listen, ["tcp://a:1", "unix:/b"]);
}

#[test]
fn a_wrong_value_names_its_setting_as_it_was_given() {
    assert!(error(&[("lease-term", "ten")]).starts_with("--lease-term: not a time"));
    let environment =
        layers::from_environment(|name| (name == "WAYPOST_LEASE_TERM").then(|| OsString::from("ten")));
    let message = config(&environment.unwrap()).unwrap_err().to_string();
    assert!(message.starts_with("WAYPOST_LEASE_TERM: not a time"), "{message}");
    let file = layer(&Source::File("f.toml".into()), &[("lease-term", "ten")]);
    let message = config(&file).unwrap_err().to_string();
    assert!(message.starts_with("f.toml: lease-term: not a time"), "{message}");
}

#[test]
fn values_out_of_range_are_refused() {
    for wrong in [
        ("lease-term", "99ms"),
        ("heartbeat", "10s"),
        ("heartbeat", "5001ms"),
        ("send-deadline", "0s"),
        ("frame-bytes", "1"),
        ("frame-bytes", "8MiB"),
        ("announce-per-second", "0"),
        ("connects-max", "0"),
        ("when-store-is-lost", "panic"),
        ("log-format", "xml"),
        ("stdio", "perhaps"),
        ("identity", ""),
    ] {
        assert!(!error(&[wrong]).is_empty(), "{wrong:?}");
    }
}

#[test]
fn a_place_that_is_none_is_refused_by_whom_it_concerns() {
    for (key, url, part) in [
        ("listen", "http://h:1", "--listen: not an endpoint: use tcp://"),
        (
            "listen",
            "tcp://127.0.0.1:0,tcp://h",
            "--listen: the endpoint's port",
        ),
        (
            "listen",
            "tcp://0.0.0.0:1",
            "advertise: it listens on every interface",
        ),
        ("advertise", "h:1", "--advertise: not an endpoint"),
        ("advertise", "tcp://[::]:1", "--advertise: nobody can dial it"),
    ] {
        let message = error(&[(key, url)]);
        assert!(message.starts_with(part), "{url}: {message}");
    }
    let attached = |values| Config::new(Program::Server, ONE_OF_THREE, &flags(values));
    let message = attached(&[("broker", "tcp:h:1")]).unwrap_err().to_string();
    assert!(message.starts_with("--broker: not an endpoint"), "{message}");
    // A file may serve several programs.
    assert!(attached(&[("listen", "nonsense"), ("advertise", "nonsense")]).is_ok());
    assert!(
        config(&flags(&[
            ("listen", "tcp://0.0.0.0:1"),
            ("advertise", "tcp://h:1")
        ]))
        .is_ok()
    );
}

#[test]
fn a_server_needs_its_place_in_the_demo_or_stdio_and_a_name() {
    let of = |positions, values| Config::new(Program::Server, positions, &flags(values));
    assert_eq!(
        of(ONE_OF_THREE, &[]).unwrap().mode,
        Mode::Demo { id: 1, total: 3 }
    );
    assert_eq!(
        of(ONE_OF_THREE, &[]).unwrap().identity.unwrap().as_str(),
        "server-1"
    );
    let named = of(Positions::default(), &[("stdio", "true"), ("identity", "x")]).unwrap();
    assert_eq!((named.mode, named.identity.unwrap().as_str()), (Mode::Stdio, "x"));
    let only_id = Positions {
        id: Some(7),
        total: None,
    };
    assert_eq!(
        of(only_id, &[("stdio", "true")])
            .unwrap()
            .identity
            .unwrap()
            .as_str(),
        "server-7"
    );
    assert!(of(Positions::default(), &[("stdio", "true")]).is_err());
    assert!(of(Positions::default(), &[]).is_err());
    assert!(of(only_id, &[]).is_err());
    assert!(
        of(
            Positions {
                id: Some(0),
                total: Some(3)
            },
            &[]
        )
        .is_err()
    );
    assert!(
        of(
            Positions {
                id: Some(4),
                total: Some(3)
            },
            &[]
        )
        .is_err()
    );
}

#[test]
fn the_cluster_key_is_given_once_and_the_higher_layer_chooses_how() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    std::fs::write(&path, "from file\n").unwrap();
    let path = path.to_str().unwrap();
    let key = |layer: &Layer| config(layer).unwrap().cluster_key.unwrap().0;
    assert_eq!(key(&flags(&[("cluster-key-file", path)])), b"from file");
    assert!(error(&[("cluster-key-file", path), ("cluster-key", "x")]).contains("give one"));
    let mut stacked = flags(&[("cluster-key", "flag")]);
    stacked.stack_on(layer(&Source::Environment, &[("cluster-key-file", path)]));
    assert_eq!(key(&stacked), b"flag");
    assert!(error(&[("cluster-key-file", "/nowhere/key")]).contains("/nowhere/key"));
}

#[test]
fn no_secret_is_in_debug() {
    let values = [("store", "redis://:hunter2@h"), ("cluster-key", "hunter2")];
    let layer = flags(&values);
    let shown = format!("{layer:?} {:?}", config(&layer).unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_missing_file_is_named() {
    let error = layers::from_file(Path::new("/nowhere/waypost.toml")).unwrap_err();
    assert!(error.to_string().contains("/nowhere/waypost.toml"));
}
