//! What a delivered commit says of itself: failure, cause, variant, score, run.
//!
//! Touches: nothing.
//! Change here: when somebody who reads `git log` should be told more.

use super::run::Run;
use crate::event::{Bisection, Candidate, Step, Update};

const SUBJECT: usize = 72;
const BODY_LINE: usize = 76;

/// Subject, three paragraphs and trailers. The run's verdict names the variant.
pub fn commit(run: &Run, candidate: &Candidate) -> String {
    let failing: Vec<&str> = run
        .triage
        .iter()
        .flat_map(|t| &t.failing)
        .map(String::as_str)
        .collect();
    let winner = run
        .verdict
        .as_ref()
        .and_then(|v| v.winner.as_deref())
        .unwrap_or("-");
    let strategy = run
        .opening
        .iter()
        .flat_map(|o| &o.entries)
        .find(|e| e.name == winner);
    let strategy = strategy.map_or("-", |e| e.strategy.name.as_str());
    let update = run.change.update.as_ref();
    let (subject, cause) = match update {
        Some(update) => (
            title(run, update, winner),
            wrap(&moved(run, update, winner, &failing)),
        ),
        None => (subject(&failing), wrap(&failure(run, &failing))),
    };
    let head = match update {
        Some(_) => String::new(),
        None => format!("\nChangeBus-Head: {}", run.change.head),
    };
    let paragraphs = [
        subject,
        cause,
        wrap(&candidate.rationale),
        wrap(&evidence(run)),
        format!(
            "ChangeBus-Run: {}\nChangeBus-Variant: {winner} ({strategy}){head}{}",
            run.id,
            approved_by(run)
        ),
    ];
    let kept: Vec<String> = paragraphs
        .into_iter()
        .filter(|p| !p.trim().is_empty())
        .collect();
    kept.join("\n\n") + "\n"
}

/// Whoever merged what the rules would not.
fn approved_by(run: &Run) -> String {
    match run.approved_by() {
        Some(review) => format!("\nChangeBus-Approved-By: {}", one_line(&review.by)),
        None => String::new(),
    }
}

/// `Update chalk from 4.1.2 to 5.3.0`, in one line of at most 72 characters.
pub fn of_update<'s>(steps: impl Iterator<Item = &'s Step>) -> String {
    let steps: Vec<&Step> = steps.collect();
    let text = match steps.as_slice() {
        [one] => format!("Update {} from {} to {}", one.name, one.from, one.to),
        [first, ..] => format!("Update {} and {} more", first.name, steps.len() - 1),
        [] => "Update nothing".to_owned(),
    };
    one_line(&text).chars().take(SUBJECT).collect()
}

fn title(run: &Run, update: &Update, winner: &str) -> String {
    let opening = run.opening.as_ref();
    let held = opening
        .filter(|opening| opening.is_last_resort(winner))
        .and_then(|opening| opening.holding.as_ref());
    match held {
        Some(held) => {
            let text = format!("Hold {} at {}", held.name, held.version);
            one_line(&text).chars().take(SUBJECT).collect()
        }
        None => of_update(update.steps()),
    }
}

/// What moves, what that breaks, and where it was proven.
fn moved(run: &Run, update: &Update, winner: &str, failing: &[&str]) -> String {
    let steps = update
        .steps()
        .map(|step| format!("{} from {} to {}", step.name, step.from, step.to));
    let steps = steps.collect::<Vec<_>>().join(", ");
    let path = &update.manifest;
    if failing.is_empty() {
        let kept = run.triage.as_ref().map_or(0, |triage| triage.to_keep.len());
        return format!("{path}: {steps}. The {kept} tests that passed before pass with it.");
    }
    let shown: Vec<String> = failing.iter().take(5).map(|id| one_line(id)).collect();
    let more = match failing.len() - shown.len() {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let shown = shown.join(", ");
    let held = run
        .opening
        .as_ref()
        .is_some_and(|o| o.is_last_resort(winner));
    match held {
        true => format!("{path}: {steps} breaks {shown}{more}, and nothing was found to mend it."),
        false => format!("{path}: {steps}. By itself that breaks {shown}{more}."),
    }
}

/// In one line of at most 72 characters.
pub fn subject(failing: &[&str]) -> String {
    let first = failing.first().copied().unwrap_or("the tests");
    let name = first.rsplit("::").next().unwrap_or(first);
    let more = if failing.len() > 1 {
        format!(" and {} more", failing.len() - 1)
    } else {
        String::new()
    };
    let room = SUBJECT - "Fix ".len() - more.len();
    let name: String = one_line(name).chars().take(room).collect();
    format!("Fix {name}{more}")
}

fn failure(run: &Run, failing: &[&str]) -> String {
    let culprit = run.bisection.as_ref().and_then(Bisection::culprit);
    let since = culprit.unwrap_or(&run.change.head);
    let pushed = run.change.commits.iter().find(|c| c.id == *since);
    let by = pushed.map_or(String::new(), |c| {
        let subject = one_line(c.message.lines().next().unwrap_or_default());
        format!(" ({}: \"{subject}\")", one_line(&c.author))
    });
    let shown: Vec<String> = failing.iter().take(5).map(|id| one_line(id)).collect();
    let more = failing.len().saturating_sub(shown.len());
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!(
        "Since {}{by} these tests failed: {}{more}.",
        since.short(),
        shown.join(", ")
    )
}

fn evidence(run: &Run) -> String {
    let Some(verdict) = &run.verdict else {
        return String::new();
    };
    let number =
        |value: Option<f64>, digits: usize| value.map_or("-".into(), |v| format!("{v:.digits$}"));
    format!(
        "Score {}, confidence {}.",
        number(verdict.score, 1),
        number(verdict.confidence, 2)
    )
}

/// Text from models and pushes: no control characters, no line that git would read as a trailer of ours.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>()
        .trim()
        .to_owned()
}

fn wrap(text: &str) -> String {
    let mut lines: Vec<String> = vec![];
    for word in one_line(text).split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < BODY_LINE => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}
