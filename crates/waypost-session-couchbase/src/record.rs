//! A session's document: an entry for each address whose key it has. That is one, unless the digests of two long addresses
//! are the same.

use waypost_types::{Address, Identity, Incarnation, Owner, Seq, Session};

const VERSION: u8 = 1;
const VACANT: u8 = 0;
const HELD: u8 = 1;

/// What is known of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) address: Address,
    /// The greatest seq that was ever here: a claim's is greater.
    pub(crate) high: u64,
    /// Tells this write of the entry from every other, so that whoever wrote it without learning the outcome finds out.
    pub(crate) nonce: u64,
    /// The nonce of the write before.
    pub(crate) before: u64,
    /// Who holds the address; `None` for one that was released.
    pub(crate) session: Option<Session>,
}

/// All entries of a document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Record {
    entries: Vec<Entry>,
}

impl Record {
    /// `None` when it is something else.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.byte() != Some(VERSION) {
            return None;
        }
        let mut entries = Vec::new();
        while !reader.0.is_empty() {
            entries.push(reader.entry()?);
        }
        Some(Self { entries })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        for entry in &self.entries {
            bytes.push(if entry.session.is_some() { HELD } else { VACANT });
            // Both names have at most 255 bytes.
            push_name(&mut bytes, entry.address.as_str());
            for number in [entry.high, entry.nonce, entry.before] {
                bytes.extend_from_slice(&number.to_be_bytes());
            }
            if let Some(session) = &entry.session {
                bytes.extend_from_slice(&session.seq.0.to_be_bytes());
                bytes.extend_from_slice(&session.owner.incarnation.0.to_be_bytes());
                push_name(&mut bytes, session.owner.identity.as_str());
            }
        }
        bytes
    }

    /// The address's own entry, never another's whose digest is the same.
    pub(crate) fn of(&self, address: &Address) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.address == *address)
    }

    /// Puts the entry in place of the one of the same address.
    pub(crate) fn put(&mut self, entry: Entry) {
        match self.entries.iter_mut().find(|old| old.address == entry.address) {
            Some(old) => *old = entry,
            None => self.entries.push(entry),
        }
    }

    /// Whether nobody holds anything here.
    pub(crate) fn is_vacant(&self) -> bool {
        self.entries.iter().all(|entry| entry.session.is_none())
    }
}

fn push_name(to: &mut Vec<u8>, name: &str) {
    to.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    to.extend_from_slice(name.as_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*bytes))
    }

    fn name(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(self.byte()?);
        let (name, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(name)
    }

    fn entry(&mut self) -> Option<Entry> {
        let state = self.byte()?;
        let address = Address::from_utf8(self.name()?).ok()?;
        let (high, nonce, before) = (self.number()?, self.number()?, self.number()?);
        let session = match state {
            VACANT => None,
            HELD => {
                let (seq, incarnation) = (Seq(self.number()?), Incarnation(self.number()?));
                let identity = Identity::from_utf8(self.name()?).ok()?;
                Some(Session::new(Owner::new(identity, incarnation), seq))
            }
            _ => return None,
        };
        Some(Entry {
            address,
            high,
            nonce,
            before,
            session,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(address: &str, held: bool) -> Entry {
        let owner = Owner::new(Identity::new("server").unwrap(), Incarnation(7));
        Entry {
            address: Address::new(address).unwrap(),
            high: 9,
            nonce: 1,
            before: 2,
            session: held.then(|| Session::new(owner, Seq(9))),
        }
    }

    #[test]
    fn a_document_comes_back_and_keeps_its_addresses_apart() {
        let mut record = Record::default();
        record.put(entry(&"x".repeat(255), true));
        record.put(entry("b", false));
        assert!(!record.is_vacant());
        let bytes = record.encode();
        let back = Record::decode(&bytes).unwrap();
        assert_eq!(back, record);
        assert_eq!(back.of(&Address::new("b").unwrap()).unwrap().session, None);
        assert!(back.of(&Address::new("c").unwrap()).is_none());
        record.put(entry(&"x".repeat(255), false));
        assert!(record.is_vacant());
    }

    #[test]
    fn a_damaged_document_is_none_and_never_panics() {
        let mut record = Record::default();
        record.put(entry("a", true));
        let bytes = record.encode();
        for len in (0..bytes.len()).filter(|len| *len != 1) {
            assert_eq!(Record::decode(&bytes[..len]), None, "cut to {len}");
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0xff;
            let _ = Record::decode(&bytes);
        }
        assert_eq!(Record::decode(b"{}"), None);
    }
}
