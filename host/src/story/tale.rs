//! Gathers from a run's events what every way of telling it needs.
//!
//! Touches: nothing.
//! Change here: when a new fact belongs into the story.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Seconds, duration, rounded, seconds_between};
use crate::event::{
    Action, Advice, Bisection, CallRole, Candidate, Change, Delivery, Event, Fact, Flips, Oid,
    Opening, PluginCall, PluginFailure, PreparedMerge, Review, Role, Ruling, RunId, RunStatus,
    Sample, Scoring, TestReport, Triage, Trial, Usage, Verdict,
};

mod attempt;

pub use attempt::Attempt;

/// The marks of the published score, in its order.
pub const MARKS: [&str; 3] = ["tests", "diff", "apply"];

/// One run, as its events tell it. The last of several facts of a kind counts.
pub struct Tale<'a> {
    pub run: &'a RunId,
    pub project: &'a str,
    pub change: &'a Change,
    pub opened_at: Timestamp,
    pub last_at: Timestamp,
    pub head: Option<At<&'a TestReport>>,
    /// Further runs of the suite at the head, and runs at the base.
    pub reruns: usize,
    pub triage: Option<At<&'a Triage>>,
    /// Of the tests that are bad at the head, how they did in earlier runs.
    pub flips: BTreeMap<&'a str, Flips>,
    pub bisection: Option<&'a Bisection>,
    pub opening: Option<At<&'a Opening>>,
    /// In the order of the opening.
    pub attempts: Vec<Attempt<'a>>,
    pub handed_in_at: Option<Timestamp>,
    /// Start of the first trial and end of the last.
    pub trials: Option<(Timestamp, Timestamp)>,
    pub scoring: Option<&'a Scoring>,
    pub advice: Option<&'a Result<Advice, PluginFailure>>,
    /// Of the rules, or of people, if they decided otherwise since.
    pub verdict: Option<Verdict>,
    pub merge: Option<&'a PreparedMerge>,
    pub overtaken: usize,
    pub delivery: Option<&'a Delivery>,
    /// Stage and reason.
    pub troubles: Vec<(&'a str, &'a str)>,
    pub status: Option<RunStatus>,
}

/// A fact's content, and when it was stated.
#[derive(Clone, Copy)]
pub struct At<T> {
    pub at: Timestamp,
    pub what: T,
}

