//! The spine: ask the run what is next, do that one stage, append the facts, fold them in. The only file that
//! knows how `Next` becomes work, and the only one that appends a run's events.
//!
//! Touches: clock, sqlite.
//! Change here: when a stage is added or reordered (with `rules/run.rs`).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::config::{Policy, Project};
use crate::event::{Change, Event, Fact, Review, Role, RunId, RunStatus};
use crate::failpoint;
use crate::outside::store::{Store, StoreError};
use crate::rules::blind::Blind;
use crate::rules::review;
use crate::rules::run::{Next, NotAllowed, Run, Terms};
use crate::stages::{self, Cx, House, Note, Recorder, StageError};

/// What can stop a run from being driven on. A stage's own failure is a fact, not one of these.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    #[error("{0}")]
    Start(#[from] StageError),
    #[error("run {0} has no events in this store")]
    Unknown(RunId),
}

/// How this run differs from the daemon's.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    pub terms: Terms,
    /// What the run is to be judged by afterwards, and may not see. Usually nothing.
    pub blind: Arc<Blind>,
    /// `fix` on a checked-out repository.
    pub update_checkout: bool,
}

/// States that a change was seen, and with it that a run is open. The run's name follows from the change, so that a
/// host that goes on where another died comes to the same name, and the two to one run.
pub async fn open(store: &Store, project: &str, change: Change) -> Result<Event, StoreError> {
    let first = format!("{project}-{}", change.head.short());
    let mut times = 1;
    loop {
        let run = match times {
            1 => RunId(first.clone()),
            _ => RunId(format!("{first}-{times}")),
        };
        let change = change.clone();
        match append(store, project, &run, 0, Fact::ChangeSeen { change }).await {
            Err(StoreError::Overtaken { .. }) => times += 1,
            opened => return opened,
        }
    }
}

/// Opens a run that begins with what another one found out about the same change.
pub async fn open_knowing(
    store: &Store,
    project: &str,
    change: Change,
    known: Vec<Fact>,
) -> Result<RunId, PipelineError> {
    let opened = open(store, project, change).await?;
    let mut run = Run::open(&opened).ok_or_else(|| {
        PipelineError::Start(StageError::new("a run opens with the change it is about"))
    })?;
    for fact in known {
        let event = append(store, project, &run.id, run.length, fact).await?;
        run.record(&event)?;
    }
    Ok(run.id)
}

/// Closes a run that no other host knew of when it opened its own.
pub async fn close_in_vain(store: &Store, project: &str, run: &RunId) -> Result<(), StoreError> {
    let status = RunStatus::InVain;
    let closed = Fact::RunClosed { status };
    store.append(project, Some(run), closed).await.map(drop)
}

/// Takes a decision of people into its run, if it waits for it; the run goes on from there.
///
/// # Errors
/// `NotTaken` where it waits for no such decision, with the reason.
pub async fn take_review(store: &Store, given: &Event, review: &Review) -> Result<(), ReviewError> {
    let events = store.run_events(&review.run).await?;
    let run = Run::replay(&events)?.ok_or_else(|| PipelineError::Unknown(review.run.clone()))?;
    if run.reviews.contains_key(&given.id) {
        return Ok(());
    }
    review::chosen(&run, review)?;
    let fact = Fact::Reviewed {
        review: review.clone(),
        given: given.id.clone(),
    };
    store
        .append_expecting(&run.project, &run.id, run.length, fact)
        .await?;
    Ok(())
}

