//! One run: its story, its variants side by side, what was asked of models, the decision, and the form for it.
//!
//! Touches: http (answers), sqlite (through the store).
//! Change here: when people should see more of a run.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};

use super::shown::{self, DiffLine, block, end, line, time};
use super::{Desk, Frame, Page, Trouble, Visitor, events as log, page as show};
use crate::event::{
    Event, Fact, Fault, ModelAnswer, ModelRole, PullRequestFate, Role, RunId, SystemBlock,
    TestReport, Trial, VariantState, Verdict,
};
use crate::outside::store::{Offered, StoreError};
use crate::rules::review;
use crate::rules::run::Run;
use crate::story::{self, Story, VariantStory, Words};

/// Failing tests, and tests a candidate lost, that are told one by one.
const TESTS: usize = 20;
/// Exchanges with a model, over all variants.
const EXCHANGES: usize = 60;
/// Events of the run, the newest.
const EVENTS: usize = 200;

#[derive(Template)]
#[template(path = "web/run.html")]
pub struct RunPage {
    frame: Frame,
    run: String,
    project: String,
    status: &'static str,
    state: &'static str,
    words: Words,
    opened: String,
    branch: String,
    base: String,
    head: String,
    commits: Vec<Commit>,
    before: Option<Tested>,
    failing: Vec<Failing>,
    more_failing: usize,
    variants: Vec<Variant>,
    pull_requests: Vec<PullRequest>,
    reviews: Vec<String>,
    /// Given, and not taken up yet by the host that has the project.
    pending: Vec<String>,
    form: Option<ReviewForm>,
    problem: Option<String>,
    events: Vec<log::Row>,
}

struct Commit {
    id: String,
    subject: String,
    author: String,
}

struct PullRequest {
    url: String,
    stands: String,
}

/// The suite at the head.
struct Tested {
    passed: usize,
    failed: usize,
    problem: Option<String>,
    sandbox: String,
    output: String,
}

struct Failing {
    test: String,
    message: String,
    detail: String,
}

struct Variant {
    name: String,
    strategy: String,
    state: &'static str,
    why: String,
    /// None where it came to no score.
    score: Option<String>,
    confidence: Option<String>,
    marks: Vec<(String, String)>,
    gates: Vec<String>,
    /// Ran any of the tests.
    was_tried: bool,
    tests: story::TestCounts,
    lost: Vec<String>,
    output: String,
    /// How much the patch changes.
    touches: String,
    diff: Vec<DiffLine>,
    rationale: String,
    tokens_in: u64,
    tokens_out: u64,
    cost: String,
    seconds: String,
    denials: Vec<String>,
    exchanges: Vec<Exchange>,
}

struct Exchange {
    call: u32,
    title: String,
    prompts: Vec<(String, String)>,
    answer: Option<String>,
    fault: Option<String>,
}

struct ReviewForm {
    candidates: Vec<String>,
    winner: String,
    may: bool,
}

pub async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(visitor): Extension<Visitor>,
    Path(run): Path<String>,
) -> Page {
    show(&made(&desk, &visitor, RunId(run), None).await?)
}

/// `problem` is why a decision was not taken.
pub async fn made(
    desk: &Desk,
    visitor: &Visitor,
    id: RunId,
    problem: Option<String>,
) -> Result<RunPage, Trouble> {
    let events = desk.store.run_events(&id).await?;
    let (Some(story), Some(words)) = (Story::of(&events), Words::of(&events)) else {
        return Err(Trouble::NotFound(format!(
            "{id}: the log knows no such run"
        )));
    };
    let run = Run::replay(&events).ok().flatten();
    let pending = pending(desk, &story.project, &id, &events).await?;
    let mut frame = Frame::new(line(&story.run), "", visitor);
    frame.project = story.project.clone();
    frame.run = story.run.clone();
    let head = head(&events);
    let change = events.iter().find_map(|e| match &e.fact {
        Fact::ChangeSeen { change } => Some(change),
        _ => None,
    });
    let commits = change.map(|c| c.commits.as_slice()).unwrap_or_default();
    let waits = run.as_ref().filter(|run| review::is_waited_for(run));
    let offered = desk.store.pull_requests().await?;
    let offered: Vec<&Offered> = offered.iter().filter(|o| o.request.run == id).collect();
    let is_merged = |o: &&Offered| matches!(o.fate, Some(PullRequestFate::Merged { .. }));
    let decided = offered.iter().any(is_merged);
    let form = waits.filter(|_| !decided && desk.settings.projects.contains_key(&story.project));
    Ok(RunPage {
        status: story.status.map_or("open", story::status_name),
        state: super::overview::state(story.status),
        words,
        opened: events.first().map_or_else(String::new, |e| time(e.at)),
        branch: line(change.map_or("", |c| &c.branch)),
        base: story.change.base.short().to_owned(),
        head: story.change.head.short().to_owned(),
        commits: commits.iter().take(TESTS).map(commit).collect(),
        before: head.map(tested),
        more_failing: story.failing.len().saturating_sub(TESTS),
        failing: story
            .failing
            .iter()
            .take(TESTS)
            .map(|t| failing(t, head))
            .collect(),
        variants: variants(&story, &events),
        pull_requests: offered.into_iter().filter_map(pull_request).collect(),
        reviews: reviews(&events),
        pending,
        form: form.map(|run| review_form(run, visitor)),
        problem,
        events: events.iter().rev().take(EVENTS).map(log::row).collect(),
        run: story.run,
        project: story.project,
        frame,
    })
}

