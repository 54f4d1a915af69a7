//! The frames as the rest of Waypost sees them: names already checked, bodies still the bytes that came.

use core::fmt;

use bytes::{Bytes, BytesMut};
use waypost_types::{Address, Identity, Incarnation, Location, NameError, Outcome, Owner, Seq};

use crate::short::copy_short;

/// Most entries of a batch frame ([`Frame::Claim`] and its like).
pub const BATCH_ENTRIES_MAX: usize = 1024;
/// Most entries of a [`Frame::Outcomes`].
pub const OUTCOMES_ENTRIES_MAX: usize = 65_536;
/// Most servers that one side of a link introduces by [`Frame::Name`].
pub const NAMES_MAX: u32 = 65_536;
/// Length of a [`Frame::Proof`], in bytes.
pub const PROOF_BYTES: usize = 32;
/// Length of a hello's nonce, in bytes.
pub const NONCE_BYTES: usize = 16;
/// How much of [`Hello::software`] is kept, in bytes.
pub const SOFTWARE_BYTES_MAX: usize = 64;
/// How much of [`Close::text`] is kept, in bytes.
pub const CLOSE_TEXT_BYTES_MAX: usize = 256;

/// One frame. What each means is in `proto/waypost/v1/waypost.proto`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame {
    /// First frame of each side.
    Hello(Hello),
    /// Shows that this side knows the cluster key: an HMAC-SHA256 of [`PROOF_BYTES`].
    Proof(Bytes),
    /// Last frame of a side that closes on purpose.
    Close(Close),
    /// A message on its way to a client.
    Message(Message),
    /// Outcomes on their way to the origin of the messages.
    Outcomes(Outcomes),
    /// A message on its way back to the node that chose its server.
    Bounce(Message),
    /// Asks for an echo once all before it on this path are delivered or bounced.
    Barrier {
        /// Comes back in the echo.
        token: u64,
        /// The server whose path it is; 0: the peer at the other end.
        owner: u32,
        /// The client whose messages it is about: what is kept of them is sent back first. `None`: nothing is.
        address: Option<Address>,
    },
    /// Answers a barrier, a displacement or a detachment.
    Echo {
        /// The question's.
        token: u64,
    },
    /// Introduces a server under a number of this link and direction.
    Name {
        /// 1 to [`NAMES_MAX`].
        alias: u32,
        /// The server.
        owner: Owner,
        /// By which of its attachments it is attached to the side that introduces it; 0: not said, or attached elsewhere.
        attachment: u32,
    },
    /// Registers a peer's identity, or goes on as an incarnation that it had.
    Attach {
        /// The peer's name.
        identity: Identity,
        /// The incarnation to go on as; `None`: a new one.
        resume: Option<Incarnation>,
        /// Counts the attachments of one process, to whichever broker, from 1; 0: not said.
        attachment: u32,
    },
    /// Answers an attachment.
    Attached(Attached),
    /// Tells a peer that its lease is over.
    LeaseOver {
        /// The incarnation that is over.
        incarnation: Incarnation,
        /// A newer process has the identity; otherwise the store has forgotten it.
        superseded: bool,
    },
    /// Asks for a pong.
    Ping {
        /// Comes back in the pong.
        token: u64,
    },
    /// Answers a ping.
    Pong {
        /// The ping's.
        token: u64,
        /// How long the peer's lease is valid from when the ping was sent, in milliseconds; 0: it is not.
        lease_ms: u64,
        /// The datastore could not be asked.
        store_unavailable: bool,
    },
    /// Makes the peer the holder of clients.
    Claim(Vec<Address>),
    /// Answers claims; a seq of `None` says that the datastore did not answer.
    Claimed(Vec<(Address, Option<Seq>)>),
    /// Frees clients.
    Release(Vec<(Address, Seq)>),
    /// Answers releases.
    Released(Vec<(Address, Seq)>),
    /// What a peer that came back holds.
    Announce(Vec<(Address, Seq)>),
    /// That many announced sessions are checked.
    Announced {
        /// How many.
        count: u32,
    },
    /// A client has been claimed by another server.
    Displaced(Displaced),
    /// A client's answer to a request.
    Reply {
        /// The origin of the request; 0: the peer at the other end.
        origin: u32,
        /// The request's id.
        id: u64,
        /// The answer.
        body: Bytes,
    },
    /// To every client of the cluster.
    Broadcast(Broadcast),
    /// Answers a broadcast.
    BroadcastDone {
        /// The broadcast's.
        token: u64,
        /// Servers reached, and how many of their clients.
        reached: Vec<(Identity, u64)>,
        /// Servers not reached.
        unreached: Vec<Identity>,
    },
    /// Asks who holds a client.
    Locate {
        /// Comes back in the answer.
        token: u64,
        /// The client.
        address: Address,
    },
    /// Answers it.
    Located {
        /// The question's.
        token: u64,
        /// Who holds it, or that the datastore could not be asked.
        result: Result<Option<Identity>, StoreUnavailable>,
    },
    /// The peer is on its way out.
    Drain,
    /// The peer has ended.
    Detach {
        /// Comes back in the echo.
        token: u64,
    },
    /// A kind that this version does not know, skipped.
    Unknown,
}

