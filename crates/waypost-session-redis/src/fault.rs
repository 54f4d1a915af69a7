//! What went wrong below the verbs, and what it means to them.

use redis::{RedisError, ServerError};
use waypost_session::{ErrorKind, StoreError};

/// The verb on whose behalf something is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    /// Whether it changes what others read.
    pub(crate) writes: bool,
}

impl Verb {
    pub(crate) const fn read(name: &'static str) -> Self {
        Self { name, writes: false }
    }

    pub(crate) const fn write(name: &'static str) -> Self {
        Self { name, writes: true }
    }
}

/// One failure. Its message never holds a password.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
    /// Whether the server may have got the command and may yet run it.
    pub(crate) sent: bool,
    /// Whether the servers' roles may have changed: ask again who is who.
    pub(crate) moved: bool,
}

impl Fault {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            sent: false,
            moved: false,
        }
    }

    pub(crate) const fn sent(mut self) -> Self {
        self.sent = true;
        self
    }

    pub(crate) const fn moved(mut self) -> Self {
        self.moved = true;
        self
    }

    /// The verb's error. `applied` says that another part of its batch has been applied.
    pub(crate) fn into_error(self, verb: Verb, applied: bool) -> StoreError {
        StoreError::new(self.kind, verb.name, self.message)
            .with_may_have_applied(verb.writes && (self.sent || applied))
    }
}

/// Replaces the password in what servers say: some quote the commands which they do not know, `HELLO` with its password
/// among them.
#[derive(Clone, Default)]
pub(crate) struct Redactor {
    password: Option<String>,
}

impl core::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Redactor")
    }
}

impl Redactor {
    pub(crate) fn new(password: Option<&str>) -> Self {
        Self {
            password: password.filter(|text| !text.is_empty()).map(str::to_owned),
        }
    }

    fn clean(&self, text: &str) -> String {
        match &self.password {
            Some(password) => text.replace(password.as_str(), "***"),
            None => text.to_owned(),
        }
    }

    /// A failure to connect or to send and receive.
    pub(crate) fn connection(&self, addr: &str, error: &RedisError) -> Fault {
        if let Some(code) = error.code() {
            return self.server(addr, code, error.detail().unwrap_or_default());
        }
        let text = self.clean(&error.to_string());
        let kind = match error.kind() {
            redis::ErrorKind::AuthenticationFailed => ErrorKind::PermissionDenied,
            redis::ErrorKind::InvalidClientConfig => ErrorKind::ConfigInvalid,
            redis::ErrorKind::RESP3NotSupported => ErrorKind::Unsupported,
            _ if text.contains("certificate") => ErrorKind::ConfigInvalid,
            _ => ErrorKind::Unavailable,
        };
        Fault::new(kind, format!("{addr}: {text}"))
    }

    /// An error reply.
    pub(crate) fn reply(&self, addr: &str, error: &ServerError) -> Fault {
        self.server(addr, error.code(), error.details().unwrap_or_default())
    }

    fn server(&self, addr: &str, code: &str, detail: &str) -> Fault {
        let code = inner_code(code, detail);
        let (kind, moved, advice) = classify(code, detail);
        let detail = self.clean(detail);
        let fault = Fault::new(kind, format!("{addr}: {code} {detail}{advice}"));
        if moved { fault.moved() } else { fault }
    }
}

/// Servers before 7.0 wrap what a command in a script answered: `ERR Error running script ...: -OOM ...`.
fn inner_code<'a>(code: &'a str, detail: &'a str) -> &'a str {
    let wrapped = detail
        .split_once("@user_script")
        .and_then(|(_, rest)| rest.split_once(" -"));
    match wrapped {
        Some((_, inner)) if code == "ERR" => inner.split(' ').next().unwrap_or(code),
        _ => code,
    }
}

/// The kind, whether roles may have changed, and what to do next.
fn classify(code: &str, detail: &str) -> (ErrorKind, bool, &'static str) {
    match code {
        "NOAUTH" => (
            ErrorKind::PermissionDenied,
            false,
            ": put the password into the store url",
        ),
        "WRONGPASS" => (
            ErrorKind::PermissionDenied,
            false,
            ": check user and password in the store url",
        ),
        "NOPERM" => (
            ErrorKind::PermissionDenied,
            false,
            ": see the README for the permissions that are needed",
        ),
        "ERR" if detail.contains("AUTH") && !detail.contains("unknown command") => (
            ErrorKind::PermissionDenied,
            false,
            ": check user and password in the store url",
        ),
        "LOADING" | "TRYAGAIN" | "BUSY" | "NOREPLICAS" | "MISCONF" => (ErrorKind::Unavailable, false, ""),
        "CLUSTERDOWN" | "READONLY" | "MASTERDOWN" | "MOVED" | "ASK" => (ErrorKind::Unavailable, true, ""),
        "ERR" if detail.contains("max number of clients") => (ErrorKind::Unavailable, false, ""),
        "OOM" => (ErrorKind::LimitExceeded, false, ": raise the server's maxmemory"),
        "WRONGTYPE" => (
            ErrorKind::Corrupt,
            false,
            ": another program uses these keys; choose another `prefix`",
        ),
        "CROSSSLOT" => (
            ErrorKind::ConfigInvalid,
            false,
            ": use redis+cluster:// for a cluster",
        ),
        "NOPROTO" => (ErrorKind::Unsupported, false, ": Redis 6.2 or newer is needed"),
        "ERR" if detail.contains("unknown command") => {
            (ErrorKind::Unsupported, false, ": Redis 6.2 or newer is needed")
        }
        "ERR" if detail.contains("DB index") => (ErrorKind::ConfigInvalid, false, ""),
        "ERR" if detail.contains("user_script") => (ErrorKind::Corrupt, false, ""),
        _ => (ErrorKind::Unexpected, false, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_errors_say_what_to_conclude() {
        let redactor = Redactor::default();
        for (code, detail, kind, moved) in [
            (
                "NOAUTH",
                "Authentication required.",
                ErrorKind::PermissionDenied,
                false,
            ),
            (
                "LOADING",
                "Redis is loading the dataset in memory",
                ErrorKind::Unavailable,
                false,
            ),
            (
                "READONLY",
                "You can't write against a read only replica.",
                ErrorKind::Unavailable,
                true,
            ),
            ("CLUSTERDOWN", "The cluster is down", ErrorKind::Unavailable, true),
            (
                "OOM",
                "command not allowed when used memory > 'maxmemory'.",
                ErrorKind::LimitExceeded,
                false,
            ),
            (
                "ERR",
                "Error running script (call to f_ab): @user_script:9: @user_script: 9: -OOM command not allowed",
                ErrorKind::LimitExceeded,
                false,
            ),
            ("WRONGTYPE", "Operation against a key", ErrorKind::Corrupt, false),
            (
                "ERR",
                "unknown command `HELLO`, with args beginning with: `3`",
                ErrorKind::Unsupported,
                false,
            ),
            ("SURPRISE", "", ErrorKind::Unexpected, false),
        ] {
            let fault = redactor.server("h:1", code, detail);
            assert_eq!((fault.kind, fault.moved), (kind, moved), "{code} {detail}");
        }
    }

    #[test]
    fn a_password_quoted_by_the_server_is_not_shown() {
        let redactor = Redactor::new(Some("hunter2"));
        let fault = redactor.server(
            "h:1",
            "ERR",
            "unknown command `HELLO`, with args: `AUTH` `default` `hunter2`",
        );
        assert!(!format!("{fault:?} {redactor:?}").contains("hunter2"));
        assert_eq!(fault.kind, ErrorKind::Unsupported);
    }
}
