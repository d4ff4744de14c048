//! support

pub mod guests;
