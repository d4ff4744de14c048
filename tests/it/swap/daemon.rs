//! A whole daemon that holds one tournament after another while the plugin that decides is replaced.
//!
//! Touches: files, processes, git, sqlite, clock.
//! Change here: when a record should tell more of the plugins behind a verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use changebus::event::{CallRole, Ended, Event, Fact, RunStatus};
use changebus::outside::wasm::View;
use changebus_tests::guests::{guest_dir, plugin_dir};
use changebus_tests::shop;
use changebus_tests::world::{Daemon, World};
use scripted_claude::{Reply, Script};
use tokio::task::JoinSet;

use super::{digest_of, files_kept, replacements, says, version};
use crate::registry::Place;

const FIX: &str = "{ do = \"hand-in\", edits = [{ edit = \"replace\", path = \"shop.py\", \
    search = \"return price + off\", replacement = \"return price - off\" }] }";
/// What the daemon may have grown by, in MiB.
const GROWTH: u64 = 64;

#[tokio::test(flavor = "multi_thread")]
async fn tournaments_go_on_while_the_plugin_that_decides_is_replaced() {
    let swaps = replacements(40);
    let place = Arc::new(Place::new());
    place.put("gate.wasm", &version(1));
    let world = world(&place).await;
    shop::open(&world);
    let daemon = world.daemon();
    let look = |events: &[Event]| {
        let adopted = |e: &Event| matches!(&e.fact, Fact::Watched { .. });
        events.iter().any(adopted)
    };
    world.until("the first tip is adopted", look).await;

    let swapping = swapping(Arc::clone(&place), swaps, world.state(), daemon.0.id());
    let mut swapping = JoinSet::from_iter([swapping]);
    let mut runs = 0;
    let swapped = loop {
        runs += 1;
        tournament(&world, runs).await;
        if let Some(swapped) = swapping.try_join_next() {
            break swapped.expect("every replacement took effect");
        }
    };
    let kept = files_kept(&world.state());
    drop::<Daemon>(daemon);
    let versions = audit(&world.events().await);
    println!(
        "{swaps} replacements, the slowest active after {:?}; {runs} tournaments of {versions} versions; the daemon has \
         {} MiB more than after the first quarter; {kept} files are kept",
        swapped.slowest, swapped.grown
    );
    assert!(versions > 1, "every run had the same version");
    assert!(
        swapped.grown < GROWTH,
        "the daemon grew by {} MiB",
        swapped.grown
    );
    // The last 64 of the one that is replaced, and the other plugins.
    let most = 64 + active(&world);
    assert!(kept <= most, "{kept} files are kept, at most {most}");
}

async fn world(place: &Place) -> World {
    let mut world = World::new(Script::from_fn(|_| Reply::text("Nobody asks me."))).await;
    world.plugins(&[place.dir.path().to_owned(), plugin_dir(), guest_dir()]);
    world.policy(
        "min_confidence = 0.5\nescalation = \"gate\"\nescalation_config = { do = \"merge\" }",
    );
    world.variants(&[("mended", "moody-strategy", FIX)]);
    world
}

/// Breaks the branch in a way of its own and waits until it is healed.
async fn tournament(world: &World, number: usize) {
    world.git(&["fetch", "--quiet", "origin", "main"]);
    world.git(&["reset", "--quiet", "--hard", "FETCH_HEAD"]);
    let note = format!("N = {number}\n");
    let head = world.push(
        "Break it",
        &[(shop::SOURCE, Some(shop::BAD)), ("note.py", Some(&note))],
    );
    let over = |events: &[Event]| {
        let mut seen = events.iter();
        let seen =
            seen.find(|e| matches!(&e.fact, Fact::ChangeSeen { change } if change.head.0 == head));
        let Some(seen) = seen else { return false };
        let status = events.iter().find_map(|e| match e.fact {
            Fact::RunClosed { status } if e.run == seen.run => Some(status),
            _ => None,
        });
        assert!(
            status.is_none_or(|status| status == RunStatus::Fixed),
            "run {number}: {status:?}"
        );
        status.is_some()
    };
    world.until("the branch is healed", over).await;
}

struct Swapped {
    slowest: Duration,
    /// MiB that the daemon has more than after a quarter of the replacements.
    grown: u64,
}

/// Puts one version after another into the daemon's directory, each once the one before is active.
async fn swapping(place: Arc<Place>, swaps: u32, state: PathBuf, daemon: u32) -> Swapped {
    let active = state.join("plugins/active.json");
    let (mut slowest, mut warm) = (Duration::ZERO, 0);
    for number in 2..swaps + 2 {
        let bytes = version(number);
        place.swap("gate.wasm", &bytes);
        let (swapped, digest) = (Instant::now(), digest_of(&bytes));
        while !is_active(&active, &digest) {
            assert!(
                swapped.elapsed() < Duration::from_secs(60),
                "version {number} is not active after a minute"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        slowest = slowest.max(swapped.elapsed());
        if number == swaps / 4 {
            warm = resident_kib(daemon);
        }
    }
    let grown = resident_kib(daemon).saturating_sub(warm) >> 10;
    Swapped { slowest, grown }
}

fn is_active(view: &Path, digest: &str) -> bool {
    let Ok(bytes) = std::fs::read(view) else {
        return false;
    };
    let view: View = serde_json::from_slice(&bytes).expect("it is never half written");
    view.active.iter().any(|one| one.info.digest == digest)
}

fn active(world: &World) -> usize {
    let view = std::fs::read(world.state().join("plugins/active.json"));
    let view: View = serde_json::from_slice(&view.expect("it is there")).expect("it can be read");
    view.active.len()
}

fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"));
    let status = status.expect("the daemon lives");
    super::resident(&status)
}

/// Holds every record against what its run was pinned to; how many versions decided something.
fn audit(events: &[Event]) -> usize {
    let mut pinned = BTreeMap::new();
    let mut decided = BTreeSet::new();
    let words = words(events);
    for event in events {
        match &event.fact {
            Fact::TournamentOpened { opening } => {
                pinned.insert(event.run.clone(), opening.escalation.clone());
            }
            Fact::PluginCalled { call } => {
                assert_eq!(call.ended, Ended::Answered, "{:?}: {call:?}", event.run);
                if call.role == CallRole::Escalation {
                    assert_eq!(call.plugin, pinned[&event.run], "{:?}", event.run);
                }
            }
            Fact::Advised { advice } => {
                let advice = advice.as_ref().expect("no call fails");
                let digest = &pinned[&event.run].digest;
                assert_eq!(advice.reasons[0].1, words[digest], "{:?}", event.run);
                decided.insert(digest.clone());
            }
            Fact::StageFailed { .. } => panic!("a stage failed: {:?}", event.fact),
            _ => {}
        }
    }
    decided.len()
}

/// What each version that a run was pinned to has to say.
fn words(events: &[Event]) -> BTreeMap<String, String> {
    let wanted: BTreeSet<&String> = events
        .iter()
        .filter_map(|e| match &e.fact {
            Fact::TournamentOpened { opening } => Some(&opening.escalation.digest),
            _ => None,
        })
        .collect();
    let all = (1..).map(|number| (digest_of(&version(number)), says(number)));
    let known = all.filter(|(digest, _)| wanted.contains(digest));
    known.take(wanted.len()).collect()
}
