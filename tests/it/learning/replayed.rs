//! Many made-up runs told in a random order: what is learned while they come in is what is learned from all of them at once,
//! and what they truly came to.
//!
//! Touches: files, sqlite, clock.
//! Change here: when something else is learned from runs (`tests/support/lived.rs` makes them up).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use changebus::event::{Event, Fact, RunId};
use changebus::outside::store::Store;
use changebus::rules::learn::stats::{self, Counted, Standing, Stats};
use changebus_tests::lived::{self, Lived, Truth, Variant};
use fastrand::Rng;
use jiff::Timestamp;
use rusqlite::Connection;

const RUNS: usize = 160;
/// So many runs are this host's own, of all.
const OWN: f64 = 0.3;
/// On their way into the log at a time.
const TOGETHER: usize = 100;

/// How one event comes into the log.
enum Step {
    /// This host states it.
    Stated {
        project: String,
        run: RunId,
        fact: Box<Fact>,
    },
    /// It comes from elsewhere.
    Told(Box<Event>),
}

/// What other hosts state comes late and in any order, now and then much too late; what this one states, when it does.
fn out_of_order(runs: &[Lived], rng: &mut Rng) -> Vec<Step> {
    let mut steps: Vec<(usize, Step)> = vec![];
    for run in runs {
        let one_tenure = run.events.iter().all(|e| e.epoch <= 1);
        let own = one_tenure && rng.f64() < OWN;
        for event in &run.events {
            let now = steps.len();
            steps.push(match &event.run {
                Some(run) if own => {
                    let step = Step::Stated {
                        project: event.project.clone(),
                        run: run.clone(),
                        fact: Box::new(without_journal(&event.fact)),
                    };
                    (now, step)
                }
                _ => {
                    let late = match rng.f64() {
                        ..0.7 => rng.usize(0..40),
                        ..0.95 => rng.usize(0..1000),
                        _ => rng.usize(0..10_000),
                    };
                    // What is said of a run may even come before it.
                    let early = rng.usize(0..200);
                    let when = (now + late).saturating_sub(early);
                    (when, Step::Told(Box::new(event.clone())))
                }
            });
        }
    }
    steps.sort_by_key(|(when, _)| *when);
    steps.into_iter().map(|(_, step)| step).collect()
}

/// A host has the journals of its own calls, and these were never made.
fn without_journal(fact: &Fact) -> Fact {
    let mut fact = fact.clone();
    if let Fact::PluginCalled { call } = &mut fact {
        call.journal = None;
    }
    fact
}

async fn tell(store: &Store, steps: Vec<Step>) {
    let mut steps = steps.into_iter();
    loop {
        let some = steps.by_ref().take(TOGETHER);
        // Each is on its way when the next one is asked for, so they keep their order.
        let told = futures::future::join_all(some.map(|step| take(store, step))).await;
        if told.is_empty() {
            return;
        }
        assert!(told.iter().all(|new| *new), "each was told once");
    }
}

async fn take(store: &Store, step: Step) -> bool {
    match step {
        Step::Stated { project, run, fact } => {
            let kept = store.append(&project, Some(&run), *fact).await;
            kept.expect("it is kept").seq > 0
        }
        Step::Told(event) => {
            let kept = store.import(*event).await;
            kept.expect("it is kept").is_some()
        }
    }
}

async fn figures(store: &Store, now: Timestamp) -> Stats {
    let (results, attempts) = store
        .results(None, Timestamp::UNIX_EPOCH)
        .await
        .expect("the log can be read");
    stats::of(&results, &attempts, now)
}

/// Field by field, so that a difference says where it is.
fn same(one: &Stats, other: &Stats, what: &str) {
    let fields = |stats| match serde_json::to_value(stats) {
        Ok(serde_json::Value::Object(fields)) => fields,
        other => panic!("figures are an object: {other:?}"),
    };
    let (one, other) = (fields(one), fields(other));
    assert_eq!(one.len(), other.len());
    for (name, value) in &one {
        assert_eq!(Some(value), other.get(name), "{name}, {what}");
    }
}

/// Every row of every table that is derived, to the last bit.
fn derived(log: &Path) -> BTreeMap<String, Vec<String>> {
    const KEPT: [&str; 7] = [
        "events",
        "cursors",
        "journals",
        "outbox",
        "dead",
        "notes",
        "replacing",
    ];
    let connection = Connection::open(log).expect("it opens");
    let list = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).expect("it is SQL");
        let rows = statement.query_map([], |row| row.get(0));
        rows.and_then(Iterator::collect).expect("it can be read")
    };
    let tables = list("SELECT name FROM sqlite_schema WHERE type = 'table'");
    let derived = tables
        .into_iter()
        .filter(|table| !KEPT.contains(&table.as_str()));
    derived
        .map(|table| {
            let columns = list(&format!(
                "SELECT 'quote(' || name || ')' FROM pragma_table_info('{table}')"
            ));
            let each = columns.join(" || ',' || ");
            let rows = list(&format!("SELECT {each} FROM {table} ORDER BY 1"));
            (table, rows)
        })
        .collect()
}

/// What came of some of the runs, by whatever they are told apart.
#[derive(Debug, Default, PartialEq)]
struct Tally {
    proposed: (usize, usize),
    clean: (usize, usize),
    won: (usize, usize),
    survived: usize,
    reverted: usize,
    cents: i64,
}

