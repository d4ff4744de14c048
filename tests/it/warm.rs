//! Work trees on which setup has been done once, and trials that start from there.
//!
//! Touches: files, processes, git, network (loopback).
//! Change here: when a trial comes to its work tree in another way.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use changebus::config::{self, ReportFormat};
use changebus::event::{Event, Fact, Oid, TestReport};
use changebus::outside::git::Mirror;
use changebus::outside::runner::{Confinement, SuiteSpec, prepare, run_suite};
use changebus::outside::sandbox::Sandbox;
use changebus::outside::warm::{Layering, Warm};
use changebus::outside::workspace::Workspace;
use changebus_tests::shop;
use changebus_tests::world::{World, git, program};
use scripted_claude::{Reply, Script};
use serde_json::json;

use crate::orders;

fn reports(events: Vec<Event>) -> Vec<TestReport> {
    let reports = events.into_iter().filter_map(|event| match event.fact {
        Fact::Tested { report, .. } => Some(report),
        _ => None,
    });
    reports.collect()
}

/// What the tests printed of what setup left, in each report.
async fn stamps(world: &World) -> Vec<String> {
    let stamp = |report: TestReport| {
        let line = report.output.lines().find_map(|l| l.strip_prefix("stamp "));
        line.unwrap_or_else(|| panic!("{}", report.output))
            .to_owned()
    };
    reports(world.events().await)
        .into_iter()
        .map(stamp)
        .collect()
}

