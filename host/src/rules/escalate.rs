//! What people elsewhere are shown of a run that waits, and what their answer means.
//!
//! Touches: nothing.
//! Change here: when they should see more before they decide. Secrets are taken out by whoever sends it.

use serde_json::{Value, json};

use super::review;
use super::run::Run;
use crate::event::{Channel, Review, Ruling};

/// Bytes of one diff, and of all of them.
const DIFF: usize = 20 << 10;
const DIFFS: usize = 60 << 10;
/// Failing tests that are told with their message, and characters of one.
const TESTS: usize = 20;
const MESSAGE: usize = 500;
/// Of a reason somebody gives.
const REASON: usize = 2000;
/// Who decided is not told.
const BY: &str = "a reviewer of HumanRail";

/// Everything it takes to decide.
pub fn payload(run: &Run) -> Value {
    let failing: Vec<Value> = run
        .triage
        .iter()
        .flat_map(|triage| &triage.failing)
        .take(TESTS)
        .map(|test| json!({ "test": test, "message": message(run, test) }))
        .collect();
    let mut left = DIFFS;
    let candidates: Vec<Value> = review::candidates(run)
        .into_iter()
        .map(|name| candidate(run, name, &mut left))
        .collect();
    let commits: Vec<Value> = run
        .change
        .commits
        .iter()
        .take(TESTS)
        .map(|c| json!({ "author": c.author, "message": cut(&c.message, MESSAGE) }))
        .collect();
    json!({
        "project": run.project,
        "run": run.id,
        "branch": run.change.branch,
        "why": run.verdict.as_ref().map(|v| v.reasons.join("; ")),
        "failing": failing,
        "failing_count": run.triage.as_ref().map_or(0, |t| t.failing.len()),
        "commits": commits,
        "candidates": candidates,
        "question": "May one of these candidates be merged? Approve it, or reject all of them and say why.",
    })
}

fn message(run: &Run, test: &str) -> Option<String> {
    let failures = run.head().map(|head| head.failures.iter());
    let failure = failures.into_iter().flatten().find(|f| f.id == test)?;
    Some(cut(&failure.message, MESSAGE))
}

fn candidate(run: &Run, name: &str, left: &mut usize) -> Value {
    let standing = run.verdict.iter().flat_map(|v| &v.standings);
    let standing = standing.into_iter().find(|s| s.variant == name);
    let handed_in = run.candidate(name);
    let patch = handed_in.map_or("", |c| c.patch.as_str());
    let most = DIFF.min(*left);
    let diff = cut(patch, most);
    *left = left.saturating_sub(diff.len());
    let objections = standing.map(|s| s.objections.iter().map(|o| &o.because).collect::<Vec<_>>());
    let marks = run.scoring.as_ref();
    let marks = marks.and_then(|scoring| serde_json::to_value(scoring.scores.get(name)?).ok());
    json!({
        "variant": name,
        "score": standing.and_then(|s| s.score),
        "confidence": standing.and_then(|s| s.confidence),
        "marks": marks,
        "objections": objections,
        "rationale": handed_in.map(|c| cut(&c.rationale, REASON)),
        "diff": diff,
    })
}

/// What an answer has to look like.
pub fn output_schema(run: &Run) -> Value {
    let names = review::candidates(run);
    let decisions = match names.is_empty() {
        true => vec!["reject"],
        false => vec!["approve", "reject"],
    };
    let mut properties = json!({
        "decision": { "type": "string", "enum": decisions },
        "reason": { "type": "string", "minLength": 1, "maxLength": REASON },
    });
    if !names.is_empty() {
        properties["variant"] = json!({ "type": "string", "enum": names });
    }
    json!({
        "type": "object",
        "required": ["decision", "reason"],
        "properties": properties,
        "additionalProperties": false,
    })
}

/// The decision in an answer, or why there is none.
pub fn review(run: &Run, output: &Value) -> Result<Review, String> {
    let text = |field: &str| output[field].as_str().map(|text| cut(text, REASON));
    let ruling = match output["decision"].as_str() {
        Some("approve") => Ruling::Approve {
            variant: text("variant"),
        },
        Some("reject") => Ruling::Reject,
        _ => return Err("its output names no decision".to_owned()),
    };
    let review = Review {
        run: run.id.clone(),
        ruling,
        reason: text("reason").unwrap_or_default(),
        by: BY.to_owned(),
        via: Channel::Humanrail,
    };
    review::chosen(run, &review).map_err(|e| e.to_string())?;
    Ok(review)
}

fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}\n… cut", &text[..text.floor_char_boundary(most)])
}
