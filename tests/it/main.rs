//! ChangeBus seen from outside, in one binary.

mod cheats;
mod claude;
mod plugins;
mod tournament;
mod watching;
