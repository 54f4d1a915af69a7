//! What a store URL says.

use core::time::Duration;

use couchbase::durability_level::DurabilityLevel;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use waypost_session::{ErrorKind, Host, Secret, StoreError, StoreUrl};

use crate::fault::Fault;
use crate::keys::PREFIX_BYTES_MAX;

/// The URL schemes of this backend.
pub const SCHEMES: [&str; 2] = ["couchbase", "couchbases"];

const DEFAULT_PREFIX: &str = "waypost:";
const DEFAULT_NAME: &str = "_default";
const CONNECTIONS_MAX: usize = 16;

/// When a write counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    None,
    Majority,
    MajorityAndPersistToActive,
    PersistToMajority,
}

impl Durability {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "none" => Self::None,
            "majority" => Self::Majority,
            "majority-and-persist-to-active" => Self::MajorityAndPersistToActive,
            "persist-to-majority" => Self::PersistToMajority,
            _ => return None,
        })
    }

    pub(crate) const fn level(self) -> Option<DurabilityLevel> {
        match self {
            Self::None => None,
            Self::Majority => Some(DurabilityLevel::MAJORITY),
            Self::MajorityAndPersistToActive => Some(DurabilityLevel::MAJORITY_AND_PERSIST_ACTIVE),
            Self::PersistToMajority => Some(DurabilityLevel::PERSIST_TO_MAJORITY),
        }
    }

    /// Whether what was acknowledged is on a disk.
    pub(crate) const fn persists(self) -> bool {
        matches!(self, Self::MajorityAndPersistToActive | Self::PersistToMajority)
    }
}

/// Everything that a URL says, with defaults.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) tls: bool,
    pub(crate) hosts: Vec<Host>,
    pub(crate) username: String,
    pub(crate) password: Secret,
    pub(crate) bucket: String,
    pub(crate) scope: String,
    pub(crate) collection: String,
    pub(crate) durability: Durability,
    pub(crate) timeout: Duration,
    pub(crate) connections: usize,
    pub(crate) prefix: String,
    ca_file: Option<String>,
}

impl Settings {
    pub(crate) fn from_url(url: &StoreUrl) -> Result<Self, StoreError> {
        let tls = match url.scheme() {
            "couchbase" => false,
            "couchbases" => true,
            other => {
                return Err(StoreError::new(
                    ErrorKind::Unsupported,
                    "open",
                    format!("the url scheme `{other}` is not one of {}", SCHEMES.join(", ")),
                ));
            }
        };
        let mut params = url.params();
        let name = |text: Option<&str>| text.unwrap_or(DEFAULT_NAME).to_owned();
        let scope = name(params.text("scope"));
        let collection = name(params.text("collection"));
        let durability = params.text("durability").unwrap_or("none");
        let durability = Durability::parse(durability).ok_or_else(|| {
            invalid(
                "the url's parameter `durability` must be none, majority, majority-and-persist-to-active or \
                 persist-to-majority",
            )
        })?;
        let timeout = params.timeout()?;
        let connections = params.number("connections")?.unwrap_or(1);
        let prefix = params.text("prefix").unwrap_or(DEFAULT_PREFIX).to_owned();
        let ca_file = if tls {
            params.text("ca-file").map(str::to_owned)
        } else {
            None
        };
        params.finish()?;
        let bucket = url.path().strip_prefix('/').unwrap_or_else(|| url.path());
        let settings = Self {
            tls,
            hosts: url.hosts().to_vec(),
            username: url.username().unwrap_or_default().to_owned(),
            password: url.password().cloned().unwrap_or_else(|| Secret::new("")),
            bucket: bucket.strip_suffix('/').unwrap_or(bucket).to_owned(),
            scope,
            collection,
            durability,
            timeout,
            connections,
            prefix,
            ca_file,
        };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.hosts.is_empty() {
            return Err(invalid("the url names no host"));
        }
        if self.username.is_empty() || self.password.expose().is_empty() {
            return Err(invalid(
                "the url lacks a user or a password, and Couchbase lets nobody in without: write \
                 couchbase://USER:PASSWORD@HOST/BUCKET",
            ));
        }
        if !is_name(&self.bucket, "-_.%", 100) {
            return Err(invalid(
                "the url's path must be a bucket's name: write couchbase://USER:PASSWORD@HOST/BUCKET",
            ));
        }
        for (parameter, name) in [("scope", &self.scope), ("collection", &self.collection)] {
            if !is_name(name, "-_%", 251) {
                return Err(invalid(&format!(
                    "the url's parameter `{parameter}` must be letters, digits and the characters - _ %"
                )));
            }
        }
        if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            return Err(invalid("the url's parameter `connections` must be 1 to 16"));
        }
        if self.prefix.len() > PREFIX_BYTES_MAX {
            return Err(invalid("the url's parameter `prefix` must have at most 64 bytes"));
        }
        Ok(())
    }

    /// The default port of the scheme.
    pub(crate) const fn port(&self) -> u16 {
        if self.tls { 11_207 } else { 11_210 }
    }

    /// What the SDK takes to find the cluster.
    pub(crate) fn connection_string(&self) -> String {
        let scheme = if self.tls { "couchbases" } else { "couchbase" };
        // With a port: without one the SDK would ask DNS for service records first.
        format!("{scheme}://{}", self.places())
    }

    /// The hosts with their ports, for the SDK and for people.
    pub(crate) fn places(&self) -> String {
        let place = |host: &Host| {
            let port = host.port.unwrap_or_else(|| self.port());
            if host.name.contains(':') {
                format!("[{}]:{port}", host.name)
            } else {
                format!("{}:{port}", host.name)
            }
        };
        self.hosts.iter().map(place).collect::<Vec<_>>().join(",")
    }

    /// Whether the collection is the one that every bucket has.
    pub(crate) fn is_default_collection(&self) -> bool {
        self.scope == DEFAULT_NAME && self.collection == DEFAULT_NAME
    }

    /// Whose certificates are trusted, and no others; `None` for the public authorities and Capella's.
    pub(crate) fn authorities(&self) -> Result<Option<Vec<CertificateDer<'static>>>, Fault> {
        let Some(path) = &self.ca_file else {
            return Ok(None);
        };
        let wrong = |error: rustls_pki_types::pem::Error| {
            Fault::new(
                ErrorKind::ConfigInvalid,
                format!("the url's `ca-file` cannot be read as PEM certificates: {error}"),
            )
        };
        let found = CertificateDer::pem_file_iter(path)
            .map_err(wrong)?
            .collect::<Result<Vec<_>, _>>()
            .map_err(wrong)?;
        if found.is_empty() {
            return Err(Fault::new(
                ErrorKind::ConfigInvalid,
                "the url's `ca-file` holds no certificate",
            ));
        }
        Ok(Some(found))
    }
}