/// Why a decision was not taken into its run.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    #[error(transparent)]
    NotTaken(#[from] review::NotTaken),
    #[error(transparent)]
    NotNow(#[from] PipelineError),
}

impl From<StoreError> for ReviewError {
    fn from(error: StoreError) -> ReviewError {
        ReviewError::NotNow(error.into())
    }
}

impl From<NotAllowed> for ReviewError {
    fn from(error: NotAllowed) -> ReviewError {
        ReviewError::NotNow(error.into())
    }
}

/// States what the watcher saw outside any run.
pub async fn tell(store: &Store, project: &str, fact: Fact) -> Result<Event, StoreError> {
    store.append(project, None, fact).await
}

/// Drives a run from wherever its facts leave it to its end.
pub async fn drive(
    house: &Arc<House>,
    project: &Arc<Project>,
    id: &RunId,
    manner: Manner,
) -> Result<Run, PipelineError> {
    let events = house.store.run_events(id).await?;
    let mut run = Run::replay(&events)?.ok_or_else(|| PipelineError::Unknown(id.clone()))?;
    if let Some(last) = events.last() {
        // It may have been stated a moment before this host ended.
        house.fleet.may_act_on(last).await;
    }
    let (recorder, mut notes) = Recorder::new();
    let cx = Cx {
        recorder,
        terms: manner.terms,
        blind: manner.blind,
        update_checkout: manner.update_checkout,
        ..Cx::seeing(house, &run.project, project).await?
    };
    let terms = Terms {
        trials_at_once: house.settings.host.trials_at_once,
        ..manner.terms
    };
    let mut restored = false;
    loop {
        let next = run.next(&project.policy, terms);
        if next == Next::Done {
            return Ok(run);
        }
        let name = name_of(&next);
        if !restored && !matches!(next, Next::Close(_)) {
            match stages::restore::objects(&cx, &run).await {
                Ok(()) => restored = true,
                Err(error) => {
                    fail(&cx, &mut run, "restore", error).await?;
                    continue;
                }
            }
        }
        tracing::info!(run = %run.id, stage = name, "next");
        if let Next::Test(..) = next {
            let troubles = run.troubles_in_a_row();
            tokio::time::sleep(trouble_pause(&project.policy, troubles)).await;
        }
        match attend(&cx, &mut run, &mut notes, next).await? {
            Ok(facts) => {
                for fact in facts {
                    keep(&cx, &mut run, fact).await?;
                }
            }
            Err(error) => fail(&cx, &mut run, name, error).await?,
        }
    }
}

/// What failed for a reason outside the change may be better in a moment.
async fn fail(cx: &Cx, run: &mut Run, stage: &str, error: StageError) -> Result<(), PipelineError> {
    tracing::warn!(run = %run.id, stage, "{error}");
    let failed = Fact::StageFailed {
        stage: stage.to_owned(),
        why: error.why,
    };
    keep(cx, run, failed).await?;
    tokio::time::sleep(pause(run.failures_in_a_row)).await;
    Ok(())
}

/// 2 s after the first failure, twice that after each further one, at most five minutes.
fn pause(failures: usize) -> Duration {
    let doublings = failures.clamp(1, 9) as u32 - 1;
    Duration::from_secs((2u64 << doublings).min(300))
}

/// What the machine lacked may be there in a moment, or in a few.
fn trouble_pause(policy: &Policy, troubles: u32) -> Duration {
    let Some(doublings) = troubles.checked_sub(1) else {
        return Duration::ZERO;
    };
    Duration::from_secs(
        policy
            .trouble_wait_seconds
            .saturating_mul(1 << doublings.min(6)),
    )
}

/// Does one stage, and keeps what it states on the way.
async fn attend(
    cx: &Cx,
    run: &mut Run,
    notes: &mut mpsc::Receiver<Note>,
    next: Next,
) -> Result<Result<Vec<Fact>, StageError>, PipelineError> {
    let snapshot = Arc::new(run.clone());
    let cx = &Cx {
        vouched: run.vouched(),
        ..cx.clone()
    };
    let stage = perform(cx, &snapshot, next);
    tokio::pin!(stage);
    loop {
        tokio::select! {
            // Notes first: the stage may be finished only because its last note is on its way.
            biased;
            Some(note) = notes.recv() => {
                let at = keep(cx, run, note.fact).await?;
                // A stage that was dropped does not wait for its answer.
                let _ = note.kept.send(at);
            }
            facts = &mut stage => return Ok(facts),
        }
    }
}

async fn perform(cx: &Cx, run: &Arc<Run>, next: Next) -> Result<Vec<Fact>, StageError> {
    match next {
        Next::Test(role, part) => stages::test::change(cx, run, role, part).await,
        Next::Triage => stages::triage::triage(cx, run).await,
        Next::Bisect => stages::bisect::step(cx, run).await,
        Next::Open => stages::tournament::open(cx, run).await,
        Next::Generate(variants) => stages::tournament::generate::all(cx, run, &variants).await,
        Next::Validate(legs) => stages::tournament::validate::legs(cx, run, &legs).await,
        Next::Bound => stages::score::bound(cx, run).await,
        Next::Score => stages::score::mark(cx, run).await,
        Next::Advise => stages::score::advise(cx, run).await,
        Next::Decide => stages::decide::verdict(cx, run),
        Next::PrepareMerge => stages::deliver::prepare(cx, run).await,
        Next::Push(merge) => {
            let approval = run
                .approval()
                .ok_or_else(|| StageError::new("no merge was approved"))?;
            stages::deliver::push(cx, run, &merge, &approval).await
        }
        Next::Publish => stages::deliver::publish(cx, run).await,
        Next::Withhold => stages::deliver::withhold(cx, run),
        Next::Close(status) => close(cx, run, status).await,
        Next::Done => Ok(vec![]),
    }
}

/// The report is written from the facts, so a crash between the two loses nothing: it is written again.
async fn close(cx: &Cx, run: &Run, status: RunStatus) -> Result<Vec<Fact>, StageError> {
    if run.head().is_some_and(|report| !report.is_green()) {
        let events = cx
            .house
            .store
            .run_events(&run.id)
            .await
            .map_err(|e| stages::failed("reading the run", &e))?;
        stages::report::write(cx, run, &events)?;
    }
    Ok(vec![Fact::RunClosed { status }])
}

async fn keep(cx: &Cx, run: &mut Run, fact: Fact) -> Result<Timestamp, PipelineError> {
    let event = append(&cx.house.store, &run.project, &run.id, run.length, fact).await?;
    run.record(&event)?;
    cx.house.fleet.may_act_on(&event).await;
    Ok(event.at)
}

async fn append(
    store: &Store,
    project: &str,
    run: &RunId,
    length: u64,
    fact: Fact,
) -> Result<Event, StoreError> {
    let subject = fact.subject(project);
    let kind = subject.rsplit('.').next().unwrap_or_default().to_owned();
    failpoint::reach(&format!("before-{kind}"));
    let event = store.append_expecting(project, run, length, fact).await?;
    failpoint::reach(&format!("after-{kind}"));
    Ok(event)
}

fn name_of(next: &Next) -> &'static str {
    match next {
        Next::Test(Role::Head, _) => "test",
        Next::Test(..) => "test-again",
        Next::Triage => "triage",
        Next::Bisect => "bisect",
        Next::Open => "open",
        Next::Generate(_) => "generate",
        Next::Validate(_) => "validate",
        Next::Bound => "bound",
        Next::Score => "score",
        Next::Advise => "advise",
        Next::Decide => "decide",
        Next::PrepareMerge => "prepare-merge",
        Next::Push(_) => "push",
        Next::Publish => "publish",
        Next::Withhold => "withhold",
        Next::Close(_) => "close",
        Next::Done => "done",
    }
}
