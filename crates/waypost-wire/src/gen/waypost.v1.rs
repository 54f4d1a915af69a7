// @generated from proto/ by `cargo xtask codegen`. Do not edit: change the .proto file and run it again.

#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Frame {
    #[prost(
        oneof = "frame::Kind",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28"
    )]
    pub kind: ::core::option::Option<frame::Kind>,
}
/// Nested message and enum types in `Frame`.
pub mod frame {
    #[derive(Clone, PartialEq, ::prost::Oneof)]
    pub enum Kind {
        #[prost(message, tag = "1")]
        Hello(super::Hello),
        #[prost(message, tag = "2")]
        Proof(super::Proof),
        #[prost(message, tag = "3")]
        Close(super::Close),
        #[prost(message, tag = "4")]
        Message(super::Message),
        #[prost(message, tag = "5")]
        Outcomes(super::Outcomes),
        #[prost(message, tag = "6")]
        Bounce(super::Message),
        #[prost(message, tag = "7")]
        Barrier(super::Barrier),
        #[prost(message, tag = "8")]
        Echo(super::Echo),
        #[prost(message, tag = "9")]
        Name(super::Name),
        #[prost(message, tag = "10")]
        Attach(super::Attach),
        #[prost(message, tag = "11")]
        Attached(super::Attached),
        #[prost(message, tag = "12")]
        Lease(super::Lease),
        #[prost(message, tag = "13")]
        Ping(super::Ping),
        #[prost(message, tag = "14")]
        Pong(super::Pong),
        #[prost(message, tag = "15")]
        Claim(super::Claim),
        #[prost(message, tag = "16")]
        Claimed(super::Claimed),
        #[prost(message, tag = "17")]
        Release(super::Release),
        #[prost(message, tag = "18")]
        Released(super::Released),
        #[prost(message, tag = "19")]
        Announce(super::Announce),
        #[prost(message, tag = "20")]
        Announced(super::Announced),
        #[prost(message, tag = "21")]
        Displaced(super::Displaced),
        #[prost(message, tag = "22")]
        Reply(super::Reply),
        #[prost(message, tag = "23")]
        Broadcast(super::Broadcast),
        #[prost(message, tag = "24")]
        BroadcastDone(super::BroadcastDone),
        #[prost(message, tag = "25")]
        Locate(super::Locate),
        #[prost(message, tag = "26")]
        Located(super::Located),
        #[prost(message, tag = "27")]
        Drain(super::Drain),
        #[prost(message, tag = "28")]
        Detach(super::Detach),
    }
}
/// First frame of each side.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Hello {
    #[prost(enumeration = "hello::Role", tag = "1")]
    pub role: i32,
    /// Where this node can be dialled; empty for a peer.
    #[prost(bytes = "bytes", tag = "2")]
    pub location: ::prost::bytes::Bytes,
    /// Random, 16 bytes; what the other side's `Proof` must cover.
    /// All zero: this side has no cluster key, and sends no `Proof`.
    #[prost(bytes = "bytes", tag = "3")]
    pub nonce: ::prost::bytes::Bytes,
    /// For logs: name and version of the software.
    #[prost(string, tag = "4")]
    pub software: ::prost::alloc::string::String,
}
/// Nested message and enum types in `Hello`.
pub mod hello {
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ::prost::Enumeration)]
    #[repr(i32)]
    pub enum Role {
        Unspecified = 0,
        /// A server that wants to be attached to the other side, a broker.
        Peer = 1,
        /// A node: a broker, or a server of the mesh.
        Node = 2,
    }
    impl Role {
        /// String value of the enum field names used in the ProtoBuf definition.
        ///
        /// The values are not transformed in any way and thus are considered stable
        /// (if the ProtoBuf definition does not change) and safe for programmatic use.
        pub fn as_str_name(&self) -> &'static str {
            match self {
                Self::Unspecified => "ROLE_UNSPECIFIED",
                Self::Peer => "PEER",
                Self::Node => "NODE",
            }
        }
        /// Creates an enum from field names used in the ProtoBuf definition.
        pub fn from_str_name(value: &str) -> ::core::option::Option<Self> {
            match value {
                "ROLE_UNSPECIFIED" => Some(Self::Unspecified),
                "PEER" => Some(Self::Peer),
                "NODE" => Some(Self::Node),
                _ => None,
            }
        }
    }
}
/// Shows that this side knows the cluster key:
/// HMAC-SHA256(key, "waypost proof 1" || side || own nonce || other's nonce), side being "d" for the dialling side and "l"
/// for the listening one.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Proof {
    #[prost(bytes = "bytes", tag = "1")]
    pub mac: ::prost::bytes::Bytes,
}
/// Last frame of a side that closes on purpose.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Close {
    #[prost(enumeration = "close::Code", tag = "1")]
    pub code: i32,
    #[prost(string, tag = "2")]
    pub text: ::prost::alloc::string::String,
}
/// Nested message and enum types in `Close`.
pub mod close {
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ::prost::Enumeration)]
    #[repr(i32)]
    pub enum Code {
        Unspecified = 0,
        /// Orderly end: drained or shut down.
        GoingAway = 1,
        /// A frame could not be read.
        Malformed = 2,
        /// A frame or the handshake broke the contract.
        Protocol = 3,
        /// The proof of the cluster key is missing or wrong.
        Unauthenticated = 4,
        /// A newer process has the same identity.
        Superseded = 5,
        /// Not answering in time, or a bound was reached.
        Overloaded = 6,
        /// This node takes no peers (it is a server of the mesh, not a broker).
        NotABroker = 7,
    }
    impl Code {
        /// String value of the enum field names used in the ProtoBuf definition.
        ///
        /// The values are not transformed in any way and thus are considered stable
        /// (if the ProtoBuf definition does not change) and safe for programmatic use.
        pub fn as_str_name(&self) -> &'static str {
            match self {
                Self::Unspecified => "CODE_UNSPECIFIED",
                Self::GoingAway => "GOING_AWAY",
                Self::Malformed => "MALFORMED",
                Self::Protocol => "PROTOCOL",
                Self::Unauthenticated => "UNAUTHENTICATED",
                Self::Superseded => "SUPERSEDED",
                Self::Overloaded => "OVERLOADED",
                Self::NotABroker => "NOT_A_BROKER",
            }
        }
        /// Creates an enum from field names used in the ProtoBuf definition.
        pub fn from_str_name(value: &str) -> ::core::option::Option<Self> {
            match value {
                "CODE_UNSPECIFIED" => Some(Self::Unspecified),
                "GOING_AWAY" => Some(Self::GoingAway),
                "MALFORMED" => Some(Self::Malformed),
                "PROTOCOL" => Some(Self::Protocol),
                "UNAUTHENTICATED" => Some(Self::Unauthenticated),
                "SUPERSEDED" => Some(Self::Superseded),
                "OVERLOADED" => Some(Self::Overloaded),
                "NOT_A_BROKER" => Some(Self::NotABroker),
                _ => None,
            }
        }
    }
}
/// Introduces a server under a number that later frames of this link and direction use. Numbers start at 1; a number is
/// never given a second meaning. At most 65,536 on a link.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Name {
    #[prost(uint32, tag = "1")]
    pub alias: u32,
    #[prost(bytes = "bytes", tag = "2")]
    pub identity: ::prost::bytes::Bytes,
    #[prost(uint64, tag = "3")]
    pub incarnation: u64,
    /// The `Attach.attachment` by which it is attached to the side that introduces it; 0: not said, or it is attached elsewhere.
    /// Messages that come under an earlier number of the same identity have been overtaken, and are not delivered.
    #[prost(uint32, tag = "4")]
    pub attachment: u32,
}
/// One message to one client, on its way to it (`Frame.message`) or, when the server that was asked does not hold the
/// client, on its way back to the node that chose the server (`Frame.bounce`).
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Message {
    #[prost(bytes = "bytes", tag = "1")]
    pub to: ::prost::bytes::Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub from: ::prost::bytes::Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub body: ::prost::bytes::Bytes,
    /// Numbers the messages of one origin (identity and incarnation) that want an outcome; 0: best effort.
    #[prost(uint64, tag = "4")]
    pub id: u64,
    /// All ids of this origin below `id - floor_distance` have their outcome and will not be sent again: the receiver may
    /// forget them. 0 means that nothing older than this message is outstanding.
    #[prost(uint64, tag = "5")]
    pub floor_distance: u64,
    /// When not 0: the message `id - after_distance` (of the same origin, to the same address) still lacks its outcome, and
    /// this one must not be delivered before it. For a best-effort message it is that id itself, as its own is 0.
    #[prost(uint64, tag = "6")]
    pub after_distance: u64,
    /// The sending server, as a `Name` of this link; 0: the attached peer at the other end.
    #[prost(uint32, tag = "7")]
    pub origin: u32,
    /// The server thought to hold the client, as a `Name` of this link; 0: not yet looked up (from a peer to its broker), or
    /// the attached peer at the other end (from a broker to its peer).
    #[prost(uint32, tag = "8")]
    pub owner: u32,
    /// How many nodes have passed it on so far; a bounce counts too.
    #[prost(uint32, tag = "9")]
    pub hops: u32,
    /// The sender waits for a `Reply`.
    #[prost(bool, tag = "10")]
    pub request: bool,
    /// How long the sender still waits, in milliseconds, when this was sent; 0: not said.
    #[prost(uint32, tag = "11")]
    pub ttl_ms: u32,
    /// The claim by which that server is thought to hold the client: the low 32 bits of its seq; 0: not said. A server that
    /// holds the client by claims that are all newer sends the message back, as if it did not hold it: later messages may have
    /// gone that way too.
    #[prost(fixed32, tag = "12")]
    pub claim: u32,
}
/// Outcomes of one origin's messages, on their way to it.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Outcomes {
    /// The origin, as a `Name` of this link; 0: the attached peer at the other end.
    #[prost(uint32, tag = "1")]
    pub origin: u32,
    /// Ids of messages that are in their receivers' inboxes.
    #[prost(uint64, repeated, tag = "2")]
    pub delivered: ::prost::alloc::vec::Vec<u64>,
    /// The others.
    #[prost(message, repeated, tag = "3")]
    pub failed: ::prost::alloc::vec::Vec<outcomes::Failed>,
}
/// Nested message and enum types in `Outcomes`.
pub mod outcomes {
    #[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
    pub struct Failed {
        /// 0: a best-effort message.
        #[prost(uint64, tag = "1")]
        pub id: u64,
        #[prost(enumeration = "super::Outcome", tag = "2")]
        pub outcome: i32,
        /// Whom it was for.
        #[prost(bytes = "bytes", tag = "3")]
        pub to: ::prost::bytes::Bytes,
        /// Best effort: how many messages this stands for, at least 1.
        #[prost(uint32, tag = "4")]
        pub count: u32,
        /// The message was not delivered because an earlier one that it comes after was not: the origin may send both again.
        #[prost(bool, tag = "5")]
        pub out_of_order: bool,
    }
}
/// The answer of a receiving client to a request, on its way to the origin. It says that the request was delivered, so that
/// an `Outcomes` for it is sent only when the answer does not come soon.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Reply {
    #[prost(uint32, tag = "1")]
    pub origin: u32,
    #[prost(uint64, tag = "2")]
    pub id: u64,
    #[prost(bytes = "bytes", tag = "3")]
    pub body: ::prost::bytes::Bytes,
}
/// Asks for an `Echo` once every message sent before it on this path has been delivered or bounced.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Barrier {
    #[prost(uint64, tag = "1")]
    pub token: u64,
    /// The server whose path it is, as a `Name` of this link; 0: the attached peer at the other end.
    #[prost(uint32, tag = "2")]
    pub owner: u32,
    /// The client whose messages it is about: those that the server or its node keeps for a moment are bounced before the
    /// `Echo`. Empty: all, and what is kept stays.
    #[prost(bytes = "bytes", tag = "3")]
    pub address: ::prost::bytes::Bytes,
}
/// Answers a `Barrier`, a `Displaced` or a `Detach`, on the link on which it came.
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Echo {
    #[prost(uint64, tag = "1")]
    pub token: u64,
}
/// The first frame of a peer on an open link: registers its identity, or goes on as an incarnation which it had.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Attach {
    #[prost(bytes = "bytes", tag = "1")]
    pub identity: ::prost::bytes::Bytes,
    /// 0: a new incarnation is wanted. Otherwise: the incarnation to go on as.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Counts the attachments of one process, to whichever broker, from 1; 0: not said.
    #[prost(uint32, tag = "3")]
    pub attachment: u32,
}
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Attached {
    #[prost(enumeration = "attached::Result", tag = "1")]
    pub result: i32,
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// For how long the lease is valid without a renewal, in milliseconds from when `Attach` was sent.
    #[prost(uint64, tag = "3")]
    pub lease_ms: u64,
    #[prost(uint64, tag = "4")]
    pub term_ms: u64,
}
/// Nested message and enum types in `Attached`.
pub mod attached {
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ::prost::Enumeration)]
    #[repr(i32)]
    pub enum Result {
        Unspecified = 0,
        Attached = 1,
        /// Only when going on: a newer process has the identity.
        Superseded = 2,
        /// Only when going on: the lease is over. Attach anew with incarnation 0.
        Gone = 3,
        /// The datastore did not answer; try again later.
        StoreUnavailable = 4,
    }
    impl Result {
        /// String value of the enum field names used in the ProtoBuf definition.
        ///
        /// The values are not transformed in any way and thus are considered stable
        /// (if the ProtoBuf definition does not change) and safe for programmatic use.
        pub fn as_str_name(&self) -> &'static str {
            match self {
                Self::Unspecified => "RESULT_UNSPECIFIED",
                Self::Attached => "ATTACHED",
                Self::Superseded => "SUPERSEDED",
                Self::Gone => "GONE",
                Self::StoreUnavailable => "STORE_UNAVAILABLE",
            }
        }
        /// Creates an enum from field names used in the ProtoBuf definition.
        pub fn from_str_name(value: &str) -> ::core::option::Option<Self> {
            match value {
                "RESULT_UNSPECIFIED" => Some(Self::Unspecified),
                "ATTACHED" => Some(Self::Attached),
                "SUPERSEDED" => Some(Self::Superseded),
                "GONE" => Some(Self::Gone),
                "STORE_UNAVAILABLE" => Some(Self::StoreUnavailable),
                _ => None,
            }
        }
    }
}
/// Tells an attached peer that its lease is over.
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Lease {
    #[prost(enumeration = "lease::State", tag = "1")]
    pub state: i32,
    /// The incarnation that is over.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
}
/// Nested message and enum types in `Lease`.
pub mod lease {
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ::prost::Enumeration)]
    #[repr(i32)]
    pub enum State {
        Unspecified = 0,
        Superseded = 1,
        Gone = 2,
    }
    impl State {
        /// String value of the enum field names used in the ProtoBuf definition.
        ///
        /// The values are not transformed in any way and thus are considered stable
        /// (if the ProtoBuf definition does not change) and safe for programmatic use.
        pub fn as_str_name(&self) -> &'static str {
            match self {
                Self::Unspecified => "STATE_UNSPECIFIED",
                Self::Superseded => "SUPERSEDED",
                Self::Gone => "GONE",
            }
        }
        /// Creates an enum from field names used in the ProtoBuf definition.
        pub fn from_str_name(value: &str) -> ::core::option::Option<Self> {
            match value {
                "STATE_UNSPECIFIED" => Some(Self::Unspecified),
                "SUPERSEDED" => Some(Self::Superseded),
                "GONE" => Some(Self::Gone),
                _ => None,
            }
        }
    }
}
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Ping {
    #[prost(uint64, tag = "1")]
    pub token: u64,
}
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Pong {
    #[prost(uint64, tag = "1")]
    pub token: u64,
    /// From a broker to its peer: for how long the peer's lease is valid, in milliseconds from when `Ping` was sent; 0: not.
    #[prost(uint64, tag = "2")]
    pub lease_ms: u64,
    /// The datastore has not answered the last renewal, so that the lease can be neither confirmed nor denied.
    #[prost(bool, tag = "3")]
    pub store_unavailable: bool,
}
/// Makes the peer the holder of clients. At most 1,024 a frame. Each is answered in a `Claimed`.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Claim {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub addresses: ::prost::alloc::vec::Vec<::prost::bytes::Bytes>,
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Claimed {
    #[prost(message, repeated, tag = "1")]
    pub entries: ::prost::alloc::vec::Vec<claimed::Entry>,
}
/// Nested message and enum types in `Claimed`.
pub mod claimed {
    #[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
    pub struct Entry {
        #[prost(bytes = "bytes", tag = "1")]
        pub address: ::prost::bytes::Bytes,
        /// 0: the claim failed because the datastore did not answer.
        #[prost(uint64, tag = "2")]
        pub seq: u64,
    }
}
/// Frees clients that the peer holds by these claims. At most 1,024 a frame. Each is answered in a `Released`, but for
/// those with a `seq` of 0: the peer does not hold these, and a broker that has gone may have left a claim or a release of
/// them undone, which this one looks up and sees to.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Release {
    #[prost(message, repeated, tag = "1")]
    pub entries: ::prost::alloc::vec::Vec<Held>,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Held {
    #[prost(bytes = "bytes", tag = "1")]
    pub address: ::prost::bytes::Bytes,
    #[prost(uint64, tag = "2")]
    pub seq: u64,
}
/// A `seq` of 0: the client is given up, and its record is still to be removed, because the datastore did not answer.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Released {
    #[prost(message, repeated, tag = "1")]
    pub entries: ::prost::alloc::vec::Vec<Held>,
}
/// After a reconnection: what the peer holds. At most 1,024 a frame. Answered by an `Announced` once they are checked;
/// those that have moved meanwhile come as `Displaced` before it.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Announce {
    #[prost(message, repeated, tag = "1")]
    pub entries: ::prost::alloc::vec::Vec<Held>,
}
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Announced {
    /// 0: not an answer. The peer should announce all that it holds, slowly: records may be lost or wrong.
    #[prost(uint32, tag = "1")]
    pub count: u32,
}
/// A client has been claimed by another server: on its way to the server that held it, which stops delivering to it and
/// answers with an `Echo`.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Displaced {
    #[prost(uint64, tag = "1")]
    pub token: u64,
    /// The server that held it.
    #[prost(bytes = "bytes", tag = "2")]
    pub identity: ::prost::bytes::Bytes,
    #[prost(uint64, tag = "3")]
    pub incarnation: u64,
    #[prost(bytes = "bytes", tag = "4")]
    pub address: ::prost::bytes::Bytes,
    /// Sessions of this address with a smaller seq are over. 0: only a question; a server that holds the client announces it,
    /// and a node passes the question on to its server that does.
    #[prost(uint64, tag = "5")]
    pub seq: u64,
    /// The server that holds it now.
    #[prost(bytes = "bytes", tag = "6")]
    pub by: ::prost::bytes::Bytes,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Broadcast {
    #[prost(uint64, tag = "1")]
    pub token: u64,
    /// The sending server, as a `Name` of this link; 0: the attached peer at the other end.
    #[prost(uint32, tag = "2")]
    pub origin: u32,
    /// The sending client, which does not get it.
    #[prost(bytes = "bytes", tag = "3")]
    pub from: ::prost::bytes::Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    pub body: ::prost::bytes::Bytes,
    #[prost(uint32, tag = "5")]
    pub ttl_ms: u32,
}
/// Answers a `Broadcast` on the link on which it came.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct BroadcastDone {
    #[prost(uint64, tag = "1")]
    pub token: u64,
    #[prost(message, repeated, tag = "2")]
    pub reached: ::prost::alloc::vec::Vec<broadcast_done::Reached>,
    /// Identities of servers that were not reached.
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub unreached: ::prost::alloc::vec::Vec<::prost::bytes::Bytes>,
}
/// Nested message and enum types in `BroadcastDone`.
pub mod broadcast_done {
    #[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
    pub struct Reached {
        #[prost(bytes = "bytes", tag = "1")]
        pub identity: ::prost::bytes::Bytes,
        /// How many of its clients have it in their inboxes.
        #[prost(uint64, tag = "2")]
        pub clients: u64,
    }
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Locate {
    #[prost(uint64, tag = "1")]
    pub token: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub address: ::prost::bytes::Bytes,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Located {
    #[prost(uint64, tag = "1")]
    pub token: u64,
    /// Empty: nobody holds it.
    #[prost(bytes = "bytes", tag = "2")]
    pub identity: ::prost::bytes::Bytes,
    #[prost(bool, tag = "3")]
    pub store_unavailable: bool,
}
/// The peer is on its way out: its lease is marked so.
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Drain {}
/// The peer has ended: its lease ends now. Answered by an `Echo`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Detach {
    #[prost(uint64, tag = "1")]
    pub token: u64,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ::prost::Enumeration)]
