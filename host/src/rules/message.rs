//! What a delivered commit says of itself: failure, cause, variant, score, run.
//!
//! Touches: nothing.
//! Change here: when somebody who reads `git log` should be told more.

use super::run::Run;
use crate::event::{Bisection, Candidate};

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
    let paragraphs = [
        subject(&failing),
        wrap(&failure(run, &failing)),
        wrap(&candidate.rationale),
        wrap(&evidence(run)),
        format!(
            "ChangeBus-Run: {}\nChangeBus-Variant: {winner} ({strategy})\nChangeBus-Head: {}{}",
            run.id,
            run.change.head,
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
