//! Where the values of settings come from, and which of them counts.

use core::fmt;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::settings::{Arity, SETTINGS, Setting, find};

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// By a flag.
    Flag,
    /// By an environment variable.
    Environment,
    /// In this file.
    File(PathBuf),
}

/// What was given for one setting, as text. Its `Debug` prints no values: there are secrets among them.
#[derive(Clone, PartialEq, Eq)]
pub struct Given {
    /// One text, or several for a list.
    pub values: Vec<String>,
    /// Where.
    pub source: Source,
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// What was given in one place or, once stacked, in all of them.
#[derive(Debug, Default)]
pub struct Layer {
    given: BTreeMap<&'static str, Given>,
}

impl Layer {
    /// Notes what was given for a setting.
    pub fn set(&mut self, setting: &'static Setting, values: Vec<String>, source: Source) {
        let values = if setting.arity == Arity::Many {
            let items = values.iter().flat_map(|value| value.split(','));
            items
                .map(|item| item.trim().to_owned())
                .filter(|item| !item.is_empty())
                .collect()
        } else {
            values
        };
        self.given.insert(setting.key, Given { values, source });
    }

    /// What was given for a setting.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Given> {
        self.given.get(key)
    }

    /// Fills in from `lower` what was not given here.
    pub fn stack_on(&mut self, lower: Self) {
        // The two ways to give the key are one setting: the higher layer's choice hides the lower's.
        let has_key = self.get("cluster-key").is_some() || self.get("cluster-key-file").is_some();
        for (key, given) in lower.given {
            if has_key && key.starts_with("cluster-key") {
                continue;
            }
            self.given.entry(key).or_insert(given);
        }
    }
}

/// Reads `WAYPOST_*`. An empty variable counts as not set.
pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Result<Layer> {
    let mut layer = Layer::default();
    for setting in SETTINGS {
        let name = setting.variable();
        if let Some(value) = variable(&name).filter(|value| !value.is_empty()) {
            let Ok(value) = value.into_string() else {
                bail!("{name}: not UTF-8")
            };
            layer.set(setting, vec![value], Source::Environment);
        }
    }
    Ok(layer)
}

/// Reads a TOML file.
pub fn from_file(path: &Path) -> Result<Layer> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
    from_toml(&text, path)
}

fn from_toml(text: &str, path: &Path) -> Result<Layer> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        // The error's own text quotes the line, and the line may hold a password.
        let line = error.span().map_or(0, |span| {
            text[..span.start.min(text.len())].matches('\n').count() + 1
        });
        anyhow::anyhow!("{}: line {line}: {}", path.display(), error.message())
    })?;
    let mut layer = Layer::default();
    for (key, value) in table {
        let Some(setting) = find(&key) else {
            let known: Vec<_> = SETTINGS.iter().map(|setting| setting.key).collect();
            bail!(
                "{}: unknown key `{}`; the keys are {}",
                path.display(),
                key.escape_debug(),
                known.join(", ")
            );
        };
        let Some(values) = texts(setting, value) else {
            let wanted = match setting.arity {
                Arity::One => "a string or a number",
                Arity::Many => "a string or an array of strings",
                Arity::Switch => "true or false",
            };
            bail!("{}: `{key}` takes {wanted}", path.display());
        };
        layer.set(setting, values, Source::File(path.to_owned()));
    }
    Ok(layer)
}

/// The value as texts, unless it is of a type that the setting does not take.
fn texts(setting: &Setting, value: toml::Value) -> Option<Vec<String>> {
    match (setting.arity, value) {
        (Arity::One | Arity::Many, toml::Value::String(text)) => Some(vec![text]),
        (Arity::One, toml::Value::Integer(number)) => Some(vec![number.to_string()]),
        (Arity::Switch, toml::Value::Boolean(on)) => Some(vec![on.to_string()]),
        (Arity::Many, toml::Value::Array(items)) => items
            .into_iter()
            .map(|item| item.as_str().map(ToOwned::to_owned))
            .collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<Layer> {
        from_toml(text, Path::new("waypost.toml"))
    }

    #[test]
    fn an_unknown_key_in_the_file_is_an_error_that_names_it() {
        let error = file("lease-term = \"5s\"\nlease_term = \"5s\"")
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("waypost.toml: unknown key `lease_term`; the keys are identity, "),
            "{error}"
        );
    }

    #[test]
    fn a_value_of_the_wrong_type_is_an_error_that_names_its_key() {
        for (text, key) in [
            ("listen = 5", "listen"),
            ("stdio = \"yes\"", "stdio"),
            ("store = [\"a\"]", "store"),
        ] {
            let error = file(text).unwrap_err().to_string();
            assert!(error.contains(&format!("`{key}` takes")), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_no_toml_is_an_error_with_its_line_and_without_its_text() {
        let error = file("log = \"info\"\nstore = \"redis://:hunter2@host")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("waypost.toml: line 2: "), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn every_setting_can_be_given_in_the_file_and_in_the_environment() {
        for setting in SETTINGS {
            let text = match setting.arity {
                Arity::One => format!("{} = \"x\"", setting.key),
                Arity::Many => format!("{} = [\"x\", \"y\"]", setting.key),
                Arity::Switch => format!("{} = true", setting.key),
            };
            assert!(file(&text).unwrap().get(setting.key).is_some(), "{text}");
            let name = setting.variable();
            let layer = from_environment(|asked| (asked == name).then(|| "x".into())).unwrap();
            assert!(layer.get(setting.key).is_some(), "{name}");
        }
    }
}
