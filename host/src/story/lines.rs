//! Runs, projects and events in one line each: `changebus status` and `changebus events`.
//!
//! Touches: nothing.
//! Change here: when a fact is new, or its line shall say something else.

use jiff::Timestamp;
use serde_json::Value;

use super::look::{Look, Tone};
use super::screen::status_tone;
use super::tale::{Tale, delivery_words, figure_words};
use super::{count, diff_words, dollars, duration, seconds_between, status_name, text};
use crate::event::{
    AppMessage, Canary, Candidate, Digest, Ended, Event, Fact, Fault, Flips, Heard, IgnoreReason,
    ModelAnswer, Oid, Outcome, Part, PluginCall, PluginFailure, ProjectDigest, PullRequestFate,
    Refusal, RefusalKind, Review, Role, Ruling, RunStatus, Sample, Score, Scoring, Sighting,
    TestReport, ToolReport, Trial, Verdict,
};

/// A run in one line: how it stands or ended, since when, and what is next or was done.
pub fn run_line(events: &[Event], now: Timestamp, look: Look) -> Option<String> {
    let tale = Tale::of(events)?;
    let (tone, status) = match tale.status {
        Some(status) => (status_tone(status), status_name(status)),
        None => (Tone::Open, "open"),
    };
    let told = match tale.status {
        None => tale.stage(),
        Some(_) => tale.delivered().unwrap_or_else(|| tale.sentence()),
    };
    let age = match tale.status {
        None => format!("for {}", duration(seconds_between(tale.opened_at, now))),
        Some(_) => format!("{} ago", duration(seconds_between(tale.last_at, now))),
    };
    let run = text::pad(&text::line(&tale.run.0, look.width * 2 / 5), 36);
    let before = format!("{run}  ");
    let after = format!("  {}  ", text::pad(&age, 10));
    let status = text::pad(status, 10);
    let used = text::width(&before) + text::width(&status) + text::width(&after);
    let told = text::line(&told, look.width.saturating_sub(used));
    let status = look.paint(tone, &status);
    Some(
        format!("{before}{status}{after}{told}")
            .trim_end()
            .to_owned(),
    )
}

/// What `changebus status` knows of a project.
pub struct ProjectStatus<'a> {
    pub name: &'a str,
    pub branch: &'a str,
    /// The last tip that was taken note of.
    pub tip: Option<&'a Oid>,
    /// The watcher's last remark.
    pub sighting: Option<&'a Sighting>,
    pub open_runs: usize,
    /// How the last run that is closed ended.
    pub last: Option<RunStatus>,
}

/// A project in one line: where its branch stands, and how its runs do.
pub fn project_line(project: &ProjectStatus<'_>, look: Look) -> String {
    let (tone, branch) = match project.sighting {
        Some(Sighting::Unreachable { why }) => (Tone::Bad, format!("unreachable: {why}")),
        Some(Sighting::BranchGone { branch }) => (Tone::Bad, format!("branch {branch} is gone")),
        Some(Sighting::Empty) => (Tone::Open, "no commit yet".to_owned()),
        _ => (Tone::Plain, watched_words(project)),
    };
    let runs = match (project.open_runs, project.last) {
        (0, None) => "no runs yet".to_owned(),
        (0, Some(last)) => format!("last run {}", status_name(last)),
        (open, _) => format!("{} open", count(open, "run")),
    };
    let name = text::pad(&text::line(project.name, 24), 24);
    let runs = text::pad(&runs, 20);
    let rest = look.width.saturating_sub(48);
    let branch = look.paint(tone, &text::line(&branch, rest));
    format!("{name}  {runs}  {branch}")
}

fn watched_words(project: &ProjectStatus<'_>) -> String {
    match project.tip {
        Some(tip) => format!("{} at {}", project.branch, tip.short()),
        None => format!("{} not looked at yet", project.branch),
    }
}

/// What is known of an external application.
pub struct AppStatus<'a> {
    pub name: &'a str,
    /// The configuration names it.
    pub is_known: bool,
    pub over_http: bool,
    pub routes: usize,
    pub said: &'a [&'a Heard],
    /// Messages that were not taken.
    pub refused: usize,
}