fn is_name(text: &str, also: &str, max: usize) -> bool {
    (1..=max).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || also.contains(c))
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
    fn a_url_says_everything_and_has_defaults() {
        let plain = settings("couchbase://user:secret@h/bucket").unwrap();
        assert_eq!(plain.connection_string(), "couchbase://h:11210");
        assert_eq!(
            (plain.bucket.as_str(), plain.durability, plain.timeout),
            ("bucket", Durability::None, Duration::from_secs(2))
        );
        assert!(plain.is_default_collection());
        let full = settings(
            "couchbases://u:p@a:1,[::1]/b?scope=s&collection=c&durability=majority&timeout=500ms&connections=2&prefix=x:",
        )
        .unwrap();
        assert_eq!(full.connection_string(), "couchbases://a:1,[::1]:11207");
        assert_eq!((full.scope.as_str(), full.collection.as_str()), ("s", "c"));
        assert_eq!(full.durability, Durability::Majority);
        assert_eq!(
            (full.connections, full.prefix.as_str(), full.timeout),
            (2, "x:", Duration::from_millis(500))
        );
    }

    #[test]
    fn a_wrong_url_says_what_is_wrong_and_never_the_password() {
        for (url, says) in [
            ("couchbase://u:hunter2@/b", "no host"),
            ("couchbase://h/b", "user or a password"),
            ("couchbase://u@h/b", "user or a password"),
            ("couchbase://u:hunter2@h", "bucket's name"),
            ("couchbase://u:hunter2@h/a/b", "bucket's name"),
            ("couchbase://u:hunter2@h/b?scope=a.b", "`scope`"),
            ("couchbase://u:hunter2@h/b?durability=all", "majority-and-persist"),
            ("couchbase://u:hunter2@h/b?timeout=1ms", "50ms to 60s"),
            ("couchbase://u:hunter2@h/b?connections=0", "1 to 16"),
            (
                "couchbase://u:hunter2@h/b?ca-file=x",
                "unknown parameter `ca-file`",
            ),
            (
                "couchbase://u:hunter2@h/b?tiemout=1s",
                "unknown parameter `tiemout`",
            ),
            ("riak+http://u:hunter2@h/b", "not one of"),
        ] {
            let error = settings(url).expect_err(url);
            assert!(error.to_string().contains(says), "{url}: {error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
        let shown = format!("{:?}", settings("couchbase://u:hunter2@h/b").unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_ca_file_that_is_none_is_refused() {
        let wrong = settings("couchbases://u:p@h/b?ca-file=/nowhere/ca.pem").unwrap();
        assert_eq!(wrong.authorities().unwrap_err().kind, ErrorKind::ConfigInvalid);
    }
}
