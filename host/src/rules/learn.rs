//! What is learned from earlier runs: kinds of failures, what became of fixes, and how much either says.
//!
//! Touches: nothing.
//! Change here: when something else is learned.

pub mod class;
pub mod estimate;
pub mod evaluation;
pub mod outcome;
pub mod paired;
pub mod similar;
pub mod stats;