/// Setup leaves something no second setup would, in the tree and at home; the tests do what they can to spoil it.
async fn stamped() -> World {
    let mut world = orders::watched("").await;
    world.project(
        "setup = \"cat /proc/sys/kernel/random/uuid >.stamp; cp .stamp $HOME/stamp; mkdir deep; touch deep/file\"",
    );
    world.before_the_tests(
        "cmp .stamp $HOME/stamp && ls deep/file && echo stamp $(cat .stamp); echo spoiled >.stamp; rm -r $HOME/stamp deep",
    );
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn setup_is_done_once_and_no_trial_spoils_it_for_the_next() {
    let world = stamped().await;
    orders::break_it(&world);
    let (story, code) = world.fix(&[]);
    assert_eq!(code, 0, "{story:#}");
    let stamps = stamps(&world).await;
    assert!(stamps.len() >= 3, "{stamps:?}");
    assert!(stamps.iter().all(|stamp| *stamp == stamps[0]), "{stamps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_needs_something_else_is_set_up_anew() {
    let world = stamped().await;
    orders::break_it(&world);
    world.fix(&["--dry-run"]);
    let first = stamps(&world).await;
    world.push("Need more", &[("requirements.txt", Some("# more\n"))]);
    world.fix(&["--dry-run"]);
    let all = stamps(&world).await;
    // The base is the push before, whose needs are met already.
    let later = &all[first.len()..];
    assert!(later.iter().any(|stamp| *stamp != first[0]), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_pushed_may_fetch_what_it_needs() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    std::thread::spawn(move || {
        for _ in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let reach =
        format!("python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}), 5)'");
    let mut world = World::new(Script::from_fn(|_| Reply::text("NO_FIX: no"))).await;
    world.project(&format!("setup = {}", toml::Value::String(reach)));
    let edits = json!([
        { "edit": "write", "path": shop::SOURCE, "content": shop::GOOD },
        { "edit": "write", "path": "requirements.txt", "content": "leftpad\n" },
    ]);
    let config = toml::Value::try_from(json!({ "do": "hand-in", "edits": edits }));
    let greedy = config.unwrap().to_string();
    world.variants(&[("A", "moody-strategy", &greedy)]);
    shop::open(&world);
    shop::break_it(&world);
    let (story, code) = world.fix(&[]);
    assert_eq!(code, 5, "{story:#}");
    let variant = &story["variants"][0];
    let said = format!("{} {}", variant["gates"], variant["rationale"]);
    assert!(said.contains("setup failed"), "{story:#}");
    // One ground for the push and its base, and none for what a strategy wants.
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

mod measure;

/// A repository with one commit and one that changes everything a tree can change.
struct Trees {
    dir: tempfile::TempDir,
    mirror: Mirror,
    commits: Vec<Oid>,
}

impl Trees {
    async fn new() -> Trees {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("repo");
        std::fs::create_dir(&repo).unwrap();
        git(&repo, &["init", "--quiet", "--initial-branch=main"]);
        let script = |text: &str| {
            let output = Command::new("sh")
                .args(["-ec", text])
                .current_dir(&repo)
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            git(&repo, &["add", "--all"]);
            git(&repo, &["commit", "--quiet", "-m", "x"]);
            let head = git(&repo, &["rev-parse", "HEAD"]);
            Oid(String::from_utf8_lossy(&head.stdout).trim().to_owned())
        };
        let commits = vec![
            script(
                "mkdir -p a/b c d; echo 1 >kept; echo 1 >changed; echo 1 >gone; echo 1 >a/b/gone; echo 1 >c/file; echo 1 >d/x; echo 1 >run; ln -s kept link; echo 1 >file-then-dir; mkdir dir-then-file; echo 1 >dir-then-file/x",
            ),
            script(
                "echo 2 >changed; rm gone; rm -r a/b; chmod +x run; ln -sf changed link; rm file-then-dir; mkdir file-then-dir; echo 2 >file-then-dir/x; rm -r dir-then-file; echo 2 >dir-then-file; mkdir -p new/deep; echo 2 >new/deep/file",
            ),
        ];
        let (place, url) = (dir.path().join("mirror.git"), repo.display().to_string());
        let mirror = Mirror::open(&place, &url).await.unwrap();
        mirror.fetch("main", Duration::from_secs(60)).await.unwrap();
        Trees {
            dir,
            mirror,
            commits,
        }
    }

    fn tree(&self, nth: usize) -> Oid {
        self.mirror.tree_of(&self.commits[nth]).unwrap()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Setup done on the first commit, and kept.
    async fn ground(&self, warm: &Arc<Warm>, key: &str, suite: &SuiteSpec) {
        let (tree, commit) = (self.tree(0), Some(&self.commits[0]));
        let place = self.at("work");
        let made = Workspace::create(&self.mirror, &tree, commit, &place, "ground");
        let workspace = made.await.unwrap();
        prepare(suite, &workspace, false).await.unwrap();
        let left = workspace.leave().await.unwrap();
        warm.keep("app", key, &tree, left).await.unwrap().unwrap();
        workspace.remove().await;
    }
}

async fn suite(setup: &str, test: &str) -> SuiteSpec {
    let sandbox = Arc::new(Sandbox::find(program(), Path::new("/")).unwrap());
    sandbox.prove().await.unwrap();
    let minute = Duration::from_secs(60);
    SuiteSpec {
        setup: Some(setup.to_owned()),
        test: test.to_owned(),
        report: ReportFormat::ExitCode,
        env: BTreeMap::new(),
        setup_timeout: minute,
        test_timeout: minute,
        confinement: Confinement::of(&config::Sandbox::default(), Some(&sandbox)).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_upon_a_ground_is_the_tree_whether_it_shows_through_or_is_copied() {
    let trees = Trees::new().await;
    let suite = suite(
        "mkdir deps; echo built >deps/it; echo home >$HOME/it",
        "cat deps/it $HOME/it && rm -r deps && git status --porcelain && find . -path ./.git -prune -o -type f -print -o -type l -print | LC_ALL=C sort \
         && cat changed link file-then-dir/x dir-then-file new/deep/file kept c/file && test -x run && git log --format=%H",
    )
    .await;
    let mut said = vec![];
    for layering in [Layering::Overlay, Layering::Copy] {
        let warm = Arc::new(Warm::open(trees.at("warm"), u64::MAX, layering).unwrap());
        if warm.find("app", "key").is_none() {
            trees.ground(&warm, "key", &suite).await;
        }
        // Twice: the first must not have taken anything from the second.
        for _ in 0..2 {
            let ground = warm.find("app", "key").unwrap();
            let (place, tree) = (trees.at("work"), trees.tree(1));
            let workspace = Workspace::upon(
                &trees.mirror,
                &tree,
                Some(&trees.commits[1]),
                (&place, "trial"),
                (ground, layering),
            );
            let workspace = workspace.await.unwrap();
            let report = run_suite(&suite, &workspace).await;
            workspace.remove().await;
            assert!(report.is_green(), "{layering:?}: {}", report.output);
            said.push(report.output);
        }
    }
    assert!(said.iter().all(|each| *each == said[0]), "{said:#?}");
    let expected = format!(
        "built\nhome\n./c/file\n./changed\n./d/x\n./dir-then-file\n./file-then-dir/x\n./kept\n./link\n./new/deep/file\n./run\n2\n2\n2\n2\n2\n1\n1\n{}\n{}\n",
        trees.commits[1], trees.commits[0]
    );
    assert_eq!(said[0], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_unused_ground_is_given_up_and_one_in_use_never() {
    let trees = Trees::new().await;
    let suite = suite("head -c 3000000 /dev/urandom >large", "true").await;
    let open = || Warm::open(trees.at("warm"), 7_000_000, Layering::Overlay).unwrap();
    let warm = Arc::new(open());
    trees.ground(&warm, "one", &suite).await;
    trees.ground(&warm, "two", &suite).await;
    let used = warm.find("app", "one").unwrap();
    trees.ground(&warm, "three", &suite).await;
    assert!(warm.find("app", "two").is_none(), "used longest ago");
    trees.ground(&warm, "four", &suite).await;
    assert!(used.work_tree().join("large").is_file(), "in use");
    assert!(warm.find("app", "three").is_none() && warm.find("app", "four").is_some());
    // What a crash left half made goes at the next start.
    std::fs::create_dir_all(trees.at("warm/app/.new-x/tree")).unwrap();
    drop(open());
    assert!(!Path::new(&trees.at("warm/app/.new-x")).exists());
}
