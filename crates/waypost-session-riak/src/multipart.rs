//! Siblings: the `multipart/mixed` body of a 300.

use bytes::Bytes;

/// The values of the parts, tombstones left out; `None` when the body is not what its boundary says.
pub(crate) fn values(content_type: &str, body: &Bytes) -> Option<Vec<Bytes>> {
    let boundary = content_type
        .split(';')
        .filter_map(|part| part.trim().split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("boundary"))?
        .1
        .trim_matches('"');
    if boundary.is_empty() {
        return None;
    }
    let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
    let mut values = Vec::new();
    // The first delimiter may stand at the very beginning.
    let mut at = if body.starts_with(&delimiter[2..]) {
        delimiter.len() - 2
    } else {
        find(body, &delimiter, 0)? + delimiter.len()
    };
    while !body[at..].starts_with(b"--") {
        let headers_at = at + 2;
        if body.get(at..headers_at)? != b"\r\n" {
            return None;
        }
        // A part without headers has its empty line at once.
        let (headers_end, value_at) = if body[headers_at..].starts_with(b"\r\n") {
            (headers_at, headers_at + 2)
        } else {
            let end = find(body, b"\r\n\r\n", headers_at)?;
            (end, end + 4)
        };
        let end = find(body, &delimiter, value_at - 2)?;
        // Whoever wrote it may have put anything into its headers.
        let headers = String::from_utf8_lossy(&body[headers_at..headers_end]);
        let is_tombstone = headers
            .lines()
            .filter_map(|line| line.split_once(':'))
            .any(|(name, value)| name.eq_ignore_ascii_case("x-riak-deleted") && value.trim() == "true");
        if !is_tombstone {
            values.push(body.slice(value_at.min(end)..end));
        }
        at = end + delimiter.len();
    }
    Some(values)
}

fn find(body: &[u8], what: &[u8], from: usize) -> Option<usize> {
    let found = body
        .get(from..)?
        .windows(what.len())
        .position(|window| window == what)?;
    Some(from + found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/mixed; boundary=8aer";

    fn parse(body: &'static str) -> Option<Vec<String>> {
        let text = |value: Bytes| String::from_utf8(value.to_vec()).unwrap();
        Some(
            values(TYPE, &Bytes::from_static(body.as_bytes()))?
                .into_iter()
                .map(text)
                .collect(),
        )
    }

    #[test]
    fn values_are_taken_and_tombstones_are_not() {
        let body = "\r\n--8aer\r\nContent-Type: text/plain\r\nEtag: 79k\r\n\r\none\r\n--8aer\r\n\
                    Content-Type: application/octet-stream\r\nX-Riak-Deleted: true\r\n\r\n\r\n--8aer\r\n\
                    X-Riak-Meta-Who: two\r\n\r\ntwo\r\n\r\nlines\r\n--8aer--\r\n";
        assert_eq!(parse(body).unwrap(), ["one", "two\r\n\r\nlines"]);
    }

    #[test]
    fn headers_that_are_not_utf8_hide_no_value() {
        let body = b"\r\n--8aer\r\nX-Riak-Meta-Who: \xff\xfe\r\n\r\none\r\n--8aer--\r\n";
        assert_eq!(
            values(TYPE, &Bytes::from_static(body)).unwrap(),
            [Bytes::from_static(b"one")]
        );
    }

    #[test]
    fn odd_but_proper_bodies_are_read() {
        assert_eq!(parse("--8aer\r\n\r\nbare\r\n--8aer--").unwrap(), ["bare"]);
        assert_eq!(parse("\r\n--8aer\r\nA: b\r\n\r\n\r\n--8aer--").unwrap(), [""]);
        assert_eq!(parse("\r\n--8aer--\r\n").unwrap(), [""; 0]);
    }

    #[test]
    fn a_cut_or_foreign_body_is_refused() {
        for body in [
            "",
            "\r\n--8aer",
            "\r\n--8aer\r\nA: b\r\n\r\none",
            "\r\n--8aer\r\nA: b\r\n\r\none\r\n--8aer",
            "\r\n--8aer\r\nA: b",
            "\r\n--8aerX",
            "<html>",
        ] {
            assert_eq!(parse(body), None, "{body:?}");
        }
        assert!(values("text/plain", &Bytes::new()).is_none());
        assert!(values("multipart/mixed; boundary=", &Bytes::new()).is_none());
    }
}
