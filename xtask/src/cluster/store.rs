//! Which datastore a cluster runs on, from `--store NAME|URL`.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result, bail};

use crate::containers::Service;

/// What `--store` asks for.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum StoreChoice {
    /// A fresh directory of the cluster's own.
    Embedded,
    /// A `redis-server` of the cluster's own, on a free port and without persistence.
    StartRedis,
    /// A node of its own, in a container.
    Container(Service),
    /// A store that the user already runs.
    Url { url: String, feature: &'static str },
}

impl FromStr for StoreChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "embedded" => return Ok(Self::Embedded),
            "redis" => return Ok(Self::StartRedis),
            "riak" => return Ok(Self::Container(Service::Riak)),
            "couchbase" => return Ok(Self::Container(Service::Couchbase)),
            "memory" => bail!(
                "the memory store lives inside one process and cannot be shared by a cluster; use embedded, which \
                 needs nothing installed either"
            ),
            _ => {}
        }
        let Some((scheme, rest)) = text.split_once(':') else {
            bail!(
                "unknown store '{text}': give embedded, redis, riak, couchbase or a URL such as redis://127.0.0.1:6379"
            );
        };
        let feature = match scheme {
            "embedded" if rest.is_empty() => {
                bail!("'embedded:' needs a path, as in embedded:/var/lib/waypost")
            }
            "embedded" => "embedded",
            "redis" | "rediss" | "redis+sentinel" | "rediss+sentinel" | "redis+cluster"
            | "rediss+cluster" => "redis",
            "riak+http" | "riak+https" => "riak",
            "couchbase" | "couchbases" => "couchbase",
            "memory" => bail!("the memory store lives inside one process and cannot be shared by a cluster"),
            other => bail!(
                "unknown store scheme '{other}'; known: couchbase, couchbases, embedded, riak+http, riak+https, redis, rediss, and these two with +sentinel or +cluster"
            ),
        };
        Ok(Self::Url {
            url: text.to_owned(),
            feature,
        })
    }
}

impl StoreChoice {
    /// The Cargo feature of `waypost` that this store needs.
    pub(crate) fn feature(&self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::StartRedis => "redis",
            Self::Container(Service::Riak) => "riak",
            Self::Container(Service::Couchbase) => "couchbase",
            Self::Url { feature, .. } => feature,
        }
    }
}

/// Never shows a password.
impl fmt::Debug for StoreChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("Embedded"),
            Self::StartRedis => f.write_str("StartRedis"),
            Self::Container(service) => write!(f, "Container({service:?})"),
            Self::Url { url, .. } => write!(f, "Url({})", redacted(url)),
        }
    }
}

/// Whether the URL holds a user's name or password, which then must not appear among a process's arguments.
pub(crate) fn has_credentials(url: &str) -> bool {
    authority(url).is_some_and(|authority| authority.contains('@'))
}

/// The URL with its password, and whatever else comes before the `@`, replaced.
pub(crate) fn redacted(url: &str) -> String {
    match authority(url).and_then(|authority| authority.rsplit_once('@')) {
        Some((credentials, _)) => url.replacen(&format!("{credentials}@"), "***@", 1),
        None => url.to_owned(),
    }
}

/// What stands between `//` and the path. A password may itself hold a `/` by mistake, so the last `@` of the whole
/// URL ends the credentials.
fn authority(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let from = rest.rfind('@').unwrap_or(0);
    let end = rest[from..]
        .find(['/', '?', '#'])
        .map_or(rest.len(), |at| from + at);
    Some(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        text.parse::<StoreChoice>().unwrap_err().to_string()
    }

    #[test]
    fn names_and_urls_pick_the_feature() {
        for (text, feature) in [
            ("embedded", "embedded"),
            ("embedded:/tmp/a dir", "embedded"),
            ("redis", "redis"),
            ("redis://h:1/2", "redis"),
            ("rediss://h", "redis"),
            ("redis+sentinel://a,b/main", "redis"),
            ("redis+cluster://a:1,b:2", "redis"),
            ("riak", "riak"),
            ("riak+http://a:8098,b:8098/chat", "riak"),
            ("riak+https://u:p@a", "riak"),
            ("couchbase", "couchbase"),
            ("couchbase://u:p@a/b", "couchbase"),
            ("couchbases://u:p@a,b/b?scope=s", "couchbase"),
        ] {
            assert_eq!(text.parse::<StoreChoice>().unwrap().feature(), feature, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_says_why() {
        assert!(error("memory:").contains("cannot be shared"));
        assert!(error("mysql://h").contains("unknown store scheme 'mysql'"));
        assert!(error("nonsense").contains("unknown store 'nonsense'"));
    }

    #[test]
    fn a_password_is_never_shown() {
        let url = "redis://user:se/cr@et@host:6379/0";
        assert_eq!(redacted(url), "redis://***@host:6379/0");
        assert!(has_credentials(url));
        assert!(!format!("{:?}", url.parse::<StoreChoice>().unwrap()).contains("cr"));
        assert_eq!(redacted("redis://host/0"), "redis://host/0");
        assert!(!has_credentials("redis://host/0"));
        assert!(!has_credentials("embedded:/tmp/a@b"));
    }
}