/// The datastore did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreUnavailable;

/// What a node is to the other end of its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A server that wants to be attached to a broker.
    Peer,
    /// A broker or a server of the mesh.
    Node,
}

/// First frame of each side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// What the sender is.
    pub role: Role,
    /// Where the sender can be dialled.
    pub location: Option<Location>,
    /// Random; all zero: the sender has no cluster key.
    pub nonce: [u8; NONCE_BYTES],
    /// Name and version, for logs; at most [`SOFTWARE_BYTES_MAX`] are kept.
    pub software: String,
}

/// Why a side closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseCode {
    /// Orderly end.
    GoingAway,
    /// A frame could not be read.
    Malformed,
    /// The contract was broken.
    Protocol,
    /// The proof of the cluster key is missing or wrong.
    Unauthenticated,
    /// A newer process has the same identity.
    Superseded,
    /// Not answering in time, or a bound was reached.
    Overloaded,
    /// This node takes no peers.
    NotABroker,
    /// A code that this version does not know.
    Other,
}

/// Last frame of a side that closes on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// Why.
    pub code: CloseCode,
    /// For logs; at most [`CLOSE_TEXT_BYTES_MAX`] are kept.
    pub text: String,
}

/// One message to one client. Cloning counts references and copies no body.
///
/// A message that was decoded keeps the buffer alive into which its frame was read, which may be larger than the
/// message: see [`Message::detached`]. Two messages are equal when their addresses, bodies and numbers are.
#[derive(Clone)]
pub struct Message {
    /// The two addresses: `to` at the front, `from` at the end, and between them whatever lay there in the frame.
    names: Bytes,
    to_len: u8,
    from_len: u8,
    /// What is sent.
    pub body: Bytes,
    /// The origin's number for it; 0: best effort.
    pub id: u64,
    /// Ids of this origin below this one have their outcome. 0 for best effort.
    pub floor: u64,
    /// The id that must be delivered before this one; 0: none.
    pub after: u64,
    /// The sending server, as a name of the link; 0: the peer at the other end.
    pub origin: u32,
    /// The server thought to hold the client, as a name of the link; 0: not looked up, or the peer at the other end.
    pub owner: u32,
    /// How many nodes have passed it on.
    pub hops: u8,
    /// The sender waits for a reply.
    pub request: bool,
    /// How long the sender still waits, in milliseconds; 0: not said.
    pub ttl_ms: u32,
    /// The claim by which the server is thought to hold the client: the low 32 bits of its seq; 0: not said.
    pub claim: u32,
}

/// A message as its client gets it: small, because programs hand many of them around.
#[derive(Clone)]
pub struct Delivery {
    names: Names,
    to_len: u8,
    from_len: u8,
    /// What is sent.
    pub body: Bytes,
}

