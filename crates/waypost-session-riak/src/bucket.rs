//! Makes the bucket fit: siblings allowed, and the replicas and quorums that the URL names.

use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;
use reqwest::Method;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use waypost_session::ErrorKind;

use crate::fault::{Fault, of_status};
use crate::hosts::Host;
use crate::http::{Answer, Request};
use crate::object::Objects;
use crate::settings::Settings;

/// Before a node is asked again what it has learnt.
const POLL: Duration = Duration::from_millis(50);

/// Reads the bucket's properties, refuses what cannot work, sets what is missing, and waits until every node that can be
/// reached knows.
pub(crate) async fn prepare(objects: &Objects, settings: &Settings, deadline: Instant) -> Result<(), Fault> {
    let patience = match settings.bucket_type {
        None => deadline,
        Some(_) => deadline.min(Instant::now() + objects.timeout() / 4),
    };
    let props = match properties(objects, patience).await {
        Err(fault)
            if settings.bucket_type.is_some()
                && matches!(fault.kind, ErrorKind::Unavailable | ErrorKind::Timeout) =>
        {
            // No such route is what a starting node says, and what is said of an unknown type: an object's is clearer.
            objects.get(crate::key::MARKER, deadline).await.map(drop)?;
            properties(objects, deadline).await?
        }
        props => props?,
    };
    check(&props)?;
    check_quorums(settings, &props)?;
    let wanted = wanted(settings, &props);
    if !wanted.is_empty() {
        set(objects, &wanted, deadline).await?;
    }
    // Also when another process has set them: nodes learn of it one after the other.
    try_join_all(objects.hosts().iter().map(|host| learnt(objects, host, deadline))).await?;
    Ok(())
}

