//! Properties of buckets.

use serde_json::{Map, Value, json};

use super::replica::Rules;

/// The properties of a bucket of type `default` before anybody has set any.
pub(super) fn defaults() -> Map<String, Value> {
    let all = json!({
        "allow_mult": false, "basic_quorum": false, "big_vclock": 50, "dvv_enabled": false, "dw": "quorum",
        "last_write_wins": false, "n_val": 3, "node_confirms": 0, "notfound_ok": true, "old_vclock": 86400,
        "postcommit": [], "pr": 0, "precommit": [], "pw": 0, "r": "quorum", "rw": "quorum", "small_vclock": 50,
        "w": "quorum", "young_vclock": 20, "sync_on_write": "backend",
        "chash_keyfun": {"mod": "riak_core_util", "fun": "chash_std_keyfun"},
        "linkfun": {"mod": "riak_kv_wm_link_walker", "fun": "mapreduce_linkfun"}
    });
    match all {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

pub(super) fn rules(props: &Map<String, Value>) -> Rules {
    let is = |name: &str| props.get(name) == Some(&Value::Bool(true));
    Rules {
        allow_mult: is("allow_mult"),
        dvv: is("dvv_enabled"),
    }
}

/// What is wrong with properties that are to be set over these, by name; `None` when nothing is.
pub(super) fn wrong(before: &Map<String, Value>, set: &Map<String, Value>) -> Option<Map<String, Value>> {
    let is_word = |value: &Value| {
        value
            .as_str()
            .is_some_and(|word| ["one", "quorum", "all"].contains(&word))
    };
    let mut wrong = Map::new();
    for (name, value) in set {
        let why = match name.as_str() {
            "allow_mult" | "basic_quorum" | "last_write_wins" | "notfound_ok" => {
                let is_one = value.is_boolean() || value.is_i64() || value == "true" || value == "false";
                (!is_one).then_some("not_boolean")
            }
            "n_val" | "big_vclock" | "old_vclock" | "small_vclock" => {
                let is_one = value.as_u64().is_some_and(|number| number > 0);
                (!is_one).then_some("not_integer")
            }
            "r" | "w" | "rw" => {
                let is_one = value.as_u64().is_some_and(|number| number > 0) || is_word(value);
                (!is_one).then_some("not_valid_quorum")
            }
            "pr" | "pw" | "dw" | "node_confirms" => {
                (!value.is_u64() && !is_word(value)).then_some("not_valid_quorum")
            }
            _ => None,
        };
        if let Some(why) = why {
            wrong.insert(name.clone(), json!(why));
        }
    }
    let then = |name: &str| set.get(name).or_else(|| before.get(name)) == Some(&Value::Bool(true));
    if then("last_write_wins") && then("dvv_enabled") {
        let why = "If last_write_wins is true, dvv_enabled must be false";
        wrong.insert("dvv_enabled".to_owned(), json!(why));
    }
    (!wrong.is_empty()).then_some(wrong)
}

/// What is wrong with the quorums of a request.
pub(super) enum BadQuorum {
    /// The text of a 400.
    Unreadable(String),
    /// More than this many replicas are asked for.
    TooMany(usize),
}

/// What a request asks for as a number of replicas.
pub(super) fn quorum(
    name: &str,
    asked: Option<&str>,
    props: &Map<String, Value>,
    n: usize,
) -> Result<usize, BadQuorum> {
    let of_bucket = match props.get(name) {
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) => text.clone(),
        _ => "quorum".to_owned(),
    };
    let text = asked.filter(|text| *text != "default").unwrap_or(&of_bucket);
    let count = match text {
        "one" => 1,
        "quorum" => n / 2 + 1,
        "all" => n,
        number => number.parse().map_err(|_| {
            let what =
                "query parameter must be an integer or one of the following words: 'one', 'quorum' or 'all'";
            BadQuorum::Unreadable(format!("{name} {what}\n"))
        })?,
    };
    if count > n {
        return Err(BadQuorum::TooMany(n));
    }
    Ok(count)
}

/// What a request asks for by yes or no; an error is the text of a 400.
pub(super) fn flag(name: &str, asked: Option<&str>, props: &Map<String, Value>) -> Result<bool, String> {
    match asked.map(str::to_ascii_lowercase).as_deref() {
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        None | Some("default") => Ok(props.get(name) == Some(&Value::Bool(true))),
        Some(_) => Err(format!("{name} query parameter must be true or false\n")),
    }
}
