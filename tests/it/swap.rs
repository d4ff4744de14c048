//! Plugins that come, change and go while others run: what takes effect, and what a run keeps.
//!
//! Touches: wasm, files, clock.
//! Change here: when plugins should be replaced otherwise.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use changebus::event::{PluginFailure, PluginRef};
use changebus::outside::wasm::{PluginKind, Plugins, Setup, Step, View};
use changebus_tests::guests::{guest, manifest, stamp};
use sha2::{Digest, Sha256};

use crate::plugins::{alone, assert_passes};
use crate::registry::{Place, open};
use changebus_tests::desk::field;

mod daemon;

/// How often a plugin is replaced: so often in an ordinary test run, as often as it is told by
/// `cargo xtask bench swap`.
fn replacements(usually: u32) -> u32 {
    let told = std::env::var("CHANGEBUS_SWAPS").ok();
    told.map_or(usually, |told| {
        told.parse()
            .unwrap_or_else(|e| panic!("CHANGEBUS_SWAPS={told}: {e}"))
    })
}

/// Waits until it holds; a story that takes longer than this has come to a halt.
pub fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An escalation plugin that says which version it is in every answer, and no other byte of which is the same.
fn version(number: u32) -> Vec<u8> {
    const SAYS: &[u8] = b"I was told so";
    let mut bytes = guest("moody-escalation");
    let at = bytes.windows(SAYS.len()).position(|one| one == SAYS);
    let at = at.expect("the guest says so");
    bytes[at..at + SAYS.len()].copy_from_slice(says(number).as_bytes());
    stamp(
        &bytes,
        &manifest("escalation", &format!("1.0.{number}"), &[]),
    )
}

fn says(number: u32) -> String {
    format!("version {number:05}")
}

fn gate(plugins: &Plugins) -> PluginRef {
    plugins.reference(PluginKind::Escalation, "gate")
}

/// What the plugin says it is.
async fn heard(plugins: &Plugins, gate: &PluginRef) -> Result<String, PluginFailure> {
    let advice = plugins.run_escalation(gate, field("human")).await.answer?;
    Ok(advice.reasons[0].1.clone())
}

fn version_of(plugins: &Plugins) -> Option<String> {
    let list = plugins.list();
    let manifest = list.first()?.manifest.as_ref()?;
    Some(manifest.version.clone())
}

/// A place whose plugins are watched, with version 1 in it.
fn watched() -> (Place, Plugins) {
    let place = Place::new();
    place.put("gate.wasm", &version(1));
    let plugins = open(place.setup());
    plugins.watch().expect("it watches");
    (place, plugins)
}

#[tokio::test]
async fn a_file_dropped_into_a_directory_that_was_not_there_is_active_within_a_second_or_so() {
    let place = Place::new();
    let later = place.path("later");
    let plugins = open(Setup {
        dirs: vec![later.clone()],
        ..place.setup()
    });
    assert_eq!((plugins.list(), plugins.problems()), (vec![], vec![]));
    plugins.watch().expect("it watches");
    std::fs::create_dir(&later).expect("it is made");
    std::fs::write(later.join("gate.wasm"), version(1)).expect("it is written");
    let dropped = Instant::now();
    until("it is active", || !plugins.list().is_empty());
    println!("active after {:?}", dropped.elapsed());
    assert_eq!(heard(&plugins, &gate(&plugins)).await, Ok(says(1)));
}

#[tokio::test]
async fn a_replaced_file_takes_effect_and_a_run_keeps_what_it_began_with() {
    let (place, plugins) = watched();
    let begun = gate(&plugins);
    // Over the old file, then in its place.
    place.swap("gate.wasm", &version(2));
    until("version 2", || {
        version_of(&plugins).as_deref() == Some("1.0.2")
    });
    assert_eq!(heard(&plugins, &gate(&plugins)).await, Ok(says(2)));
    place.put("gate.wasm", &version(3));
    until("version 3", || {
        version_of(&plugins).as_deref() == Some("1.0.3")
    });
    assert_eq!(heard(&plugins, &gate(&plugins)).await, Ok(says(3)));
    assert_eq!(heard(&plugins, &begun).await, Ok(says(1)));
    assert!(plugins.has(&begun));
}

#[tokio::test]
async fn a_removed_file_is_off_the_shelf_and_a_run_keeps_it() {
    let (place, plugins) = watched();
    let begun = gate(&plugins);
    std::fs::remove_file(place.path("gate.wasm")).expect("it is removed");
    until("it is gone", || plugins.list().is_empty());
    assert_eq!(gate(&plugins).digest, "");
    assert_eq!(heard(&plugins, &begun).await, Ok(says(1)));
}

#[tokio::test]
async fn a_broken_replacement_leaves_the_old_one_in_place_and_says_why() {
    let (place, plugins) = watched();
    let begun = gate(&plugins);
    let good = version(2);
    let broken: [(&[u8], Step); 3] = [
        (b"hello", Step::Kind),
        (&good[..good.len() / 2], Step::Kind),
        (&guest("greedy-scorer"), Step::Imports),
    ];
    for (bytes, step) in broken {
        place.swap("gate.wasm", bytes);
        until("it is refused", || {
            plugins
                .problems()
                .iter()
                .any(|problem| problem.step == step)
        });
        assert_eq!(gate(&plugins), begun);
        assert_eq!(heard(&plugins, &gate(&plugins)).await, Ok(says(1)));
        place.swap("gate.wasm", &version(1));
        until("the problem is gone", || plugins.problems().is_empty());
    }
}