/// An application in a line, and a line for everything it says.
pub fn app_lines(app: &AppStatus<'_>, now: Timestamp, look: Look) -> Vec<String> {
    let ways = match (app.is_known, app.over_http) {
        (false, _) => "not configured any more".to_owned(),
        (true, false) => format!("{}, not heard over HTTP", count(app.routes, "route")),
        (true, true) => count(app.routes, "route"),
    };
    let refused = match app.refused {
        0 => String::new(),
        refused => format!(
            ", {} refused: see `changebus events --dead`",
            count(refused, "message")
        ),
    };
    let tone = if app.refused > 0 {
        Tone::Open
    } else {
        Tone::Plain
    };
    let name = text::pad(&text::line(app.name, 24), 24);
    let head = format!("{name}  {}", look.paint(tone, &format!("{ways}{refused}")));
    let said = app.said.iter().map(|heard| {
        let age = format!("last {} ago", duration(seconds_between(heard.last, now)));
        let event = text::pad(&text::line(&heard.event, 24), 24);
        format!("  {event}  {}, {age}", count_words(heard.count))
    });
    [head].into_iter().chain(said).collect()
}

fn count_words(times: u64) -> String {
    count(usize::try_from(times).unwrap_or(usize::MAX), "time")
}

/// A test that flips in one line: how often in the last runs, when last, which.
pub fn flake_line(
    project: &str,
    test: &str,
    seen: Flips,
    last: Timestamp,
    now: Timestamp,
    look: Look,
) -> String {
    let project = text::pad(&text::line(project, 24), 24);
    let flips = format!("{} of {}", seen.flips, count(seen.runs as usize, "run"));
    let age = format!("{} ago", duration(seconds_between(last, now)));
    let before = format!(
        "{project}  {}  {}  ",
        text::pad(&flips, 14),
        text::pad(&age, 14)
    );
    let test = text::line(test, look.width.saturating_sub(text::width(&before)));
    format!("{before}{test}")
}

/// An event in one line: seq, time (UTC), subject, what it says.
pub fn event_line(event: &Event, look: Look) -> String {
    let time = event.at.strftime("%Y-%m-%d %H:%M:%S");
    let subject = text::line(&event.fact.subject(&event.project), 44);
    let (tone, told) = fact_words(&event.fact);
    let before = format!("{:>6}  {time}  ", event.seq);
    let subject = text::pad(&subject, 34);
    let used = text::width(&before) + text::width(&subject) + 2;
    let told = text::line(&told, look.width.saturating_sub(used));
    let line = format!(
        "{}{subject}  {}",
        look.paint(Tone::Faint, &before),
        look.paint(tone, &told)
    );
    line.trim_end().to_owned()
}