impl Tally {
    fn of(standing: &Standing) -> Tally {
        let pair = |counted: Counted| (counted.count, counted.of);
        Tally {
            proposed: pair(standing.proposed),
            clean: pair(standing.clean),
            won: pair(standing.won),
            survived: standing.survived,
            reverted: standing.reverted,
            cents: cents(standing.cost_usd),
        }
    }

    fn count(&mut self, variant: &Variant, truth: &Truth) {
        let add = |pair: &mut (usize, usize), is: bool, of: bool| {
            pair.0 += usize::from(is);
            pair.1 += usize::from(of);
        };
        let lasted = |fate| usize::from(variant.won && truth.fate == Some(fate));
        add(&mut self.proposed, variant.proposed, true);
        add(&mut self.clean, variant.clean, variant.proposed);
        let decided = truth.variants.iter().any(|v| v.won);
        add(&mut self.won, variant.won, decided);
        self.survived += lasted("survived");
        self.reverted += lasted("reverted");
        self.cents += i64::from(variant.cents);
    }
}

fn cents(usd: f64) -> i64 {
    (usd * 100.0).round() as i64
}

fn tallies(
    truths: &[&Truth],
    name: impl Fn(&Truth, &Variant) -> Option<String>,
) -> BTreeMap<String, Tally> {
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for truth in truths {
        for variant in &truth.variants {
            if let Some(name) = name(truth, variant) {
                tallies.entry(name).or_default().count(variant, truth);
            }
        }
    }
    tallies
}

fn say_what_was(stats: &Stats, truths: &[&Truth]) {
    let count = |is: &dyn Fn(&Truth) -> bool| truths.iter().filter(|t| is(t)).count();
    let real = count(&|t| t.found == "real");
    let flaky = count(&|t| t.found == "flaky");
    let how = |how| count(&|t| t.how == how);
    let fate = |fate| count(&|t| t.how == "merged" && t.fate == Some(fate));
    let aged = fate("survived") + fate("reverted");
    let counted = |c: Counted| (c.count, c.of);
    assert_eq!(stats.failures, real);
    assert_eq!(counted(stats.auto_resolved), (how("merged"), real));
    assert_eq!(counted(stats.escalated), (how("escalated"), real));
    assert_eq!(counted(stats.flaky), (flaky, real + flaky));
    assert_eq!(counted(stats.survived), (fate("survived"), aged));
    assert_eq!(counted(stats.reverted), (fate("reverted"), aged));
    let all: u32 = truths
        .iter()
        .flat_map(|t| &t.variants)
        .map(|v| v.cents)
        .sum();
    assert_eq!(cents(stats.cost_usd), i64::from(all));
    type Name = fn(&Truth, &Variant) -> Option<String>;
    let kinds: [(&[Standing], Name); 6] = [
        (&stats.variants, |_, v| Some(v.name.to_owned())),
        (&stats.strategies, |_, v| Some(v.strategy.to_owned())),
        (&stats.models, |_, v| v.model.map(str::to_owned)),
        (&stats.classes, |t, _| Some(t.class.to_owned())),
        (&stats.languages, |t, _| Some(t.language.to_owned())),
        (&stats.projects, |t, _| Some(t.project.clone())),
    ];
    for (standings, name) in kinds {
        let told = standings.iter().map(|s| (s.name.clone(), Tally::of(s)));
        assert_eq!(told.collect::<BTreeMap<_, _>>(), tallies(truths, name));
    }
}

/// Nothing that the figures are made of may be missing from what is told.
fn is_varied(truths: &[&Truth]) {
    let seen = |of: fn(&Truth) -> Option<&'static str>| -> BTreeSet<&str> {
        truths.iter().filter_map(|t| of(t)).collect()
    };
    let fates = [
        "edited",
        "merged",
        "overridden",
        "reverted",
        "survived",
        "unmerged",
    ];
    assert_eq!(seen(|t| t.fate), BTreeSet::from(fates));
    let ways = ["", "approved", "escalated", "merged", "proposed"];
    assert_eq!(seen(|t| Some(t.how)), BTreeSet::from(ways));
    assert_eq!(
        seen(|t| Some(t.found)),
        BTreeSet::from(["flaky", "green", "real"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_learned_bit_by_bit_is_what_all_events_say_in_whatever_order_they_came() {
    let now: Timestamp = "2027-01-15T00:00:00Z".parse().expect("a time");
    for seed in 1..=2 {
        let runs: Vec<Lived> = lived::runs(seed, RUNS).collect();
        let truths: Vec<&Truth> = runs.iter().map(|run| &run.truth).collect();
        is_varied(&truths);
        for order in 0..2 {
            let dir = tempfile::tempdir().expect("a temporary directory can be made");
            let log = dir.path().join("events.sqlite");
            let store = Store::open(&log).expect("a log");
            let mut rng = Rng::with_seed(seed * 10 + order);
            tell(&store, out_of_order(&runs, &mut rng)).await;

            let (kept, tables) = (figures(&store, now).await, derived(&log));
            store.rebuild().await.expect("it can be made anew");
            same(&kept, &figures(&store, now).await, "made anew");
            let again = derived(&log);
            assert!(tables.keys().eq(again.keys()));
            for (table, rows) in &tables {
                assert_eq!(*rows, again[table], "{table}, seed {seed}, order {order}");
            }
            assert!(tables["results"].len() > RUNS / 2 && tables["heats"].len() > RUNS);
            let examined = store.examine().await.expect("it can be looked over");
            assert!(examined.flaws.is_empty(), "{:?}", examined.flaws);
            say_what_was(&kept, &truths);
        }
    }
}