/// What a forge calls an address is not taken for one unread.
fn pull_request(offered: &Offered) -> Option<PullRequest> {
    let url = &offered.request.url;
    let is_address = ["https://", "http://"].iter().any(|s| url.starts_with(s));
    is_address.then(|| PullRequest {
        url: url.clone(),
        stands: line(&story::pull_request_words(offered.fate.as_ref())),
    })
}

fn review_form(run: &Run, Visitor(person): &Visitor) -> ReviewForm {
    let winner = run.verdict.as_ref().and_then(|v| v.winner.clone());
    ReviewForm {
        candidates: review::candidates(run)
            .into_iter()
            .map(str::to_owned)
            .collect(),
        winner: winner.unwrap_or_default(),
        may: person.is_some(),
    }
}

fn commit(commit: &crate::event::Commit) -> Commit {
    Commit {
        id: commit.id.short().to_owned(),
        subject: line(commit.message.lines().next().unwrap_or_default()),
        author: line(&commit.author),
    }
}

fn head(events: &[Event]) -> Option<&TestReport> {
    let mut reports = events.iter().filter_map(|e| match &e.fact {
        Fact::Tested {
            role: Role::Head,
            report,
            ..
        } => Some(report),
        _ => None,
    });
    reports.next_back()
}

fn tested(report: &TestReport) -> Tested {
    let layers: Vec<&str> = report.sandbox.iter().map(|layer| layer.name()).collect();
    Tested {
        passed: report.passed().len(),
        failed: report.bad().len(),
        problem: report.problem.as_deref().map(line),
        sandbox: layers.join(", "),
        output: end(&report.output),
    }
}

fn failing(test: &str, head: Option<&TestReport>) -> Failing {
    let failure = head.and_then(|report| report.failure(test));
    Failing {
        test: line(test),
        message: line(failure.map_or("", |f| &f.message)),
        detail: block(failure.map_or("", |f| &f.detail)),
    }
}

fn variants(story: &Story, events: &[Event]) -> Vec<Variant> {
    let verdict = events.iter().rev().find_map(|e| match &e.fact {
        Fact::Decided { verdict } => Some(verdict),
        _ => None,
    });
    let mut exchanges = exchanges(events);
    let one = |v: &VariantStory| {
        let exchanges = exchanges.remove(&v.name).unwrap_or_default();
        variant(v, verdict, trial(&v.name, events), exchanges)
    };
    story.variants.iter().map(one).collect()
}

/// The last trial of what a variant handed in.
fn trial<'a>(name: &str, events: &'a [Event]) -> Option<&'a Trial> {
    let tree = events.iter().rev().find_map(|e| match &e.fact {
        Fact::Proposed { variant, candidate } if variant == name => Some(&candidate.trial_tree),
        _ => None,
    })?;
    events.iter().rev().find_map(|e| match &e.fact {
        Fact::Tried { trial } if trial.tree == *tree => Some(trial),
        _ => None,
    })
}

