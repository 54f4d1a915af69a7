//! What a store URL says.

use core::time::Duration;

use waypost_session::{ErrorKind, Host, Params, Secret, StoreError, StoreUrl};

/// The URL schemes of this backend.
pub const SCHEMES: [&str; 2] = ["riak+http", "riak+https"];

const DEFAULT_PORT: u16 = 8098;
const DEFAULT_BUCKET: &str = "waypost";
const DEFAULT_CONNECTIONS: usize = 64;
const CONNECTIONS_RANGE: core::ops::RangeInclusive<usize> = 1..=1024;

/// How many replicas must answer, as Riak's own words or numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quorums {
    pub(crate) r: String,
    pub(crate) w: String,
    pub(crate) dw: String,
    pub(crate) pr: String,
    pub(crate) pw: String,
}

/// Properties with their values.
pub(crate) type Named = Vec<(&'static str, String)>;

/// Everything that a URL says, with defaults.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) tls: bool,
    pub(crate) hosts: Vec<(String, u16)>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) bucket_type: Option<String>,
    pub(crate) bucket: String,
    /// `None` leaves what the cluster has.
    pub(crate) n_val: Option<u32>,
    pub(crate) quorums: Quorums,
    /// The quorums that the URL itself names: these become the bucket's too.
    pub(crate) named: Named,
    pub(crate) timeout: Duration,
    pub(crate) connections: usize,
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "read where there is TLS"))]
    pub(crate) ca_file: Option<String>,
}

impl Settings {
    pub(crate) fn from_url(url: &StoreUrl) -> Result<Self, StoreError> {
        let tls = match url.scheme() {
            "riak+http" => false,
            "riak+https" => true,
            other => {
                return Err(StoreError::new(
                    ErrorKind::Unsupported,
                    "open",
                    format!("the url scheme `{other}` is not one of {}", SCHEMES.join(", ")),
                ));
            }
        };
        let mut params = url.params();
        let n_val = params.number("n_val")?;
        let (quorums, named) = quorums(&mut params, n_val)?;
        let path = url.path().trim_matches('/');
        let bucket = match (path, params.text("bucket")) {
            ("", None) => DEFAULT_BUCKET,
            ("", Some(bucket)) => bucket,
            (path, None) => path,
            (_, Some(_)) => {
                return Err(invalid(
                    "the url names its bucket twice: by its path and by `bucket`",
                ));
            }
        };
        let settings = Self {
            tls,
            hosts: url
                .hosts()
                .iter()
                .map(|Host { name, port }| (name.clone(), port.unwrap_or(DEFAULT_PORT)))
                .collect(),
            username: url.username().map(str::to_owned),
            password: url.password().cloned(),
            bucket_type: params
                .text("type")
                .filter(|name| *name != "default")
                .map(str::to_owned),
            bucket: bucket.to_owned(),
            n_val,
            quorums,
            named,
            timeout: params.timeout()?,
            connections: params.number("connections")?.unwrap_or(DEFAULT_CONNECTIONS),
            ca_file: if tls {
                params.text("ca-file").map(str::to_owned)
            } else {
                None
            },
        };
        params.finish()?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.hosts.is_empty() {
            return Err(invalid("the url names no host"));
        }
        let unfit = |name: &str| name.is_empty() || name.contains('/') || name == "." || name == "..";
        if unfit(&self.bucket) || self.bucket_type.as_deref().is_some_and(unfit) {
            return Err(invalid(
                "a bucket and a bucket type have names without `/`: write /BUCKET?type=TYPE",
            ));
        }
        if self.username.is_some() != self.password.is_some() {
            return Err(invalid(
                "user and password go together in the url: write USER:PASSWORD@HOST",
            ));
        }
        if self.n_val.is_some_and(|n| !(1..=16).contains(&n)) {
            return Err(invalid("the url's parameter `n_val` must be 1 to 16"));
        }
        if !CONNECTIONS_RANGE.contains(&self.connections) {
            return Err(invalid("the url's parameter `connections` must be 1 to 1024"));
        }
        if self.tls && cfg!(not(feature = "tls")) {
            return Err(StoreError::new(
                ErrorKind::Unsupported,
                "open",
                "this build has no TLS: build waypost-session-riak with its feature `tls`",
            ));
        }
        Ok(())
    }
}

