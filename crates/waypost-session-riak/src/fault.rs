//! What went wrong below the verbs, and what it means to them.

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

/// Where it may help to send the same request again. All requests of this backend may be repeated: what they write merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// Nowhere.
    Never,
    /// At any node, this one after a pause: it is there and not ready, or overloaded.
    Later,
    /// At another node at once: this one cannot be reached or does not answer.
    Elsewhere,
    /// Nowhere as it is: the object must be read first, for its siblings have become too many or it has changed.
    AfterReading,
}

/// One failure. Its message never holds a password.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
    pub(crate) again: Again,
    /// Whether a node may have got a write and may yet apply it.
    pub(crate) sent: bool,
    /// Whether replicas may be apart for a while, so that what is written meanwhile misses what others write.
    pub(crate) apart: bool,
    /// What is there has more headers than the HTTP client takes.
    pub(crate) headers: bool,
}

impl Fault {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            again: Again::Never,
            sent: false,
            apart: false,
            headers: false,
        }
    }

    /// The same, saying that replicas may be apart.
    pub(crate) const fn apart(mut self) -> Self {
        self.apart = true;
        self
    }

    /// The same, saying that what is there has more headers than the HTTP client takes.
    pub(crate) const fn too_many_headers(mut self) -> Self {
        self.headers = true;
        self
    }

    pub(crate) const fn again(mut self, again: Again) -> Self {
        self.again = again;
        self
    }

    /// The same, saying that a write may have been applied if `sent`.
    pub(crate) const fn sent(mut self, sent: bool) -> Self {
        self.sent |= sent;
        self
    }

    pub(crate) fn out_of_time() -> Self {
        Self::new(
            ErrorKind::Timeout,
            "no answer in time: check the nodes, or raise `timeout` in the store url",
        )
    }

    pub(crate) fn into_error(self, verb: Verb) -> StoreError {
        StoreError::new(self.kind, verb.name, self.message).with_may_have_applied(verb.writes && self.sent)
    }
}

