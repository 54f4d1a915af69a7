//! The parameters of a store URL, taken one by one.

use core::str::FromStr;
use core::time::Duration;

use super::invalid;
use crate::StoreError;

/// How long a call waits for a datastore over the network where the URL does not say, and what it may say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT_RANGE: core::ops::RangeInclusive<Duration> =
    Duration::from_millis(50)..=Duration::from_secs(60);

/// The parameters of a [`StoreUrl`](crate::StoreUrl), for a backend to take those that it knows.
///
/// Take every parameter that exists, then call [`finish`](Self::finish): it refuses the ones that nobody took, so that a
/// mistyped name is an error and not a silent default.
#[derive(Debug)]
#[must_use = "call `finish`, which refuses unknown parameters"]
pub struct Params<'a> {
    scheme: &'a str,
    rest: Vec<(&'a str, &'a str)>,
    known: Vec<&'static str>,
}

impl<'a> Params<'a> {
    pub(super) fn new(scheme: &'a str, params: &'a [(String, String)]) -> Self {
        let rest = params
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        Self {
            scheme,
            rest,
            known: Vec::new(),
        }
    }

    /// The text of the parameter, `None` when it is not given.
    pub fn text(&mut self, name: &'static str) -> Option<&'a str> {
        self.known.push(name);
        let at = self.rest.iter().position(|(given, _)| *given == name)?;
        Some(self.rest.swap_remove(at).1)
    }

    /// A duration such as `500ms`, `2s`, `5m` or `1h`.
    ///
    /// # Errors
    /// `ConfigInvalid` when the value is none.
    pub fn duration(&mut self, name: &'static str) -> Result<Option<Duration>, StoreError> {
        self.parsed(name, parse_duration, "a duration such as `500ms` or `2s`")
    }

    /// The parameter `timeout` of every datastore over the network: how long a call waits for an answer, from 50 ms to 60 s; 2 s when it is
    /// not given.
    ///
    /// # Errors
    /// `ConfigInvalid` when the value is no duration or out of range.
    pub fn timeout(&mut self) -> Result<Duration, StoreError> {
        let timeout = self.duration("timeout")?.unwrap_or(DEFAULT_TIMEOUT);
        if TIMEOUT_RANGE.contains(&timeout) {
            Ok(timeout)
        } else {
            Err(invalid("the url's parameter `timeout` must be 50ms to 60s"))
        }
    }

    /// A number of type `T`.
    ///
    /// # Errors
    /// `ConfigInvalid` when the value is none or does not fit.
    pub fn number<T: FromStr>(&mut self, name: &'static str) -> Result<Option<T>, StoreError> {
        self.parsed(name, |text| text.parse().ok(), "a number in range")
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// `ConfigInvalid` when the value is neither.
    pub fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, StoreError> {
        self.parsed(name, |text| text.parse().ok(), "`true` or `false`")
    }

    /// Refuses what has not been taken.
    ///
    /// # Errors
    /// `ConfigInvalid`, naming an unknown parameter and listing the known ones.
    pub fn finish(mut self) -> Result<(), StoreError> {
        let Some((name, _)) = self.rest.first() else {
            return Ok(());
        };
        self.known.sort_unstable();
        self.known.dedup();
        let advice = if self.known.is_empty() {
            format!("`{}` takes none", self.scheme)
        } else {
            format!("`{}` takes {}", self.scheme, self.known.join(", "))
        };
        Err(invalid(format!(
            "unknown parameter `{}` in the store url: {advice}",
            name.escape_debug()
        )))
    }

    fn parsed<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
        what: &str,
    ) -> Result<Option<T>, StoreError> {
        // The value is not quoted: a password may have been put there by mistake.
        self.text(name)
            .map(|text| {
                parse(text).ok_or_else(|| invalid(format!("the url's parameter `{name}` is not {what}")))
            })
            .transpose()
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, StoreUrl};

    #[test]
    fn durations_carry_their_unit() {
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("2s"), Some(Duration::from_secs(2)));
        assert_eq!(parse_duration("5m"), Some(Duration::from_secs(300)));
        assert_eq!(parse_duration("1h"), Some(Duration::from_secs(3600)));
        for text in [
            "",
            "2",
            "s",
            "-2s",
            "2 s",
            "2d",
            "1.5s",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_timeout_has_a_default_and_a_range() {
        let timeout = |text: &str| StoreUrl::parse(text).unwrap().params().timeout();
        assert_eq!(timeout("redis://h").unwrap(), Duration::from_secs(2));
        assert_eq!(timeout("redis://h?timeout=60s").unwrap(), Duration::from_secs(60));
        for value in ["49ms", "61s", "0s", "soon"] {
            let error = timeout(&format!("redis://h?timeout={value}")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid, "{error}");
        }
    }

    #[test]
    fn known_parameters_are_taken_with_their_types() {
        let url = StoreUrl::parse("redis://h?timeout=2s&pool=4&tls=true&name=a%26b").unwrap();
        let mut params = url.params();
        assert_eq!(params.duration("timeout").unwrap(), Some(Duration::from_secs(2)));
        assert_eq!(params.number::<u8>("pool").unwrap(), Some(4));
        assert_eq!(params.boolean("tls").unwrap(), Some(true));
        assert_eq!(params.text("name"), Some("a&b"));
        assert_eq!(params.text("absent"), None);
        params.finish().unwrap();
    }

    #[test]
    fn an_unknown_parameter_is_named_and_the_known_ones_are_listed() {
        let url = StoreUrl::parse("redis://h?tiemout=2s").unwrap();
        let mut params = url.params();
        params.duration("timeout").unwrap();
        params.text("pool");
        let error = params.finish().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
        assert!(
            error
                .to_string()
                .ends_with("unknown parameter `tiemout` in the store url: `redis` takes pool, timeout"),
            "{error}"
        );
    }

    #[test]
    fn a_value_of_the_wrong_type_is_an_error_that_does_not_quote_it() {
        let url = StoreUrl::parse("redis://h?timeout=hunter2").unwrap();
        let error = url.params().duration("timeout").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
        assert!(
            error.to_string().contains("`timeout` is not a duration")
                && !error.to_string().contains("hunter2")
        );
    }
}
