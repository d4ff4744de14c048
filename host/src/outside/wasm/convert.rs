//! The only place where generated types become the host's own words, and back.
//!
//! Touches: wasm.
//! Change here: when `wit/` gets a new type, or an answer has to be checked for something more.

use std::collections::{BTreeMap, BTreeSet};

use wasmtime::component::{ResourceTable, ResourceTableError};

use super::bindings::escalation::exports::changebus::escalation::gate;
use super::bindings::host::changebus::host::{llm, log, workspace};
use super::bindings::host::changebus::types::errors;
use super::bindings::scorer::exports::changebus::scorer::judge;
use super::bindings::strategy::exports::changebus::strategy::fix;
use super::imports::PatchDraft;
use super::limits::{Stop, cut};
use super::task::{Field, LogLevel, StrategyAnswer};
use crate::event::{Action, Advice, Fault, FaultKind, ModelRole, Patch, Score};
use crate::outside::reading::{Hit, SearchOptions};

/// Longest text for people that an answer may carry, in bytes; the rest is cut off.
const LONG: usize = 16 << 10;
const SHORT: usize = 4 << 10;
/// Most notes, reasons or marks that an answer may carry; further ones are cut off.
const MANY: usize = 50;
/// Most scores that are looked at; no field is that large.
const MOST_SCORED: usize = 10_000;

/// Why an import did not answer: a fault the guest is told, or the end of the guest.
pub enum Refused {
    Fault(Fault),
    Stop(wasmtime::Error),
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Refused {
        Refused::Fault(fault)
    }
}

impl From<Stop> for Refused {
    fn from(stop: Stop) -> Refused {
        Refused::Stop(stop.into())
    }
}

impl From<ResourceTableError> for Refused {
    fn from(error: ResourceTableError) -> Refused {
        Refused::Stop(error.into())
    }
}

impl From<wasmtime::Error> for Refused {
    fn from(error: wasmtime::Error) -> Refused {
        Refused::Stop(error)
    }
}

/// A fault for the guest; anything else ends it.
pub fn fault(refused: Refused) -> wasmtime::Result<errors::Fault> {
    match refused {
        Refused::Stop(error) => Err(error),
        Refused::Fault(fault) => Ok(errors::Fault {
            kind: fault_kind(fault.kind),
            code: fault.code,
            message: fault.message,
            retry_after_ms: fault.retry_after_ms,
        }),
    }
}

fn fault_kind(kind: FaultKind) -> errors::FaultKind {
    match kind {
        FaultKind::Denied => errors::FaultKind::Denied,
        FaultKind::Budget => errors::FaultKind::Budget,
        FaultKind::Invalid => errors::FaultKind::Invalid,
        FaultKind::NotFound => errors::FaultKind::NotFound,
        FaultKind::Conflict => errors::FaultKind::Conflict,
        FaultKind::Unavailable => errors::FaultKind::Unavailable,
        FaultKind::Timeout => errors::FaultKind::Timeout,
        FaultKind::Cancelled => errors::FaultKind::Cancelled,
        FaultKind::Internal => errors::FaultKind::Internal,
    }
}

pub fn level(level: log::Level) -> LogLevel {
    match level {
        log::Level::Trace => LogLevel::Trace,
        log::Level::Debug => LogLevel::Debug,
        log::Level::Info => LogLevel::Info,
        log::Level::Warn => LogLevel::Warn,
        log::Level::Error => LogLevel::Error,
    }
}

pub fn role(role: llm::Role) -> ModelRole {
    match role {
        llm::Role::User => ModelRole::User,
        llm::Role::Assistant => ModelRole::Assistant,
    }
}

pub fn search_options(options: workspace::SearchOpts) -> SearchOptions {
    SearchOptions {
        regex: options.contains(workspace::SearchOpts::REGEX),
        ignore_case: options.contains(workspace::SearchOpts::IGNORE_CASE),
        word: options.contains(workspace::SearchOpts::WORD),
    }
}

pub fn hit(hit: Hit) -> workspace::Hit {
    workspace::Hit {
        path: hit.path,
        line: hit.line,
        text: hit.text,
    }
}

