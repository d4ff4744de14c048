//! Pure decisions: no async, no clock, no randomness, no IO. They import the words and nothing else.

pub mod budget;
