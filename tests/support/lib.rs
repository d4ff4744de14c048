//! What the stories share: a world to happen in, guests, judges from outside.

pub mod beasts;
pub mod cases;
pub mod described;
pub mod desk;
pub mod discord;
pub mod flaky;
pub mod fleet;
pub mod forge;
pub mod guests;
pub mod humanrail;
pub mod javascript;
pub mod lived;
pub mod nats;
pub mod python;
pub mod shop;
pub mod tables;
pub mod world;
