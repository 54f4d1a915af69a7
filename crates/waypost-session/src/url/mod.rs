//! Store URLs: where the datastore is, in one text that can be printed without its password.

mod host;
mod params;
mod percent;

use core::fmt;
use core::str::FromStr;

pub use host::Host;
pub use params::Params;

use crate::{ErrorKind, Secret, StoreError};

/// Where the datastore is.
///
/// `SCHEME:PATH` or `SCHEME://[[USER][:PASSWORD]@][HOST[:PORT][,HOST[:PORT]...]][/PATH][?NAME=VALUE[&...]]`, for example
/// `embedded:/var/lib/waypost`, `memory:`, `redis://user:password@a:6379,b:6379/0?timeout=2s`. User, password, path and
/// parameters are percent-decoded: write `%40` for an `@` in a password, `%2F` for a `/`, `%3F` for a `?`.
///
/// `Display` and `Debug` print the URL with `***` for the password and for parameters whose names say that they are
/// secret. No error about a URL quotes what may be a password.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl {
    scheme: String,
    has_authority: bool,
    username: Option<String>,
    password: Option<Secret>,
    hosts: Vec<Host>,
    path: String,
    params: Vec<(String, String)>,
}

impl StoreUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// `ConfigInvalid`, saying which part is wrong without quoting it.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let (scheme, rest) = text.split_once(':').filter(|(scheme, _)| is_scheme(scheme)).ok_or_else(|| {
            invalid("the store url begins with no scheme: write for example `embedded:PATH` or `redis://HOST`")
        })?;
        if !rest.starts_with("//")
            && rest
                .rsplit_once('@')
                .is_some_and(|(before, _)| before.contains(':'))
        {
            return Err(invalid(
                "the store url lacks the `//` after its scheme; if this is no user and host but a path, write `@` as \
                 `%40`",
            ));
        }
        let (rest, query) = rest
            .split_once('?')
            .map_or((rest, None), |(rest, query)| (rest, Some(query)));

        let mut url = Self {
            scheme: scheme.to_ascii_lowercase(),
            has_authority: false,
            username: None,
            password: None,
            hosts: Vec::new(),
            path: String::new(),
            params: Vec::new(),
        };
        let path = match rest.strip_prefix("//") {
            None => rest,
            Some(rest) => {
                url.has_authority = true;
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                // A password with a bare `/` or `?` ends the authority too early; what follows it up to the `@` must
                // neither be taken for a path nor be printed as one.
                if path.contains('@') || query.is_some_and(|query| query.contains('@')) {
                    return Err(invalid(
                        "the store url has an `@` after its host: in a password write `/` as `%2F` and `?` as `%3F`, \
                         elsewhere write `@` as `%40`",
                    ));
                }
                url.take_authority(authority)?;
                path
            }
        };
        url.path = decoded(path, "path")?;
        url.params = parse_query(query.unwrap_or_default())?;
        Ok(url)
    }

    fn take_authority(&mut self, authority: &str) -> Result<(), StoreError> {
        let hosts = match authority.rsplit_once('@') {
            None => authority,
            Some((user, hosts)) => {
                let (name, password) = user
                    .split_once(':')
                    .map_or((user, None), |(name, password)| (name, Some(password)));
                self.username = Some(decoded(name, "user")?).filter(|name| !name.is_empty());
                self.password = password
                    .map(|text| decoded(text, "password"))
                    .transpose()?
                    .map(Secret::new);
                hosts
            }
        };
        self.hosts = host::parse_list(hosts)?;
        Ok(())
    }

    /// What is before the first colon, in lower case.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The user, when one is given and not empty.
    #[must_use]
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// The password, when there is a colon after the user.
    #[must_use]
    pub const fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// The hosts in the order given; empty when there are none.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The path, with its leading `/` where it has one: `/0` for `redis://host/0`, `data/store` for
    /// `embedded:data/store`. May be empty.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The parameters, for a backend to take.
    pub fn params(&self) -> Params<'_> {
        Params::new(&self.scheme, &self.params)
    }
}

/// Splits and decodes `a=b&c=d`. A name without `=` has an empty value.
fn parse_query(query: &str) -> Result<Vec<(String, String)>, StoreError> {
    let mut params: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decoded(name, "parameter name")?;
        if params.iter().any(|(earlier, _)| *earlier == name) {
            return Err(invalid(format!(
                "the url's parameter `{}` is given twice",
                name.escape_debug()
            )));
        }
        params.push((name, decoded(value, "parameter value")?));
    }
    Ok(params)
}

fn decoded(text: &str, part: &str) -> Result<String, StoreError> {
    percent::decode(text).map_err(|error| invalid(format!("the url's {part} {}", error.advice())))
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn is_secret(param: &str) -> bool {
    let param = param.to_ascii_lowercase();
    ["pass", "pwd", "secret", "token", "credential"]
        .iter()
        .any(|word| param.contains(word))
}

fn invalid(message: impl Into<String>) -> StoreError {
    StoreError::new(ErrorKind::ConfigInvalid, "open", message)
}

impl FromStr for StoreUrl {
    type Err = StoreError;
    fn from_str(text: &str) -> Result<Self, StoreError> {
        Self::parse(text)
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme)?;
        if self.has_authority {
            f.write_str("//")?;
            if let Some(name) = &self.username {
                f.write_str(&percent::encode(name))?;
            }
            if let Some(password) = &self.password {
                write!(f, ":{password}")?;
            }
            if self.username.is_some() || self.password.is_some() {
                f.write_str("@")?;
            }
            for (index, host) in self.hosts.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                write!(f, "{comma}{host}")?;
            }
        }
        if !self.has_authority && self.path.starts_with("//") {
            write!(f, "%2F{}", percent::encode(&self.path[1..]))?;
        } else {
            f.write_str(&percent::encode(&self.path))?;
        }
        for (index, (name, value)) in self.params.iter().enumerate() {
            let value = if is_secret(name) {
                "***".to_owned()
            } else {
                percent::encode(value)
            };
            write!(
                f,
                "{}{}={value}",
                if index == 0 { '?' } else { '&' },
                percent::encode(name)
            )?;
        }
        Ok(())
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self})")
    }
}

#[cfg(test)]
mod tests;
