//! Tests of the whole URL.

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> StoreUrl {
    StoreUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn hosts(url: &StoreUrl) -> Vec<(&str, Option<u16>)> {
    url.hosts()
        .iter()
        .map(|host| (host.name.as_str(), host.port))
        .collect()
}

#[test]
fn a_path_alone_needs_no_slashes() {
    let url = parse("embedded:/var/lib/way%20post");
    assert_eq!(
        (url.scheme(), url.path(), url.hosts().len()),
        ("embedded", "/var/lib/way post", 0)
    );
    assert_eq!(parse("embedded:data/store").path(), "data/store");
    assert_eq!(parse("embedded:///var/lib").path(), "/var/lib");
    assert_eq!(parse("embedded:C:\\data%40home").path(), "C:\\data@home");
    assert_eq!(parse("embedded:data@home").path(), "data@home");
    assert_eq!(
        (parse("memory:").scheme(), parse("memory:").path()),
        ("memory", "")
    );
}

#[test]
fn every_part_of_a_server_url_is_read() {
    let url = parse("redis://user:pass@one:6379,two,[::1]:7000,[fe80::2]/3?timeout=2s&tls");
    assert_eq!(url.scheme(), "redis");
    assert_eq!(url.username(), Some("user"));
    assert_eq!(url.password().map(Secret::expose), Some("pass"));
    assert_eq!(
        hosts(&url),
        [
            ("one", Some(6379)),
            ("two", None),
            ("::1", Some(7000)),
            ("fe80::2", None)
        ]
    );
    assert_eq!(url.path(), "/3");
    let mut params = url.params();
    assert_eq!(
        (params.text("timeout"), params.text("tls")),
        (Some("2s"), Some(""))
    );
    params.finish().unwrap();
}

#[test]
fn schemes_may_have_a_plus_and_are_lower_cased() {
    for scheme in [
        "rediss",
        "redis+sentinel",
        "redis+cluster",
        "riak+http",
        "riak+https",
        "couchbases",
    ] {
        assert_eq!(parse(&format!("{scheme}://host/x")).scheme(), scheme);
    }
    assert_eq!(parse("REDIS://host").scheme(), "redis");
}

#[test]
fn awkward_passwords_are_percent_encoded() {
    let url = parse("redis://a%3Ab:p%40s%2Fs%3Aw%3F%25d@host:1/0");
    assert_eq!(url.username(), Some("a:b"));
    assert_eq!(url.password().map(Secret::expose), Some("p@s/s:w?%d"));
    assert_eq!(hosts(&url), [("host", Some(1))]);
    assert_eq!(
        parse("redis://:only@host").password().map(Secret::expose),
        Some("only")
    );
    assert_eq!(parse("redis://:only@host").username(), None);
    assert_eq!(
        parse("redis://u:a:b@c@host").password().map(Secret::expose),
        Some("a:b@c")
    );
}

#[test]
fn what_is_printed_has_no_password() {
    let url = parse("redis://user:hunter2@host:6379/0?timeout=2s&auth_token=hunter2");
    assert_eq!(
        url.to_string(),
        "redis://user:***@host:6379/0?timeout=2s&auth_token=***"
    );
    assert_eq!(
        format!("{url:?}"),
        "StoreUrl(redis://user:***@host:6379/0?timeout=2s&auth_token=***)"
    );
    assert_eq!(
        format!("{:?} {}", Secret::new("hunter2"), Secret::new("hunter2")),
        "*** ***"
    );
    assert_eq!(parse("embedded:/a%20b").to_string(), "embedded:/a%20b");
    assert_eq!(parse("redis://[::1]:7000").to_string(), "redis://[::1]:7000");
}

#[test]
fn a_wrong_url_is_an_error_that_quotes_no_password() {
    for text in [
        "",
        "hunter2",
        "://host",
        "hunter2@host:6379",
        "redis:user:hunter2@host",
        "1redis://:hunter2@host",
        "redis://:hunter2@host:port",
        "redis://:hunter2@host:0",
        "redis://:hunter2@host:70000",
        "redis://:hunter2@a,,b",
        "redis://:hunter2@[::1",
        "redis://:hunter2@[::1]x",
        "redis://:hunter2@[host]",
        "redis://:hunter2@::1",
        "redis://:hunter2%@host",
        "redis://:hunter2@host/%zz",
        "redis://:hunter2@ho st",
        "redis://user:hunter2:x",
        "redis://user:1/hunter2@host",
        "redis://user:1?hunter2@host",
        "redis://user:hunter2/x@host",
        "redis://:hunter2@host?a=1&a=2",
    ] {
        let error = StoreUrl::parse(text).expect_err(text);
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid, "{text}");
        assert!(
            !format!("{error} {error:?}").contains("hunter2"),
            "{text}: {error:?}"
        );
    }
}

proptest! {
    #[test]
    fn parsing_never_panics_and_what_is_printed_parses_again(
        text in "(redis|embedded|x)?:?(//)?[a-z:@/?&=,%0-9\\[\\]. é\\x00#]{0,40}"
    ) {
        if let Ok(url) = StoreUrl::parse(&text) {
            let printed = url.to_string();
            let again = StoreUrl::parse(&printed).map(|url| url.to_string());
            prop_assert_eq!(again.ok(), Some(printed));
        }
    }

    #[test]
    fn no_password_is_ever_printed(
        slashes in "(//)?",
        before in "[a-z]{0,5}",
        junk in "[a-z0-9:@/?&=,%\\[\\]. #]{0,6}",
        after in "[a-z0-9:@/?&=,%\\[\\]. #]{0,20}",
    ) {
        // The marker stands for a password that somebody typed without encoding what is around it.
        let text = format!("redis:{slashes}{before}:{junk}hunter2{after}@host");
        let printed = match StoreUrl::parse(&text) {
            Ok(url) => format!("{url} {url:?} {:?}", url.clone().params().finish()),
            Err(error) => format!("{error} {error:?}"),
        };
        prop_assert!(!printed.contains("hunter2"), "{} printed as {}", text, printed);
    }

    #[test]
    fn an_encoded_password_comes_back_as_it_was(password in "\\PC{0,20}") {
        let url = StoreUrl::parse(&format!("redis://u:{}@host/0", percent::encode(&password).replace('/', "%2F")));
        let url = url.unwrap();
        prop_assert_eq!(url.password().map(Secret::expose), Some(password.as_str()));
        prop_assert_eq!(url.to_string(), "redis://u:***@host/0");
    }
}