impl<'a> Tale<'a> {
    /// None where the events do not hold the change that opened a run.
    pub fn of(events: &'a [Event]) -> Option<Tale<'a>> {
        let mut tale = events.iter().find_map(Tale::opened_by)?;
        for event in events {
            tale.take_in(event);
        }
        Some(tale)
    }

    fn opened_by(event: &'a Event) -> Option<Tale<'a>> {
        let (Fact::ChangeSeen { change }, Some(run)) = (&event.fact, &event.run) else {
            return None;
        };
        Some(Tale {
            run,
            project: &event.project,
            change,
            opened_at: event.at,
            last_at: event.at,
            head: None,
            reruns: 0,
            triage: None,
            flips: BTreeMap::new(),
            bisection: None,
            opening: None,
            attempts: Vec::new(),
            handed_in_at: None,
            trials: None,
            scoring: None,
            advice: None,
            verdict: None,
            merge: None,
            overtaken: 0,
            delivery: None,
            troubles: Vec::new(),
            status: None,
        })
    }

    fn take_in(&mut self, event: &'a Event) {
        let at = event.at;
        if self.status.is_none() {
            self.last_at = at;
        }
        match &event.fact {
            Fact::Watched { .. }
            | Fact::ChangeSeen { .. }
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
            Fact::Reviewed { review, .. } => self.take_review(review),
            Fact::Tested {
                role,
                report,
                flips,
                ..
            } => {
                self.take_report(at, *role, report);
                let flips = flips.iter().map(|(test, seen)| (test.as_str(), *seen));
                self.flips.extend(flips);
            }
            Fact::Triaged { triage } => self.triage = Some(At { at, what: triage }),
            Fact::Bisected { bisection } => self.bisection = Some(bisection),
            Fact::TournamentOpened { opening } => self.open(at, opening),
            Fact::ModelAsked { variant, .. } => self.attempt(variant).asked += 1,
            Fact::ModelAnswered {
                variant, answer, ..
            } => {
                let attempt = self.attempt(variant);
                attempt.answered += 1;
                let spent = match answer {
                    Ok(answer) => Some(answer.usage),
                    Err(fault) => fault.usage.map(Usage::from),
                };
                attempt.usage += spent.unwrap_or_default();
            }
            Fact::Probed { variant, .. } | Fact::ToolRan { variant, .. } => {
                self.attempt(variant).probes += 1
            }
            Fact::PluginCalled { call } => self.take_call(call),
            Fact::Proposed { variant, candidate } => {
                self.attempt(variant).candidate = Some(candidate);
                self.handed_in_at = Some(at);
            }
            Fact::Refused { variant, refusal } => {
                self.attempt(variant).refusal = Some(refusal);
                self.handed_in_at = Some(at);
            }
            Fact::Tried { trial } => self.take_trial(at, trial),
            Fact::Sampled { sample } => self.take_sample(at, sample),
            Fact::Scored { scoring } => self.take_scores(scoring),
            Fact::Bounded { .. } => {}
            Fact::Advised { advice } => self.advice = Some(advice),
            Fact::Decided { verdict } => self.take_verdict(verdict),
            Fact::MergePrepared { merge } => self.merge = Some(merge),
            Fact::MergeOvertaken { .. } => self.overtaken += 1,
            Fact::Delivered { delivery } => self.delivery = Some(delivery),
            Fact::StageFailed { stage, why } => self.troubles.push((stage, why)),
            Fact::RunClosed { status } => self.status = Some(*status),
        }
    }

    fn take_call(&mut self, call: &'a PluginCall) {
        if let CallRole::Strategy(variant) = &call.role {
            self.attempt(variant).denials = &call.ledger.denials;
        }
    }

    fn take_report(&mut self, at: Timestamp, role: Role, report: &'a TestReport) {
        match role {
            Role::Head => self.head = Some(At { at, what: report }),
            Role::HeadAgain => {
                self.reruns += 1;
                // The first run may have come to nothing: a disk, a setup, time.
                let told_nothing = |head: At<&TestReport>| {
                    head.what.problem.is_some() && head.what.tests.is_empty()
                };
                if !report.partial
                    && report.problem.is_none()
                    && self.head.is_some_and(told_nothing)
                {
                    self.head = Some(At { at, what: report });
                }
            }
            Role::Base | Role::BaseAgain => self.reruns += 1,
            Role::Between | Role::Tip | Role::MergeResult => {}
        }
    }

    fn open(&mut self, at: Timestamp, opening: &'a Opening) {
        self.opening = Some(At { at, what: opening });
        for entry in &opening.entries {
            self.attempt(&entry.name).strategy = &entry.strategy.name;
        }
    }

    fn attempt(&mut self, name: &'a str) -> &mut Attempt<'a> {
        let known = self.attempts.iter().position(|a| a.name == name);
        let index = known.unwrap_or_else(|| {
            self.attempts.push(Attempt::new(name));
            self.attempts.len() - 1
        });
        &mut self.attempts[index]
    }

    fn note_time(&mut self, at: Timestamp, seconds: f64) {
        // The race goes on: whoever comes through now is scored anew.
        self.scoring = None;
        let lasted = jiff::SignedDuration::try_from_secs_f64(seconds).unwrap_or_default();
        let started = at.checked_sub(lasted).unwrap_or(at);
        let first = self.trials.map_or(started, |(first, _)| first.min(started));
        self.trials = Some((first, at));
    }

    fn take_sample(&mut self, at: Timestamp, sample: &'a Sample) {
        self.note_time(at, sample.seconds);
        let tree = &sample.tree;
        let of_it = |c: &Candidate| c.trial_tree == *tree;
        for attempt in &mut self.attempts {
            if attempt.candidate.is_some_and(of_it) {
                attempt.sample = Some(sample);
                attempt.trial_seconds += sample.seconds;
            }
        }
    }

    fn take_trial(&mut self, at: Timestamp, trial: &'a Trial) {
        self.note_time(at, trial.seconds);
        for attempt in &mut self.attempts {
            if attempt
                .candidate
                .is_some_and(|c| c.trial_tree == trial.tree)
            {
                attempt.trial = Some(trial);
                attempt.trial_seconds += trial.seconds;
                attempt.trials += 1;
            }
        }
    }

    fn take_scores(&mut self, scoring: &'a Scoring) {
        self.scoring = Some(scoring);
        for (variant, score) in &scoring.scores {
            self.attempt(variant).score = Some(score);
        }
    }

    fn take_verdict(&mut self, verdict: &'a Verdict) {
        self.verdict = Some(verdict.clone());
        for standing in &verdict.standings {
            self.attempt(&standing.variant).standing = Some(standing);
        }
    }

    /// An approval opens the run again, at the merge.
    fn take_review(&mut self, review: &Review) {
        let words = super::lines::review_words(review);
        let Some(verdict) = &mut self.verdict else {
            return;
        };
        match &review.ruling {
            Ruling::Approve { variant } => {
                verdict.action = Action::Merge;
                verdict.winner = variant.clone().or(verdict.winner.take());
                verdict.reasons = vec![words];
                self.delivery = None;
                self.merge = None;
                self.status = None;
            }
            Ruling::Reject => verdict.reasons.insert(0, words),
        }
    }

    /// Tests the change broke; all that fail, before triage has spoken.
    pub fn failing(&self) -> Vec<&'a str> {
        match (self.triage, self.head) {
            (Some(triage), _) => triage.what.failing.iter().map(String::as_str).collect(),
            (None, Some(head)) => head.what.bad().into_iter().collect(),
            (None, None) => Vec::new(),
        }
    }

    /// What triage found, and which commit is to blame, as a sentence.
    pub fn found(&self) -> Option<String> {
        let because = &self.triage?.what.because;
        Some(match self.culprit() {
            None => because.clone(),
            Some(culprit) => format!("{because}; {culprit}"),
        })
    }

    /// Which of several commits is to blame, as half a sentence.
    pub fn culprit(&self) -> Option<String> {
        let bisection = self.bisection.filter(|bisection| bisection.among > 1)?;
        Some(bisection.sentence(|commit| self.commit_words(commit)))
    }

    /// A commit of the change by what people call it.
    fn commit_words(&self, commit: &Oid) -> String {
        let described = self.change.commits.iter().find(|c| c.id == *commit);
        match described {
            None => commit.short().to_owned(),
            Some(known) => {
                let subject = known.message.lines().next().unwrap_or_default();
                format!("{} (\"{subject}\", {})", commit.short(), known.author)
            }
        }
    }

    /// How often a test that fails flipped before, in words; None where it never did.
    pub fn flipped(&self, id: &str) -> Option<String> {
        let seen = self.flips.get(id).filter(|seen| seen.flips > 0)?;
        Some(format!(
            "flipped in {} of the last {} runs",
            seen.flips, seen.runs
        ))
    }

    /// What a failing test said, if it was reported.
    pub fn message(&self, id: &str) -> Option<&'a str> {
        Some(self.head?.what.failure(id)?.message.as_str())
    }

    pub fn action(&self) -> Action {
        match (&self.verdict, self.status) {
            (Some(verdict), _) => verdict.action,
            (None, Some(RunStatus::Human)) => Action::Human,
            (None, _) => Action::Nothing,
        }
    }

    /// The verdict's reasons; without a verdict, what ended the run.
    pub fn reasons(&self) -> Vec<String> {
        if let Some(verdict) = &self.verdict {
            return verdict
                .reasons
                .iter()
                .map(|r| super::text::clean(r))
                .collect();
        }
        let troubles = self.troubles.iter();
        let reasons = self.found().into_iter();
        reasons
            .chain(troubles.map(|(stage, why)| format!("{stage}: {why}")))
            .map(|reason| super::text::clean(&reason))
            .collect()
    }

    pub fn winner(&self) -> Option<&Attempt<'a>> {
        let winner = self.verdict.as_ref()?.winner.as_deref()?;
        self.attempts.iter().find(|a| a.name == winner)
    }

