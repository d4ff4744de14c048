//! ChangeBus: from a push that broke the tests to a merged fix.
//!
//! In the order of the flow: [`event`] and [`config`] are the words; [`rules`] decide and touch nothing;
//! [`outside`] touches the world and decides nothing; [`stages`] bring the two together, one stage a file;
//! [`pipeline`] knows the order. See ARCHITECTURE.md.

pub mod config;
pub mod event;
pub mod outside;
pub mod rules;
pub mod story;
