//! What a run's result means for a forge: whether it is a pull request, what commits are told, when there is nothing to
//! decide any more.
//!
//! Touches: nothing.
//! Change here: when another result becomes a pull request, or commits are told something else. What stands in one is
//! `story/report.rs`.

use jiff::Timestamp;

use super::apps;
use super::run::Run;
use crate::config::PullRequests;
use crate::event::{
    Action, Bisection, Channel, Delivery, Event, Fact, Finding, IgnoreReason, Oid, PullRequest,
    PullRequestEnd, Review, Ruling, RunStatus, Sighting,
};

/// Of a reason somebody gives.
const REASON: usize = 2000;

/// A result that is to be a pull request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    pub commit: &'a Oid,
    /// The run's own branch.
    pub branch: &'a str,
    /// Somebody has to look at it before it may be merged.
    pub draft: bool,
    /// Decided to be merged, by the rules or by people.
    pub merge: bool,
}

pub fn wanted(run: &Run, which: PullRequests) -> Option<Wanted<'_>> {
    let merge = run
        .verdict
        .as_ref()
        .is_some_and(|v| v.action == Action::Merge);
    let wanted = match run.delivery.as_ref()? {
        Delivery::Proposed { branch, commit, .. } => Wanted {
            commit,
            branch,
            draft: false,
            merge,
        },
        Delivery::Escalated {
            branch: Some(branch),
            commit: Some(commit),
            ..
        } => Wanted {
            commit,
            branch,
            draft: true,
            merge: false,
        },
        _ => return None,
    };
    match which {
        PullRequests::None => None,
        PullRequests::Proposed => Some(wanted).filter(|w| !w.draft),
        PullRequests::All => Some(wanted),
    }
}

/// Whose commit broke it, as far as is known.
pub fn culprit(run: &Run) -> Option<&Oid> {
    let found = run.bisection.as_ref().and_then(Bisection::culprit);
    let only = match run.change.commits.as_slice() {
        [commit] => Some(&commit.id),
        _ => None,
    };
    found.or(only)
}

/// Why a pull request is to be closed whose run does not wait for people any more. None while it goes on.
pub fn withdrawn(run: &Run) -> Option<String> {
    run.closed?;
    let rejected = |review: &&Review| review.ruling == Ruling::Reject;
    Some(match (&run.delivery, run.reviews.values().find(rejected)) {
        (Some(Delivery::Merged { branch, commit }), _) => {
            format!("it was merged into {branch} as {}", commit.short())
        }
        (Some(Delivery::Moot { because }), _) => because.clone(),
        (_, Some(review)) => {
            let by = format!("{} rejected it {}", review.by, review.via.name());
            match review.reason.as_str() {
                "" => by,
                reason => format!("{by}: {reason}"),
            }
        }
        _ => "the branch is green without it".to_owned(),
    })
}

/// What closing a pull request says. Who did it is not told; the reason is what somebody, `last`, wrote below it last.
pub fn rejection(request: &PullRequest, last: Option<(&str, &str)>) -> Review {
    let reason = match last {
        Some((by, words)) => format!("{by} wrote: {words}"),
        None => "closed without a word".to_owned(),
    };
    Review {
        run: request.run.clone(),
        ruling: Ruling::Reject,
        reason: reason.chars().take(REASON).collect(),
        by: format!("somebody on {}", request.forge),
        via: Channel::Forge,
    }
}

/// What the head of a change is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Light {
    Yellow,
    Green,
    Red,
    /// Nobody can say.
    Broken,
}

/// When a run opened, and how it ended. None where there is nothing to tell.
pub fn light(run: &Run) -> Option<(Light, String)> {
    let Some(status) = run.closed else {
        return Some((Light::Yellow, format!("testing, run {}", run.id)));
    };
    let failing = run.triage.as_ref().map_or(0, |t| t.failing.len());
    let is_real = run
        .triage
        .as_ref()
        .is_some_and(|t| t.finding == Finding::Real);
    let tests = match failing {
        1 => "1 test fails".to_owned(),
        n => format!("{n} tests fail"),
    };
    let id = &run.id;
    Some(match status {
        RunStatus::Green if is_real => (
            Light::Red,
            format!("{tests}; the branch came right since, run {id}"),
        ),
        RunStatus::Green => (Light::Green, "the tests pass".to_owned()),
        RunStatus::Flaky => (
            Light::Green,
            format!("the tests pass, some of them not always, run {id}"),
        ),
        RunStatus::Fixed => match &run.delivery {
            Some(Delivery::Merged { commit, .. }) => {
                (Light::Red, format!("{tests}; mended by {}", commit.short()))
            }
            _ => (Light::Red, format!("{tests}; a fix is proposed, run {id}")),
        },
        RunStatus::Human => (Light::Red, format!("{tests}; people decide, run {id}")),
        RunStatus::NoFix => (Light::Red, format!("{tests}; no fix was found, run {id}")),
        RunStatus::RedBefore | RunStatus::Known => {
            (Light::Red, format!("tests fail as before, run {id}"))
        }
        RunStatus::Error => (Light::Broken, format!("could not be tested, run {id}")),
        RunStatus::InVain | RunStatus::Updated | RunStatus::Split => return None,
    })
}

/// What a tip is told that opened no run.
pub fn light_of(sighting: &Sighting) -> Option<(Oid, Light, String)> {
    match sighting {
        Sighting::Ignored {
            tip,
            reason: IgnoreReason::TreeAlreadyGreen,
        } => {
            let said = "the same files were tested before, and pass";
            Some((tip.clone(), Light::Green, said.to_owned()))
        }
        _ => None,
    }
}

/// A pull request as an event of every log; opened again for the same result it is opened once.
pub fn opened(project: &str, request: PullRequest, at: Timestamp) -> Event {
    let id = apps::derived(&["pull-request", &request.about]);
    apps::stated(id, at, project, Fact::PullRequestOpened { request })
}

/// Its end as an event of every log.
pub fn ended(project: &str, end: PullRequestEnd, at: Timestamp) -> Event {
    let id = apps::derived(&["pull-request-end", &end.about]);
    apps::stated(id, at, project, Fact::PullRequestEnded { end })
}
