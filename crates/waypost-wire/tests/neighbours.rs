//! Neighbouring versions: what earlier releases wrote is read, and what later ones may add is passed over.
//!
//! `tests/released/X.Y` holds the golden files as release X.Y wrote them. A directory there never changes; a release adds one.

use std::fs;
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use waypost_wire::{Frame, Preface, PrefaceError, VERSION_MAX, decode, encode, split_frame};

mod support;

const LIMIT: usize = 1 << 20;
/// A field number that no message has, with a varint, and one with bytes.
const NEWER_FIELDS: [&[u8]; 2] = [&[0xf8, 0x7f, 0x2a], &[0xf2, 0x7f, 0x03, b'n', b'e', b'w']];

fn released() -> Vec<(String, Vec<u8>)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/released");
    let mut files = Vec::new();
    for release in fs::read_dir(dir).unwrap() {
        let release = release.unwrap();
        for file in fs::read_dir(release.path()).unwrap() {
            let file = file.unwrap();
            let name = format!(
                "{} of {}",
                file.file_name().to_string_lossy(),
                release.file_name().to_string_lossy()
            );
            files.push((name, fs::read(file.path()).unwrap()));
        }
    }
    assert!(files.len() >= 34, "{} files", files.len());
    files
}

fn bare(bytes: &[u8]) -> Bytes {
    let mut bytes = BytesMut::from(bytes);
    let frame = split_frame(&mut bytes, LIMIT).unwrap().unwrap();
    assert!(bytes.is_empty());
    frame
}

/// Every kind that a release wrote is read, and means what it meant: as the sample of its name, where that has not changed.
#[test]
fn what_every_release_wrote_is_read() {
    let samples = support::samples();
    for (name, bytes) in released() {
        let (file, _) = name.split_once(".bin").unwrap();
        if file == "preface" {
            let theirs = Preface::decode(&bytes).unwrap().unwrap();
            Preface::new(1 << 20).agree(&theirs).unwrap();
            continue;
        }
        let frame = decode(bare(&bytes)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_ne!(frame, Frame::Unknown, "{name}");
        let sample = samples.iter().find(|(sample, _)| *sample == file);
        let (_, sample) = sample.unwrap_or_else(|| panic!("{name}: there is no such sample any more"));
        assert_eq!(frame, *sample, "{name}");
    }
}

/// What one release later may add to any frame, beside its kind or within it, changes nothing for this one.
#[test]
fn fields_of_a_newer_release_are_passed_over() {
    for (name, sample) in support::samples() {
        let mut bytes = BytesMut::new();
        encode(&sample, &mut bytes, LIMIT).unwrap();
        let frame = bare(&bytes);
        // A kind is a length-delimited field: its key, its length, its fields.
        let key_len = 1 + usize::from(frame[0] >= 0x80);
        let mut rest = BytesMut::from(&frame[key_len..]);
        let kind = split_frame(&mut rest, LIMIT).unwrap().unwrap();
        assert!(rest.is_empty(), "{name}: the kind is all of a frame");
        for newer in NEWER_FIELDS {
            assert_eq!(
                decode([newer, &frame[..]].concat().into()).unwrap(),
                sample,
                "{name}, before the kind"
            );
            assert_eq!(
                decode([&frame[..], newer].concat().into()).unwrap(),
                sample,
                "{name}, behind the kind"
            );
            let mut grown = frame[..key_len].to_vec();
            let mut len = kind.len() + newer.len();
            while len >= 0x80 {
                grown.push(u8::try_from(len & 0x7f).unwrap() | 0x80);
                len >>= 7;
            }
            grown.push(u8::try_from(len).unwrap());
            grown.extend_from_slice(&kind);
            grown.extend_from_slice(newer);
            assert_eq!(decode(grown.into()).unwrap(), sample, "{name}, within the kind");
        }
    }
}

#[test]
fn kinds_of_a_newer_release_are_passed_over() {
    for newer in NEWER_FIELDS {
        assert_eq!(decode(Bytes::from_static(newer)).unwrap(), Frame::Unknown);
    }
}

/// A neighbour that speaks one version more is spoken to in ours; one that has given ours up is told.
#[test]
fn neighbours_meet_in_the_version_that_both_speak() {
    let ours = Preface::new(1 << 20);
    let newer = Preface {
        version_max: VERSION_MAX + 1,
        ..ours
    };
    assert_eq!(ours.agree(&newer).unwrap().version, VERSION_MAX);
    assert_eq!(newer.agree(&ours).unwrap().version, VERSION_MAX);
    let too_new = Preface {
        version_min: VERSION_MAX + 1,
        version_max: VERSION_MAX + 2,
        ..ours
    };
    for (one, other) in [(ours, too_new), (too_new, ours)] {
        assert!(matches!(one.agree(&other), Err(PrefaceError::Version { .. })));
    }
}
