//! What becomes of fixes: how it is seen in git, what is made of it, and what comes of many.
//!
//! Touches: files, processes, git, http, sqlite, clock.
//! Change here: when people take fixes back in another way, or another figure is made of what became of them.

use std::collections::BTreeMap;
use std::path::Path;

use changebus::event::{Event, Fact, FixFate, Oid};
use changebus::outside::git::Mirror;
use changebus::rules::learn::outcome::Stands;
use changebus::stages::learn::seen;
use changebus_tests::shop;
use changebus_tests::world::{World, git};
use scripted_claude::{Reply, Script};

use crate::envelope::assert_well_told;

mod replayed;
mod simulated;
mod told;

/// What is to be seen of the fix at the end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Seen {
    NotIn,
    In,
    Edited,
    Out,
}

/// A repository in which something was broken, and a commit that mends it, which no branch has yet.
struct History {
    dir: tempfile::TempDir,
    fix: String,
}

const BEFORE: &str =
    "def pay(price, off=0):\n    cheaper = price - off\n    return max(0, cheaper)\n";
const BROKEN: &str =
    "def pay(price, off=0):\n    dearer = price + off\n    return max(0, dearer)\n";
const MENDED: &str =
    "def pay(price, off=0):\n    cheaper = price - off\n    return max(0, cheaper)\n";

impl History {
    fn new() -> History {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let mut history = History {
            dir,
            fix: String::new(),
        };
        history.git(&["init", "--quiet", "--initial-branch=main"]);
        history.write("other.py", "rest = 1\n");
        history.commit("shop.py", BEFORE, "Open the shop");
        history.commit("shop.py", BROKEN, "Rework discounts");
        history.git(&["checkout", "--quiet", "-b", "fix"]);
        history.commit("shop.py", MENDED, "Fix test_pay_less");
        history.fix = history.tip();
        history.git(&["checkout", "--quiet", "main"]);
        history
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn git(&self, args: &[&str]) {
        let output = git(self.path(), args);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {args:?}: {words}");
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path().join(file), text).expect("a file can be written");
        self.git(&["add", file]);
    }

    fn commit(&self, file: &str, text: &str, message: &str) {
        self.write(file, text);
        self.git(&["commit", "--quiet", "-m", message]);
    }