#[tokio::test]
async fn a_file_written_in_two_halves_becomes_active_once_it_is_whole() {
    let (place, plugins) = watched();
    let bytes = version(2);
    let half = bytes.len() / 2;
    place.put("gate.wasm", &bytes[..half]);
    until("the half is refused", || {
        let problems = plugins.problems();
        problems
            .iter()
            .any(|problem| problem.why.contains("is torn"))
    });
    assert_eq!(heard(&plugins, &gate(&plugins)).await, Ok(says(1)));
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(place.path("gate.wasm"))
        .expect("it is there");
    std::io::Write::write_all(&mut file, &bytes[half..]).expect("it is written");
    until("it is whole", || {
        version_of(&plugins).as_deref() == Some("1.0.2")
    });
    assert_eq!(plugins.problems(), []);
}

#[tokio::test]
async fn after_a_restart_a_run_still_has_the_bytes_it_is_pinned_to() {
    let (place, plugins) = watched();
    let begun = gate(&plugins);
    drop(plugins);
    place.put("gate.wasm", &version(2));
    let plugins = open(place.setup());
    assert_eq!(heard(&plugins, &gate(&plugins)).await, Ok(says(2)));
    assert_eq!(heard(&plugins, &begun).await, Ok(says(1)));
    // What was changed where it is kept is not what the run is pinned to.
    let kept = place
        .state
        .path()
        .join(format!("plugins/{}.wasm", begun.digest));
    std::fs::write(kept, version(3)).expect("it is written");
    let plugins = open(Setup {
        records: false,
        ..place.setup()
    });
    let failure = heard(&plugins, &begun).await.expect_err("it is forged");
    assert!(
        failure.why.contains("is pinned to the file with digest"),
        "{failure}"
    );
}

#[test]
fn what_is_active_is_written_down_for_the_command_line() {
    let (place, plugins) = watched();
    let file = place.state.path().join("plugins/active.json");
    let written = || {
        let bytes = std::fs::read(&file).ok()?;
        Some(serde_json::from_slice::<View>(&bytes).expect("it is never half written"))
    };
    until("the view is there", || written() == Some(plugins.view()));
    place.put("other.wasm", b"hello");
    until("the view follows", || {
        written().is_some_and(|view| view.problems.len() == 1)
    });
    assert_eq!(written(), Some(plugins.view()));
}

#[test]
fn replacing_a_plugin_under_load_fails_no_call_and_mixes_no_versions() {
    assert_passes(alone("swap::alone_replacements_under_load", &["exec"]));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run in a process of its own by replacing_a_plugin_under_load_fails_no_call_and_mixes_no_versions"]
async fn alone_replacements_under_load() {
    let replacements = replacements(80);
    let (place, plugins) = watched();
    // What each digest must say.
    let truth = Arc::new(Mutex::new(BTreeMap::from([(
        gate(&plugins).digest,
        says(1),
    )])));
    let (stop, runs) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let tournaments: Vec<_> = (0..4)
        .map(|_| {
            let (plugins, truth) = (plugins.clone(), Arc::clone(&truth));
            let (stop, runs) = (Arc::clone(&stop), Arc::clone(&runs));
            tokio::spawn(async move {
                let mut versions = std::collections::BTreeSet::new();
                while !stop.load(Ordering::Relaxed) {
                    let pinned = gate(&plugins);
                    for _ in 0..3 {
                        let heard = heard(&plugins, &pinned).await.expect("no call fails");
                        let wanted = truth.lock().expect("no panic")[&pinned.digest].clone();
                        assert_eq!(heard, wanted, "the run is pinned to {}", pinned.digest);
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    versions.insert(pinned.digest);
                    runs.fetch_add(1, Ordering::Relaxed);
                }
                versions.len()
            })
        })
        .collect();
    let (mut warm, mut slowest) = (0, Duration::ZERO);
    let started = Instant::now();
    for number in 2..replacements + 2 {
        let bytes = version(number);
        let digest = digest_of(&bytes);
        truth
            .lock()
            .expect("no panic")
            .insert(digest.clone(), says(number));
        place.swap("gate.wasm", &bytes);
        let swapped = Instant::now();
        while gate(&plugins).digest != digest {
            assert!(
                swapped.elapsed() < Duration::from_secs(60),
                "{:?}",
                plugins.problems()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        slowest = slowest.max(swapped.elapsed());
        if number == replacements / 4 {
            warm = resident_kib();
        }
    }
    let took = started.elapsed();
    stop.store(true, Ordering::Relaxed);
    let mut seen = 0;
    for tournament in tournaments {
        seen = seen.max(
            tournament
                .await
                .expect("no call fails and no version is mixed"),
        );
    }
    let grown = resident_kib().saturating_sub(warm) >> 10;
    println!(
        "{replacements} replacements in {took:?}, the slowest {slowest:?}; {} runs of 3 calls, {seen} versions seen \
         by one task; {grown} MiB more than after the first quarter",
        runs.load(Ordering::Relaxed)
    );
    assert!(seen > 20, "only {seen} versions were seen");
    assert!(grown < 64, "the host grew by {grown} MiB");
    let kept = files_kept(place.state.path());
    assert!(kept <= 70, "old versions are forgotten");
    let problems = plugins.problems();
    assert_eq!(problems, []);
}

/// Files of plugins that are put by in a state directory.
fn files_kept(state: &Path) -> usize {
    let kept = std::fs::read_dir(state.join("plugins")).expect("it is there");
    let kept = kept.filter(|entry| {
        let path = entry.as_ref().expect("an entry").path();
        path.extension().is_some_and(|end| end == "wasm")
    });
    kept.count()
}

/// The digest these bytes will be known by.
fn digest_of(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What this process has in memory now, in KiB.
fn resident_kib() -> u64 {
    resident(&std::fs::read_to_string("/proc/self/status").expect("Linux"))
}

fn resident(status: &str) -> u64 {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("it is told");
    line.trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number")
}
