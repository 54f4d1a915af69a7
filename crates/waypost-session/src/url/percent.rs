//! Percent-encoding of the parts of a store URL.

/// Why a part could not be decoded; what the caller then says names the part and never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// A `%` that is not followed by two hexadecimal digits.
    Escape,
    /// The decoded bytes are not UTF-8.
    NotUtf8,
}

impl DecodeError {
    pub(super) const fn advice(self) -> &'static str {
        match self {
            Self::Escape => {
                "has a `%` without two hexadecimal digits after it: write `%25` for a percent sign"
            }
            Self::NotUtf8 => "is not UTF-8 after percent-decoding",
        }
    }
}

/// Decodes every `%XX`.
pub(super) fn decode(text: &str) -> Result<String, DecodeError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = rest.next().and_then(hex).ok_or(DecodeError::Escape)?;
            let low = rest.next().and_then(hex).ok_or(DecodeError::Escape)?;
            bytes.push(high << 4 | low);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8)
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Encodes whatever has a meaning in a URL or cannot be seen, and leaves the rest readable.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        let plain = character.is_alphanumeric() || "-._~/+*!()'".contains(character);
        if plain {
            out.push(character);
            continue;
        }
        for byte in character.encode_utf8(&mut [0; 4]).bytes() {
            out.push('%');
            for nibble in [byte >> 4, byte & 0xf] {
                out.push(char::from(b"0123456789ABCDEF"[usize::from(nibble)]));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_undoes_encoding() {
        for text in ["", "plain", "a b", "p@ss/w:rd?&=#%,", "\0\n", "größe🦀"] {
            assert_eq!(decode(&encode(text)).as_deref(), Ok(text));
        }
    }

    #[test]
    fn broken_escapes_are_errors() {
        for text in ["%", "%4", "%zz", "%é"] {
            assert_eq!(decode(text), Err(DecodeError::Escape));
        }
        assert_eq!(decode("%ff"), Err(DecodeError::NotUtf8));
    }
}
