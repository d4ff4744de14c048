//! Whether a run waits for people, and what their decision makes of it.
//!
//! Touches: nothing.
//! Change here: when people may decide something else. What they cannot have is a merge whose result was not tested.

use jiff::Timestamp;

use super::apps;
use super::run::Run;
use crate::event::{Action, Delivery, Event, Fact, Review, Ruling, Task, TaskEnd, Verdict};

/// Why a decision cannot be taken; one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    #[error("{0} is still under way: nobody has been asked yet")]
    Open(String),
    #[error("{0} waits for nobody: it ended otherwise")]
    Settled(String),
    #[error("{0} has no candidate to merge: reject it, or mend the branch by hand")]
    NoCandidate(String),
    #[error("{run} has no candidate of variant {variant:?}; there are {there}")]
    NoSuchVariant {
        run: String,
        variant: String,
        there: String,
    },
    #[error("say why it is rejected: strategies are told")]
    NoReason,
}

/// Whether people can still decide about it: their help was asked for, and nothing was merged since.
pub fn is_waited_for(run: &Run) -> bool {
    let asked = matches!(
        run.delivery,
        Some(Delivery::Escalated { .. } | Delivery::Proposed { .. })
    );
    run.closed.is_some() && asked
}

/// The candidate that a decision is about; none where everything is rejected.
pub fn chosen<'a>(run: &'a Run, review: &'a Review) -> Result<Option<&'a str>, NotTaken> {
    let id = || run.id.0.clone();
    if run.closed.is_none() {
        return Err(NotTaken::Open(id()));
    }
    if !is_waited_for(run) {
        return Err(NotTaken::Settled(id()));
    }
    let wanted = match &review.ruling {
        Ruling::Reject if review.reason.trim().is_empty() => return Err(NotTaken::NoReason),
        Ruling::Reject => return Ok(None),
        Ruling::Approve { variant } => variant.as_deref(),
    };
    let winner = run.verdict.as_ref().and_then(|v| v.winner.as_deref());
    let name = wanted
        .or(winner)
        .ok_or_else(|| NotTaken::NoCandidate(id()))?;
    match run.candidate(name) {
        Some(_) => Ok(Some(name)),
        None => Err(NotTaken::NoSuchVariant {
            run: id(),
            variant: name.to_owned(),
            there: match candidates(run) {
                none if none.is_empty() => "none".to_owned(),
                names => names.join(", "),
            },
        }),
    }
}

/// What can be approved, by variant.
pub fn candidates(run: &Run) -> Vec<&str> {
    let names = run.handed_in.keys().map(String::as_str);
    names.filter(|name| run.candidate(name).is_some()).collect()
}

/// A decision as an event of every log; given twice under one id it is given once.
pub fn given(project: &str, review: Review, id: &str, at: Timestamp) -> Event {
    let id = apps::derived(&["review", &review.run.0, id]);
    apps::stated(id, at, project, Fact::ReviewGiven { review })
}

/// A task as an event of every log.
pub fn posted(project: &str, task: Task, at: Timestamp) -> Event {
    let id = apps::derived(&["task", &task.id]);
    apps::stated(id, at, project, Fact::TaskPosted { task })
}

/// The end of a task as an event of every log.
pub fn ended(project: &str, end: TaskEnd, at: Timestamp) -> Event {
    let id = apps::derived(&["task-end", &end.id]);
    apps::stated(id, at, project, Fact::TaskEnded { end })
}

/// The verdict that a human's approval makes.
pub fn verdict(run: &Run, review: &Review, variant: &str) -> Verdict {
    let before = run.verdict.as_ref();
    let standings = before.map(|v| v.standings.clone()).unwrap_or_default();
    let standing = standings.iter().find(|s| s.variant == variant);
    let mut reason = format!("{} approved it {}", review.by, review.via.name());
    if !review.reason.is_empty() {
        reason.push_str(&format!(": {}", review.reason));
    }
    Verdict {
        action: Action::Merge,
        winner: Some(variant.to_owned()),
        score: standing.and_then(|s| s.score),
        confidence: standing.and_then(|s| s.confidence),
        evidence: standing.and_then(|s| s.evidence),
        reasons: vec![reason],
        standings,
    }
}
