//! What a store URL says.

use core::time::Duration;

use waypost_session::{ErrorKind, Host, Secret, StoreError, StoreUrl};

/// The URL schemes of this backend.
pub const SCHEMES: [&str; 6] = [
    "redis",
    "rediss",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
];

const DEFAULT_PREFIX: &str = "waypost:";

/// How the servers work together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deployment {
    /// One server, whose address is given.
    Single,
    /// One master at a time; the hosts given are sentinels.
    Sentinel {
        /// The name by which the sentinels know the master.
        master: String,
        /// Whether the URL's user and password are for the sentinels too.
        authenticate: bool,
    },
    /// Masters that share the slots; the hosts given are some of them.
    Cluster,
}

/// Files of `rediss`, read when the store is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) ca: Option<String>,
    pub(crate) cert: Option<String>,
    pub(crate) key: Option<String>,
}

/// Everything that a URL says, with defaults.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) deployment: Deployment,
    pub(crate) hosts: Vec<(String, u16)>,
    pub(crate) db: i64,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) prefix: String,
    pub(crate) timeout: Duration,
    pub(crate) tls: Option<TlsFiles>,
}

impl Settings {
    pub(crate) fn from_url(url: &StoreUrl) -> Result<Self, StoreError> {
        let (tls, kind) = match url.scheme() {
            "redis" => (false, ""),
            "rediss" => (true, ""),
            other => match other.split_once('+') {
                Some(("redis", kind @ ("sentinel" | "cluster"))) => (false, kind),
                Some(("rediss", kind @ ("sentinel" | "cluster"))) => (true, kind),
                _ => {
                    return Err(StoreError::new(
                        ErrorKind::Unsupported,
                        "open",
                        format!("the url scheme `{other}` is not one of {}", SCHEMES.join(", ")),
                    ));
                }
            },
        };
        let mut params = url.params();
        let prefix = params.text("prefix").unwrap_or(DEFAULT_PREFIX).to_owned();
        let timeout = params.timeout()?;
        let tls = if tls {
            let mut file = |name| params.text(name).map(str::to_owned);
            Some(TlsFiles {
                ca: file("ca-file"),
                cert: file("cert-file"),
                key: file("key-file"),
            })
        } else {
            None
        };
        let path = url.path().strip_prefix('/').unwrap_or_else(|| url.path());
        let (deployment, db, port) = match kind {
            "" => (Deployment::Single, path, 6379),
            "cluster" => (Deployment::Cluster, path, 6379),
            _ => {
                let (master, db) = path.split_once('/').unwrap_or((path, ""));
                if master.is_empty() {
                    return Err(invalid(
                        "the url names no master: write redis+sentinel://HOST,HOST/MASTER",
                    ));
                }
                let authenticate = params.boolean("sentinel-auth")?.unwrap_or(false);
                (
                    Deployment::Sentinel {
                        master: master.to_owned(),
                        authenticate,
                    },
                    db,
                    26_379,
                )
            }
        };
        params.finish()?;
        let settings = Self {
            hosts: url
                .hosts()
                .iter()
                .map(|Host { name, port: given }| (name.clone(), given.unwrap_or(port)))
                .collect(),
            db: parse_db(db)?,
            deployment,
            username: url.username().map(str::to_owned),
            password: url.password().cloned(),
            prefix,
            timeout,
            tls,
        };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), StoreError> {
        match (&self.deployment, self.hosts.len()) {
            (_, 0) => return Err(invalid("the url names no host")),
            (Deployment::Single, 2..) => {
                return Err(invalid(
                    "the url names several hosts: `redis` takes one, `redis+sentinel` and `redis+cluster` take several",
                ));
            }
            _ => {}
        }
        if self.deployment == Deployment::Cluster && self.db != 0 {
            return Err(invalid(
                "a cluster has database 0 alone: leave the url's path out",
            ));
        }
        if self.username.is_some() && self.password.is_none() {
            return Err(invalid(
                "the url has a user and no password: write USER:PASSWORD@HOST",
            ));
        }
        if self.prefix.contains(['{', '}']) {
            return Err(invalid(
                "the url's parameter `prefix` must not have braces, which mark hash tags",
            ));
        }
        if let Some(tls) = &self.tls
            && tls.cert.is_some() != tls.key.is_some()
        {
            return Err(invalid(
                "the url's parameters `cert-file` and `key-file` go together",
            ));
        }
        if self.tls.is_some() && cfg!(not(feature = "tls")) {
            return Err(StoreError::new(
                ErrorKind::Unsupported,
                "open",
                "this build has no TLS: build waypost-session-redis with its feature `tls`",
            ));
        }
        Ok(())
    }
}

fn parse_db(text: &str) -> Result<i64, StoreError> {
    match text {
        "" => Ok(0),
        _ => text
            .parse()
            .ok()
            .filter(|db| (0..=65_535).contains(db))
            .ok_or_else(|| invalid("the url's path is not a database number such as `/0`")),
    }
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
    fn each_deployment_has_its_url() {
        let single = settings("redis://user:secret@h/3?prefix=a:&timeout=500ms").unwrap();
        assert_eq!(single.deployment, Deployment::Single);
        assert_eq!(single.hosts, [("h".to_owned(), 6379)]);
        assert_eq!(
            (single.db, single.prefix.as_str(), single.timeout),
            (3, "a:", Duration::from_millis(500))
        );
        assert_eq!(single.username.as_deref(), Some("user"));

        let sentinel = settings("redis+sentinel://a,b:7/main/2?sentinel-auth=true").unwrap();
        assert_eq!(sentinel.hosts, [("a".to_owned(), 26_379), ("b".to_owned(), 7)]);
        assert_eq!(
            sentinel.deployment,
            Deployment::Sentinel {
                master: "main".to_owned(),
                authenticate: true
            }
        );
        assert_eq!((sentinel.db, sentinel.timeout), (2, Duration::from_secs(2)));

        let cluster = settings("redis+cluster://a:1,[::1]:2").unwrap();
        assert_eq!(cluster.deployment, Deployment::Cluster);
        assert_eq!(cluster.hosts, [("a".to_owned(), 1), ("::1".to_owned(), 2)]);
    }

    #[test]
    fn a_wrong_url_says_what_is_wrong_and_never_the_password() {
        for (url, says) in [
            ("redis://:hunter2@", "no host"),
            ("redis://:hunter2@a,b", "several hosts"),
            ("redis://:hunter2@a/x", "database number"),
            ("redis://:hunter2@a/-1", "database number"),
            ("redis://:hunter2@a?tiemout=1s", "unknown parameter `tiemout`"),
            ("redis://:hunter2@a?ca-file=x", "unknown parameter `ca-file`"),
            ("redis://:hunter2@a?timeout=0s", "50ms to 60s"),
            ("redis://:hunter2@a?prefix=%7Bx%7D", "braces"),
            ("redis://hunter2@a", "user and no password"),
            ("redis+sentinel://:hunter2@a", "no master"),
            ("redis+cluster://:hunter2@a/1", "database 0"),
            ("redis+other://:hunter2@a", "not one of"),
        ] {
            let error = settings(url).expect_err(url);
            assert!(error.to_string().contains(says), "{url}: {error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
        let shown = format!("{:?}", settings("redis://:hunter2@a").unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
