//! Every fact ChangeBus can state, in the past tense, and the envelope it is kept in.
//!
//! Touches: nothing.
//! Change here: when something new can happen. Give it a fact, a subject below, and a place in the fold
//! (`rules/run.rs`). Never change the meaning of a stored field: add an optional one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod app;
mod change;
mod delivery;
mod deps;
mod digest;
mod learned;
mod outcome;
mod plugin;
mod report;
mod review;
mod tournament;

pub use app::*;
pub use change::*;
pub use delivery::*;
pub use deps::*;
pub use digest::*;
pub use learned::*;
pub use outcome::*;
pub use plugin::*;
pub use report::*;
pub use review::*;
pub use tournament::*;

/// A fact as the store keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Position in this host's log, from 1, without gaps.
    pub seq: i64,
    /// Unique everywhere (UUID v7); what consumers deduplicate by.
    pub id: String,
    pub at: Timestamp,
    pub project: String,
    /// None for what happens outside a run, such as a sighting of the watcher.
    pub run: Option<RunId>,
    /// Place in the run's own stream, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Which tenure of the project this was stated in; each host that takes a project over counts one more. What a
    /// later tenure states of a run takes the place of what an earlier one states from that version on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub epoch: u64,
    /// The host that stated it, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    #[serde(flatten)]
    pub fact: Fact,
}

fn is_zero(epoch: &u64) -> bool {
    *epoch == 0
}