/// The two addresses: `to` at the front, `from` at the end. Short ones lie here, which is quicker than to count a reference.
#[derive(Clone)]
pub(crate) enum Names {
    Here([u8; NAMES_HERE]),
    /// As in [`Message`].
    Shared(Bytes),
}

/// Both addresses together, in bytes.
const NAMES_HERE: usize = 39;

impl Names {
    /// A copy of two addresses that have been checked; `None` when they are long.
    #[inline]
    pub(crate) fn here(to: &[u8], from: &[u8]) -> Option<Self> {
        let len = to.len() + from.len();
        let mut names = [0; NAMES_HERE];
        copy_short(names.get_mut(..to.len())?, to);
        copy_short(names.get_mut(to.len()..len)?, from);
        Some(Self::Here(names))
    }
}

impl Delivery {
    /// A message as its sender writes it.
    ///
    /// # Errors
    /// [`NameError`] when an address is empty or too long.
    pub fn new(from: &str, to: &str, body: Bytes) -> Result<Self, NameError> {
        Address::check(to)?;
        Address::check(from)?;
        let (to_utf8, from_utf8) = (to.as_bytes(), from.as_bytes());
        let names = Names::here(to_utf8, from_utf8)
            .unwrap_or_else(|| Names::Shared(Bytes::from([to_utf8, from_utf8].concat())));
        Ok(Self::from_parts(names, len_u8(to), len_u8(from), body))
    }

    #[inline]
    pub(crate) const fn from_parts(names: Names, to_len: u8, from_len: u8, body: Bytes) -> Self {
        Self {
            names,
            to_len,
            from_len,
            body,
        }
    }

    #[inline]
    fn names(&self) -> &[u8] {
        match &self.names {
            Names::Here(names) => &names[..usize::from(self.to_len) + usize::from(self.from_len)],
            Names::Shared(names) => names,
        }
    }

    /// The client it is for.
    #[must_use]
    pub fn to(&self) -> &str {
        text(receiver(self.names(), self.to_len))
    }

    /// The client that sent it.
    #[must_use]
    pub fn from(&self) -> &str {
        text(sender(self.names(), self.from_len))
    }

    /// The bytes of [`Delivery::to`], which are at hand at once.
    #[must_use]
    #[inline]
    pub fn receiver_utf8(&self) -> &[u8] {
        receiver(self.names(), self.to_len)
    }

    /// The same as [`Message::cost`].
    #[must_use]
    pub const fn cost(&self) -> usize {
        cost(self.body.len(), self.to_len, self.from_len)
    }
}

/// The numbers are 0.
impl From<Delivery> for Message {
    fn from(delivery: Delivery) -> Self {
        let names = match &delivery.names {
            Names::Here(_) => Bytes::copy_from_slice(delivery.names()),
            Names::Shared(names) => names.clone(),
        };
        Self::from_parts(
            names,
            delivery.to_len,
            delivery.from_len,
            delivery.body,
            Numbers::default(),
        )
    }
}

impl PartialEq for Delivery {
    fn eq(&self, other: &Self) -> bool {
        self.to() == other.to() && self.from() == other.from() && self.body == other.body
    }
}

impl Eq for Delivery {}

/// Shows the body's length and not the body, which is the user's.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("to", &self.to())
            .field("from", &self.from())
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// All of a message but its addresses and its body. What each means is said at [`Message`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the same as the fields of a message")]
pub struct Numbers {
    pub id: u64,
    pub floor: u64,
    pub after: u64,
    pub origin: u32,
    pub owner: u32,
    pub hops: u8,
    pub request: bool,
    pub ttl_ms: u32,
    pub claim: u32,
}

impl Message {
    /// A best-effort message; the other fields are 0.
    ///
    /// # Errors
    /// [`NameError`] when an address is empty or too long.
    pub fn new(from: &str, to: &str, body: Bytes) -> Result<Self, NameError> {
        Address::check(to)?;
        Address::check(from)?;
        let mut names = BytesMut::with_capacity(to.len() + from.len());
        names.extend_from_slice(to.as_bytes());
        names.extend_from_slice(from.as_bytes());
        Ok(Self::from_parts(
            names.freeze(),
            len_u8(to),
            len_u8(from),
            body,
            Numbers::default(),
        ))
    }