/// What an answer means that is neither a value nor a plain absence. `text` says that the body is not HTML.
pub(crate) fn of_status(host: &str, status: u16, text: bool, body: &str) -> Fault {
    let said: String = body.chars().filter(|c| !c.is_control()).take(160).collect();
    let fault = |kind, advice: &str| {
        let said = if text { said.as_str() } else { "" };
        Fault::new(kind, format!("{host}: {status} {said}{advice}"))
    };
    match status {
        // A node that starts knows no route yet; one that has started never answers so.
        404 if !text => fault(ErrorKind::Unavailable, "the node is starting")
            .again(Again::Later)
            .apart(),
        404 if body.starts_with("Unknown bucket type") => fault(
            ErrorKind::ConfigInvalid,
            ": create and activate it with `riak admin bucket-type`, or leave `type` out of the store url",
        ),
        409 | 412 => fault(ErrorKind::Conflict, "")
            .again(Again::AfterReading)
            .sent(true),
        401 => fault(
            ErrorKind::PermissionDenied,
            ": check user and password in the store url",
        ),
        403 if body.contains("pre-commit hook") => fault(
            ErrorKind::ConfigInvalid,
            ": the bucket has a hook that refuses what is written: use another bucket or bucket type",
        ),
        403 => fault(
            ErrorKind::PermissionDenied,
            ": grant the user riak_kv.get, riak_kv.put, riak_kv.delete, riak_core.get_bucket and riak_core.set_bucket",
        ),
        426 => fault(
            ErrorKind::ConfigInvalid,
            "the node demands TLS: write riak+https:// in the store url",
        ),
        400 if body.contains("invalid for bucket n value") => fault(
            ErrorKind::ConfigInvalid,
            ": lower `r`, `w`, `pr` or `pw` in the store url",
        ),
        500 if text && body.contains("too_many_siblings") => {
            fault(ErrorKind::Conflict, "").again(Again::AfterReading)
        }
        413 => fault(ErrorKind::LimitExceeded, ""),
        500 if text && body.contains("too_large") => fault(ErrorKind::LimitExceeded, ""),
        500 if text
            && ["insufficient_vnodes", "insufficient_nodes", "all_nodes_down"]
                .iter()
                .any(|word| body.contains(word)) =>
        {
            fault(ErrorKind::Unavailable, "")
                .again(Again::Later)
                .sent(true)
                .apart()
        }
        500 if text && body.contains("overload") => {
            fault(ErrorKind::Unavailable, "").again(Again::Later).sent(true)
        }
        503 if body.contains("timed out") => fault(ErrorKind::Timeout, "").again(Again::Elsewhere).sent(true),
        // Fewer replicas than are asked for: `PR-value unsatisfied`, `Too Many write failures to satisfy W/DW` and the like.
        503 if body.contains("unsatisfied") || body.contains("write failures") => {
            fault(ErrorKind::Unavailable, "")
                .again(Again::Later)
                .sent(true)
                .apart()
        }
        502..=504 => fault(ErrorKind::Unavailable, "").again(Again::Later).sent(true),
        408 | 429 => fault(ErrorKind::Unavailable, "").again(Again::Later),
        // Anything else of this kind is a crash inside the node, as while it stops: another may do better, or itself when it
        // is back.
        500 => fault(ErrorKind::Unexpected, "").again(Again::Later).sent(true),
        _ => fault(
            ErrorKind::Unexpected,
            ": is this Riak's HTTP interface, and nothing in between?",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_says_what_to_conclude_and_whether_to_ask_again() {
        for (status, text, body, kind, again) in [
            (404, false, "<HTML>", ErrorKind::Unavailable, Again::Later),
            (
                404,
                true,
                "Unknown bucket type: t",
                ErrorKind::ConfigInvalid,
                Again::Never,
            ),
            (
                500,
                true,
                "Error:\n{insufficient_vnodes,0,need,2}\n",
                ErrorKind::Unavailable,
                Again::Later,
            ),
            (
                500,
                true,
                "Error:\n{insufficient_nodes,1,need,2}\n",
                ErrorKind::Unavailable,
                Again::Later,
            ),
            (
                500,
                true,
                "Error:\nall_nodes_down\n",
                ErrorKind::Unavailable,
                Again::Later,
            ),
            (
                500,
                true,
                "Error:\noverload\n",
                ErrorKind::Unavailable,
                Again::Later,
            ),
            (
                500,
                true,
                "Error:\n{too_many_siblings,101}\n",
                ErrorKind::Conflict,
                Again::AfterReading,
            ),
            (
                500,
                true,
                "Error:\n{too_large,52428900}\n",
                ErrorKind::LimitExceeded,
                Again::Never,
            ),
            (500, false, "<html>stack", ErrorKind::Unexpected, Again::Later),
            (
                503,
                true,
                "request timed out\n",
                ErrorKind::Timeout,
                Again::Elsewhere,
            ),
            (
                503,
                true,
                "PW-value unsatisfied: 1/2\n",
                ErrorKind::Unavailable,
                Again::Later,
            ),
            (
                503,
                false,
                "Too Many write failures to satisfy W/DW\n",
                ErrorKind::Unavailable,
                Again::Later,
            ),
            (409, false, "", ErrorKind::Conflict, Again::AfterReading),
            (412, false, "", ErrorKind::Conflict, Again::AfterReading),
            (401, false, "", ErrorKind::PermissionDenied, Again::Never),
            (403, false, "", ErrorKind::PermissionDenied, Again::Never),
            (
                403,
                true,
                "PUT aborted by pre-commit hook.",
                ErrorKind::ConfigInvalid,
                Again::Never,
            ),
            (413, true, "", ErrorKind::LimitExceeded, Again::Never),
            (426, false, "", ErrorKind::ConfigInvalid, Again::Never),
            (
                400,
                true,
                "Bad timeout value",
                ErrorKind::Unexpected,
                Again::Never,
            ),
            (418, false, "", ErrorKind::Unexpected, Again::Never),
        ] {
            let fault = of_status("h:1", status, text, body);
            assert_eq!((fault.kind, fault.again), (kind, again), "{status} {body}");
        }
    }
}
