//! ChangeBus seen from outside, in one binary.

mod claude;
mod plugins;
