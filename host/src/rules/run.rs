//! A run as a fold over its facts: what is known, and what is next. Restart is replay through here.
//!
//! Touches: nothing.
//! Change here: when a stage is added or reordered, or a fact may follow another it could not follow before.

use std::collections::{BTreeMap, BTreeSet};

use super::decide::{self, Approval, Grounds};
use super::evidence::{Ask, Demand, Evidence};
use super::race::{self, Course, Leg, Step};
use super::rank::{self, Field, HandedIn, Placed};
use super::review;
use super::trouble;
use super::update;
use crate::config::Policy;
use crate::event::{
    Action, Advice, Bisection, Change, Delivery, Event, Fact, Fault, Finding, Flips, Learned,
    ModelAnswer, ModelRequest, Oid, Opening, PluginCall, PluginFailure, PreparedMerge, ProbeReport,
    Review, Role, RunId, RunStatus, Sample, Scoring, TestReport, ToolReport, Triage, Trial, Usage,
    Verdict,
};

/// How a run is driven: what the daemon does, and how `fix` differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Decide, but deliver nothing.
    pub withhold: bool,
    /// A stage that failed this often in a row, for reasons outside the change, is given up.
    pub stage_failures: usize,
    /// A failure that another run has in hand starts nothing again. Who asks for a tournament here and now gets one.
    pub attach: bool,
    /// Runs of the suite that may go on side by side.
    pub trials_at_once: usize,
}

impl Default for Terms {
    /// With the pipeline's waits in between, a remote may be away for a quarter of an hour.
    fn default() -> Terms {
        Terms {
            withhold: false,
            stage_failures: 9,
            attach: true,
            trials_at_once: 1,
        }
    }
}

/// What has to be done next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// The whole suite, or these tests alone.
    Test(Role, Option<BTreeSet<String>>),
    Triage,
    /// Look for the commit that broke it.
    Bisect,
    Open,
    /// Variants that have handed in nothing yet.
    Generate(Vec<String>),
    /// Side by side.
    Validate(Vec<Leg>),
    Score,
    /// Ask the scorer how far those that were not tried yet could come.
    Bound,
    /// Ask the escalation plugin about the leader.
    Advise,
    Decide,
    PrepareMerge,
    Push(PreparedMerge),
    /// Hand the winner, or the failure alone, to people.
    Publish,
    /// `fix --dry-run`.
    Withhold,
    Close(RunStatus),
    Done,
}

/// What the variants asked for that costs, by variant and number, and what came back if it did. Probes and tools are
/// numbered together.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    pub asked: BTreeMap<(String, u32), ModelRequest>,
    pub answered: BTreeMap<(String, u32), Kept<ModelAnswer>>,
    /// With the digest of the patch that was probed.
    pub probed: BTreeMap<(String, u32), (String, Kept<ProbeReport>)>,
    /// With what [`tool_key`] makes of the tool and the digest of the patch.
    pub tools: BTreeMap<(String, u32), (String, Kept<ToolReport>)>,
}

/// Tells one use of a tool from another.
pub fn tool_key(tool: &str, digest: &str) -> String {
    format!("{tool} {digest}")
}

impl Journal {
    /// Whether a variant's probe or tool of this number was answered.
    pub fn has_tried(&self, variant: &str, probe: u32) -> bool {
        let key = (variant.to_owned(), probe);
        self.probed.contains_key(&key) || self.tools.contains_key(&key)
    }
}

/// An answer that took time, and when it was kept: what a strategy's clock shows from then on.
#[derive(Clone, Debug)]
pub struct Kept<T> {
    pub answer: Result<T, Fault>,
    pub at: jiff::Timestamp,
}

/// A fact that may not stand where it stands.
#[derive(Debug, thiserror::Error)]
#[error("run {run}: {fact} may not follow here ({why})")]
pub struct NotAllowed {
    pub run: RunId,
    pub fact: String,
    pub why: &'static str,
}