    fn tip(&self) -> String {
        let output = git(self.path(), &["rev-parse", "HEAD"]);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn land(&self) {
        self.git(&["merge", "--quiet", "--ff-only", "fix"]);
    }

    fn unrelated(&self) {
        self.commit("other.py", "rest = 2\n", "Change something else");
    }

    async fn seen(&self) -> Seen {
        let mirrored = tempfile::tempdir().expect("a temporary directory can be made");
        let url = self.path().display().to_string();
        let mirror = Mirror::open(&mirrored.path().join("m.git"), &url)
            .await
            .expect("it can be mirrored");
        let soon = std::time::Duration::from_secs(60);
        // What was offered is in the mirror, whether or not a branch has it.
        mirror.fetch("fix", soon).await.expect("it can be fetched");
        let tip = mirror.fetch("main", soon).await.expect("it can be fetched");
        let commits = [Oid(self.fix.clone())];
        let stands = seen(&mirror, &commits, &tip, &BTreeMap::new()).expect("history can be read");
        match stands[0].clone().expect("it can be seen") {
            Stands::NotIn => Seen::NotIn,
            Stands::In { .. } => Seen::In,
            Stands::Edited { .. } => Seen::Edited,
            Stands::Out { .. } => Seen::Out,
        }
    }
}

type Script_ = fn(&History);

/// What people do, and what is to be seen of it.
const HISTORIES: [(&str, Script_, Seen); 20] = [
    ("nothing", |_| {}, Seen::NotIn),
    ("landed", |h| h.land(), Seen::In),
    (
        "landed, and work goes on",
        |h| {
            h.land();
            h.unrelated();
        },
        Seen::In,
    ),
    (
        "git revert",
        |h| {
            h.land();
            h.git(&["revert", "--no-edit", "HEAD"]);
        },
        Seen::Out,
    ),
    (
        "git revert later",
        |h| {
            h.land();
            h.unrelated();
            h.git(&["revert", "--no-edit", "HEAD~1"]);
        },
        Seen::Out,
    ),
    (
        "reverted by hand",
        |h| {
            h.land();
            h.commit("shop.py", BROKEN, "Sell dear");
        },
        Seen::Out,
    ),
    (
        "reverted by hand among other work",
        |h| {
            h.land();
            h.write("other.py", "rest = 3\nmore = 4\n");
            h.commit("shop.py", BROKEN, "Prices of spring");
        },
        Seen::Out,
    ),
    (
        "revert of the revert",
        |h| {
            h.land();
            h.git(&["revert", "--no-edit", "HEAD"]);
            h.git(&["revert", "--no-edit", "HEAD"]);
        },
        Seen::In,
    ),
    (
        "brought again by hand",
        |h| {
            h.land();
            h.commit("shop.py", BROKEN, "Sell dear");
            h.commit("shop.py", MENDED, "Sell cheap");
        },
        Seen::In,
    ),
    (
        "force push without it",
        |h| {
            h.land();
            h.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
            h.unrelated();
        },
        Seen::NotIn,
    ),
    (
        "cherry-picked",
        |h| {
            h.unrelated();
            h.git(&["cherry-pick", "fix"]);
        },
        Seen::In,
    ),
    (
        "rebased by a force push",
        |h| {
            h.land();
            h.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
            h.unrelated();
            h.git(&["cherry-pick", "fix"]);
        },
        Seen::In,
    ),
    (
        "merged with a commit of its own",
        |h| {
            h.unrelated();
            h.git(&["merge", "--quiet", "--no-ff", "-m", "Merge the fix", "fix"]);
        },
        Seen::In,
    ),
    (
        "a merge that is reverted",
        |h| {
            h.unrelated();
            h.git(&["merge", "--quiet", "--no-ff", "-m", "Merge the fix", "fix"]);
            h.git(&["revert", "--no-edit", "-m", "1", "HEAD"]);
        },
        Seen::Out,
    ),
    (
        "squashed",
        |h| {
            h.unrelated();
            h.git(&["merge", "--quiet", "--squash", "fix"]);
            h.git(&["commit", "--quiet", "-m", "Mend discounts (#7)"]);
        },
        Seen::In,
    ),
    (
        "squashed, and reverted by hand",
        |h| {
            h.git(&["merge", "--quiet", "--squash", "fix"]);
            h.git(&["commit", "--quiet", "-m", "Mend discounts (#7)"]);
            h.commit("shop.py", BROKEN, "Sell dear");
        },
        Seen::Out,
    ),
    (
        "edited before it was merged",
        |h| {
            let text = MENDED.replace("return max(0, cheaper)", "return max(0, round(cheaper))");
            h.commit("shop.py", &text, "Mend discounts");
        },
        Seen::Edited,
    ),
    (
        "a hotfix in its place",
        |h| {
            h.land();
            let text = MENDED.replace("cheaper = price - off", "cheaper = price - min(off, price)");
            h.commit("shop.py", &text, "Hotfix: discounts above the price");
        },
        Seen::Out,
    ),
    (
        "something else mended it",
        |h| {
            let text = BROKEN.replace("price + off", "price + -1 * off");
            h.commit("shop.py", &text, "Discounts are negative");
        },
        Seen::NotIn,
    ),
    (
        "renamed by later work",
        |h| {
            h.land();
            let text = MENDED.replace("cheaper = ", "reduced = ");
            h.commit("shop.py", &text, "Call it reduced");
        },
        Seen::In,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_people_do_to_a_fix_is_recognised_in_git() {
    let mut wrong = vec![];
    for (name, script, expected) in HISTORIES {
        let history = History::new();
        script(&history);
        let seen = history.seen().await;
        if seen != expected {
            wrong.push(format!("{name}: {seen:?}, and not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ordinary_commits_of_a_real_repository_are_not_taken_for_reverts() {
    const COMMITS: usize = 200;
    // The real repository that is at hand is this one.
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let own = own
        .expect("the stories lie in the workspace")
        .display()
        .to_string();
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let copy = dir.path().join("copy");
    let cloned = git(
        dir.path(),
        &["clone", "--quiet", "--no-checkout", &own, "copy"],
    );
    assert!(
        cloned.status.success(),
        "{}",
        String::from_utf8_lossy(&cloned.stderr)
    );
    git(&copy, &["branch", "--force", "looked-at", "HEAD"]);
    let mirror = Mirror::open(&dir.path().join("m.git"), &copy.display().to_string())
        .await
        .expect("it can be mirrored");
    let soon = std::time::Duration::from_secs(120);
    let tip = mirror
        .fetch("looked-at", soon)
        .await
        .expect("it can be fetched");
    let log = git(&copy, &["rev-list", "--no-merges", "looked-at"]);
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    let newest: Vec<Oid> = log
        .lines()
        .take(COMMITS)
        .map(|id| Oid(id.to_owned()))
        .collect();
    assert_eq!(
        newest.len(),
        COMMITS,
        "the history of this project is not all here: `git fetch --unshallow`"
    );
    let stands = seen(&mirror, &newest, &tip, &BTreeMap::new()).expect("history can be read");
    let wrong: Vec<String> = newest
        .iter()
        .zip(&stands)
        .filter_map(|(commit, stands)| match stands {
            Some(Stands::Out { by, because }) => Some(format!("{commit} by {by}: {because}")),
            _ => None,
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let there = stands
        .iter()
        .filter(|s| matches!(s, Some(Stands::In { .. })))
        .count();
    assert!(
        there > COMMITS / 2,
        "{there} of {COMMITS} were found at all"
    );
}

fn fates(events: &[Event]) -> Vec<FixFate> {
    let fate = |e: &Event| match &e.fact {
        Fact::OutcomeObserved { outcome } => Some(outcome.fate),
        _ => None,
    };
    events.iter().filter_map(fate).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merged_fix_survives_and_is_reverted_and_the_figures_say_so() {
    let mut world = World::new(Script::from_fn(|_| Reply::text(shop::HONEST))).await;
    world.policy("min_confidence = 0.5\nreruns = 1");
    world.variants(&[("A", "minimal-fix", "{ probe = false }")]);
    world.tables("[learning]\nsurvive_days = 0.00002\nlook_minutes = 0.01\n");
    shop::open(&world);
    let _daemon = world.daemon();
    world
        .until("the tip is adopted", |events| !events.is_empty())
        .await;
    shop::break_it(&world);
    let survived = |events: &[Event]| fates(events).contains(&FixFate::Survived);
    let events = world.until("the fix has survived", survived).await;
    assert_eq!(fates(&events), [FixFate::Merged, FixFate::Survived]);
    let stats = || {
        let output = world
            .changebus(&["stats", "--json"])
            .output()
            .expect("it starts");
        let stats: serde_json::Value =
            serde_json::from_slice(&output.stdout).expect("it prints JSON");
        stats
    };
    let figures = stats();
    assert_eq!(figures["failures"], 1);
    assert_eq!(
        (
            &figures["auto_resolved"]["count"],
            &figures["survived"]["count"]
        ),
        (&1.into(), &1.into())
    );
    assert_eq!(figures["classes"][0]["name"], "assertion");
    assert_eq!(figures["languages"][0]["name"], "python");
    assert_eq!(figures["variants"][0]["won"]["count"], 1);
    assert!(
        figures["cost_per_surviving_fix"]
            .as_f64()
            .is_some_and(|cost| cost > 0.0)
    );

    world.git(&["pull", "--quiet", "origin", "main"]);
    world.git(&["revert", "--no-edit", "HEAD"]);
    world.git(&["push", "--quiet", "origin", "HEAD:main"]);
    let reverted = |events: &[Event]| fates(events).contains(&FixFate::Reverted);
    let events = world.until("the revert is seen", reverted).await;
    events.iter().for_each(assert_well_told);
    // The revert broke the tests again: a second fix may have come and survived meanwhile.
    assert_eq!(stats()["reverted"]["count"], 1);
    let told = world.changebus(&["stats"]).output().expect("it starts");
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        told.contains("% of 1 auto-merges") || told.contains("% of 2 auto-merges"),
        "{told}"
    );
}
