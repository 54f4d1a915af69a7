//! Numbers of the protocol.

pub(super) const GET: u8 = 0x00;
pub(super) const SET: u8 = 0x01;
pub(super) const ADD: u8 = 0x02;
pub(super) const REPLACE: u8 = 0x03;
pub(super) const DELETE: u8 = 0x04;
pub(super) const INCREMENT: u8 = 0x05;
pub(super) const DECREMENT: u8 = 0x06;
pub(super) const NOOP: u8 = 0x0a;
pub(super) const APPEND: u8 = 0x0e;
pub(super) const PREPEND: u8 = 0x0f;
pub(super) const TOUCH: u8 = 0x1c;
pub(super) const GET_AND_TOUCH: u8 = 0x1d;
pub(super) const HELLO: u8 = 0x1f;
pub(super) const SASL_LIST: u8 = 0x20;
pub(super) const SASL_AUTH: u8 = 0x21;
pub(super) const SASL_STEP: u8 = 0x22;
pub(super) const SELECT_BUCKET: u8 = 0x89;
pub(super) const GET_META: u8 = 0xa0;
pub(super) const GET_CLUSTER_CONFIG: u8 = 0xb5;
pub(super) const GET_COLLECTION_ID: u8 = 0xbb;
pub(super) const GET_ERROR_MAP: u8 = 0xfe;

/// The name of a request for a document; `None` for any other.
pub(super) const fn name(opcode: u8) -> Option<&'static str> {
    Some(match opcode {
        GET => "get",
        SET => "set",
        ADD => "add",
        REPLACE => "replace",
        DELETE => "delete",
        INCREMENT => "increment",
        DECREMENT => "decrement",
        APPEND => "append",
        PREPEND => "prepend",
        TOUCH => "touch",
        GET_AND_TOUCH => "get_and_touch",
        GET_META => "get_meta",
        _ => return None,
    })
}

/// How many bytes of extras a request for a document must have.
pub(super) const fn extras(opcode: u8) -> usize {
    match opcode {
        SET | ADD | REPLACE => 8,
        INCREMENT | DECREMENT => 20,
        TOUCH | GET_AND_TOUCH => 4,
        GET_META => 1,
        _ => 0,
    }
}

pub(super) mod status {
    //! What answers begin with.

    pub(in super::super) const OK: u16 = 0;
    pub(in super::super) const MISSING: u16 = 0x01;
    pub(in super::super) const EXISTS: u16 = 0x02;
    pub(in super::super) const TOO_BIG: u16 = 0x03;
    pub(in super::super) const INVALID: u16 = 0x04;
    pub(in super::super) const NOT_STORED: u16 = 0x05;
    pub(in super::super) const BAD_DELTA: u16 = 0x06;
    pub(in super::super) const NOT_MY_VBUCKET: u16 = 0x07;
    pub(in super::super) const NO_BUCKET: u16 = 0x08;
    pub(in super::super) const AUTH_ERROR: u16 = 0x20;
    pub(in super::super) const AUTH_CONTINUE: u16 = 0x21;
    pub(in super::super) const ACCESS: u16 = 0x24;
    pub(in super::super) const UNKNOWN_COMMAND: u16 = 0x81;
    pub(in super::super) const INTERNAL: u16 = 0x84;
    pub(in super::super) const TEMPORARY_FAILURE: u16 = 0x86;
    pub(in super::super) const UNKNOWN_COLLECTION: u16 = 0x88;
    pub(in super::super) const UNKNOWN_SCOPE: u16 = 0x8c;
}