pub(super) fn fact_words(fact: &Fact) -> (Tone, String) {
    let plain = |told: String| (Tone::Plain, told);
    match fact {
        Fact::Watched { sighting } => plain(sighting_words(sighting)),
        Fact::ChangeSeen { change } => {
            if let Some(update) = &change.update {
                let (words, base) = (super::update_words(update), change.base.short());
                return plain(format!("{words}, on {base}"));
            }
            let commits = count(change.commits.len(), "commit");
            let author = change.commits.first().map_or("", |c| c.author.as_str());
            plain(format!(
                "{} on {}, {commits} by {author}",
                change.head.short(),
                change.branch
            ))
        }
        Fact::DependenciesSeen { seen } => plain(super::deps::summary(seen)),
        Fact::Tested { role, report, .. } => report_words(*role, report),
        Fact::Triaged { triage } => plain(triage.because.clone()),
        Fact::Bisected { bisection } => plain(bisection.sentence(|c| c.short().to_owned())),
        Fact::TournamentOpened { opening } => {
            let entries: Vec<String> = opening
                .entries
                .iter()
                .map(|e| format!("{} {}", e.name, e.strategy.name))
                .collect();
            let entries = entries.join(", ");
            match &opening.takes_back {
                None => plain(entries),
                Some(back) => (
                    Tone::Open,
                    format!("to take back what {} brought: {entries}", back.run),
                ),
            }
        }
        Fact::ModelAsked { variant, call, .. } => plain(format!("{variant}: call {call}")),
        Fact::ModelAnswered {
            variant, answer, ..
        } => answer_words(variant, answer),
        Fact::Probed {
            variant, answer, ..
        } => match answer {
            Ok(probe) => plain(format!(
                "{variant}: {} passed, {} failed",
                probe.passed, probe.failed
            )),
            Err(fault) => (Tone::Bad, format!("{variant}: {fault}")),
        },
        Fact::ToolRan {
            variant,
            tool,
            answer,
            ..
        } => tool_words(variant, tool, answer),
        Fact::PluginCalled { call } => call_words(call),
        Fact::Proposed { variant, candidate } => plain(candidate_words(variant, candidate)),
        Fact::Refused { variant, refusal } => refusal_words(variant, refusal),
        Fact::Tried { trial } => trial_words(trial),
        Fact::Sampled { sample } => sample_words(sample),
        Fact::Scored { scoring } => scoring_words(scoring),
        Fact::Bounded { bounds } => bound_words(bounds),
        Fact::Advised { advice } => match advice {
            Ok(advice) => plain(advice.action.name().to_owned()),
            Err(failure) => (Tone::Bad, plugin_words("escalation", failure)),
        },
        Fact::Decided { verdict } => (Tone::Heading, verdict_words(verdict)),
        Fact::MergePrepared { merge } => {
            let (commit, onto) = (merge.commit.short(), merge.onto.short());
            plain(format!("{commit} on top of {onto}: {}", merge.tested))
        }
        Fact::MergeOvertaken { tip } => {
            (Tone::Open, format!("the branch moved to {}", tip.short()))
        }
        Fact::Delivered { delivery } => (Tone::Heading, delivery_words(delivery)),
        Fact::AppSaid { message } => plain(said_words(message)),
        Fact::StartAsked { asked } => {
            plain(format!("to be tested as it stands, says {}", asked.by))
        }
        Fact::Alerted { remark } => (Tone::Heading, remark.text.clone()),
        Fact::Noted { remark } => plain(remark.text.clone()),
        Fact::DigestMade { digest } => plain(digest_words(digest)),
        Fact::NoticeSent { sent } => match &sent.given_up {
            None => plain(format!("told to {}", sent.sink)),
            Some(why) => (Tone::Bad, format!("not told to {}: {why}", sent.sink)),
        },
        Fact::TaskPosted { task } => plain(format!(
            "{}: people elsewhere are asked, task {}",
            task.run, task.id
        )),
        Fact::TaskEnded { end } => match end.why.as_str() {
            "" => plain(format!("{}: task {}, {}", end.run, end.status, end.id)),
            why => (
                Tone::Open,
                format!("{}: task {}: {why}", end.run, end.status),
            ),
        },
        Fact::PullRequestOpened { request } => plain(format!(
            "{}: pull request {} at {}",
            request.run, request.number, request.url
        )),
        Fact::PullRequestEnded { end } => {
            let (tone, what) = fate_words(&end.fate);
            (
                tone,
                format!("{}: pull request {}: {what}", end.run, end.number),
            )
        }
        Fact::OutcomeObserved { outcome } => {
            let tone = match outcome.fate.worth() {
                Some(worth) if worth < 0.5 => Tone::Bad,
                Some(_) => Tone::Good,
                None => Tone::Plain,
            };
            let (run, because) = (&outcome.run, &outcome.because);
            (tone, format!("{run}: {}: {because}", outcome.fate.name()))
        }
        Fact::ReviewGiven { review } => plain(format!("{}: {}", review.run, review_words(review))),
        Fact::Reviewed { review, .. } => (Tone::Heading, review_words(review)),
        Fact::StageFailed { stage, why } => (Tone::Bad, format!("{stage}: {why}")),
        Fact::RunClosed { status } => (status_tone(*status), status_name(*status).to_owned()),
    }
}

fn digest_words(digest: &Digest) -> String {
    let sum = |of: fn(&ProjectDigest) -> usize| digest.projects.values().map(of).sum();
    let (broke, fixed): (usize, usize) = (sum(|p| p.broke.len()), sum(|p| p.fixed.len()));
    let waiting: usize = sum(|p| p.waiting.len());
    format!("{broke} broke, {fixed} fixed, {waiting} wait for people")
}

/// How a pull request stands.
pub fn pull_request_words(fate: Option<&PullRequestFate>) -> String {
    fate.map_or("open".to_owned(), |fate| fate_words(fate).1)
}

fn fate_words(fate: &PullRequestFate) -> (Tone, String) {
    match fate {
        PullRequestFate::Merged { by: Some(by), .. } => (Tone::Good, format!("{by} merged it")),
        PullRequestFate::Merged { by: None, .. } => (Tone::Good, "it was merged".to_owned()),
        PullRequestFate::Closed => (Tone::Open, "it was closed on the forge".to_owned()),
        PullRequestFate::Withdrawn { because } => (Tone::Plain, format!("withdrawn: {because}")),
        PullRequestFate::Lost { because } => (Tone::Bad, format!("lost: {because}")),
    }
}

