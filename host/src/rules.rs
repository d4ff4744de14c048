//! Pure decisions: no async, no clock, no randomness, no IO. They import the words and nothing else.
//!
//! Touches: nothing.
//! Change here: when a rule comes or goes. In the order of the flow: [`trigger`], [`evidence`] and [`trouble`],
//! [`triage`], [`known`], [`bisect`], [`entry`], [`quarantine`], [`budget`], [`paths`] and [`tamper`], [`select`],
//! [`compare`], [`gates`], [`confidence`], [`rank`], [`race`], [`decide`], [`review`], [`message`]; [`deps`] and
//! [`update`] are about dependencies; [`run`] folds a run's facts and says what is next; [`envelope`] tells an event to other programs and [`digest`] and [`notices`] tell it to people, [`apps`] reads
//! what those say; [`redact`] guards what leaves.

pub mod again;
pub mod apps;
pub mod bisect;
pub mod blind;
pub mod budget;
pub mod compare;
pub mod confidence;
pub mod decide;
pub mod deps;
pub mod digest;
pub mod discord;
pub mod entry;
pub mod envelope;
pub mod escalate;
pub mod evidence;
pub mod fleet;
pub mod gates;
pub mod hidden;
pub mod known;
pub mod learn;
pub mod message;
pub mod notices;
pub mod paths;
pub mod pull_request;
pub mod quarantine;
pub mod race;
pub mod rank;
pub mod redact;
pub mod review;
pub mod run;
pub mod select;
pub mod signature;
pub mod tamper;
pub mod triage;
pub mod trigger;
pub mod trouble;
pub mod update;
pub mod webhook;
