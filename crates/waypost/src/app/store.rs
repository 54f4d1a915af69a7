//! Which session store the program uses, and opening it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use waypost_session::{SessionStore, StoreUrl};

use super::Program;
use super::config::Config;
use super::exit::{Failure, usage};

/// An open store and how to print its URL.
#[derive(Debug)]
pub(crate) struct OpenStore {
    pub(crate) store: Arc<dyn SessionStore>,
    /// Without its password.
    pub(crate) url: String,
}

/// Opens the store that the configuration names, or the default one.
pub(crate) async fn open(program: Program, config: &Config) -> Result<OpenStore, Failure> {
    let registry = crate::store_registry();
    let url = match &config.store {
        Some(url) => url.0.clone(),
        None if cfg!(feature = "embedded") => default_url()?,
        None => {
            return Err(usage(format_args!(
                "no session store is named and the default one is not compiled in: give --store URL or WAYPOST_STORE \
                 (this build has {})",
                registry.schemes().collect::<Vec<_>>().join(", ")
            )));
        }
    };
    let shown = StoreUrl::parse(&url).map_err(Failure::store)?.to_string();
    tracing::info!(store = %shown, "opens the session store");
    let store = registry.open(&url).await.map_err(Failure::store)?;
    if program == Program::Brokerless && !store.capabilities().shared {
        tracing::warn!(store = %shown, "no other process sees this store: this server is a cluster of its own");
    }
    Ok(OpenStore { store, url: shown })
}

/// The embedded store in this user's state directory, whose parent is made if it is missing.
fn default_url() -> Result<String, Failure> {
    let path = default_path(|name| std::env::var_os(name).map(PathBuf::from));
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| {
            anyhow::Error::from(error).context(format!(
                "cannot make {}; name a store by --store",
                parent.display()
            ))
        })?;
    }
    embedded_url(&path)
}

fn default_path(variable: impl Fn(&str) -> Option<PathBuf>) -> PathBuf {
    let absolute = |name| variable(name).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local").join("state")))
        .unwrap_or_else(std::env::temp_dir)
        .join("waypost")
        .join("sessions")
}

fn embedded_url(path: &Path) -> Result<String, Failure> {
    let path = path.to_str().ok_or_else(|| {
        usage(format_args!(
            "{} is not UTF-8: name a store by --store",
            path.display()
        ))
    })?;
    let mut url = path.replace('%', "%25").replace('?', "%3F").replace('@', "%40");
    if url.starts_with("//") {
        // What follows would be read as a host.
        url.replace_range(..1, "%2F");
    }
    Ok(format!("embedded:{url}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_store_is_in_the_users_state_directory() {
        let with = |set: &'static [(&'static str, &'static str)]| {
            default_path(move |name| {
                set.iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| value.into())
            })
        };
        assert_eq!(
            with(&[("HOME", "/h")]),
            Path::new("/h/.local/state/waypost/sessions")
        );
        assert_eq!(
            with(&[("HOME", "/h"), ("XDG_STATE_HOME", "/s")]),
            Path::new("/s/waypost/sessions")
        );
        assert_eq!(
            with(&[("HOME", "relative")]),
            std::env::temp_dir().join("waypost/sessions")
        );
    }

    #[test]
    fn a_path_survives_being_put_into_a_url() {
        for path in ["/odd %2f?/dir", "/home/a:b@c/dir", "//host/dir"] {
            let url = embedded_url(Path::new(path)).unwrap();
            assert_eq!(StoreUrl::parse(&url).unwrap().path(), path);
        }
    }
}