/// Everything a run's facts say.
#[derive(Clone, Debug)]
pub struct Run {
    pub id: RunId,
    pub project: String,
    pub change: Change,
    pub opened_at: jiff::Timestamp,
    /// Facts so far; the version the next one is appended at.
    pub length: u64,
    /// Runs of the tests at the head and at the base, oldest first.
    pub heads: Vec<TestReport>,
    pub bases: Vec<TestReport>,
    /// Of the tests that are bad at the head, how they did in earlier runs.
    pub flips: BTreeMap<String, Flips>,
    /// Commits between base and head.
    pub between: BTreeMap<Oid, TestReport>,
    pub bisection: Option<Bisection>,
    pub triage: Option<Triage>,
    pub opening: Option<Opening>,
    pub journal: Journal,
    /// Every call of a plugin, oldest first.
    pub calls: Vec<PluginCall>,
    pub handed_in: BTreeMap<String, HandedIn>,
    pub samples: BTreeMap<Oid, Vec<Sample>>,
    /// In the order of their rounds.
    pub trials: BTreeMap<Oid, Vec<Trial>>,
    pub scoring: Option<Scoring>,
    /// How many trees had been tried when they were last scored.
    pub scored: usize,
    pub bounds: Option<Scoring>,
    pub advice: Option<Result<Advice, PluginFailure>>,
    pub verdict: Option<Verdict>,
    pub prepared: Option<PreparedMerge>,
    pub overtaken: u32,
    pub delivery: Option<Delivery>,
    /// The commit that was last put on the run's own branch.
    pub offered: Option<Oid>,
    /// What people decided, by the event it was given with.
    pub reviews: BTreeMap<String, Review>,
    /// Which of them opened the run again.
    approval: Option<String>,
    /// Stage and reason.
    pub failures: Vec<(String, String)>,
    pub failures_in_a_row: usize,
    pub closed: Option<RunStatus>,
}

impl Run {
    /// From the fact that opens a run.
    pub fn open(event: &Event) -> Option<Run> {
        let (Fact::ChangeSeen { change }, Some(id)) = (&event.fact, &event.run) else {
            return None;
        };
        Some(Run {
            id: id.clone(),
            project: event.project.clone(),
            change: change.clone(),
            opened_at: event.at,
            length: 1,
            heads: vec![],
            bases: vec![],
            flips: BTreeMap::new(),
            between: BTreeMap::new(),
            bisection: None,
            triage: None,
            opening: None,
            journal: Journal::default(),
            calls: vec![],
            handed_in: BTreeMap::new(),
            samples: BTreeMap::new(),
            trials: BTreeMap::new(),
            scoring: None,
            scored: 0,
            bounds: None,
            advice: None,
            verdict: None,
            prepared: None,
            overtaken: 0,
            delivery: None,
            offered: None,
            reviews: BTreeMap::new(),
            approval: None,
            failures: vec![],
            failures_in_a_row: 0,
            closed: None,
        })
    }

    /// From all of a run's facts, oldest first.
    pub fn replay(events: &[Event]) -> Result<Option<Run>, NotAllowed> {
        let Some(mut run) = events.first().and_then(Run::open) else {
            return Ok(None);
        };
        for event in &events[1..] {
            run.record(event)?;
        }
        Ok(Some(run))
    }

    /// Folds one fact in; one that may not follow is refused and nothing changes.
    pub fn record(&mut self, event: &Event) -> Result<(), NotAllowed> {
        self.allows(&event.fact).map_err(|why| NotAllowed {
            run: self.id.clone(),
            fact: event.fact.subject(&self.project),
            why,
        })?;
        self.fold(event.fact.clone(), event.at);
        self.length += 1;
        Ok(())
    }

