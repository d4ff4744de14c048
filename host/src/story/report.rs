//! A run as a report for people, in Markdown: the body of a pull request, or what a human decides on.
//!
//! Touches: nothing.
//! Change here: when the report shall say something else. Forges refuse bodies over 65,536 characters.

use super::tale::{Attempt, Tale, figure_words};
use super::text::{beginning, clean, code, fence, line, prose, reveal};
use super::{count, diff_words, dollars, duration, gate_name, state_name};
use crate::event::{Action, Delivery, Event, Trial};
use crate::rules::message;

/// Bytes for one test's output, one rationale, and the diff.
const DETAIL: usize = 3_000;
const RATIONALE: usize = 4_000;
const DIFF: usize = 18_000;
/// Details of further failing tests repeat, more often than not, the first ones.
const DETAILED_TESTS: usize = 3;
const LISTED: usize = 20;
/// Columns of a title.
const TITLE: usize = 120;

/// The report as it stands with these events; None where they tell of no run. What strangers wrote stands
/// in code spans and fences it cannot leave.
pub fn report(events: &[Event]) -> Option<String> {
    let tale = Tale::of(events)?;
    let sections = [
        title(&tale),
        failure(&tale),
        cause(&tale),
        attempts(&tale),
        fix(&tale),
        what_now(&tale),
    ];
    let sections = sections.into_iter().flatten();
    let told: Vec<String> = sections.map(Section::finish).collect();
    Some(told.join("\n"))
}

/// Title and body of a pull request for what the run offers; None where it offers nothing.
pub fn offer(events: &[Event]) -> Option<(String, String)> {
    let tale = Tale::of(events)?;
    let offered = tale.delivery.and_then(Delivery::offers)?;
    let sections = [
        offered_because(&tale),
        failure(&tale),
        cause(&tale),
        attempts(&tale),
        fix(&tale),
        what_reviewers_can_do(&tale, &offered.0),
    ];
    let sections = sections.into_iter().flatten();
    let told: Vec<String> = sections.map(Section::finish).collect();
    let subject = line(&message::subject(&tale.failing()), TITLE);
    Some((subject, told.join("\n")))
}

fn offered_because(tale: &Tale<'_>) -> Option<Section> {
    let head = code(&tale.change.head.0);
    let tests = count(tale.failing().len(), "test");
    let heading = format!("{tests} broke at {head}, and this mends them.");
    let mut out = Section::new(&heading, 5_000);
    let asks = match tale.delivery? {
        Delivery::Proposed { because, .. } => because.clone(),
        Delivery::Escalated { because, .. } => Some(because.clone()),
        _ => None,
    };
    match asks {
        Some(because) if tale.action() == Action::Merge => {
            out.put(&format!(
                "It would have been merged: {}.\n\n",
                prose(&because)
            ));
        }
        Some(because) => out.put(&format!(
            "**Somebody has to decide: {}.**\n\n",
            prose(&because)
        )),
        None => out.put(&format!("{}\n\n", prose(&tale.sentence()))),
    }
    let (times, cost) = (prose(&tale.times()), prose(&tale.cost()));
    out.put(&format!(
        "Run {}. Time: {times}. Cost: {cost}.\n",
        code(&tale.run.0)
    ));
    Some(out)
}

fn what_reviewers_can_do(tale: &Tale<'_>, offered: &str) -> Option<Section> {
    let mut out = Section::new("## What you can do", 2_000);
    let (approve, branch) = (
        code(&format!("changebus review approve {}", tale.run.0)),
        code(&tale.change.branch),
    );
    out.put("- Take it: merge this.\n");
    out.put(&format!(
        "- Have it tested once more on the newest {branch}, and merged: {approve}.\n"
    ));
    out.put("- Refuse it: close this, and say why in a comment. Strategies are told.\n");
    let revert = code(&format!("git revert {offered}"));
    out.put(&format!(
        "- Undo it later: {revert} on {branch}, then push.\n"
    ));
    Some(out)
}