/// A strategy's answer, or why it makes no sense.
pub fn strategy_answer(
    outcome: fix::Outcome,
    table: &mut ResourceTable,
) -> Result<StrategyAnswer, String> {
    match outcome {
        fix::Outcome::Decline(why) => Ok(StrategyAnswer::Decline(cut(&why, LONG).to_owned())),
        fix::Outcome::Propose(proposal) => Ok(StrategyAnswer::Propose {
            confidence: share("confidence", f64::from(proposal.confidence))?,
            patch: patch(proposal.patch, table)?,
            rationale: cut(&proposal.rationale, LONG).to_owned(),
            notes: proposal
                .notes
                .into_iter()
                .take(MANY)
                .map(|(k, v)| (short(&k), short(&v)))
                .collect(),
        }),
    }
}

fn patch(
    draft: wasmtime::component::Resource<PatchDraft>,
    table: &mut ResourceTable,
) -> Result<Patch, String> {
    let draft = table
        .delete(draft)
        .map_err(|error| format!("proposed a patch that is not there: {error}"))?;
    draft.finished().cloned().map_err(|fault| fault.message)
}

/// A scorer's marks in the host's words; whether they make sense is checked with [`check_scores`].
pub fn scores(scored: Vec<judge::Scored>) -> Vec<(String, Score)> {
    let plain = |one: judge::Scored| {
        let marks = one.marks.into_iter().take(MANY);
        let score = Score {
            total: one.total,
            marks: marks.map(|(name, mark)| (short(&name), mark)).collect(),
            disqualified: one.disqualified.as_deref().map(short),
        };
        (short(&one.id), score)
    };
    scored.into_iter().take(MOST_SCORED).map(plain).collect()
}

/// A scorer's marks by contender, or why they make no sense.
pub fn check_scores(
    scored: Vec<(String, Score)>,
    field: &Field,
) -> Result<BTreeMap<String, Score>, String> {
    let known = known(field);
    let mut scores = BTreeMap::new();
    for (id, score) in scored {
        known_contender(&id, &known)?;
        within(&format!("total of `{id}`"), score.total, 100.0)?;
        if let Some((name, mark)) = score.marks.iter().find(|(_, mark)| !mark.is_finite()) {
            return Err(format!("gave `{id}` a mark `{name}` of {mark}"));
        }
        if scores.insert(id.clone(), score).is_some() {
            return Err(format!("scored `{id}` twice"));
        }
    }
    Ok(scores)
}

/// An escalation plugin's opinion in the host's words; checked with [`check_advice`].
pub fn advice(decision: gate::Decision) -> Advice {
    let reasons = decision.reasons.into_iter().take(MANY);
    Advice {
        action: action(decision.action),
        contender: decision.contender.as_deref().map(short),
        reasons: reasons
            .map(|reason| (short(&reason.code), short(&reason.message)))
            .collect(),
    }
}

/// An escalation plugin's opinion, or why it makes no sense.
pub fn check_advice(advice: Advice, field: &Field) -> Result<Advice, String> {
    if let Some(id) = &advice.contender {
        known_contender(id, &known(field))?;
    }
    Ok(advice)
}

fn known(field: &Field) -> BTreeSet<&str> {
    let contenders = field.contenders.iter();
    contenders.map(|contender| contender.id.as_str()).collect()
}

fn action(action: gate::Action) -> Action {
    match action {
        gate::Action::Human => Action::Human,
        gate::Action::PullRequest => Action::PullRequest,
        gate::Action::Merge => Action::Merge,
    }
}

fn known_contender(id: &str, known: &BTreeSet<&str>) -> Result<(), String> {
    if known.contains(id) {
        return Ok(());
    }
    let all: Vec<&str> = known.iter().copied().collect();
    Err(format!(
        "speaks of a contender `{}` that is not in the field ({})",
        cut(id, 100),
        all.join(", ")
    ))
}

fn share(what: &str, value: f64) -> Result<f64, String> {
    within(what, value, 1.0)
}

fn within(what: &str, value: f64, most: f64) -> Result<f64, String> {
    if (0.0..=most).contains(&value) {
        return Ok(value);
    }
    Err(format!(
        "gave a {what} of {value}, which is not between 0 and {most}"
    ))
}

fn short(text: &str) -> String {
    cut(text, SHORT).to_owned()
}