fn quorums(params: &mut Params<'_>, n_val: Option<u32>) -> Result<(Quorums, Named), StoreError> {
    let primaries = match params.text("profile") {
        None | Some("available") => "0",
        Some("primary") => "quorum",
        Some(_) => {
            return Err(invalid(
                "the url's parameter `profile` must be `available` or `primary`",
            ));
        }
    };
    let mut named = Vec::new();
    let mut one = |name: &'static str, default: &str| {
        let Some(text) = params.text(name) else {
            return Ok(default.to_owned());
        };
        let is_number = text
            .parse()
            .is_ok_and(|number: u32| number <= n_val.unwrap_or(16) && (number > 0 || name.starts_with('p')));
        if !is_number && !["one", "quorum", "all"].contains(&text) {
            return Err(invalid(&format!(
                "the url's parameter `{name}` must be one, quorum, all, or a number up to n_val"
            )));
        }
        named.push((name, text.to_owned()));
        Ok(text.to_owned())
    };
    let r = one("r", "quorum")?;
    let w = one("w", "quorum")?;
    // An answer to a write tells of concurrent ones only if as many replicas have stored it as were asked for.
    let dw = one("dw", &w)?;
    let pr = one("pr", primaries)?;
    let pw = one("pw", primaries)?;
    Ok((Quorums { r, w, dw, pr, pw }, named))
}

fn invalid(message: &str) -> StoreError {
    StoreError::new(ErrorKind::ConfigInvalid, "open", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> Result<Settings, StoreError> {
        Settings::from_url(&StoreUrl::parse(url)?)
    }

    #[test]
    fn defaults_suit_an_unprepared_cluster() {
        let settings = settings("riak+http://a,b:7").unwrap();
        assert_eq!(settings.hosts, [("a".to_owned(), 8098), ("b".to_owned(), 7)]);
        assert_eq!(
            (settings.bucket.as_str(), settings.bucket_type),
            ("waypost", None)
        );
        assert_eq!((settings.n_val, settings.timeout), (None, Duration::from_secs(2)));
        assert_eq!(
            (settings.quorums.r.as_str(), settings.quorums.pr.as_str()),
            ("quorum", "0")
        );
        assert!(settings.named.is_empty());
    }

    #[test]
    fn bucket_type_quorums_and_profile_come_from_the_url() {
        let settings =
            settings("riak+http://h/chat?type=plain&n_val=5&r=2&w=all&profile=primary&pw=1&timeout=500ms&connections=4")
                .unwrap();
        assert_eq!(settings.bucket, "chat");
        assert_eq!(settings.bucket_type.as_deref(), Some("plain"));
        assert_eq!((settings.n_val, settings.connections), (Some(5), 4));
        let Quorums { r, w, dw, pr, pw } = settings.quorums;
        assert_eq!([r, w, dw, pr, pw], ["2", "all", "all", "quorum", "1"]);
        assert_eq!(settings.named.len(), 3);
    }

    #[test]
    fn a_wrong_url_says_what_is_wrong_and_never_the_password() {
        for (url, says) in [
            ("riak+http://u:hunter2@", "no host"),
            ("riak+http://u:hunter2@h/a/b", "names without `/`"),
            ("riak+http://u:hunter2@h/..", "names without `/`"),
            ("riak+http://u:hunter2@h/a?bucket=b", "twice"),
            ("riak+http://u:hunter2@h?r=4&n_val=3", "`r` must be"),
            ("riak+http://u:hunter2@h?w=0", "`w` must be"),
            ("riak+http://u:hunter2@h?w=hunter2", "`w` must be"),
            ("riak+http://u:hunter2@h?profile=strong", "`profile` must be"),
            ("riak+http://u:hunter2@h?n_val=0", "`n_val` must be"),
            ("riak+http://u:hunter2@h?timeout=1ms", "50ms to 60s"),
            ("riak+http://u:hunter2@h?connections=0", "1 to 1024"),
            ("riak+http://u:hunter2@h?ca-file=x", "unknown parameter `ca-file`"),
            ("riak+http://:hunter2@h", "go together"),
            ("riak+ftp://u:hunter2@h", "not one of"),
        ] {
            let error = settings(url).expect_err(url);
            assert!(error.to_string().contains(says), "{url}: {error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
        let shown = format!("{:?}", settings("riak+http://u:hunter2@a").unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
