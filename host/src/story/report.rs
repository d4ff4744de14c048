//! A run as a report for people, in Markdown: the body of a pull request, or what a human decides on.
//!
//! Touches: nothing.
//! Change here: when the report shall say something else. Forges refuse bodies over 65,536 characters.

use super::tale::{Attempt, Tale, figure_words};
use super::text::{beginning, clean, code, fence, line, prose, reveal};
use super::{count, diff_words, dollars, duration, gate_name, state_name};
use crate::event::{Action, Delivery, Event, Trial};

/// Characters for one test's output, one rationale, and the diff.
const DETAIL: usize = 3_000;
const RATIONALE: usize = 4_000;
const DIFF: usize = 24_000;
/// Details of further failing tests repeat, more often than not, the first ones.
const DETAILED_TESTS: usize = 3;
const LISTED: usize = 20;

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
    let sections: Vec<String> = sections.into_iter().flatten().collect();
    Some(sections.join("\n"))
}

fn title(tale: &Tale<'_>) -> Option<String> {
    let change = tale.change;
    let broken = match tale.failing().len() {
        0 => "no failing test".to_owned(),
        n => format!("{} broken", count(n, "test")),
    };
    let mut out = format!(
        "# {}: {broken} at {}\n\n**{}**\n\n",
        prose(tale.project),
        prose(change.head.short()),
        prose(&tale.sentence())
    );
    if let Some(delivered) = tale.delivered() {
        out += &format!("Delivery: {}.\n\n", prose(&delivered));
    }
    out += &format!(
        "Run {} on branch {}, from {} to {}.\nTime: {}. Cost: {}.\n",
        code(&tale.run.0),
        code(&change.branch),
        code(&change.base.0),
        code(&change.head.0),
        prose(&tale.times()),
        prose(&tale.cost())
    );
    Some(out)
}

fn failure(tale: &Tale<'_>) -> Option<String> {
    let head = tale.head?;
    let failing = tale.failing();
    let mut out = "## What failed\n\n".to_owned();
    if let Some(problem) = &head.what.problem {
        out += &format!("The run of the tests is incomplete: {}\n\n", code(problem));
    }
    for id in failing.iter().take(LISTED) {
        let said = tale.message(id).filter(|said| !said.is_empty());
        let said = said.map_or(String::new(), |said| format!(": {}", code(said)));
        out += &format!("- {}{said}\n", code(id));
    }
    out += &left_out(failing.len(), LISTED);
    let details = failing.iter().filter_map(|id| head.what.failure(id));
    for failure in details
        .filter(|f| !f.detail.is_empty())
        .take(DETAILED_TESTS)
    {
        let summary = line(&failure.id, 200);
        let detail = beginning(&reveal(&failure.detail), DETAIL);
        out += &details_block(&html(&summary), &fence(&detail, "text"));
    }
    if failing.is_empty() && !head.what.output.is_empty() {
        let output = beginning(&clean(&head.what.output), DETAIL);
        out += &details_block("Output of the test command", &fence(&output, "text"));
    }
    Some(out)
}

fn left_out(all: usize, shown: usize) -> String {
    match all.saturating_sub(shown) {
        0 => String::new(),
        more => format!("- and {more} more\n"),
    }
}

/// HTML's own escaping, for the one place where Markdown does not reach.
fn html(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
    escaped.replace('>', "&gt;").replace('@', "&#64;\u{200b}")
}

fn details_block(summary: &str, body: &str) -> String {
    format!("\n<details><summary>{summary}</summary>\n\n{body}\n</details>\n")
}

fn cause(tale: &Tale<'_>) -> Option<String> {
    let mut out = "## Cause\n\n".to_owned();
    if let Some(triage) = tale.triage {
        let finding = triage.what.finding.name();
        out += &format!("Triage: {finding}. {}\n\n", prose(&triage.what.because));
    }
    for (stage, why) in &tale.troubles {
        out += &format!("Trouble in {}: {}\n\n", prose(stage), prose(why));
    }
    if let Some(winner) = tale.winner().filter(|w| !w.rationale().is_empty()) {
        let words = beginning(&reveal(winner.rationale()), RATIONALE);
        let name = prose(winner.name);
        out += &format!("What {name} says about it:\n\n{}\n", fence(&words, "text"));
    }
    out += "Commits of the change, newest first:\n\n";
    let commits = &tale.change.commits;
    for commit in commits.iter().take(LISTED) {
        let subject = commit.message.lines().next().unwrap_or_default();
        let (id, author) = (code(commit.id.short()), code(&commit.author));
        out += &format!("- {id} {} by {author}\n", code(subject));
    }
    out += &left_out(commits.len(), LISTED);
    Some(out)
}

