//! Starters of real datastores, one file each. A starter's drop stops what it started.

pub mod redis;