    /// Best first once there is a verdict; in the order of the configuration until then.
    pub fn ranked(&self) -> Vec<&Attempt<'a>> {
        let place = |attempt: &Attempt<'_>| {
            let standings = self.verdict.as_ref().map(|v| v.standings.as_slice());
            let mut standings = standings.unwrap_or_default().iter();
            let place = standings.position(|s| s.variant == attempt.name);
            place.unwrap_or(usize::MAX)
        };
        let mut ranked: Vec<&Attempt<'_>> = self.attempts.iter().collect();
        ranked.sort_by_key(|attempt| place(attempt));
        ranked
    }

    pub fn usage(&self) -> Usage {
        let mut sum = Usage::default();
        for attempt in &self.attempts {
            sum += attempt.usage;
        }
        sum
    }

    pub fn seconds(&self) -> Seconds {
        let between = |from: Option<Timestamp>, to: Option<Timestamp>| match (from, to) {
            (Some(from), Some(to)) => seconds_between(from, to),
            _ => 0.0,
        };
        let head_at = self.head.map(|head| head.at);
        let opened = self.opening.map(|opening| opening.at);
        Seconds {
            test: self
                .head
                .map_or(0.0, |head| rounded(head.what.seconds, 1e3)),
            triage: between(head_at, self.triage.map(|triage| triage.at)),
            generate: between(opened, self.handed_in_at),
            validate: self
                .trials
                .map_or(0.0, |(from, to)| seconds_between(from, to)),
            total: seconds_between(self.opened_at, self.last_at),
        }
    }

    /// What an open run is at, in a few words.
    pub fn stage(&self) -> String {
        let entered = self.attempts.len();
        let waiting = self.attempts.iter().filter(|a| !a.has_handed_in()).count();
        if self.delivery.is_some() {
            "delivered, closing".to_owned()
        } else if self.merge.is_some() {
            "pushing the tested merge".to_owned()
        } else if self.verdict.is_some() {
            "delivering".to_owned()
        } else if self.scoring.is_some() {
            "deciding".to_owned()
        } else if self.opening.is_some() && waiting > 0 {
            format!("generating: {} of {entered} handed in", entered - waiting)
        } else if self.opening.is_some() {
            let tried = self.attempts.iter().filter(|a| a.trial.is_some()).count();
            let to_try = self.attempts.iter().filter(|a| a.candidate.is_some());
            format!("trials: {tried} of {} done", to_try.count())
        } else if self.triage.is_some() {
            "triaged".to_owned()
        } else if self.head.is_some() {
            "triage".to_owned()
        } else {
            "testing the head".to_owned()
        }
    }

    /// The verdict as a sentence.
    pub fn sentence(&self) -> String {
        let Some(verdict) = &self.verdict else {
            return self.without_verdict();
        };
        let winner = verdict.winner.as_deref();
        let whose = match (verdict.action, winner) {
            (Action::Merge, Some(name)) => format!("Merge {name}"),
            (Action::PullRequest, Some(name)) => format!("Propose {name} as a pull request"),
            (Action::Human, Some(name)) => format!("A human decides, with {name} in front"),
            (Action::Merge, None) => "Merge".to_owned(),
            (Action::PullRequest, None) => "Propose a pull request".to_owned(),
            (Action::Human, None) => "A human decides".to_owned(),
            (Action::Nothing, _) => "Nothing to do".to_owned(),
        };
        let figures = [("score", verdict.score), ("confidence", verdict.confidence)];
        let figures: Vec<String> = figures
            .into_iter()
            .filter_map(|(name, figure)| figure.map(|f| format!("{name} {}", figure_words(f))))
            .collect();
        let figures = if figures.is_empty() {
            String::new()
        } else {
            format!(" ({})", figures.join(", "))
        };
        sentence(&format!("{whose}{figures}"), &verdict.reasons)
    }

    fn without_verdict(&self) -> String {
        let beginning = match self.status {
            None => return format!("Not decided yet ({}).", self.stage()),
            Some(RunStatus::Green) => "Nothing to do: the change is green",
            Some(RunStatus::Flaky) => "Nothing to do: the failure is flaky",
            Some(RunStatus::RedBefore) => "Nothing to do: it was red before this change",
            Some(RunStatus::Known) => "Nothing to start: this failure is in hand",
            Some(RunStatus::InVain) => "Opened in vain: another host has the change",
            Some(RunStatus::Fixed) => "Fixed",
            Some(RunStatus::Updated) => "Updated",
            Some(RunStatus::Split) => "Not together: each goes its own way from here",
            Some(RunStatus::Human) => "A human decides",
            Some(RunStatus::NoFix) => "No fix was found",
            Some(RunStatus::Error) => "The run could not be finished",
        };
        sentence(beginning, &self.reasons())
    }

    /// What was done, as a sentence; None where nothing was delivered yet.
    pub fn delivered(&self) -> Option<String> {
        let told = delivery_words(self.delivery?);
        let again = match self.overtaken {
            0 => String::new(),
            times => format!("; others pushed first {}", super::count(times, "time")),
        };
        Some(told + &again)
    }

    /// The file with the report for people, where delivery wrote one.
    pub fn report_file(&self) -> Option<&'a str> {
        match self.delivery? {
            Delivery::Proposed { report, .. }
            | Delivery::Escalated { report, .. }
            | Delivery::Withheld { report } => Some(report.as_str()).filter(|r| !r.is_empty()),
            Delivery::Merged { .. } | Delivery::Moot { .. } => None,
        }
    }

    /// What it cost, as half a sentence.
    pub fn cost(&self) -> String {
        let usage = self.usage();
        let asked: usize = self.attempts.iter().map(|a| a.asked).sum();
        let answered: usize = self.attempts.iter().map(|a| a.answered).sum();
        if asked == 0 {
            return "no model was asked".to_owned();
        }
        let lost = match asked.saturating_sub(answered) {
            0 => String::new(),
            lost => format!(", {lost} without an answer"),
        };
        format!(
            "{} for {}{lost}: {} tokens in, {} out",
            super::dollars(usage.cost_usd),
            super::count(asked, "model call"),
            usage.input_tokens,
            usage.output_tokens
        )
    }

    /// How long it took, as half a sentence.
    pub fn times(&self) -> String {
        let s = self.seconds();
        let stages = [
            ("test", s.test),
            ("triage", s.triage),
            ("generate", s.generate),
            ("validate", s.validate),
        ];
        let stages: Vec<String> = stages
            .into_iter()
            .filter(|(_, seconds)| *seconds > 0.0)
            .map(|(name, seconds)| format!("{name} {}", duration(seconds)))
            .collect();
        if stages.is_empty() {
            return duration(s.total);
        }
        format!("{} ({})", duration(s.total), stages.join(", "))
    }
}

