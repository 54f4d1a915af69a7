//! The router, with flaws that can be switched on one at a time.
//!
//! Everything but the flaws is `waypost-router`, whose sources the build script copies. Nothing of this is part of what users get.
#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::nursery,
    unused,
    reason = "the sources are checked where they belong; what a flaw adds has no need to be beautiful"
)]

pub mod flaws;

include!(concat!(env!("OUT_DIR"), "/router/root.rs"));