/// Waits until a node allows siblings in the bucket. One that does not answer is not waited for: it is asked before it is used
/// again.
async fn learnt(objects: &Objects, host: &Arc<Host>, deadline: Instant) -> Result<(), Fault> {
    let mut answered = false;
    loop {
        let half = Instant::now() + objects.timeout() / 2;
        match allows_siblings(objects, host, half.min(deadline)).await {
            Some(true) => return Ok(()),
            Some(false) => answered = true,
            None if !answered => {
                // It is asked again before it is used, and may have been apart from the others until then.
                host.came_apart();
                objects.eject(host);
                return Ok(());
            }
            None => {}
        }
        if Instant::now() + POLL >= deadline {
            let message = format!(
                "{}: the node has not yet learnt the bucket's properties",
                host.shown
            );
            return Err(Fault::new(ErrorKind::Unavailable, message));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether this node allows siblings in the bucket; `None` when it does not answer.
async fn allows_siblings(objects: &Objects, host: &Host, deadline: Instant) -> Option<bool> {
    let request = Request::get(target(objects.bucket()));
    let answer = objects.send_to(host, &request, deadline).await.ok()?;
    allow_mult(&answer)
}

/// What an answer about the bucket's properties says of siblings; `None` when it is none.
pub(crate) fn allow_mult(answer: &Answer) -> Option<bool> {
    let props = parse(&answer.body).ok().filter(|_| answer.status == 200)?;
    Some(props.get("allow_mult") == Some(&Value::Bool(true)))
}

/// Where the properties of a bucket are.
pub(crate) fn target(bucket: &str) -> String {
    [bucket, "/props"].concat()
}

async fn properties(objects: &Objects, deadline: Instant) -> Result<Map<String, Value>, Fault> {
    let answer = objects
        .send(Request::get(target(objects.bucket())), deadline)
        .await?;
    if answer.status != 200 {
        return Err(of_status(
            "props",
            answer.status,
            !answer.is_html(),
            &answer.text(),
        ));
    }
    parse(&answer.body)
}

fn parse(body: &Bytes) -> Result<Map<String, Value>, Fault> {
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(mut answer)) => match answer.remove("props") {
            Some(Value::Object(props)) => Ok(props),
            _ => Err(strange()),
        },
        _ => Err(strange()),
    }
}

fn strange() -> Fault {
    Fault::new(
        ErrorKind::Unexpected,
        "the bucket's properties cannot be read: is this Riak's HTTP interface?",
    )
}

/// What no setting of ours can mend.
fn check(props: &Map<String, Value>) -> Result<(), Fault> {
    let refused = |message: &str| Err(Fault::new(ErrorKind::ConfigInvalid, message));
    let is = |name: &str| props.get(name) == Some(&Value::Bool(true));
    if is("last_write_wins") {
        return refused(
            "the bucket has last_write_wins=true, which loses claims: use another bucket or bucket type",
        );
    }
    if is("write_once") {
        return refused("the bucket type has write_once=true, and records change: use another bucket type");
    }
    if is("consistent") {
        return refused(
            "the bucket type is strongly consistent and has no siblings: use another bucket type",
        );
    }
    if props.contains_key("datatype") {
        return refused("the bucket type is for data types: use one without `datatype`");
    }
    Ok(())
}

/// No more replicas can be asked than there are.
fn check_quorums(settings: &Settings, props: &Map<String, Value>) -> Result<(), Fault> {
    let of_bucket = props.get("n_val").and_then(Value::as_u64).unwrap_or(3);
    let n_val = settings.n_val.map_or(of_bucket, u64::from);
    let too_many = |(_, text): &&(&str, String)| text.parse().is_ok_and(|number: u64| number > n_val);
    match settings.named.iter().find(too_many) {
        None => Ok(()),
        Some((name, _)) => Err(Fault::new(
            ErrorKind::ConfigInvalid,
            format!("the url's parameter `{name}` asks for more than the bucket's {n_val} replicas"),
        )),
    }
}

/// The properties that differ from what is needed.
fn wanted(settings: &Settings, props: &Map<String, Value>) -> Map<String, Value> {
    let mut all = Map::new();
    all.insert("allow_mult".to_owned(), Value::Bool(true));
    // Without it a busy object keeps siblings that its writers have seen.
    all.insert("dvv_enabled".to_owned(), Value::Bool(true));
    if let Some(n_val) = settings.n_val {
        all.insert("n_val".to_owned(), json!(n_val));
    }
    for (name, text) in &settings.named {
        let value = text
            .parse::<u64>()
            .map_or_else(|_| json!(text), |number| json!(number));
        all.insert((*name).to_owned(), value);
    }
    all.retain(|name, value| props.get(name) != Some(value));
    if !all.is_empty() {
        // Riak refuses siblings beside last_write_wins, which a bucket type may have set differently since.
        all.insert("last_write_wins".to_owned(), Value::Bool(false));
    }
    all
}

async fn set(objects: &Objects, wanted: &Map<String, Value>, deadline: Instant) -> Result<(), Fault> {
    match put(objects, wanted, deadline).await {
        // Old nodes do not know this one and do without.
        Err(fault) if fault.kind == ErrorKind::Unexpected && wanted.contains_key("dvv_enabled") => {
            let mut less = wanted.clone();
            less.remove("dvv_enabled");
            put(objects, &less, deadline).await
        }
        done => done,
    }
}

async fn put(objects: &Objects, wanted: &Map<String, Value>, deadline: Instant) -> Result<(), Fault> {
    let body = Bytes::from(json!({ "props": wanted }).to_string());
    let request = Request::write(Method::PUT, target(objects.bucket()), None, Some(body));
    objects.send(request, deadline).await.map(drop)
}

#[cfg(test)]
mod tests {
    use waypost_session::StoreUrl;

    use super::*;

    fn props(text: &str) -> Map<String, Value> {
        parse(&Bytes::from(format!("{{\"props\":{text}}}"))).unwrap()
    }

    #[test]
    fn buckets_that_lose_writes_are_refused() {
        for (text, says) in [
            (r#"{"last_write_wins":true}"#, "last_write_wins"),
            (r#"{"write_once":true}"#, "write_once"),
            (r#"{"consistent":true}"#, "consistent"),
            (r#"{"datatype":"set"}"#, "datatype"),
        ] {
            let fault = check(&props(text)).unwrap_err();
            assert!(
                fault.kind == ErrorKind::ConfigInvalid && fault.message.contains(says),
                "{fault:?}"
            );
        }
        assert!(check(&props(r#"{"last_write_wins":false,"allow_mult":false}"#)).is_ok());
    }

    #[test]
    fn only_what_differs_is_set() {
        let settings = |url: &str| Settings::from_url(&StoreUrl::parse(url).unwrap()).unwrap();
        let plain = settings("riak+http://h");
        assert!(
            wanted(
                &plain,
                &props(r#"{"allow_mult":true,"dvv_enabled":true,"n_val":3}"#)
            )
            .is_empty()
        );
        let set = wanted(&plain, &props(r#"{"allow_mult":false,"dvv_enabled":true}"#));
        assert_eq!(
            set,
            *json!({"allow_mult": true, "last_write_wins": false})
                .as_object()
                .unwrap()
        );
        let set = wanted(
            &settings("riak+http://h?n_val=2&r=one&w=2"),
            &props(r#"{"allow_mult":true,"dvv_enabled":true,"n_val":3,"r":"quorum","w":2}"#),
        );
        assert_eq!(
            set,
            *json!({"n_val": 2, "r": "one", "last_write_wins": false})
                .as_object()
                .unwrap()
        );
    }
}
