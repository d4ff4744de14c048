//! ChangeBus seen from outside, in one binary.

mod autofix;
mod bundled;
mod cases;
mod cheats;
mod claude;
mod commands;
mod configuration;
mod investigator;
mod orders;
mod plugins;
mod recovery;
mod tidy;
mod tournament;
mod watching;