    fn allows(&self, fact: &Fact) -> Result<(), &'static str> {
        let refuse = |cond: bool, why| if cond { Err(why) } else { Ok(()) };
        if let Fact::Reviewed { review, given } = fact {
            refuse(self.reviews.contains_key(given), "this was taken before")?;
            let chosen = review::chosen(self, review);
            return refuse(chosen.is_err(), "the run does not wait for this decision");
        }
        refuse(self.closed.is_some(), "the run is closed")?;
        let undecided = self.verdict.is_none();
        match fact {
            Fact::ChangeSeen { .. } | Fact::Watched { .. } => Err("a run opens once"),
            Fact::Tested {
                role: Role::MergeResult,
                ..
            } => refuse(undecided, "nothing is decided yet"),
            Fact::Tested {
                role: Role::Tip | Role::Between,
                ..
            } => refuse(self.triage.is_none(), "nothing is triaged yet"),
            Fact::Tested { .. } => refuse(self.triage.is_some(), "triage is done"),
            Fact::Triaged { .. } => refuse(
                self.triage.is_some() || self.heads.is_empty(),
                "there is nothing to triage",
            ),
            Fact::Bisected { .. } => refuse(
                self.triage.is_none() || self.opening.is_some() || self.bisection.is_some(),
                "the culprit is looked for once, between triage and tournament",
            ),
            Fact::TournamentOpened { .. } => refuse(
                self.triage.is_none() || self.opening.is_some(),
                "a tournament opens once, after triage",
            ),
            Fact::ModelAsked { variant, call, .. } => refuse(
                self.journal.asked.contains_key(&(variant.clone(), *call)),
                "this call was made before",
            ),
            Fact::ModelAnswered { variant, call, .. } => {
                let key = (variant.clone(), *call);
                refuse(
                    self.journal.answered.contains_key(&key),
                    "this call was answered before",
                )
            }
            Fact::Probed { variant, probe, .. } | Fact::ToolRan { variant, probe, .. } => refuse(
                self.opening.is_none() || self.journal.has_tried(variant, *probe),
                "no tournament is open, or this was tried before",
            ),
            Fact::PluginCalled { .. } => refuse(self.opening.is_none(), "no tournament is open"),
            Fact::Proposed { variant, .. } | Fact::Refused { variant, .. } => refuse(
                self.opening.is_none() || self.handed_in.contains_key(variant),
                "a variant hands in once",
            ),
            Fact::Sampled { .. }
            | Fact::Tried { .. }
            | Fact::Scored { .. }
            | Fact::Bounded { .. }
            | Fact::Advised { .. } => refuse(
                self.opening.is_none() || !undecided,
                "no tournament is open",
            ),
            Fact::Decided { .. } => refuse(
                self.triage.is_none() || !undecided,
                "a run is decided once, after triage",
            ),
            Fact::MergePrepared { .. } | Fact::MergeOvertaken { .. } => refuse(
                self.approval().is_none() || self.delivery.is_some(),
                "no merge was decided",
            ),
            Fact::Delivered { .. } => refuse(
                undecided || self.delivery.is_some(),
                "a verdict is delivered once",
            ),
            Fact::AppSaid { .. }
            | Fact::DependenciesSeen { .. }
            | Fact::StartAsked { .. }
            | Fact::Alerted { .. }
            | Fact::Noted { .. }
            | Fact::DigestMade { .. }
            | Fact::NoticeSent { .. }
            | Fact::TaskPosted { .. }
            | Fact::TaskEnded { .. }
            | Fact::PullRequestOpened { .. }
            | Fact::PullRequestEnded { .. }
            | Fact::OutcomeObserved { .. }
            | Fact::ReviewGiven { .. } => Err("it belongs to no run"),
            Fact::Reviewed { .. } => Ok(()),
            Fact::StageFailed { .. } | Fact::RunClosed { .. } => Ok(()),
        }
    }

    fn fold(&mut self, fact: Fact, at: jiff::Timestamp) {
        let failed = matches!(fact, Fact::StageFailed { .. });
        self.failures_in_a_row = if failed {
            self.failures_in_a_row + 1
        } else {
            0
        };
        match fact {
            Fact::ChangeSeen { .. }
            | Fact::Watched { .. }
            | Fact::AppSaid { .. }
            | Fact::DependenciesSeen { .. }
            | Fact::StartAsked { .. }
            | Fact::Alerted { .. }
            | Fact::Noted { .. }
            | Fact::DigestMade { .. }
            | Fact::NoticeSent { .. }
            | Fact::TaskPosted { .. }
            | Fact::TaskEnded { .. }
            | Fact::PullRequestOpened { .. }
            | Fact::PullRequestEnded { .. }
            | Fact::OutcomeObserved { .. }
            | Fact::ReviewGiven { .. } => {}
            Fact::Reviewed { review, given } => self.take_review(review, given),
            Fact::Tested {
                role,
                report,
                flips,
                ..
            } => self.take_report(role, report, flips),
            Fact::Triaged { triage } => self.triage = Some(triage),
            Fact::Bisected { bisection } => self.bisection = Some(bisection),
            Fact::TournamentOpened { opening } => {
                if let (Some(triage), Some(back)) = (&mut self.triage, &opening.takes_back) {
                    triage.to_keep.retain(|id| !back.mended.contains(id));
                }
                self.opening = Some(opening);
            }
            Fact::ModelAsked {
                variant,
                call,
                request,
            } => drop(self.journal.asked.insert((variant, call), request)),
            Fact::ModelAnswered {
                variant,
                call,
                answer,
            } => {
                let kept = Kept { answer, at };
                self.journal.answered.insert((variant, call), kept);
            }
            Fact::Probed {
                variant,
                probe,
                digest,
                answer,
            } => {
                let kept = Kept { answer, at };
                self.journal.probed.insert((variant, probe), (digest, kept));
            }
            Fact::ToolRan {
                variant,
                probe,
                tool,
                digest,
                answer,
            } => {
                let kept = Kept { answer, at };
                let asked = tool_key(&tool, &digest);
                self.journal.tools.insert((variant, probe), (asked, kept));
            }
            Fact::PluginCalled { call } => self.calls.push(call),
            Fact::Proposed { variant, candidate } => drop(
                self.handed_in
                    .insert(variant, HandedIn::Candidate(candidate)),
            ),
            Fact::Refused { variant, refusal } => {
                drop(self.handed_in.insert(variant, HandedIn::Nothing(refusal)))
            }
            Fact::Sampled { sample } => {
                let samples = self.samples.entry(sample.tree.clone()).or_default();
                samples.push(sample);
            }
            Fact::Tried { trial } => {
                let rounds = self.trials.entry(trial.tree.clone()).or_default();
                rounds.push(trial);
                // A repeat that ran beside the first may have come to its end before it.
                rounds.sort_by_key(|trial| trial.round);
            }
            Fact::Scored { scoring } => {
                self.scoring = Some(scoring);
                self.scored = self.trials.len();
            }
            Fact::Bounded { bounds } => self.bounds = Some(bounds),
            Fact::Advised { advice } => self.advice = Some(advice),
            Fact::Decided { verdict } => self.verdict = Some(verdict),
            Fact::MergePrepared { merge } => self.prepared = Some(merge),
            Fact::MergeOvertaken { .. } => {
                self.prepared = None;
                self.overtaken += 1;
            }
            Fact::Delivered { delivery } => {
                if let Some(commit) = delivery.offers() {
                    self.offered = Some(commit.clone());
                }
                self.delivery = Some(delivery);
            }
            Fact::StageFailed { stage, why } => self.failures.push((stage, why)),
            Fact::RunClosed { status } => self.closed = Some(status),
        }
    }

    /// An approval opens the run again, at the merge.
    fn take_review(&mut self, review: Review, given: String) {
        let chosen = review::chosen(self, &review).ok().flatten();
        if let Some(verdict) = chosen.map(|variant| review::verdict(self, &review, variant)) {
            self.verdict = Some(verdict);
            self.prepared = None;
            self.overtaken = 0;
            self.delivery = None;
            self.closed = None;
            self.approval = Some(given.clone());
        }
        self.reviews.insert(given, review);
    }

    fn take_report(&mut self, role: Role, report: TestReport, flips: BTreeMap<String, Flips>) {
        match role {
            Role::Head | Role::HeadAgain => self.heads.push(report),
            Role::Base | Role::BaseAgain => self.bases.push(report),
            Role::Between => {
                let commit = report.commit.clone();
                self.between.extend(commit.map(|commit| (commit, report)));
            }
            Role::Tip | Role::MergeResult => {}
        }
        self.flips.extend(flips);
    }

    /// The run of the whole suite at the head that tells what failed.
    pub fn head(&self) -> Option<&TestReport> {
        self.evidence().head()
    }

    pub fn evidence(&self) -> Evidence<'_> {
        Evidence {
            head: &self.heads,
            base: &self.bases,
            flips: &self.flips,
        }
    }

    /// How often in a row the last runs of the tests ended in trouble that may pass.
    pub fn troubles_in_a_row(&self) -> u32 {
        let last = match self.bases.is_empty() {
            true => &self.heads,
            false => &self.bases,
        };
        let troubled = last.iter().rev().take_while(|s| trouble::of(s).is_some());
        u32::try_from(troubled.count()).unwrap_or(u32::MAX)
    }

    /// The one place that knows what follows what.
    pub fn next(&self, policy: &Policy, terms: Terms) -> Next {
        if self.closed.is_some() {
            return Next::Done;
        }
        if self.failures_in_a_row >= terms.stage_failures {
            return Next::Close(RunStatus::Error);
        }
        match (&self.triage, &self.verdict) {
            (None, _) => self.next_test(policy),
            (Some(triage), None) => self.next_heat(triage, policy, terms),
            (Some(_), Some(verdict)) => self.next_delivery(verdict, terms.withhold),
        }
    }

    fn next_test(&self, policy: &Policy) -> Next {
        if self.heads.is_empty() {
            return Next::Test(Role::Head, None);
        }
        if self.change.update.is_some() && self.bases.is_empty() {
            return Next::Test(Role::Base, None);
        }
        match self.evidence().ask(Demand::from(policy)) {
            Ask::Head(part) => Next::Test(Role::HeadAgain, part),
            Ask::Base(part) if self.bases.is_empty() => Next::Test(Role::Base, part),
            Ask::Base(part) => Next::Test(Role::BaseAgain, part),
            Ask::Enough => Next::Triage,
        }
    }

    fn next_heat(&self, triage: &Triage, policy: &Policy, terms: Terms) -> Next {
        if let Some(update) = &self.change.update {
            if update::is_harmless(triage) {
                return self.next_proof(policy, terms);
            }
            if self.bisection.is_some() && update.moves.len() > 1 {
                return Next::Close(RunStatus::Split);
            }
        }
        match triage.finding {
            Finding::Green => return Next::Close(RunStatus::Green),
            Finding::Flaky => return Next::Close(RunStatus::Flaky),
            Finding::RedBefore => return Next::Close(RunStatus::RedBefore),
            Finding::Known => return Next::Close(RunStatus::Known),
            Finding::CannotTell | Finding::Infrastructure => return Next::Decide,
            Finding::Real => {}
        }
        let Some(opening) = &self.opening else {
            let one_of_several = self.change.commits.len() > 1;
            return match &self.bisection {
                None if one_of_several => Next::Bisect,
                _ => Next::Open,
            };
        };
        let absent = |name: &&String| !self.handed_in.contains_key(*name);
        let waiting: Vec<String> = opening
            .entries
            .iter()
            .map(|e| &e.name)
            .filter(absent)
            .cloned()
            .collect();
        if !waiting.is_empty() {
            return Next::Generate(waiting);
        }
        let placed = self.placed();
        let step = race::next(&Course {
            head: &self.change.tree,
            opening,
            triage,
            handed_in: &self.handed_in,
            samples: &self.samples,
            trials: &self.trials,
            scoring: self.scoring.as_ref(),
            scored: self.scored,
            bounds: self.bounds.as_ref().map(|b| &b.scores),
            placed: &placed,
            policy,
            trials_at_once: terms.trials_at_once,
        });
        match step {
            Step::Run(legs) => Next::Validate(legs),
            Step::Score => Next::Score,
            Step::Bound => Next::Bound,
            Step::Over if self.advice.is_none() && rank::leader(&placed).is_some_and(is_judged) => {
                Next::Advise
            }
            Step::Over => Next::Decide,
        }
    }

    /// An update that breaks nothing is tried as often as a fix would be, and nothing else happens to it.
    fn next_proof(&self, policy: &Policy, terms: Terms) -> Next {
        if self.opening.is_none() {
            return Next::Open;
        }
        let Some(itself) = self.candidate(update::ITSELF) else {
            return Next::Generate(vec![update::ITSELF.to_owned()]);
        };
        let tried = self.trials.get(&itself.trial_tree);
        let tried = tried.map_or(&[][..], Vec::as_slice);
        let lacking =
            (1..=1 + policy.repeats).filter(|round| tried.iter().all(|t| t.round != *round));
        let leg = |round| Leg {
            tree: itself.trial_tree.clone(),
            stage: race::Stage::Whole(round),
        };
        let legs: Vec<Leg> = lacking.map(leg).take(terms.trials_at_once).collect();
        let clean = self.placed().iter().any(Placed::may_win) || tried.is_empty();
        match legs.is_empty() || !clean {
            true => Next::Decide,
            false => Next::Validate(legs),
        }
    }

    fn next_delivery(&self, verdict: &Verdict, withhold: bool) -> Next {
        if let Some(delivery) = &self.delivery {
            return Next::Close(self.status_after(delivery));
        }
        if withhold && verdict.action != Action::Nothing {
            return Next::Withhold;
        }
        match (verdict.action, &self.prepared) {
            (Action::Merge, None) => Next::PrepareMerge,
            (Action::Merge, Some(merge)) => Next::Push(merge.clone()),
            (Action::PullRequest | Action::Human | Action::Nothing, _) => Next::Publish,
        }
    }

    fn status_after(&self, delivery: &Delivery) -> RunStatus {
        let winner = self.verdict.as_ref().is_some_and(|v| v.winner.is_some());
        let merge = self
            .verdict
            .as_ref()
            .is_some_and(|v| v.action >= Action::PullRequest);
        let unclear = [Finding::CannotTell, Finding::Infrastructure];
        let cannot_tell = self
            .triage
            .as_ref()
            .is_some_and(|t| unclear.contains(&t.finding));
        let done = match self.is_harmless_update() {
            true => RunStatus::Updated,
            false => RunStatus::Fixed,
        };
        match delivery {
            Delivery::Merged { .. } | Delivery::Proposed { .. } => done,
            Delivery::Withheld { .. } if merge => done,
            Delivery::Moot { .. } => RunStatus::Green,
            Delivery::Escalated { .. } | Delivery::Withheld { .. } if winner || cannot_tell => {
                RunStatus::Human
            }
            Delivery::Escalated { .. } | Delivery::Withheld { .. } => RunStatus::NoFix,
        }
    }

    /// Trees that hold no line a strategy wrote, other than the heads of pushes.
    pub fn vouched(&self) -> BTreeSet<Oid> {
        let update = self.change.update.as_ref().map(|_| &self.change.tree);
        let holding = self.opening.as_ref().and_then(|o| o.holding.as_ref());
        let held = holding.map(|holding| &holding.tree);
        update.into_iter().chain(held).cloned().collect()
    }

    /// The change moves dependencies, and nothing fails because of it.
    pub fn is_harmless_update(&self) -> bool {
        let harmless = self.triage.as_ref().is_some_and(update::is_harmless);
        harmless && self.change.update.is_some()
    }

    pub fn candidate(&self, variant: &str) -> Option<&crate::event::Candidate> {
        match self.handed_in.get(variant)? {
            HandedIn::Candidate(candidate) => Some(candidate),
            HandedIn::Nothing(_) => None,
        }
    }

    /// The variants, best first; empty before the tournament opened.
    pub fn placed(&self) -> Vec<Placed> {
        let (Some(opening), Some(triage)) = (&self.opening, &self.triage) else {
            return vec![];
        };
        rank::place(&Field {
            head: &self.change.tree,
            opening,
            triage,
            handed_in: &self.handed_in,
            samples: &self.samples,
            trials: &self.trials,
            scoring: self.scoring.as_ref(),
            bounds: self.bounds.as_ref().map(|b| &b.scores),
        })
    }

    pub fn ambiguity(&self) -> Vec<String> {
        rank::ambiguity(&self.placed(), &self.trials)
    }

    /// The verdict the facts lead to. None before triage.
    pub fn decide(&self, policy: &Policy) -> Option<Verdict> {
        let placed = self.placed();
        let leader_tree = rank::leader(&placed).and_then(|p| p.tree.as_ref());
        Some(decide::decide(
            &Grounds {
                placed: &placed,
                triage: self.triage.as_ref()?,
                scoring: self.scoring.as_ref(),
                advice: self.advice.as_ref(),
                trial: leader_tree
                    .and_then(|t| self.trials.get(t))
                    .and_then(|t| t.first()),
                ambiguity: &self.ambiguity(),
                calibration: self
                    .opening
                    .as_ref()
                    .and_then(|o| o.learned.calibration.as_ref()),
                update: self.change.update.as_deref(),
            },
            policy,
        ))
    }

    /// Figures of earlier work, as the opening froze them.
    pub fn history(&self) -> BTreeMap<String, f64> {
        let history = self.opening.as_ref().map(|o| o.history.clone());
        history.unwrap_or_default()
    }

    /// What earlier runs teach, as the opening froze it.
    pub fn learned(&self) -> Learned {
        let learned = self.opening.as_ref().map(|o| o.learned.clone());
        learned.unwrap_or_default()
    }

    /// Tests that may fail again, because what had mended them is taken back.
    pub fn may_fail_again(&self, test: &str) -> bool {
        let back = self.opening.as_ref().and_then(|o| o.takes_back.as_ref());
        back.is_some_and(|back| back.mended.contains(test))
    }

    /// The proof that a merge was decided, if it was.
    pub fn approval(&self) -> Option<Approval> {
        Approval::of(&self.id, self.verdict.as_ref()?)
    }

    /// The approval that opened the run again, if it was one that did.
    pub fn approved_by(&self) -> Option<&Review> {
        self.approval
            .as_ref()
            .and_then(|given| self.reviews.get(given))
    }

    /// What the models cost so far.
    pub fn usage(&self) -> Usage {
        let mut sum = Usage::default();
        for kept in self.journal.answered.values() {
            sum += usage_of(&kept.answer);
        }
        sum
    }
}

/// Whether plugins judge it: tests alone do not prove it.
fn is_judged(leader: &Placed) -> bool {
    !leader.is_proven_by_tests_alone()
}

/// What an answer, or the fault in its place, cost.
pub fn usage_of(answer: &Result<ModelAnswer, Fault>) -> Usage {
    match answer {
        Ok(answer) => answer.usage,
        Err(fault) => fault.usage.map_or(Usage::default(), |u| Usage {
            input_tokens: u.input_tokens,
            output_tokens: u.output_tokens,
            cost_usd: u.usd_micros as f64 / 1e6,
            ..Usage::default()
        }),
    }
}

#[cfg(test)]
mod tests;
