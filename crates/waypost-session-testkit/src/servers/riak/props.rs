//! Properties of buckets.

use serde_json::{Map, Value, json};

use super::replica::Rules;

/// The properties of a bucket of type `default` before anybody has set any.
pub(super) fn defaults() -> Map<String, Value> {
    let all = json!({
        "allow_mult": false, "basic_quorum": false, "big_vclock": 50, "dvv_enabled": false, "dw": "quorum",
        "last_write_wins": false, "n_val": 3, "node_confirms": 0, "notfound_ok": true, "old_vclock": 86400,
        "postcommit": [], "pr": 0, "precommit": [], "pw": 0, "r": "quorum", "rw": "quorum", "small_vclock": 50,
        "w": "quorum", "young_vclock": 20
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

/// What a request asks for as a number of replicas; an error is the text of a 400.
pub(super) fn quorum(
    name: &str,
    asked: Option<&str>,
    props: &Map<String, Value>,
    n: usize,
) -> Result<usize, String> {
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
            format!("{name} query parameter must be an integer or one of the following words: 'one', 'quorum' or 'all'\n")
        })?,
    };
    if count > n {
        return Err(format!(
            "Specified w/dw/pw/node_confirms values invalid for bucket n value of {n}"
        ));
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
