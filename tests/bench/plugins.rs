//! What a plugin call costs beside bare wasmtime, in one run: `cargo xtask bench plugins`.
//!
//! Touches: wasm, clock, files.
//! Change here: when a cost of plugins gets a target, or a target changes. Each row says what it measured, and on what.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use changebus::outside::wasm::{Limits, PluginKind, Plugins};
use changebus_tests::beasts::stamped;
use changebus_tests::desk::{Books, Reply, field, task};
use changebus_tests::guests::{self, guest_dir};
use changebus_tests::tables::{self, Row};
use serde_json::json;
use tokio::task::JoinSet;

mod bare;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let work = tempfile::tempdir().expect("a directory");
    let cache = work.path().join("cache");
    let rows = vec![
        activation(work.path(), &cache),
        runtime.block_on(scorer_call(&cache)),
        runtime.block_on(host_import(&cache)),
        runtime.block_on(suspended(&cache)),
        runtime.block_on(stall(&cache)),
    ];
    tables::tell(&tables::of_rows(
        "# Benchmarks of plugins",
        "cargo xtask bench plugins",
        &rows,
    ));
}

fn load(dir: &Path, cache: &Path, limits: Limits) -> Plugins {
    let plugins = guests::load(&[dir.to_owned()], cache, limits);
    assert!(
        plugins
            .list()
            .iter()
            .any(|info| info.kind == PluginKind::Scorer),
        "no scorer is loaded: {:?}",
        plugins.problems()
    );
    plugins
}

/// The middle of what was measured, in microseconds.
fn median(mut all: Vec<Duration>) -> f64 {
    all.sort();
    all[all.len() / 2].as_secs_f64() * 1e6
}

/// A directory of one file and one of many, both compiled before: the difference is the files'.
fn activation(work: &Path, cache: &Path) -> Row {
    const FILES: usize = 41;
    const ROUNDS: usize = 9;
    let lay = |name: &str, files: usize| -> PathBuf {
        let dir = work.join(name);
        std::fs::create_dir_all(&dir).expect("a directory");
        for n in 0..files {
            let file = stamped("moody-scorer", &json!({ "do": "score", "n": n }));
            std::fs::write(dir.join(format!("f{n}.wasm")), file).expect("it is written");
        }
        dir
    };
    let (one, many) = (lay("one", 1), lay("many", FILES));
    let time = |dir: &Path, files: usize| {
        let started = Instant::now();
        let plugins = load(dir, cache, Limits::default());
        let taken = started.elapsed();
        assert_eq!(plugins.list().len(), files, "{:?}", plugins.problems());
        taken
    };
    time(&many, FILES);
    let (mut few, mut lots) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        few.push(time(&one, 1));
        lots.push(time(&many, FILES));
    }
    let each = (median(lots) - median(few)) / (FILES - 1) as f64 / 1000.0;
    let size = stamped("moody-scorer", &json!({})).len() >> 10;
    Row {
        what: "activation of a plugin file that was compiled before".to_owned(),
        measured: format!("{each:.2} ms"),
        target: "at most 2 ms",
        holds: each <= 2.0,
        how: format!(
            "`Plugins::open` on {FILES} scorer files of {size} KiB less that of one, divided by {}; median of {ROUNDS}",
            FILES - 1
        ),
    }
}

async fn scorer_call(cache: &Path) -> Row {
    const CALLS: usize = 4_000;
    let plugins = load(&guest_dir(), cache, Limits::default());
    let plugin = plugins.reference(PluginKind::Scorer, "moody-scorer");
    let bare = bare::Bare::new(&guest_dir().join("moody-scorer.wasm"));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // In turns, so that whatever else the machine does falls on both.
    for _ in 0..CALLS {
        let asked = field("score");
        let started = Instant::now();
        let called = plugins.run_scorer(&plugin, asked).await;
        ours.push(started.elapsed());
        assert!(called.answer.is_ok_and(|scores| scores.len() == 2));
        let asked = field("score");
        let started = Instant::now();
        let scored = bare.score(asked);
        theirs.push(started.elapsed());
        assert_eq!(scored, 2);
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let ratio = ours / theirs;
    Row {
        what: "scorer call, fresh store and instance included, beside bare wasmtime".to_owned(),
        measured: format!("{ratio:.1} times ({ours:.0} µs beside {theirs:.0} µs)"),
        target: "at most 3 times",
        holds: ratio <= 3.0,
        how: format!(
            "`Plugins::run_scorer` with limits, grants, ledger and journal, beside the same component on a pooled \
             engine with nothing of these, both scoring the same two contenders; median of {CALLS} calls in turns"
        ),
    }
}

async fn host_import(cache: &Path) -> Row {
    const FEW: u64 = 1_000;
    const MANY: u64 = 101_000;
    const ROUNDS: usize = 15;
    let plugins = load(&guest_dir(), cache, Limits::default());
    let plugin = plugins.reference(PluginKind::Strategy, "moody-strategy");
    let books = Arc::new(Books::default());
    let (mut few, mut many) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (times, all) in [(FEW, &mut few), (MANY, &mut many)] {
            let task = task(json!({ "do": "getters", "times": times }), &books);
            let started = Instant::now();
            let called = plugins.run_strategy(&plugin, task).await;
            all.push(started.elapsed());
            called.answer.expect("it answers");
        }
    }
    let each = (median(many) - median(few)) / (MANY - FEW) as f64;
    Row {
        what: "one host import".to_owned(),
        measured: format!("{each:.2} µs"),
        target: "at most 1 µs",
        holds: each <= 1.0,
        how: format!(
            "`clock.now-ms` called {MANY} times less {FEW} times in one strategy, counted, granted and journaled; \
             median of {ROUNDS}"
        ),
    }
}

