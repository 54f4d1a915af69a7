//! Replays every input that the fuzz targets have ever been given, on stable.
//!
//! `WAYPOST_BLESS=1 cargo test -p waypost-wire --test corpus` adds the seeds made from the samples.

#![expect(
    clippy::disallowed_methods,
    reason = "whether to write the files anew is asked of the environment"
)]

use std::fs;
use std::path::PathBuf;

use bytes::BytesMut;
use waypost_wire::encode;

#[path = "../../../fuzz/src/checks.rs"]
#[allow(unreachable_pub, reason = "shared with the fuzz package")]
mod checks;
mod support;

fn replay(target: &str, check: fn(&[u8]), seeds: Vec<(String, Vec<u8>)>) {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    if std::env::var_os("WAYPOST_BLESS").is_some() {
        for (name, bytes) in &seeds {
            fs::write(dir.join(name), bytes).unwrap();
        }
    }
    let mut count = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        check(&fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(
        count >= seeds.len(),
        "{count} inputs in the corpus of {target}: {} seeds are missing",
        seeds.len()
    );
}

#[test]
fn the_corpus_of_wire_decode_passes() {
    let mut seeds: Vec<_> = support::samples()
        .iter()
        .map(|(name, frame)| ((*name).to_owned(), support::bare(frame).to_vec()))
        .collect();
    seeds.push(("unknown_kind".to_owned(), vec![0x9a, 0x06, 0x02, 0x08, 0x01]));
    seeds.push(("empty".to_owned(), Vec::new()));
    seeds.push(("http".to_owned(), b"GET / HTTP/1.1\r\n\r\n".to_vec()));
    replay("wire_decode", checks::wire_decode, seeds);
}

#[test]
fn the_corpus_of_codec_chunks_passes() {
    let mut all = BytesMut::new();
    for (_, frame) in support::samples() {
        encode(&frame, &mut all, usize::MAX).unwrap();
    }
    let cut = |piece: u8, bytes: &[u8]| [&[piece], bytes].concat();
    let seeds = vec![
        ("whole".to_owned(), cut(255, &all)),
        ("bytewise".to_owned(), cut(1, &all)),
        ("sevens".to_owned(), cut(7, &all)),
        ("torn".to_owned(), cut(3, &all[..all.len() - 1])),
        (
            "two_gibibytes".to_owned(),
            cut(2, &[0x80, 0x80, 0x80, 0x80, 0x08, 0, 0]),
        ),
        ("endless_length".to_owned(), cut(1, &[0xff; 8])),
        ("over_the_limit".to_owned(), cut(1, &[0x81, 0x20, 0x22])),
    ];
    replay("codec_chunks", checks::codec_chunks, seeds);
}
