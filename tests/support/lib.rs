//! What integration tests share.
//!
//! Touches: nothing.
//! Change here: when several tests need the same part of a world.

pub mod python;
