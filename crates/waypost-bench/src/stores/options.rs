//! The command line of `stores`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use lexopt::Arg;

use crate::options::seconds;

pub(super) const HELP: &str = "\
Measures claims, look-ups and releases on each datastore, one by one and in batches

Usage: waypost-bench stores [OPTIONS]

Options:
  --store NAME|URL   memory, embedded, redis (a server is started), riak, couchbase (stand-ins, labelled so), or the URL
                     of a server of yours; repeatable [default: the five names]
  --seconds N        how long each figure's claims go on [default: 2]
  --out DIR          where stores.json and stores.md go [default: target/bench]
  --page FILE        also put the table into this file, between its two marks
";

/// What is measured unless stores are named.
const STORES: [&str; 5] = ["memory", "embedded", "redis", "riak", "couchbase"];

#[derive(Debug)]
pub(super) struct Options {
    pub(super) stores: Vec<String>,
    pub(super) window: Duration,
    pub(super) out: PathBuf,
    pub(super) page: Option<PathBuf>,
}

impl Options {
    /// `None`: the help was asked for.
    pub(super) fn parse(arguments: &[String]) -> Result<Option<Self>> {
        let mut parser = lexopt::Parser::from_args(arguments);
        let mut options = Self {
            stores: Vec::new(),
            window: Duration::from_secs(2),
            out: PathBuf::from("target/bench"),
            page: None,
        };
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Short('h') | Arg::Long("help") => return Ok(None),
                Arg::Long("store") => options
                    .stores
                    .push(parser.value()?.to_string_lossy().into_owned()),
                Arg::Long("seconds") => {
                    options.window = seconds(&parser.value()?.to_string_lossy())?;
                }
                Arg::Long("out") => options.out = parser.value()?.into(),
                Arg::Long("page") => options.page = Some(parser.value()?.into()),
                other => return Err(other.unexpected().into()),
            }
        }
        if options.stores.is_empty() {
            options.stores = STORES.map(str::to_owned).to_vec();
        }
        Ok(Some(options))
    }
}
