//! What the stories share: a world to happen in, guests, judges from outside.

pub mod guests;
pub mod python;