    /// `names` must begin with `to_len` bytes and end with `from_len` bytes of checked addresses.
    #[inline]
    pub(crate) const fn from_parts(names: Bytes, to_len: u8, from_len: u8, body: Bytes, n: Numbers) -> Self {
        Self {
            names,
            to_len,
            from_len,
            body,
            id: n.id,
            floor: n.floor,
            after: n.after,
            origin: n.origin,
            owner: n.owner,
            hops: n.hops,
            request: n.request,
            ttl_ms: n.ttl_ms,
            claim: n.claim,
        }
    }

    /// What a client gets of it: the addresses and the body.
    #[must_use]
    #[inline]
    pub fn into_delivery(self) -> Delivery {
        Delivery::from_parts(Names::Shared(self.names), self.to_len, self.from_len, self.body)
    }

    /// The client it is for.
    #[must_use]
    pub fn to(&self) -> &str {
        text(receiver(&self.names, self.to_len))
    }

    /// The client that sent it.
    #[must_use]
    pub fn from(&self) -> &str {
        text(sender(&self.names, self.from_len))
    }

    /// All but its addresses and its body.
    #[inline]
    #[must_use]
    pub const fn numbers(&self) -> Numbers {
        Numbers {
            id: self.id,
            floor: self.floor,
            after: self.after,
            origin: self.origin,
            owner: self.owner,
            hops: self.hops,
            request: self.request,
            ttl_ms: self.ttl_ms,
            claim: self.claim,
        }
    }

    /// Sets all but its addresses and its body.
    pub const fn set_numbers(&mut self, numbers: Numbers) {
        self.id = numbers.id;
        self.floor = numbers.floor;
        self.after = numbers.after;
        self.origin = numbers.origin;
        self.owner = numbers.owner;
        self.hops = numbers.hops;
        self.request = numbers.request;
        self.ttl_ms = numbers.ttl_ms;
        self.claim = numbers.claim;
    }

    /// The bytes of [`Message::to`], which are at hand at once.
    #[must_use]
    #[inline]
    pub fn receiver_utf8(&self) -> &[u8] {
        receiver(&self.names, self.to_len)
    }

    /// The bytes of [`Message::from`].
    pub(crate) fn sender_utf8(&self) -> &[u8] {
        sender(&self.names, self.from_len)
    }

    /// The same message in one allocation of its own, so that it no longer keeps the buffer alive into which its frame
    /// was read. For whoever holds messages for long: an inbox bounded in bytes holds small messages that would
    /// otherwise keep a read buffer each.
    #[must_use]
    pub fn detached(mut self) -> Self {
        let names_len = usize::from(self.to_len) + usize::from(self.from_len);
        let mut own = BytesMut::with_capacity(names_len + self.body.len());
        own.extend_from_slice(self.receiver_utf8());
        own.extend_from_slice(self.sender_utf8());
        own.extend_from_slice(&self.body);
        self.names = own.freeze();
        self.body = self.names.split_off(names_len);
        self
    }

    /// Where its names lie in memory. Messages that were read one after the other lie in one buffer one after the other:
    /// so a queue can tell whether it keeps a whole buffer alive for one message.
    #[must_use]
    pub fn position(&self) -> usize {
        self.names.as_ptr().addr()
    }

    /// What it counts against a queue's bound, in bytes: about its encoded size.
    #[must_use]
    pub const fn cost(&self) -> usize {
        cost(self.body.len(), self.to_len, self.from_len)
    }
}

const fn cost(body_len: usize, to_len: u8, from_len: u8) -> usize {
    body_len + to_len as usize + from_len as usize + 48
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.numbers() == other.numbers()
            && self.receiver_utf8() == other.receiver_utf8()
            && self.sender_utf8() == other.sender_utf8()
            && self.body == other.body
    }
}

impl Eq for Message {}