async fn suspended(cache: &Path) -> Row {
    const STRATEGIES: usize = 1_000;
    let limits = Limits {
        strategies_at_once: STRATEGIES,
        ..Limits::default()
    };
    let plugins = load(&guest_dir(), cache, limits);
    let plugin = plugins.reference(PluginKind::Strategy, "moody-strategy");
    let books = Books::that(Reply::Never);
    let mut asking = JoinSet::new();
    let mut ask = |strategies: usize| {
        for _ in 0..strategies {
            let (plugins, plugin) = (plugins.clone(), plugin.clone());
            let task = task(json!({ "do": "ask" }), &books);
            asking.spawn(async move { plugins.run_strategy(&plugin, task).await.ended() });
        }
    };
    let all_ask = async |strategies: usize| {
        while books.asked.lock().expect("no call panics").len() < strategies {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    // What the first one sets up is not each one's.
    ask(1);
    all_ask(1).await;
    let before = Memory::now();
    let started = Instant::now();
    ask(STRATEGIES - 1);
    all_ask(STRATEGIES).await;
    let reached = started.elapsed().as_millis();
    let after = Memory::now();
    let each = |before: u64, after: u64| (after - before) as f64 / (STRATEGIES - 1) as f64;
    let (taken, mapped) = (
        each(before.taken_kib, after.taken_kib),
        each(before.mapped_kib, after.mapped_kib),
    );
    Row {
        what: format!("each of {STRATEGIES} strategies suspended in a model call"),
        measured: format!("{taken:.1} KiB"),
        target: "at most 64 KiB",
        holds: taken <= 64.0,
        how: format!(
            "growth of the memory the process takes (`Pss`), all of them waiting {reached} ms after the first was asked \
             for; the resident set (`Rss`) grows by {mapped:.1} KiB each, since it counts a page of the guest's \
             initial memory, which all of them share, once for each"
        ),
    }
}

/// What this process has in memory, in KiB.
struct Memory {
    /// A page that is mapped at several places counts once.
    taken_kib: u64,
    /// It counts at each of them.
    mapped_kib: u64,
}

impl Memory {
    fn now() -> Memory {
        let text = std::fs::read_to_string("/proc/self/smaps_rollup").expect("Linux");
        let kib = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
            kib.unwrap_or_else(|| panic!("{name} is not told"))
        };
        Memory {
            taken_kib: kib("Pss:"),
            mapped_kib: kib("Rss:"),
        }
    }
}

/// One thread for guests, one for the host: what waits longest while a guest spins?
async fn stall(cache: &Path) -> Row {
    const LOOK: Duration = Duration::from_secs(5);
    let limits = Limits {
        threads: 1,
        ..Limits::default()
    };
    let plugins = load(&guest_dir(), cache, limits);
    let spinner = plugins.reference(PluginKind::Strategy, "moody-strategy");
    let judge = plugins.reference(PluginKind::Scorer, "moody-scorer");
    let mut spinning = JoinSet::new();
    let (house, spin) = (
        plugins.clone(),
        task(json!({ "do": "loop" }), &Arc::default()),
    );
    spinning.spawn(async move { house.run_strategy(&spinner, spin).await.ended() });
    let mut beating = JoinSet::new();
    beating.spawn(async {
        let (mut worst, until) = (Duration::ZERO, Instant::now() + LOOK);
        while Instant::now() < until {
            let lain_down = Instant::now();
            tokio::time::sleep(Duration::from_millis(1)).await;
            worst = worst.max(lain_down.elapsed() - Duration::from_millis(1));
        }
        worst
    });
    let (mut worst, mut calls, until) = (Duration::ZERO, 0, Instant::now() + LOOK);
    while Instant::now() < until {
        let started = Instant::now();
        let called = plugins.run_scorer(&judge, field("score")).await;
        worst = worst.max(started.elapsed());
        assert!(called.answer.is_ok());
        calls += 1;
    }
    let host = beating
        .join_next()
        .await
        .and_then(Result::ok)
        .expect("the heart beats to its end");
    assert!(
        spinning.try_join_next().is_none(),
        "the guest has to spin all the time"
    );
    let most = worst.max(host);
    Row {
        what: "worst stall of another task beside a spinning guest on one worker".to_owned(),
        measured: format!("{:.0} ms", most.as_secs_f64() * 1000.0),
        target: "at most 50 ms",
        holds: most <= Duration::from_millis(50),
        how: format!(
            "slowest of {calls} scorer calls on the guest's own thread ({:.1} ms), and the latest waking of a task of the \
             host ({:.1} ms), over {} s",
            worst.as_secs_f64() * 1000.0,
            host.as_secs_f64() * 1000.0,
            LOOK.as_secs()
        ),
    }
}
