//! ChangeBus: from a push that broke the tests to a merged fix.
//!
//! In the order of the flow: [`event`] and [`config`] are the words; [`rules`] decide and touch nothing;
//! [`outside`] touches the world and decides nothing; [`stages`] bring the two together, one stage a file;
//! [`pipeline`] knows the order; [`story`] tells a run to people; [`notices`] tells people what
//! they should know and [`escalate`] has people elsewhere decide; [`forges`] offers results as pull requests; [`reception`] and [`web`] hear external
//! applications; [`updates`] looks after dependencies; [`fleet`] is this host among others; [`commands`] are the command line's verbs.
//! See ARCHITECTURE.md.

pub mod commands;
pub mod conduct;
pub mod config;
pub mod escalate;
pub mod event;
pub mod failpoint;
pub mod fleet;
pub mod forges;
pub mod notices;
pub mod outside;
pub mod pipeline;
pub mod reception;
pub mod rules;
pub mod stages;
pub mod story;
pub mod updates;
pub mod web;
