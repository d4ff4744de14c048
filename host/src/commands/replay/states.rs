//! `changebus replay RUN --states`: the run as it was after each of its events, and what it would have done next.
//!
//! Touches: terminal.
//! Change here: when an operator should see more of a state. What is next is said by `rules/run.rs`.

use std::collections::BTreeSet;
use std::io::IsTerminal;

use jiff::Timestamp;
use serde::Serialize;

use crate::commands::progress;
use crate::config::{Config, Policy};
use crate::event::{Event, Part, Role};
use crate::rules::race::{Leg, Stage};
use crate::rules::run::{Next, Run, Terms};
use crate::story;

/// After one event.
#[derive(Debug, Serialize)]
struct State {
    seq: i64,
    version: Option<u64>,
    at: Timestamp,
    subject: String,
    next: String,
}

/// As the daemon would go on, with the policy as it is now.
pub fn show(config: &Config, events: &[Event], json: bool) -> anyhow::Result<()> {
    let look = progress::look(std::io::stdout().is_terminal());
    let (states, end) = fold(config, events);
    if json {
        println!("{}", serde_json::to_string_pretty(&states)?);
    } else {
        for (event, state) in events.iter().zip(&states) {
            println!("{}", story::event_line(event, look));
            println!("{:>6}  next: {}", "", state.next);
        }
    }
    end
}

/// Up to the first event that may not stand where it stands.
fn fold(config: &Config, events: &[Event]) -> (Vec<State>, anyhow::Result<()>) {
    let terms = Terms {
        trials_at_once: config.host.trials_at_once,
        ..Terms::default()
    };
    let Some(mut run) = events.first().and_then(Run::open) else {
        return (vec![], Ok(()));
    };
    let project = config.projects.get(&run.project);
    let policy = project.map_or_else(Policy::default, |p| p.policy.clone());
    let mut states = vec![];
    for (nth, event) in events.iter().enumerate() {
        if nth > 0
            && let Err(refused) = run.record(event)
        {
            return (states, Err(refused.into()));
        }
        states.push(State {
            seq: event.seq,
            version: event.version,
            at: event.at,
            subject: event.fact.subject(&event.project),
            next: told(&run.next(&policy, terms)),
        });
    }
    (states, Ok(()))
}

fn told(next: &Next) -> String {
    match next {
        Next::Test(role, part) => format!("test {}{}", role_words(*role), part_words(part)),
        Next::Triage => "triage".to_owned(),
        Next::Bisect => "look for the commit that broke it".to_owned(),
        Next::Open => "open a tournament".to_owned(),
        Next::Generate(variants) => format!("have {} propose", variants.join(", ")),
        Next::Validate(legs) => {
            let legs: Vec<String> = legs.iter().map(leg_words).collect();
            format!("try {}", legs.join(", "))
        }
        Next::Score => "score".to_owned(),
        Next::Bound => "ask the scorer how far the rest could come".to_owned(),
        Next::Advise => "ask the escalation plugin".to_owned(),
        Next::Decide => "decide".to_owned(),
        Next::PrepareMerge => "prepare the merge".to_owned(),
        Next::Push(merge) => format!("push {}", merge.commit.short()),
        Next::Publish => "hand it to people".to_owned(),
        Next::Withhold => "deliver nothing".to_owned(),
        Next::Close(status) => format!("close as {}", story::status_name(*status)),
        Next::Done => "nothing, it is closed".to_owned(),
    }
}

fn role_words(role: Role) -> &'static str {
    match role {
        Role::Head => "the head",
        Role::HeadAgain => "the head again",
        Role::Base => "the base",
        Role::BaseAgain => "the base again",
        Role::Between => "a commit between",
        Role::Tip => "the tip",
        Role::MergeResult => "what the merge comes to",
    }
}

fn part_words(part: &Option<BTreeSet<String>>) -> String {
    match part {
        None => String::new(),
        Some(tests) if tests.len() == 1 => ", 1 test alone".to_owned(),
        Some(tests) => format!(", {} tests alone", tests.len()),
    }
}

fn leg_words(leg: &Leg) -> String {
    let stage = match leg.stage {
        Stage::Control => "the failing tests at the head".to_owned(),
        Stage::Sample(Part::Failing) => "the failing tests".to_owned(),
        Stage::Sample(Part::Near) => "the tests nearby".to_owned(),
        Stage::Whole(1) => "the whole suite".to_owned(),
        Stage::Whole(round) => format!("the whole suite, round {round}"),
    };
    format!("{} ({stage})", leg.tree.short())
}
