//! The bytes of every kind of frame, as other languages must read and write them.
//!
//! `WAYPOST_BLESS=1 cargo test -p waypost-wire --test golden` writes them anew. A file that exists changes only with the
//! protocol's version: within one version all old bytes stay readable.

#![expect(
    clippy::disallowed_methods,
    reason = "whether to write the files anew is asked of the environment"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use bytes::BytesMut;
use waypost_wire::{Preface, decode, encode, split_frame};

mod support;

fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// File name to bytes: the preface, and every sample behind its length.
fn wanted() -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::from([("preface.bin".to_owned(), Preface::new(1 << 20).encode().to_vec())]);
    for (name, frame) in support::samples() {
        let mut out = BytesMut::new();
        encode(&frame, &mut out, 1 << 20).unwrap();
        assert!(
            files.insert(format!("{name}.bin"), out.to_vec()).is_none(),
            "two samples named {name}"
        );
    }
    files
}

#[test]
fn frames_are_written_as_the_golden_files_say() {
    let wanted = wanted();
    if std::env::var_os("WAYPOST_BLESS").is_some() {
        for (name, bytes) in &wanted {
            fs::write(dir().join(name), bytes).unwrap();
        }
    }
    let present: BTreeMap<String, Vec<u8>> = fs::read_dir(dir())
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect();
    for (name, bytes) in &wanted {
        assert_eq!(
            present.get(name),
            Some(bytes),
            "{name}; if that is meant, run with WAYPOST_BLESS=1"
        );
    }
    assert!(
        present.keys().eq(wanted.keys()),
        "files without a sample: {:?}",
        present.keys()
    );
}

#[test]
fn golden_files_are_read_as_the_frames_they_are_named_for() {
    for (name, frame) in support::samples() {
        let mut bytes = BytesMut::from(&fs::read(dir().join(format!("{name}.bin"))).unwrap()[..]);
        let bare = split_frame(&mut bytes, 1 << 20).unwrap().unwrap();
        assert!(bytes.is_empty(), "{name}");
        assert_eq!(decode(bare).unwrap(), frame, "{name}");
    }
    let preface = fs::read(dir().join("preface.bin")).unwrap();
    assert_eq!(Preface::decode(&preface), Ok(Some(Preface::new(1 << 20))));
}

#[test]
fn every_kind_of_the_schema_has_a_golden_file() {
    let schema = fs::read_to_string(
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto/waypost/v1/waypost.proto"),
    )
    .unwrap();
    let kinds = schema
        .split("oneof kind {")
        .nth(1)
        .and_then(|rest| rest.split('}').next())
        .unwrap();
    let tags = kinds.lines().filter_map(|line| {
        line.split('=')
            .nth(1)?
            .trim()
            .trim_end_matches(';')
            .parse::<u32>()
            .ok()
    });
    let written: Vec<u32> = wanted()
        .into_iter()
        .filter(|(name, _)| name != "preface.bin")
        .map(|(_, bytes)| {
            let mut bytes = BytesMut::from(&bytes[..]);
            let bare = split_frame(&mut bytes, 1 << 20).unwrap().unwrap();
            let key = u32::from(bare[0]) & 0x7f
                | if bare[0] < 0x80 {
                    0
                } else {
                    u32::from(bare[1]) << 7
                };
            key >> 3
        })
        .collect();
    let mut count = 0;
    for tag in tags {
        assert!(written.contains(&tag), "kind {tag} has no sample");
        count += 1;
    }
    assert!(count >= 28, "{count} kinds found in the schema");
}
