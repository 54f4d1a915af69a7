//! Names that came from outside, checked once: addresses of clients and identities of servers.

use core::borrow::Borrow;
use core::fmt;
use core::str::FromStr;

use smol_str::SmolStr;

use crate::limits::{ADDRESS_BYTES_MAX, IDENTITY_BYTES_MAX};

/// Why a text is not an address, an identity or a location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The text is empty.
    #[error("{what} is empty: it takes 1 to {max_bytes} bytes")]
    Empty {
        /// What the text was for: `address`, `identity` or `location`.
        what: &'static str,
        /// The longest that is accepted, in bytes.
        max_bytes: usize,
    },
    /// The text is too long.
    #[error("{what} has {len_bytes} bytes: it takes 1 to {max_bytes}")]
    TooLong {
        /// What the text was for.
        what: &'static str,
        /// Its length in bytes.
        len_bytes: usize,
        /// The longest that is accepted, in bytes.
        max_bytes: usize,
    },
    /// The bytes are not UTF-8.
    #[error("{what} is not UTF-8")]
    NotUtf8 {
        /// What the text was for.
        what: &'static str,
    },
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(SmolStr);

        impl $name {
            /// Takes a copy of `text`.
            ///
            /// # Errors
            /// [`NameError`] when the text is empty or too long.
            pub fn new(text: &str) -> Result<Self, NameError> {
                Self::check(text)?;
                Ok(Self(SmolStr::new(text)))
            }

            /// Says whether `text` could be made into one of these, without a copy.
            ///
            /// # Errors
            /// [`NameError`] when the text is empty or too long.
            pub const fn check(text: &str) -> Result<(), NameError> {
                if text.is_empty() {
                    return Err(NameError::Empty { what: $what, max_bytes: $max });
                }
                if text.len() > $max {
                    return Err(NameError::TooLong { what: $what, len_bytes: text.len(), max_bytes: $max });
                }
                Ok(())
            }

            /// Takes a copy of `bytes`, which must be UTF-8.
            ///
            /// # Errors
            /// [`NameError`] when the bytes are not UTF-8, empty or too long.
            pub fn from_utf8(bytes: &[u8]) -> Result<Self, NameError> {
                let text = core::str::from_utf8(bytes).map_err(|_| NameError::NotUtf8 { what: $what })?;
                Self::new(text)
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameError;
            fn try_from(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(&text)
            }
        }
    };
}

name! {
    /// Names a client in the cluster: opaque UTF-8, 1 to [`ADDRESS_BYTES_MAX`] bytes. Up to 23 bytes lie in the value
    /// itself, and longer ones are shared: a clone never allocates.
    Address, "address", ADDRESS_BYTES_MAX
}

name! {
    /// Names a server process in the cluster: UTF-8, 1 to [`IDENTITY_BYTES_MAX`] bytes. A clone never allocates.
    ///
    /// One live process an identity: a new one with the same name wins and the old one is fenced.
    Identity, "identity", IDENTITY_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_bytes_and_both_ends_are_inclusive() {
        assert!(Address::new("a").is_ok());
        assert!(Address::new(&"é".repeat(127)).is_ok());
        assert!(Address::new(&"x".repeat(255)).is_ok());
        assert_eq!(
            Address::new(&"é".repeat(128)),
            Err(NameError::TooLong {
                what: "address",
                len_bytes: 256,
                max_bytes: 255
            })
        );
        assert_eq!(
            Address::new(""),
            Err(NameError::Empty {
                what: "address",
                max_bytes: 255
            })
        );
        assert!(Identity::new(&"x".repeat(128)).is_ok());
        assert!(Identity::new(&"x".repeat(129)).is_err());
    }

    #[test]
    fn text_is_opaque() {
        for text in ["\0", "a/b", "%2f", " ", "\u{1F980}", "line\nbreak"] {
            assert_eq!(Address::new(text).unwrap().as_str(), text);
        }
        assert_eq!(
            Address::from_utf8(&[0xff]),
            Err(NameError::NotUtf8 { what: "address" })
        );
    }
}
