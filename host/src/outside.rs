//! One file or folder for each thing in the world. Thin: its own error enum, no policy.
//!
//! Touches: nothing by itself.
//! Change here: when there is another thing in the world.

pub mod bus;
pub mod claude;
pub mod clip;
pub mod deps;
pub mod dropbox;
pub mod footprint;
pub mod forge;
pub mod git;
pub mod hook;
pub mod humanrail;
pub mod lease;
pub mod lookout;
pub mod nats;
pub mod process;
pub mod reading;
pub mod reports;
pub mod runner;
pub mod sandbox;
pub mod store;
pub mod tls;
pub mod warm;
pub mod wasm;
pub mod workspace;
