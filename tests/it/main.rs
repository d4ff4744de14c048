//! ChangeBus seen from outside, in one binary.

mod authoring;
mod autofix;
mod bundled;
mod cases;
mod cheats;
mod claude;
mod commands;
mod configuration;
mod formats;
mod fuzz;
mod golden;
mod hostile;
mod investigator;
mod manifests;
mod orders;
mod plugins;
mod recovery;
mod registry;
mod sandbox;
mod selecting;
mod swap;
mod tidy;
mod tournament;
mod warm;
mod watching;
mod zoo;