/// What was done, as half a sentence.
pub fn delivery_words(delivery: &Delivery) -> String {
    match delivery {
        Delivery::Merged { branch, commit } => {
            format!("merged into {branch} as {}", commit.short())
        }
        Delivery::Proposed {
            branch,
            commit,
            because,
            ..
        } => {
            let commit = commit.short();
            let because = because.as_ref().map(|b| format!(": {b}"));
            let because = because.unwrap_or_default();
            format!("branch {branch} at {commit} stands ready for a pull request{because}")
        }
        Delivery::Escalated {
            branch: Some(branch),
            because,
            ..
        } => format!("waits for a human: {because} (branch {branch})"),
        Delivery::Escalated { because, .. } => format!("waits for a human: {because}"),
        Delivery::Moot { because } => format!("nothing delivered: {because}"),
        Delivery::Withheld { .. } => "decided, not delivered (dry run)".to_owned(),
    }
}

/// Two decimals at most, without trailing zeros.
pub fn figure_words(figure: f64) -> String {
    let text = format!("{figure:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn sentence(beginning: &str, reasons: &[String]) -> String {
    let reasons: Vec<&str> = reasons
        .iter()
        .map(|r| r.trim().trim_end_matches('.'))
        .filter(|r| !r.is_empty())
        .collect();
    if reasons.is_empty() {
        format!("{beginning}.")
    } else {
        format!("{beginning}: {}.", reasons.join("; "))
    }
}