/// Name of a run: `<project>-<short head>`, with `-2` and so on where a head was seen again; unique in a fleet and fit
/// for a branch name.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct RunId(pub String);

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What happened. Tagged by `type` in JSON: `{"type": "tested", ...}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Fact {
    /// The watcher saw something about a project that did not open a run.
    Watched {
        sighting: Sighting,
    },
    /// What a project depends on was held against what the indexes have.
    DependenciesSeen {
        seen: Dependencies,
    },
    /// Opens a run.
    ChangeSeen {
        change: Change,
    },
    /// The suite ran (or could not) on one tree of the change.
    Tested {
        role: Role,
        report: TestReport,
        /// Digest of the setup and test command; reports of another suite do not compare.
        #[serde(default)]
        suite: String,
        /// Of the tests that are bad at the head: how often each flipped in earlier runs.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        flips: BTreeMap<String, Flips>,
    },
    Triaged {
        triage: Triage,
    },
    /// The commits of the change were searched for the one that broke it.
    Bisected {
        bisection: Bisection,
    },
    TournamentOpened {
        opening: Opening,
    },
    /// Written before a request leaves, so that an answer lost in a crash is not paid for twice.
    ModelAsked {
        variant: String,
        call: u32,
        request: ModelRequest,
    },
    ModelAnswered {
        variant: String,
        call: u32,
        answer: Result<ModelAnswer, Fault>,
    },
    Probed {
        variant: String,
        probe: u32,
        digest: String,
        answer: Result<ProbeReport, Fault>,
    },
    /// A tool of the project ran on a patched tree. `probe` counts probes and tools together; `digest` names the patch.
    ToolRan {
        variant: String,
        probe: u32,
        tool: String,
        digest: String,
        answer: Result<ToolReport, Fault>,
    },
    /// A plugin was called; what it answered follows.
    PluginCalled {
        call: PluginCall,
    },
    /// A strategy handed in a change to the tree.
    Proposed {
        variant: String,
        candidate: Candidate,
    },
    /// A strategy handed in nothing that can be tried.
    Refused {
        variant: String,
        refusal: Refusal,
    },
    /// One validation of one tree; candidates with the same tree share it.
    Tried {
        trial: Trial,
    },
    /// Part of a validation: some tests alone, before the whole suite.
    Sampled {
        sample: Sample,
    },
    Scored {
        scoring: Scoring,
    },
    /// The scorer's marks if every test passed on those that were not tried yet: no more is in them.
    Bounded {
        bounds: Scoring,
    },
    /// The escalation plugin's opinion, or why there is none (which counts as `human`).
    Advised {
        advice: Result<Advice, PluginFailure>,
    },
    Decided {
        verdict: Verdict,
    },
    /// The merge result stands, tested, before anything is pushed.
    MergePrepared {
        merge: PreparedMerge,
    },
    /// The push was refused because the branch had moved; the merge is prepared anew.
    MergeOvertaken {
        tip: Oid,
    },
    Delivered {
        delivery: Delivery,
    },
    /// An external application said something.
    AppSaid {
        message: AppMessage,
    },
    /// A project is to be tested as it stands.
    StartAsked {
        asked: Asked,
    },
    /// People should know of it now.
    Alerted {
        remark: Remark,
    },
    /// People should read of it in the next digest.
    Noted {
        remark: Remark,
    },
    /// What people are to read of a stretch of time.
    DigestMade {
        digest: Digest,
    },
    /// A notice reached one place, or was given up.
    NoticeSent {
        sent: Sent,
    },
    /// Somebody decided about a run that waits for people. What becomes of it is for the host that has the project.
    ReviewGiven {
        review: Review,
    },
    /// People elsewhere were asked to decide about a run.
    TaskPosted {
        task: Task,
    },
    /// Nothing more is to be expected of them.
    TaskEnded {
        end: TaskEnd,
    },
    /// What a run delivered was opened as a pull request.
    PullRequestOpened {
        request: PullRequest,
    },
    PullRequestEnded {
        end: PullRequestEnd,
    },
    /// What became of a fix.
    OutcomeObserved {
        outcome: FixOutcome,
    },
    /// The decision stands in the run, which goes on from it.
    Reviewed {
        review: Review,
        /// The event it was given with.
        given: String,
    },
    /// A stage could not do its work for a reason outside the change.
    StageFailed {
        stage: String,
        why: String,
    },
    RunClosed {
        status: RunStatus,
    },
}

impl Fact {
    /// Digest of what is kept beside the log for this fact.
    pub fn body(&self) -> Option<&str> {
        match self {
            Fact::PluginCalled { call } => call.journal.as_deref(),
            Fact::Tried { trial } => trial.report.as_ref().map(|kept| kept.digest.as_str()),
            _ => None,
        }
    }

    /// Subject on the bus for this fact of a project, as DESIGN section 2 lists them.
    pub fn subject(&self, project: &str) -> String {
        let (root, tail) = match self {
            Fact::Watched { .. } => ("change.repo", "watched"),
            Fact::DependenciesSeen { .. } => ("change.dep", "seen"),
            Fact::ChangeSeen { change } if change.update.is_some() => ("change.dep", "update"),
            Fact::ChangeSeen { .. } => ("change.repo", "push"),
            Fact::Tested { report, .. } if report.is_green() => ("result.test", "passed"),
            Fact::Tested { .. } => ("result.test", "failed"),
            Fact::Triaged { triage } => {
                return format!("result.triage.{project}.{}", triage.finding.name());
            }
            Fact::Bisected { .. } => ("result.triage", "bisected"),
            Fact::TournamentOpened { .. } => ("result.tournament", "opened"),
            Fact::ModelAsked { .. } => ("agent.fix", "asked"),
            Fact::ModelAnswered { .. } => ("agent.fix", "answered"),
            Fact::Probed { .. } => ("agent.fix", "probed"),
            Fact::ToolRan { .. } => ("agent.fix", "tool-ran"),
            Fact::PluginCalled { .. } => ("agent.plugin", "called"),
            Fact::Proposed { .. } => ("agent.fix", "proposed"),
            Fact::Refused { .. } => ("agent.fix", "refused"),
            Fact::Tried { .. } => ("result.trial", "tried"),
            Fact::Sampled { .. } => ("result.trial", "sampled"),
            Fact::Scored { .. } => ("result.tournament", "scored"),
            Fact::Bounded { .. } => ("result.tournament", "bounded"),
            Fact::Advised { .. } => ("result.tournament", "advised"),
            Fact::Decided { .. } => ("result.tournament", "decided"),
            Fact::MergePrepared { .. } => ("result.delivery", "prepared"),
            Fact::MergeOvertaken { .. } => ("result.delivery", "overtaken"),
            Fact::Delivered { delivery } => {
                return format!("result.delivery.{project}.{}", delivery.name());
            }
            Fact::AppSaid { message } => return format!("app.{}.{}", message.app, message.event),
            Fact::StartAsked { .. } => ("change.repo", "asked"),
            Fact::Alerted { .. } => return format!("digest.alert.{project}"),
            Fact::Noted { .. } => return format!("digest.line.{project}"),
            Fact::DigestMade { .. } => return "digest.daily".to_owned(),
            Fact::NoticeSent { .. } => ("digest.sent", "notice"),
            Fact::ReviewGiven { .. } => ("result.review", "given"),
            Fact::TaskPosted { .. } => ("result.review", "asked"),
            Fact::TaskEnded { .. } => ("result.review", "answered"),
            Fact::PullRequestOpened { .. } => ("result.pull-request", "opened"),
            Fact::PullRequestEnded { end } => ("result.pull-request", end.fate.name()),
            Fact::OutcomeObserved { outcome } => ("result.outcome", outcome.fate.name()),
            Fact::Reviewed { review, .. } => match review.ruling {
                Ruling::Approve { .. } => ("result.review", "approved"),
                Ruling::Reject => ("result.review", "rejected"),
            },
            Fact::StageFailed { .. } => ("result.run", "failed"),
            Fact::RunClosed { .. } => ("result.run", "closed"),
        };
        format!("{root}.{project}.{tail}")
    }
}

/// How a run ended; the `status` of `changebus fix --json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunStatus {
    Green,
    Flaky,
    RedBefore,
    /// Attached to the run that has the same failure in hand, or gave it to people.
    Known,
    /// Opened by a host that ended before others knew of it: what another host opened since has the change.
    InVain,
    /// Merged or proposed as a pull request.
    Fixed,
    /// Dependencies moved, merged or proposed: nothing had to be mended for it.
    Updated,
    /// Of several dependencies that moved together it is known which broke it; each goes its own way from here.
    Split,
    Human,
    NoFix,
    Error,
}