/// Who decided what, and why.
pub fn review_words(review: &Review) -> String {
    let what = match &review.ruling {
        Ruling::Approve {
            variant: Some(variant),
        } => format!("approved {variant}"),
        Ruling::Approve { variant: None } => "approved it".to_owned(),
        Ruling::Reject => "rejected it".to_owned(),
    };
    let why = match review.reason.as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    format!("{} {what} {}{why}", review.by, review.via.name())
}

/// What it is about and what it says; a large one is not written out, since the line is cut.
fn said_words(message: &AppMessage) -> String {
    let about = message.about.as_ref().map(|about| format!("{about}: "));
    let about = about.unwrap_or_default();
    let Value::Object(fields) = &message.data else {
        return format!("{about}{}", value_words(&message.data));
    };
    let one = |(name, value): (&String, &Value)| format!("{name} {}", value_words(value));
    let told: Vec<String> = fields.iter().take(20).map(one).collect();
    format!("{about}{}", told.join(", "))
}

fn value_words(value: &Value) -> String {
    match value {
        Value::Array(all) => format!("({})", count(all.len(), "item")),
        Value::Object(all) => format!("({})", count(all.len(), "field")),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn call_words(call: &PluginCall) -> (Tone, String) {
    let ledger = &call.ledger;
    let mut told = format!(
        "{}: {} computed {} ms of {} ms, {}",
        call.role,
        call.plugin.name,
        ledger.cpu_ms,
        ledger.wall_ms,
        count(ledger.host_calls as usize, "host call")
    );
    for denial in &ledger.denials {
        told += &format!("; denied {} {}x", denial.code, denial.times);
    }
    match &call.ended {
        Ended::Answered => (Tone::Plain, told),
        Ended::Failed { why, .. } => (Tone::Bad, format!("{told}; {why}")),
    }
}

pub(super) fn sighting_words(sighting: &Sighting) -> String {
    match sighting {
        Sighting::Adopted { tip } => format!("watching from {} on", tip.short()),
        Sighting::Ignored { tip, reason } => {
            let reason = match reason {
                IgnoreReason::OwnCommits => "own commits",
                IgnoreReason::PathsIgnored => "only ignored paths",
                IgnoreReason::TreeAlreadyGreen => "this tree was green before",
                IgnoreReason::RolledBack => "rolled back to a tip seen earlier",
            };
            format!("{} ignored: {reason}", tip.short())
        }
        Sighting::BranchGone { branch } => format!("branch {branch} is gone"),
        Sighting::Empty => "no commit yet".to_owned(),
        Sighting::Unreachable { why } => format!("unreachable: {why}"),
        Sighting::Back => "answers again".to_owned(),
    }
}

fn report_words(role: Role, report: &TestReport) -> (Tone, String) {
    let role = match role {
        Role::Head => "head",
        Role::HeadAgain => "head again",
        Role::Base => "base",
        Role::BaseAgain => "base again",
        Role::Between => "commit between",
        Role::Tip => "tip",
        Role::MergeResult => "merge result",
    };
    let skipped = report.tests.values().filter(|o| **o == Outcome::Skipped);
    let told = match &report.problem {
        Some(problem) => format!("{problem} ({})", report.exit),
        None => format!(
            "{} passed, {} failed, {} skipped ({})",
            report.passed().len(),
            report.bad().len(),
            skipped.count(),
            report.exit
        ),
    };
    let tone = if report.is_green() {
        Tone::Good
    } else {
        Tone::Bad
    };
    let took = duration(report.seconds);
    let part = if report.partial {
        ", some tests alone"
    } else {
        ""
    };
    (tone, format!("{role}{part}: {told} in {took}"))
}

fn answer_words(variant: &str, answer: &Result<ModelAnswer, Fault>) -> (Tone, String) {
    match answer {
        Ok(answer) => {
            let usage = answer.usage;
            let cost = dollars(usage.cost_usd);
            let (input, output) = (usage.input_tokens, usage.output_tokens);
            let told = format!("{variant}: {input} tokens in, {output} out, {cost}");
            (Tone::Plain, told)
        }
        Err(fault) => (Tone::Bad, format!("{variant}: {fault}")),
    }
}

fn tool_words(variant: &str, tool: &str, answer: &Result<ToolReport, Fault>) -> (Tone, String) {
    let told = match answer {
        Err(fault) => return (Tone::Bad, format!("{variant}: {tool}: {fault}")),
        Ok(report) if report.changed.is_empty() => "changed nothing".to_owned(),
        Ok(report) => format!("changed {}", count(report.changed.len(), "file")),
    };
    let ended = match answer.as_ref().ok().and_then(|report| report.exit_code) {
        Some(code) => format!("exit {code}"),
        None => "killed".to_owned(),
    };
    (Tone::Plain, format!("{variant}: {tool} {told} ({ended})"))
}

fn candidate_words(variant: &str, candidate: &Candidate) -> String {
    format!(
        "{variant}: {}: {}",
        diff_words(candidate),
        candidate.rationale
    )
}

fn refusal_words(variant: &str, refusal: &Refusal) -> (Tone, String) {
    let (tone, kind) = match refusal.kind {
        RefusalKind::NoFix => (Tone::Plain, "no fix"),
        RefusalKind::BadPatch => (Tone::Bad, "bad patch"),
        RefusalKind::PluginFailed => (Tone::Bad, "plugin failed"),
    };
    (tone, format!("{variant}: {kind}: {}", refusal.why))
}

fn trial_words(trial: &Trial) -> (Tone, String) {
    let tree = trial.tree.short();
    if let Some(problem) = &trial.problem {
        return (Tone::Bad, format!("tree {tree}: {problem}"));
    }
    let to_fix = trial.fixed.len() + trial.unfixed.len();
    let lost = trial.broken.len() + trial.missing.len();
    let good = trial.unfixed.is_empty() && lost == 0;
    let round = match trial.round {
        0 | 1 => String::new(),
        round => format!(" (round {round})"),
    };
    let told = format!(
        "tree {tree}: {} of {to_fix} fixed, {lost} lost, {} of {} passed{round}",
        trial.fixed.len(),
        trial.passed,
        trial.total
    );
    (if good { Tone::Good } else { Tone::Bad }, told)
}

fn sample_words(sample: &Sample) -> (Tone, String) {
    let what = match sample.part {
        Part::Failing => "failing",
        Part::Near => "near",
    };
    let tree = sample.tree.short();
    let passed = sample.asked as usize - sample.bad.len().min(sample.asked as usize);
    let canary = match sample.canary {
        None => "",
        Some(Canary::Failed) => "; the one that must fail failed",
        Some(Canary::Passed) => "; the one that must fail was called passed",
        Some(Canary::Absent) => "; of the one that must fail it said nothing",
    };
    let told = format!(
        "tree {tree}: {passed} of {} {what} passed{canary}",
        count(sample.asked as usize, "test")
    );
    let believed = matches!(sample.canary, None | Some(Canary::Failed));
    let tone = if sample.bad.is_empty() && believed {
        Tone::Good
    } else {
        Tone::Bad
    };
    (tone, told)
}

fn bound_words(bounds: &Scoring) -> (Tone, String) {
    match &bounds.failure {
        Some(_) => scoring_words(bounds),
        None => {
            let one = |(variant, score): (&String, &Score)| format!("{variant} {:.1}", score.total);
            let all: Vec<String> = bounds.scores.iter().map(one).collect();
            (Tone::Plain, format!("at most {}", all.join(", ")))
        }
    }
}

fn scoring_words(scoring: &Scoring) -> (Tone, String) {
    if let Some(failure) = &scoring.failure {
        return (Tone::Bad, plugin_words("scorer", failure));
    }
    let scores = scoring.scores.iter();
    let scores: Vec<String> = scores
        .map(|(variant, score)| format!("{variant} {}", figure_words(score.total)))
        .collect();
    (Tone::Plain, scores.join(", "))
}

fn plugin_words(which: &str, failure: &PluginFailure) -> String {
    format!("{which} failed: {failure}")
}

fn verdict_words(verdict: &Verdict) -> String {
    let score = verdict.score.map(|s| format!(" ({})", figure_words(s)));
    let winner = verdict.winner.as_deref().map(|w| format!(" {w}"));
    format!(
        "{}{}{}: {}",
        verdict.action.name(),
        winner.unwrap_or_default(),
        score.unwrap_or_default(),
        verdict.reasons.join("; ")
    )
}