#[repr(i32)]
pub enum Outcome {
    Unspecified = 0,
    Delivered = 1,
    NotConnected = 2,
    Overloaded = 3,
    Unreachable = 4,
    StoreUnavailable = 5,
    Expired = 6,
    Unknown = 7,
}
impl Outcome {
    /// String value of the enum field names used in the ProtoBuf definition.
    ///
    /// The values are not transformed in any way and thus are considered stable
    /// (if the ProtoBuf definition does not change) and safe for programmatic use.
    pub fn as_str_name(&self) -> &'static str {
        match self {
            Self::Unspecified => "OUTCOME_UNSPECIFIED",
            Self::Delivered => "DELIVERED",
            Self::NotConnected => "NOT_CONNECTED",
            Self::Overloaded => "OVERLOADED",
            Self::Unreachable => "UNREACHABLE",
            Self::StoreUnavailable => "STORE_UNAVAILABLE",
            Self::Expired => "EXPIRED",
            Self::Unknown => "UNKNOWN",
        }
    }
    /// Creates an enum from field names used in the ProtoBuf definition.
    pub fn from_str_name(value: &str) -> ::core::option::Option<Self> {
        match value {
            "OUTCOME_UNSPECIFIED" => Some(Self::Unspecified),
            "DELIVERED" => Some(Self::Delivered),
            "NOT_CONNECTED" => Some(Self::NotConnected),
            "OVERLOADED" => Some(Self::Overloaded),
            "UNREACHABLE" => Some(Self::Unreachable),
            "STORE_UNAVAILABLE" => Some(Self::StoreUnavailable),
            "EXPIRED" => Some(Self::Expired),
            "UNKNOWN" => Some(Self::Unknown),
            _ => None,
        }
    }
}
