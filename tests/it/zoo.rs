//! The zoo: every beast we know against the host, alone and all together, and a tournament full of them.
//!
//! Touches: wasm, files, processes.
//! Change here: when the host should be put to another test; a beast is a row in `zoo/keepers.rs` or `zoo/forge.rs`.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use changebus::outside::wasm::{Capability, Limits, PluginKind, Plugins, StrategyTask};
use serde_json::json;
use tokio::task::JoinSet;

use crate::plugins::{alone, assert_passes, most_resident_kib};
use changebus_tests::desk::{Books, Reply, field, task};
use changebus_tests::guests::{cache, setup};
use keepers::{Beast, Ends};

mod arena;
mod forge;
mod keepers;

/// What a beast may take that waits for others to be done with.
const PATIENCE: Duration = Duration::from_secs(300);
/// What one may take that waits for an answer that never comes.
const SOON: Duration = Duration::from_secs(2);

/// Small enough that a beast is stopped soon, large enough that each limit is reached by its own beast.
fn limits() -> Limits {
    Limits {
        memory_bytes: 160 << 20,
        strategy_cpu: Duration::from_secs(3),
        judge_cpu: Duration::from_secs(3),
        judge_wall: PATIENCE,
        host_calls: 20_000,
        held_bytes: 16 << 20,
        ..Limits::default()
    }
}

/// Lays every beast into a directory and lets the host look at it.
fn cage(beasts: &[Beast]) -> (tempfile::TempDir, Plugins) {
    let dir = tempfile::tempdir().expect("a directory");
    for beast in beasts {
        let path = dir.path().join(format!("{}.wasm", beast.name));
        std::fs::write(path, &beast.file).expect("it is written");
    }
    let mut setup = setup(&[dir.path().to_owned()], &cache(), limits());
    for name in keepers::NOT_GRANTED {
        let tree = BTreeSet::from([Capability::Workspace]);
        setup.grants.allow_for.insert(name.to_owned(), tree);
    }
    let plugins = Plugins::open(setup);
    (dir, plugins.expect("the engine starts"))
}

/// How it ended, in the words people are told; `Ok` where the host let it answer.
async fn meet(plugins: &Plugins, beast: &Beast) -> Result<String, String> {
    let plugin = plugins.reference(beast.kind, beast.name);
    let ended = match beast.kind {
        PluginKind::Strategy => {
            let task = StrategyTask {
                wall_limit: if hangs(beast) { SOON } else { PATIENCE },
                ..task(json!({}), &Books::that(reply(beast)))
            };
            let answer = plugins.run_strategy(&plugin, task).await.answer;
            answer.map(|answer| format!("{answer:?}"))
        }
        PluginKind::Scorer => {
            let scores = plugins.run_scorer(&plugin, field("")).await.answer;
            scores.map(|scores| format!("{scores:?}"))
        }
        PluginKind::Escalation => {
            let advice = plugins.run_escalation(&plugin, field("")).await.answer;
            advice.map(|advice| format!("{advice:?}"))
        }
    };
    ended.map_err(|failure| failure.why)
}

fn hangs(beast: &Beast) -> bool {
    beast.name.starts_with("hanging")
}

fn reply(beast: &Beast) -> Reply {
    if hangs(beast) {
        Reply::Never
    } else {
        Reply::Well
    }
}

fn refusal(plugins: &Plugins, name: &str) -> Option<String> {
    let file = format!("{name}.wasm");
    let problems = plugins.problems();
    let of_it = |path: &Path| path.file_name().is_some_and(|found| found == file.as_str());
    problems
        .into_iter()
        .find(|problem| of_it(&problem.path))
        .map(|problem| problem.why)
}

/// What is wrong with how a beast ended, if anything is.
fn complaint(
    beast: &Beast,
    refused: Option<String>,
    ended: Result<String, String>,
) -> Option<String> {
    let named = format!("plugin `{}` ", beast.name);
    let as_told = match (beast.ends, &refused, &ended) {
        (Ends::Refused(why), Some(told), _) => any_of(why, told),
        (Ends::Stopped(why), None, Err(told)) => told.starts_with(&named) && told.contains(why),
        (Ends::Tamed(what), None, Ok(told)) => told.contains(what) && told.len() < 64 << 10,
        _ => false,
    };
    let short = |told: String| told.chars().take(600).collect::<String>();
    let (refused, ended) = (refused.map(short), ended.map(short).map_err(short));
    (!as_told).then(|| {
        format!(
            "{}: {:?}\n    loading: {refused:?}\n    calling: {ended:?}",
            beast.name, beast.ends
        )
    })
}

/// Some limits race: which of two stops a beast depends on what else the machine does. Both are written then.
pub fn any_of(why: &str, told: &str) -> bool {
    why.split(" | ").any(|why| told.contains(why))
}

/// Beats for as long as it is kept.
struct Heart {
    beats: Arc<AtomicU64>,
    since: Instant,
    _task: JoinSet<()>,
}

const BEAT: Duration = Duration::from_millis(5);

impl Heart {
    fn start() -> Heart {
        let beats = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&beats);
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                tokio::time::sleep(BEAT).await;
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        let since = Instant::now();
        Heart {
            beats,
            since,
            _task: task,
        }
    }

    /// Beats, of those that an idle machine would have counted.
    fn share(&self) -> f64 {
        let beats = self.beats.load(Ordering::Relaxed) as f64;
        beats * BEAT.as_secs_f64() / self.since.elapsed().as_secs_f64()
    }
}

#[tokio::test]
async fn every_beast_of_the_zoo_is_stopped_or_refused_with_a_message_of_its_own() {
    let heart = Heart::start();
    let caged = tokio::task::spawn_blocking(|| {
        let beasts = keepers::all();
        let (dir, plugins) = cage(&beasts);
        (beasts, dir, plugins)
    });
    let (beasts, _dir, plugins) = caged.await.expect("the beasts are caged");
    assert!(beasts.len() >= 25, "{} beasts", beasts.len());
    // All at once: none may be spared because another is busy, and none may take what belongs to another.
    let mut meetings = JoinSet::new();
    for beast in beasts {
        let plugins = plugins.clone();
        meetings.spawn(async move {
            let ended = meet(&plugins, &beast).await;
            complaint(&beast, refusal(&plugins, beast.name), ended)
        });
    }
    let complaints: Vec<String> = meetings.join_all().await.into_iter().flatten().collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    let share = heart.share();
    println!("the heart beat {:.0} % of the time", share * 100.0);
    assert!(share > 0.1, "the host hardly came to itself: {share}");
}

#[test]
fn the_host_stays_small_whatever_the_beasts_do() {
    assert_passes(alone(
        "zoo::alone_the_beasts_leave_little_behind",
        &["exec"],
    ));
}

#[tokio::test]
#[ignore = "run in a process of its own by the_host_stays_small_whatever_the_beasts_do"]
async fn alone_the_beasts_leave_little_behind() {
    let beasts = keepers::all();
    let before = most_resident_kib();
    let (_dir, plugins) = cage(&beasts);
    for beast in &beasts {
        // How each one ends is told by the other test; here it only has to end.
        drop(meet(&plugins, beast).await);
    }
    let grown = (most_resident_kib() - before) >> 10;
    println!("grew by {grown} MiB");
    // A guest's 160 MiB, the 16 MiB it may leave with the host, the 64 MiB its journal may hold, the code of all of
    // them, and some on their way. What compiling takes is not among it: that is another process's.
    assert!(grown < 320, "the host grew by {grown} MiB");
}
