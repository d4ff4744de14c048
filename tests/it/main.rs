//! ChangeBus seen from outside, in one binary.

mod claude;
mod configuration;
mod plugins;
mod tidy;