fn variant(
    v: &VariantStory,
    verdict: Option<&Verdict>,
    trial: Option<&Trial>,
    exchanges: Vec<Exchange>,
) -> Variant {
    let standing = verdict.and_then(|verdict| {
        let mut standings = verdict.standings.iter();
        standings.find(|standing| standing.variant == v.name)
    });
    let score = standing.map_or(Some(v.score).filter(|s| *s > 0.0), |s| s.score);
    let decided =
        standing.is_some() || matches!(v.state, VariantState::Refused | VariantState::Failed);
    let figure = |value: &serde_json::Value| format!("{:.2}", value.as_f64().unwrap_or_default());
    Variant {
        name: line(&v.name),
        strategy: line(&v.strategy),
        state: if decided {
            story::state_name(v.state)
        } else {
            "at work"
        },
        why: line(standing.map_or("", |s| &s.because)),
        score: score.map(|score| format!("{score:.1}")),
        confidence: standing
            .and_then(|s| s.confidence)
            .map(|c| format!("{c:.2}")),
        marks: v
            .marks
            .iter()
            .map(|(name, mark)| (line(name), figure(mark)))
            .collect(),
        gates: v.gates.iter().map(|gate| line(gate)).collect(),
        was_tried: v.tests.total > 0,
        tests: v.tests,
        lost: trial.map(lost).unwrap_or_default(),
        output: trial.map(|t| end(&t.output)).unwrap_or_default(),
        touches: story::count(v.diff.files as usize, "file")
            + &format!(" +{} -{}", v.diff.insertions, v.diff.deletions),
        diff: shown::diff(&v.patch),
        rationale: block(&v.rationale),
        tokens_in: v.usage.input_tokens,
        tokens_out: v.usage.output_tokens,
        cost: story::dollars(v.usage.cost_usd),
        seconds: story::duration(v.seconds),
        denials: v
            .denials
            .iter()
            .map(|d| line(&format!("{} {}x: {}", d.code, d.times, d.why)))
            .collect(),
        exchanges,
    }
}

/// What does not pass with a candidate, and how.
fn lost(trial: &Trial) -> Vec<String> {
    let kinds = [
        ("still fails", &trial.unfixed),
        ("broken", &trial.broken),
        ("missing", &trial.missing),
    ];
    let told = kinds.into_iter().flat_map(|(how, tests)| {
        tests
            .iter()
            .map(move |test| line(&format!("{how}: {test}")))
    });
    told.take(TESTS).collect()
}

/// What each variant asked of models, and what they answered.
fn exchanges(events: &[Event]) -> BTreeMap<String, Vec<Exchange>> {
    let mut found: BTreeMap<String, Vec<Exchange>> = BTreeMap::new();
    let mut left = EXCHANGES;
    for event in events {
        match &event.fact {
            Fact::ModelAsked {
                variant,
                call,
                request,
            } if left > 0 => {
                left -= 1;
                let system = request
                    .system
                    .iter()
                    .map(|SystemBlock { text, .. }| ("system", text));
                let said = request.messages.iter().map(|m| match m.role {
                    ModelRole::User => ("strategy", &m.text),
                    ModelRole::Assistant => ("model", &m.text),
                });
                let prompts = system.chain(said);
                found.entry(variant.clone()).or_default().push(Exchange {
                    call: *call,
                    title: line(request.model.as_deref().unwrap_or("the usual model")),
                    prompts: prompts.map(|(who, t)| (who.to_owned(), block(t))).collect(),
                    answer: None,
                    fault: None,
                });
            }
            Fact::ModelAnswered {
                variant,
                call,
                answer,
            } => {
                let asked = found.get_mut(variant).into_iter().flatten();
                if let Some(exchange) = asked.into_iter().find(|e| e.call == *call) {
                    take_answer(exchange, answer);
                }
            }
            _ => {}
        }
    }
    found
}

fn take_answer(exchange: &mut Exchange, answer: &Result<ModelAnswer, Fault>) {
    match answer {
        Ok(answer) => {
            exchange.title = line(&format!(
                "{}, {} tokens in, {} out, {}",
                answer.model,
                answer.usage.input_tokens,
                answer.usage.output_tokens,
                story::dollars(answer.usage.cost_usd)
            ));
            exchange.answer = Some(block(&answer.text));
        }
        Err(fault) => exchange.fault = Some(line(&fault.to_string())),
    }
}

fn reviews(events: &[Event]) -> Vec<String> {
    let told = events.iter().filter_map(|e| match &e.fact {
        Fact::Reviewed { review, .. } => Some(line(&format!(
            "{}: {}",
            time(e.at),
            story::review_words(review)
        ))),
        _ => None,
    });
    told.collect()
}

/// Decisions that were given since people were asked, and that no run has taken up.
async fn pending(
    desk: &Desk,
    project: &str,
    run: &RunId,
    events: &[Event],
) -> Result<Vec<String>, StoreError> {
    let asked = events.iter().rev().find_map(|e| match e.fact {
        Fact::Delivered { .. } | Fact::Reviewed { .. } => Some(e.seq),
        _ => None,
    });
    let Some(asked) = asked else {
        return Ok(vec![]);
    };
    let given = desk.store.reviews_given(project, asked).await?;
    let taken = |id: &str| {
        let mut reviewed = events.iter();
        reviewed.any(|e| matches!(&e.fact, Fact::Reviewed { given, .. } if given == id))
    };
    let told = given.iter().filter_map(|e| match &e.fact {
        Fact::ReviewGiven { review } if review.run == *run && !taken(&e.id) => {
            Some(line(&story::review_words(review)))
        }
        _ => None,
    });
    Ok(told.collect())
}
