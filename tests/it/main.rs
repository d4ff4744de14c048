//! ChangeBus seen from outside, in one binary.

mod bundled;
mod cases;
mod claude;
mod configuration;
mod plugins;
mod tidy;