/// Markdown that grows by whole pieces and stays within its share of the report.
struct Section {
    text: String,
    room: usize,
    left_out: usize,
}

impl Section {
    fn new(heading: &str, room: usize) -> Section {
        Section {
            text: format!("{heading}\n\n"),
            room,
            left_out: 0,
        }
    }

    /// A piece without room is left out whole: half of one could open a fence and not close it.
    fn put(&mut self, piece: &str) {
        if self.text.len() + piece.len() <= self.room {
            self.text += piece;
        } else {
            self.left_out += 1;
        }
    }

    /// The first pieces, and how many more there are.
    fn list(&mut self, items: impl ExactSizeIterator<Item = String>) {
        let more = items.len().saturating_sub(LISTED);
        for item in items.take(LISTED) {
            self.put(&format!("- {item}\n"));
        }
        if more > 0 {
            self.put(&format!("- and {more} more\n"));
        }
    }

    fn finish(mut self) -> String {
        if self.left_out > 0 {
            let parts = count(self.left_out, "part");
            self.text += &format!("\n({parts} left out for length)\n");
        }
        self.text
    }
}

fn title(tale: &Tale<'_>) -> Option<Section> {
    let change = tale.change;
    let broken = match tale.failing().len() {
        0 => "no failing test".to_owned(),
        n => format!("{} broken", count(n, "test")),
    };
    let (project, head) = (prose(tale.project), prose(change.head.short()));
    let mut out = match &change.update {
        Some(update) => {
            let words = prose(&super::update_words(update));
            Section::new(&format!("# {project}: {broken} by updating {words}"), 9_000)
        }
        None => Section::new(&format!("# {project}: {broken} at {head}"), 9_000),
    };
    out.put(&format!("**{}**\n\n", prose(&tale.sentence())));
    if let Some(delivered) = tale.delivered() {
        out.put(&format!("Delivery: {}.\n\n", prose(&delivered)));
    }
    out.put(&format!(
        "Run {} on branch {}, from {} to {}.\n",
        code(&tale.run.0),
        code(&change.branch),
        code(&change.base.0),
        code(&change.head.0)
    ));
    let (times, cost) = (prose(&tale.times()), prose(&tale.cost()));
    out.put(&format!("Time: {times}. Cost: {cost}.\n"));
    Some(out)
}

fn failure(tale: &Tale<'_>) -> Option<Section> {
    let head = tale.head?;
    let failing = tale.failing();
    let mut out = Section::new("## What failed", 12_000);
    if let Some(problem) = &head.what.problem {
        out.put(&format!(
            "The run of the tests is incomplete: {}\n\n",
            code(problem)
        ));
    }
    out.list(failing.iter().map(|id| {
        let said = tale.message(id).filter(|said| !said.is_empty());
        let said = said.map_or(String::new(), |said| format!(": {}", code(said)));
        let flipped = tale.flipped(id).map(|words| format!(" ({words})"));
        format!("{}{said}{}", code(id), flipped.unwrap_or_default())
    }));
    let details = failing.iter().filter_map(|id| head.what.failure(id));
    let details = details.filter(|f| !f.detail.is_empty());
    for (failure, number) in details.take(DETAILED_TESTS).zip(1..) {
        let detail = fence(&beginning(&reveal(&failure.detail), DETAIL), "text");
        let body = format!("{}\n\n{detail}", code(&failure.id));
        out.put(&details_block(
            &format!("Details of failing test {number}"),
            &body,
        ));
    }
    if failing.is_empty() && !head.what.output.is_empty() {
        let output = beginning(&clean(&head.what.output), DETAIL);
        let output = fence(&output, "text");
        out.put(&details_block("Output of the test command", &output));
    }
    Some(out)
}

fn details_block(summary: &str, body: &str) -> String {
    format!("\n<details><summary>{summary}</summary>\n\n{body}\n</details>\n")
}