/// Shows the body's length and not the body, which is the user's.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("to", &self.to())
            .field("from", &self.from())
            .field("body_bytes", &self.body.len())
            .field("id", &self.id)
            .field("floor", &self.floor)
            .field("after", &self.after)
            .field("origin", &self.origin)
            .field("owner", &self.owner)
            .field("hops", &self.hops)
            .field("request", &self.request)
            .field("ttl_ms", &self.ttl_ms)
            .field("claim", &self.claim)
            .finish()
    }
}

/// An address is no longer than this can say.
fn len_u8(address: &str) -> u8 {
    u8::try_from(address.len()).unwrap_or(u8::MAX)
}

/// The receiver's address, at the front of a message's names.
fn receiver(names: &[u8], to_len: u8) -> &[u8] {
    names.get(..usize::from(to_len)).unwrap_or_default()
}

/// The sender's address, at the end of a message's names.
fn sender(names: &[u8], from_len: u8) -> &[u8] {
    let start = names.len().saturating_sub(usize::from(from_len));
    names.get(start..).unwrap_or_default()
}

/// Checked when the message was made.
fn text(address: &[u8]) -> &str {
    core::str::from_utf8(address).unwrap_or_default()
}

/// Outcomes of one origin's messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcomes {
    /// The origin, as a name of the link; 0: the peer at the other end.
    pub origin: u32,
    /// Ids that are in their receivers' inboxes.
    pub delivered: Vec<u64>,
    /// The others.
    pub failed: Vec<Failed>,
}

/// A message that was not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// 0: best effort.
    pub id: u64,
    /// Why not.
    pub outcome: Outcome,
    /// Whom it was for.
    pub to: Address,
    /// How many best-effort messages this stands for.
    pub count: u32,
    /// Refused only because an earlier message has not been delivered.
    pub out_of_order: bool,
}

/// Answers an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    /// The peer is attached.
    Attached {
        /// Which life of the identity this is.
        incarnation: Incarnation,
        /// How long the lease is valid from when the attachment was asked for, in milliseconds.
        lease_ms: u64,
        /// The lease's term in milliseconds.
        term_ms: u64,
    },
    /// A newer process has the identity.
    Superseded,
    /// The incarnation to go on as is over.
    Gone,
    /// The datastore did not answer.
    StoreUnavailable,
}

/// A client has been claimed by another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Displaced {
    /// Comes back in the echo.
    pub token: u64,
    /// The server that held it.
    pub owner: Owner,
    /// The client.
    pub address: Address,
    /// Sessions with a smaller seq are over.
    pub seq: Seq,
    /// The server that holds it now.
    pub by: Identity,
}

/// To every client of the cluster but the sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broadcast {
    /// Comes back in the answer.
    pub token: u64,
    /// The sending server, as a name of the link; 0: the peer at the other end.
    pub origin: u32,
    /// The sending client.
    pub from: Address,
    /// What is sent.
    pub body: Bytes,
    /// How long the sender waits, in milliseconds.
    pub ttl_ms: u32,
}

impl Frame {
    /// What it counts against a queue's bound, in bytes: about its encoded size.
    #[must_use]
    pub fn cost(&self) -> usize {
        const PER_ENTRY: usize = 16;
        match self {
            Self::Message(message) | Self::Bounce(message) => message.cost(),
            Self::Outcomes(outcomes) => 16 + outcomes.delivered.len() * 4 + outcomes.failed.len() * 64,
            Self::Claim(entries) => entries.iter().map(|a| a.as_str().len() + PER_ENTRY).sum(),
            Self::Claimed(entries) => entries.iter().map(|(a, _)| a.as_str().len() + PER_ENTRY).sum(),
            Self::Release(entries) | Self::Released(entries) | Self::Announce(entries) => {
                entries.iter().map(|(a, _)| a.as_str().len() + PER_ENTRY).sum()
            }
            Self::Reply { body, .. } => body.len() + 32,
            Self::Broadcast(broadcast) => broadcast.body.len() + 300,
            Self::BroadcastDone {
                reached, unreached, ..
            } => (reached.len() + unreached.len()) * 32 + 32,
            _ => 64,
        }
    }
}
