//! ChangeBus seen from outside, in one binary.

mod bundled;
mod claude;
mod configuration;
mod plugins;
mod tidy;