fn attempts(tale: &Tale<'_>) -> Option<String> {
    if tale.attempts.is_empty() {
        return None;
    }
    let mut out = "## What was tried\n\n".to_owned();
    out += "| variant | strategy | state | score | marks | tests | diff | cost | time |\n";
    out += "|---|---|---|---|---|---|---|---|---|\n";
    let ranked = tale.ranked();
    for attempt in &ranked {
        out += &table_row(attempt);
    }
    out.push('\n');
    for attempt in &ranked {
        out += &format!("- {}: {}\n", code(attempt.name), prose(&attempt.because()));
        for objection in attempt.objections() {
            let gate = gate_name(objection.gate);
            out += &format!("  - gate {gate}: {}\n", prose(&objection.because));
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
        or_none(
            attempt
                .trial
                .map(|t| format!("{} of {}", t.passed, t.total)),
        ),
        or_none(attempt.candidate.map(diff_words)),
        // A single dollar sign starts a formula on some forges.
        dollars(attempt.usage.cost_usd).replace('$', "\\$"),
        duration(attempt.seconds()),
    ];
    format!("| {} |\n", cells.join(" | "))
}

fn fix(tale: &Tale<'_>) -> Option<String> {
    let winner = tale.winner()?;
    let candidate = winner.candidate?;
    let mut out = "## The fix\n\n".to_owned();
    if let Some(trial) = winner.trial {
        out += &tests_of(trial, winner.trials);
    }
    if let Some(merge) = tale.merge {
        out += &format!("Merge result: {}\n\n", prose(&merge.tested));
    }
    for remark in candidate.security.iter().take(LISTED) {
        out += &format!("Security: {}\n\n", prose(remark));
    }
    for (name, note) in candidate.notes.iter().take(LISTED) {
        out += &format!("Note {}: {}\n\n", code(name), prose(note));
    }
    out += &format!("{}:\n\n", diff_words(candidate));
    if candidate.patch.is_empty() {
        out += &format!(
            "(the patch is too large to keep; tree {})\n",
            code(&candidate.tree.0)
        );
    } else {
        out += &fence(&beginning(&reveal(&candidate.patch), DIFF), "diff");
    }
    Some(out)
}

fn tests_of(trial: &Trial, runs: usize) -> String {
    let to_fix = trial.fixed.len() + trial.unfixed.len();
    let mut out = format!(
        "Tests: {} of {to_fix} fixed; {} passed, {} failed, {} missing, of {}; {} of the suite.\n\n",
        trial.fixed.len(),
        trial.passed,
        trial.failed,
        trial.missing.len(),
        trial.total,
        count(runs, "run")
    );
    let lists = [
        ("still failing", &trial.unfixed),
        ("broken by the fix", &trial.broken),
        ("missing with the fix", &trial.missing),
    ];
    for (what, ids) in lists.into_iter().filter(|(_, ids)| !ids.is_empty()) {
        for id in ids.iter().take(LISTED) {
            out += &format!("- {what}: {}\n", code(id));
        }
        out += &(left_out(ids.len(), LISTED) + "\n");
    }
    out
}

fn what_now(tale: &Tale<'_>) -> Option<String> {
    let mut out = "## What you can do\n\n".to_owned();
    for advice in advice(tale) {
        out += &format!("- {advice}\n");
    }
    let replay = code(&format!("changebus replay {}", tale.run.0));
    let show = code(&format!("changebus show {}", tale.run.0));
    out += &format!("- Go through it again: {replay}; every figure: {show} with `--json`.\n");
    Some(out)
}

fn advice(tale: &Tale<'_>) -> Vec<String> {
    let run = &tale.run.0;
    let approve = code(&format!("changebus review approve {run}"));
    let reject = code(&format!("changebus review reject {run}"));
    let branch = match tale.delivery {
        Some(Delivery::Proposed { branch, .. }) => Some(branch),
        Some(Delivery::Escalated { branch, .. }) => branch.as_ref(),
        _ => None,
    };
    let look = branch.map(|branch| {
        let diff = format!("git diff {}...origin/{branch}", tale.change.head.short());
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
            advice.push("Accept: merge the pull request. Refuse: close it.".to_owned());
        }
        (Action::Human, _, _) if tale.winner().is_some() => {
            advice.push(format!("Accept the fix: {approve}. Refuse it: {reject}."));
        }
        (Action::Human, _, _) => {
            advice.push(format!(
                "There is no fix to accept. Close the case: {reject}."
            ));
        }
        (Action::Nothing, _, _) => {}
    }
    advice
}

fn undo(commit: &str, branch: &str) -> String {
    let revert = code(&format!("git revert {commit}"));
    format!("Undo it: {revert} on {}, then push.", code(branch))
}
