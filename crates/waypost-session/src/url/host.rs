//! The hosts of a store URL.

use core::fmt;

use super::invalid;
use crate::StoreError;

/// One host of a store URL, with its port where one is given.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    /// A name, an IPv4 address, or an IPv6 address without its brackets.
    pub name: String,
    /// The port; `None` means the datastore's usual one.
    pub port: Option<u16>,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name.contains(':'), self.port) {
            (true, Some(port)) => write!(f, "[{}]:{port}", self.name),
            (true, None) => write!(f, "[{}]", self.name),
            (false, Some(port)) => write!(f, "{}:{port}", self.name),
            (false, None) => f.write_str(&self.name),
        }
    }
}

/// Reads `host[:port][,host[:port]...]`. Errors name a host by its place in the list and never quote it: a mistyped URL
/// may have its password here.
pub(super) fn parse_list(text: &str) -> Result<Vec<Host>, StoreError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',')
        .zip(1..)
        .map(|(text, place)| {
            parse(text).map_err(|what| invalid(format!("host {place} of the store url {what}")))
        })
        .collect()
}

fn parse(text: &str) -> Result<Host, &'static str> {
    let (name, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (name, after) = bracketed.split_once(']').ok_or("has a `[` without `]`")?;
            if !name
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte))
                || !name.contains(':')
            {
                return Err("has no IPv6 address in its brackets");
            }
            let port = match after.strip_prefix(':') {
                Some(port) => Some(port),
                None if after.is_empty() => None,
                None => return Err("has something other than a port after its `]`"),
            };
            (name, port)
        }
        None => {
            let (name, port) = text
                .split_once(':')
                .map_or((text, None), |(name, port)| (name, Some(port)));
            if port.is_some_and(|port| port.contains(':')) {
                return Err(
                    "has more than one `:`: put an IPv6 address into brackets, and write `:` in a user as `%3A`",
                );
            }
            if !name.chars().all(|c| c.is_alphanumeric() || "-._".contains(c)) {
                return Err("has a character that no host name has");
            }
            (name, port)
        }
    };
    if name.is_empty() {
        return Err("is empty");
    }
    let port = port
        .map(|port| {
            port.parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or("has a port that is not 1 to 65535")
        })
        .transpose()?;
    Ok(Host {
        name: name.to_owned(),
        port,
    })
}