fn cause(tale: &Tale<'_>) -> Option<Section> {
    let mut out = Section::new("## Cause", 8_000);
    if let Some(triage) = tale.triage {
        let finding = triage.what.finding.name();
        let because = prose(&tale.found().unwrap_or_default());
        out.put(&format!("Triage: {finding}. {because}\n\n"));
    }
    for (stage, why) in &tale.troubles {
        out.put(&format!("Trouble in {}: {}\n\n", prose(stage), prose(why)));
    }
    if let Some(winner) = tale.winner().filter(|w| !w.rationale().is_empty()) {
        let words = beginning(&reveal(winner.rationale()), RATIONALE);
        let (name, words) = (prose(winner.name), fence(&words, "text"));
        out.put(&format!("What {name} says about it:\n\n{words}\n"));
    }
    out.put("Commits of the change, newest first:\n\n");
    out.list(tale.change.commits.iter().map(|commit| {
        let subject = code(commit.message.lines().next().unwrap_or_default());
        let (id, author) = (code(commit.id.short()), code(&commit.author));
        format!("{id} {subject} by {author}")
    }));
    Some(out)
}

fn attempts(tale: &Tale<'_>) -> Option<Section> {
    if tale.attempts.is_empty() {
        return None;
    }
    let mut out = Section::new("## What was tried", 10_000);
    out.put(
        "| variant | strategy | state | score | marks | tests | diff | cost | time |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    let ranked = tale.ranked();
    for attempt in &ranked {
        out.put(&table_row(attempt));
    }
    out.put("\n");
    for attempt in &ranked {
        let because = prose(&attempt.because());
        out.put(&format!("- {}: {because}\n", code(attempt.name)));
        for objection in attempt.objections() {
            let gate = gate_name(objection.gate);
            out.put(&format!("  - gate {gate}: {}\n", prose(&objection.because)));
        }
        for denial in attempt.denials.iter().take(LISTED) {
            let (code, why) = (code(&denial.code), prose(&denial.why));
            out.put(&format!("  - denied {code} {}x: {why}\n", denial.times));
        }
    }
    Some(out)
}

fn table_row(attempt: &Attempt<'_>) -> String {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let marks = attempt.marks().take(6);
    let marks: Vec<String> = marks
        .map(|(name, mark)| format!("{} {}", prose(name), figure_words(mark)))
        .collect();
    let cells = [
        code(attempt.name),
        code(attempt.strategy),
        attempt.state().map_or("open", state_name).to_owned(),
        or_none(attempt.total().map(figure_words)),
        or_none((!marks.is_empty()).then(|| marks.join(", "))),
        or_none(attempt.tests().map(|t| t.replace('/', " of "))),
        or_none(attempt.candidate.map(diff_words)),
        // A single dollar sign starts a formula on some forges.
        dollars(attempt.usage.cost_usd).replace('$', "\\$"),
        duration(attempt.seconds()),
    ];
    format!("| {} |\n", cells.join(" | "))
}

fn fix(tale: &Tale<'_>) -> Option<Section> {
    let winner = tale.winner()?;
    let candidate = winner.candidate?;
    let mut out = Section::new("## The fix", 24_000);
    let diff = if candidate.patch.is_empty() {
        let tree = code(&candidate.tree.0);
        format!("(the patch is too large to keep; tree {tree})\n")
    } else {
        fence(&beginning(&reveal(&candidate.patch), DIFF), "diff")
    };
    // The diff comes last and is worth more than anything before it.
    out.room -= diff.len();
    if let Some(trial) = winner.trial {
        tests_of(&mut out, trial, winner.trials);
    }
    if let Some(merge) = tale.merge {
        out.put(&format!("Merge result: {}\n\n", prose(&merge.tested)));
    }
    for remark in &candidate.security {
        out.put(&format!("Security: {}\n\n", prose(remark)));
    }
    for (name, note) in &candidate.notes {
        out.put(&format!("Note {}: {}\n\n", code(name), prose(note)));
    }
    out.put(&format!("{}:\n\n", diff_words(candidate)));
    out.room += diff.len();
    out.put(&diff);
    Some(out)
}

fn tests_of(out: &mut Section, trial: &Trial, runs: usize) {
    let to_fix = trial.fixed.len() + trial.unfixed.len();
    out.put(&format!(
        "Tests: {} of {to_fix} fixed; {} passed, {} failed, {} missing, of {}; {} of the suite.\n\n",
        trial.fixed.len(),
        trial.passed,
        trial.failed,
        trial.missing.len(),
        trial.total,
        count(runs, "run")
    ));
    let lists = [
        ("still failing", &trial.unfixed),
        ("broken by the fix", &trial.broken),
        ("missing with the fix", &trial.missing),
    ];
    for (what, ids) in lists.into_iter().filter(|(_, ids)| !ids.is_empty()) {
        out.list(ids.iter().map(|id| format!("{what}: {}", code(id))));
        out.put("\n");
    }
}

fn what_now(tale: &Tale<'_>) -> Option<Section> {
    let mut out = Section::new("## What you can do", 2_000);
    for advice in advice(tale) {
        out.put(&format!("- {advice}\n"));
    }
    let replay = code(&format!("changebus replay {}", tale.run.0));
    let show = code(&format!("changebus show {}", tale.run.0));
    out.put(&format!(
        "- Go through it again: {replay}; every figure: {show} with `--json`.\n"
    ));
    Some(out)
}

fn advice(tale: &Tale<'_>) -> Vec<String> {
    let branch = match tale.delivery {
        Some(Delivery::Proposed { branch, .. }) => Some(branch),
        Some(Delivery::Escalated { branch, .. }) => branch.as_ref(),
        _ => None,
    };
    let look = branch.map(|branch| {
        let origin = tale.change.origin().short();
        let diff = format!("git diff {origin}...origin/{branch}");
        format!("Look at it: {} after a fetch.", code(&diff))
    });
    let mut advice: Vec<String> = look.into_iter().collect();
    match (tale.action(), tale.delivery, tale.merge) {
        (_, Some(Delivery::Merged { commit, branch }), _) => {
            advice.push(undo(&commit.0, branch));
        }
        (Action::Merge, None, Some(merge)) => advice.push(undo(&merge.commit.0, &merge.branch)),
        (Action::Merge, _, _) => {}
        (Action::PullRequest, _, _) => {
            advice.extend(
                branch.map(|branch| {
                    format!("Open a pull request from {}, or delete it.", code(branch))
                }),
            );
        }
        (Action::Human, _, _) => {
            if tale.winner().is_some() {
                advice.push(review(&tale.run.0));
            }
            advice.push(match branch {
                Some(branch) => accept(branch, &tale.change.branch),
                None if tale.winner().is_some() => {
                    "By hand: save the diff above and `git apply` it.".to_owned()
                }
                None => "There is no fix to accept: this failure needs a person.".to_owned(),
            });
        }
        (Action::Nothing, _, _) => {}
    }
    advice
}

/// Where the daemon watches the project.
fn review(run: &str) -> String {
    let approve = code(&format!("changebus review approve {run}"));
    let reject = code(&format!("changebus review reject {run} --reason TEXT"));
    format!("Accept the fix: {approve}; refuse it: {reject}.")
}

fn accept(branch: &str, onto: &str) -> String {
    let merge = code(&format!("git merge origin/{branch}"));
    let delete = code(&format!("git push origin --delete {branch}"));
    format!(
        "By hand: {merge} on {}, then push. Without it: {delete}.",
        code(onto)
    )
}

fn undo(commit: &str, branch: &str) -> String {
    let revert = code(&format!("git revert {commit}"));
    format!("Undo it: {revert} on {}, then push.", code(branch))
}
