//! How long it takes until the first test of a trial runs, beside a full checkout with its dependencies copied.
//!
//! Touches: files, processes, git, clock.
//! Change here: when the set-up of a trial has another target. `cargo xtask bench setup` runs it and keeps the table.

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use changebus::outside::git::Mirror;
use changebus::outside::runner::run_suite;
use changebus::outside::warm::{Layering, Warm};
use changebus::outside::workspace::Workspace;
use changebus_tests::tables;

use super::{Trees, suite};

const TRACKED: usize = 5_000;
const BUILT: usize = 15_000;
/// Files of ten KiB are tracked, and those of thirty are built: half a gigabyte together.
const MAKE: &str = "import os,sys\nroot,count,size=sys.argv[1],int(sys.argv[2]),int(sys.argv[3])\n\
                    for i in range(count):\n d=f'{root}/d{i%200}'; os.makedirs(d,exist_ok=True); open(f'{d}/f{i}','wb').write(os.urandom(size))\n";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and a gigabyte; run by `cargo xtask bench setup`"]
async fn alone_setting_up_a_trial() {
    let trees = large().await;
    let setup = format!("python3 -c \"{MAKE}\" deps {BUILT} 30720");
    let suite = suite(&setup, "true").await;
    let warm = Warm::open(trees.at("warm"), u64::MAX, Layering::Overlay).unwrap();
    let warm = Arc::new(warm);
    trees.ground(&warm, "key", &suite).await;
    let (mut shown, mut copied, mut gone) = (vec![], vec![], vec![]);
    for nth in 0..25 {
        let (took, removed) = through_an_overlay(&trees, &warm, &suite).await;
        shown.push(took);
        gone.push(removed);
        if nth % 8 == 0 {
            copied.push(by_checkout_and_copy(&trees, &warm).await);
        }
    }
    tables::tell(&table(median(shown), median(copied), median(gone)));
}

async fn large() -> Trees {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("repo");
    std::fs::create_dir(&repo).unwrap();
    super::git(&repo, &["init", "--quiet", "--initial-branch=main"]);
    let commit = || {
        super::git(&repo, &["add", "--all"]);
        super::git(&repo, &["commit", "--quiet", "-m", "x"]);
        let head = super::git(&repo, &["rev-parse", "HEAD"]);
        changebus::event::Oid(String::from_utf8_lossy(&head.stdout).trim().to_owned())
    };
    let made = Command::new("python3")
        .args(["-c", MAKE])
        .arg(repo.join("src"))
        .args([TRACKED.to_string(), "10240".into()])
        .status();
    assert!(made.unwrap().success());
    let first = commit();
    for nth in 0..5 {
        std::fs::write(repo.join(format!("src/d{nth}/f{nth}")), "changed").unwrap();
    }
    let commits = vec![first, commit()];
    let (place, url) = (dir.path().join("mirror.git"), repo.display().to_string());
    let mirror = Mirror::open(&place, &url).await.unwrap();
    let patience = std::time::Duration::from_secs(600);
    mirror.fetch("main", patience).await.unwrap();
    Trees {
        dir,
        mirror,
        commits,
    }
}

/// Until a command has run in it, and then until nothing of it is left.
async fn through_an_overlay(
    trees: &Trees,
    warm: &Arc<Warm>,
    suite: &changebus::outside::runner::SuiteSpec,
) -> (f64, f64) {
    let (place, tree) = (trees.at("work"), trees.tree(1));
    let started = Instant::now();
    let ground = (warm.find("app", "key").unwrap(), warm.layering);
    let commit = Some(&trees.commits[1]);
    let made = Workspace::upon(&trees.mirror, &tree, commit, (&place, "trial"), ground);
    let workspace = made.await.unwrap();
    let report = run_suite(suite, &workspace).await;
    let took = started.elapsed().as_secs_f64();
    assert!(report.is_green(), "{report:?}");
    let started = Instant::now();
    workspace.remove().await;
    (took, started.elapsed().as_secs_f64())
}

async fn by_checkout_and_copy(trees: &Trees, warm: &Arc<Warm>) -> f64 {
    let (place, tree) = (trees.at("work"), trees.tree(1));
    let ground = warm.find("app", "key").unwrap();
    let started = Instant::now();
    let commit = Some(&trees.commits[1]);
    let made = Workspace::create(&trees.mirror, &tree, commit, &place, "whole");
    let workspace = made.await.unwrap();
    let copied = Command::new("cp")
        .arg("--archive")
        .args([ground.work_tree().join("deps"), workspace.dir()])
        .status();
    assert!(copied.unwrap().success());
    let took = started.elapsed().as_secs_f64();
    workspace.remove().await;
    took
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn table(shown: f64, copied: f64, gone: f64) -> String {
    let holds = |yes: bool| if yes { "yes" } else { "no" };
    let times = copied / shown;
    format!(
        "# Benchmark of setting up a trial\n\n\
         Written by `cargo xtask bench setup` in one run, debug build. {TRACKED} tracked files of 10 KiB and {BUILT} of 30 KiB that \
         setup made; the trial's tree differs in five files. Medians of 25, and of 4 for the copy.\n\n\
         | what | measured | target | holds |\n|---|---|---|---|\n\
         | repository, what differs, overlay, sandbox, and `true` run in it | {:.0} ms | below 150 ms | {} |\n\
         | a full checkout with the dependencies copied, beside that | {times:.0} times ({copied:.1} s) | at least 50 times | {} |\n\
         | removing the workspace afterwards | {:.0} ms | | |\n",
        shown * 1e3,
        holds(shown < 0.15),
        holds(times >= 50.0),
        gone * 1e3,
    )
}
