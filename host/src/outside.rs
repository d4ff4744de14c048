//! One file or folder for each thing in the world. Thin: its own error enum, no policy.
//!
//! Touches: nothing.
//! Change here: when the program meets a new thing in the world.

pub mod clip;
pub mod git;
pub mod process;
pub mod reports;
pub mod runner;
pub mod workspace;
