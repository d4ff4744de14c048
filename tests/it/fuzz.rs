//! What comes in from outside, at random: answers of guests, journals, patches, manifests, component files, reports.
//!
//! Touches: wasm, files, git.
//! Change here: when something else comes in from plugins; give it a target here, and values that might break it.
//!
//! Each target makes a few hundred fixed attempts in an ordinary test run, and as many as fit into the time with
//! `cargo xtask fuzz`. An attempt depends on its own seed alone: the one that is told when an attempt fails makes
//! it the first of the next run.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use changebus::event::{
    Edit, Fault, FaultKind, Patch, PluginFailure, PluginFailureKind, ReportSource,
};
use changebus::outside::git::Mirror;
use changebus::outside::reading::ReadTree;
use changebus::outside::reports::{self, Scrub};
use changebus::outside::wasm::{
    Journal, Limits, PluginKind, Plugins, StrategyAnswer, StrategyTask,
};
use changebus_tests::beasts::{component, stamped, with_manifest};
use changebus_tests::world::git;
use fastrand::Rng;
use serde_json::{Value, json};

use crate::plugins::plugins;
use changebus_tests::desk::{Books, Reply, field, task};
use drive::drive;
use mutate::mutated;

mod drive;
mod mutate;

fn short_limits() -> Limits {
    Limits {
        strategy_cpu: Duration::from_secs(2),
        judge_cpu: Duration::from_secs(2),
        memory_bytes: 64 << 20,
        ..Limits::default()
    }
}

/// A mood that plays a random tape.
fn tape(random: &mut Rng) -> Value {
    let length = random.usize(0..600);
    let tape: String = (0..length)
        .map(|_| format!("{:02x}", random.u8(..)))
        .collect();
    json!({ "do": "fuzz", "tape": tape })
}

fn reply(random: &mut Rng) -> Reply {
    if random.u8(..4) > 0 {
        return Reply::Well;
    }
    let kinds = [
        FaultKind::Budget,
        FaultKind::Invalid,
        FaultKind::Timeout,
        FaultKind::Internal,
    ];
    let kind = random.choice(kinds).unwrap_or(FaultKind::Internal);
    Reply::Fault(Fault::new(kind, "test.fault", "it is not to be had"))
}

fn assert_told_well(failure: &PluginFailure, plugin: &str) {
    assert!(
        failure.why.starts_with(&format!("plugin `{plugin}` ")),
        "{}",
        failure.why
    );
    assert!(failure.why.len() <= 4 << 10, "{} bytes", failure.why.len());
    assert_ne!(failure.kind, PluginFailureKind::TimedOut, "{}", failure.why);
}

/// A small repository with one of everything a patch could abuse.
struct Repository {
    _dir: tempfile::TempDir,
    mirror: Mirror,
    tree: changebus::event::Oid,
}

const FILES: [(&str, &str); 4] = [
    ("a.txt", "Hello\n"),
    ("src/deep/b.rs", "one\ntwo\r\nthree"),
    ("empty", ""),
    ("t::one", "t\n"),
];

impl Repository {
    async fn new() -> Repository {
        let dir = tempfile::tempdir().expect("a directory");
        let origin = dir.path().join("origin");
        std::fs::create_dir_all(origin.join("src/deep")).expect("directories");
        for (path, text) in FILES {
            std::fs::write(origin.join(path), text).expect("a file");
        }
        std::os::unix::fs::symlink("/etc", origin.join("etc")).expect("a link");
        for words in [
            &["init", "--quiet", "--initial-branch=main"] as &[&str],
            &["add", "--all"],
            &["commit", "--quiet", "--message", "all there is"],
        ] {
            let output = git(&origin, words);
            assert!(output.status.success(), "{output:?}");
        }
        let (place, url) = (dir.path().join("mirror"), origin.display().to_string());
        let mirror = Mirror::open(&place, &url).await.expect("the mirror opens");
        let tip = mirror
            .fetch("main", Duration::from_secs(60))
            .await
            .expect("the branch is there");
        let tree = mirror.tree_of(&tip).expect("the commit was fetched");
        Repository {
            _dir: dir,
            mirror,
            tree,
        }
    }

    fn reader(&self) -> Arc<dyn ReadTree> {
        Arc::new(self.mirror.tree(&self.tree).expect("the tree is there"))
    }

    /// Applies a patch and looks through what came of it: nothing stands outside the tree or in git's own places.
    async fn apply(&self, patch: &Patch) {
        let Ok(applied) = self.mirror.apply(&self.tree, patch).await else {
            return;
        };
        let after = self.mirror.tree(&applied.tree).expect("the tree is there");
        for entry in after.entries(10_000).expect("it can be listed") {
            let mut parts = entry.path.split('/');
            let bad =
                |part: &str| matches!(part, "" | "." | "..") || part.eq_ignore_ascii_case(".git");
            assert!(!parts.any(bad), "{:?} of {patch:?}", entry.path);
            let link = entry.mode & 0o170_000 == 0o120_000;
            assert!(
                !link || entry.path == "etc",
                "{:?} of {patch:?}",
                entry.path
            );
        }
    }
}

#[tokio::test]
async fn strategies_may_do_and_answer_whatever_comes_to_their_mind() {
    let plugins = plugins(short_limits());
    let plugin = plugins.reference(PluginKind::Strategy, "moody-strategy");
    let repository = Repository::new().await;
    drive("strategies_may", 150, async |random| {
        let mood = tape(random);
        let task = StrategyTask {
            tree: repository.reader(),
            before: repository.reader(),
            wall_limit: Duration::from_secs(30),
            ..task(mood, &Books::that(reply(random)))
        };
        let called = plugins.run_strategy(&plugin, task).await;
        match &called.answer {
            Err(failure) => assert_told_well(failure, "moody-strategy"),
            Ok(StrategyAnswer::Decline(why)) => assert!(why.len() <= 16 << 10),
            Ok(StrategyAnswer::Propose {
                patch,
                rationale,
                confidence,
                notes,
            }) => {
                assert!((0.0..=1.0).contains(confidence) && rationale.len() <= 16 << 10);
                let long = |(name, note): &(String, String)| name.len().max(note.len()) > 4 << 10;
                assert!(notes.len() <= 50 && !notes.iter().any(long));
                repository.apply(patch).await;
            }
        }
        let journal = called.journal.expect("it was called");
        let again = plugins.replay(&plugin, &journal).await.expect("it replays");
        assert!(again.is_same(), "{again:?}");
    })
    .await;
}

#[tokio::test]
async fn scorers_may_answer_whatever_comes_to_their_mind() {
    let plugins = plugins(short_limits());
    let plugin = plugins.reference(PluginKind::Scorer, "moody-scorer");
    drive("scorers_may", 200, async |random| {
        let mut field = field("");
        field.config = tape(random);
        let called = plugins.run_scorer(&plugin, field).await;
        match &called.answer {
            Err(failure) => assert_told_well(failure, "moody-scorer"),
            Ok(scores) => {
                for (id, score) in scores {
                    assert!(["A", "B"].contains(&id.as_str()), "{id}");
                    assert!((0.0..=100.0).contains(&score.total), "{score:?}");
                    assert!(
                        score.marks.values().all(|mark| mark.is_finite()),
                        "{score:?}"
                    );
                }
            }
        }
        let journal = called.journal.expect("it was called");
        let again = plugins.replay(&plugin, &journal).await.expect("it replays");
        assert!(again.is_same(), "{again:?}");
    })
    .await;
}

#[tokio::test]
async fn escalation_plugins_may_answer_whatever_comes_to_their_mind() {
    let plugins = plugins(short_limits());
    let plugin = plugins.reference(PluginKind::Escalation, "moody-escalation");
    drive("escalation_plugins_may", 200, async |random| {
        let mut field = field("");
        field.config = tape(random);
        let called = plugins.run_escalation(&plugin, field).await;
        match &called.answer {
            Err(failure) => assert_told_well(failure, "moody-escalation"),
            Ok(advice) => {
                let known = |id: &String| ["A", "B"].contains(&id.as_str());
                assert!(advice.contender.iter().all(known), "{advice:?}");
                assert!(advice.reasons.len() <= 50);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_journal_may_hold_anything() {
    let plugins = plugins(short_limits());
    let plugin = plugins.reference(PluginKind::Strategy, "moody-strategy");
    let mut seeds = Vec::new();
    for mood in ["tell", "ask", "probe", "tool", "propose", "panic"] {
        let task = task(json!({ "do": mood }), &Arc::default());
        let called = plugins.run_strategy(&plugin, task).await;
        seeds.push(
            called
                .journal
                .expect("it was called")
                .text()
                .into_owned()
                .into_bytes(),
        );
    }
    drive("a_journal", 150, async |random| {
        let text = mutated(random, &seeds);
        let packed = zstd::bulk::compress(&text, 0).expect("anything can be packed");
        let packed = if random.u8(..8) == 0 {
            mutated(random, &[packed])
        } else {
            packed
        };
        let Ok(journal) = Journal::unpack(&packed) else {
            return;
        };
        if let Ok(again) = plugins.replay(&plugin, &journal).await
            && let Err(failure) = &again.now
        {
            assert!(failure.why.len() <= 4 << 10, "{} bytes", failure.why.len());
        }
    })
    .await;
}

#[tokio::test]
async fn a_patch_may_hold_anything() {
    let repository = Repository::new().await;
    let diffs: [&[u8]; 4] = [
        b"--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-Hello\n+Bye\n",
        b"diff --git a/src/deep/b.rs b/src/deep/c.rs\nsimilarity index 50%\nrename from src/deep/b.rs\nrename to src/deep/c.rs\n\
          --- a/src/deep/b.rs\n+++ b/src/deep/c.rs\n@@ -1,3 +1,3 @@ fn x\n one\n-two\r\n+2\n three\n\\ No newline at end of file\n",
        b"diff --git a/new b/new\nnew file mode 120000\nindex 0000000..1111111\n--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+/etc/passwd\n",
        b"diff --git a/empty b/empty\ndeleted file mode 100644\n--- a/empty\n+++ /dev/null\n",
    ];
    let paths: Vec<Vec<u8>> = [
        "a.txt",
        "src/deep/b.rs",
        "etc/passwd",
        "../up",
        "/root",
        ".git/config",
        ".GIT/hooks/x",
        "a/./b",
        "a//b",
        "src",
        "é\u{301}",
    ]
    .map(|path| path.as_bytes().to_vec())
    .to_vec();
    let diffs = diffs.map(<[u8]>::to_vec).to_vec();
    let contents: Vec<Vec<u8>> = FILES.map(|(_, text)| text.as_bytes().to_vec()).to_vec();
    drive("a_patch", 120, async |random| {
        let text = |random: &mut Rng, seeds: &[Vec<u8>]| {
            String::from_utf8_lossy(&mutated(random, seeds)).into_owned()
        };
        let mut edits = Vec::new();
        for _ in 0..random.usize(1..5) {
            let path = match random.bool() {
                true => String::from_utf8_lossy(&paths[random.usize(..paths.len())]).into_owned(),
                false => text(random, &paths),
            };
            edits.push(match random.u8(..6) {
                0 => Edit::Replace {
                    path,
                    search: text(random, &contents),
                    replacement: text(random, &contents),
                },
                1 => Edit::Write {
                    path,
                    content: text(random, &contents),
                },
                2 => Edit::Delete { path },
                _ => Edit::UnifiedDiff {
                    text: text(random, &diffs),
                },
            });
        }
        repository.apply(&Patch { edits }).await;
    })
    .await;
}

#[tokio::test]
async fn a_file_in_the_plugin_directory_may_hold_anything() {
    let quiet = json!({ "do": "score" });
    let seeds = vec![
        stamped("moody-scorer", &quiet),
        stamped("moody-escalation", &json!({ "do": "human" })),
        stamped("moody-strategy", &json!({ "do": "decline" })),
        std::fs::read(changebus_tests::guests::guest_dir().join("greedy-scorer.wasm"))
            .expect("it is built"),
        component("(component)"),
    ];
    let plugins = plugins(short_limits());
    let dir = tempfile::tempdir().expect("a directory");
    drive("a_file", 40, async |random| {
        let path = dir.path().join("f.wasm");
        std::fs::write(&path, mutated(random, &seeds)).expect("it is written");
        assert_examined(&plugins, path).await;
    })
    .await;
}

/// Whatever it is, it is a plugin or is refused with a bounded reason.
async fn assert_examined(plugins: &Plugins, path: PathBuf) {
    let plugins = plugins.clone();
    let examined = tokio::task::spawn_blocking(move || plugins.examine(&path));
    if let Err(problem) = examined.await.expect("looking at a file does not panic") {
        assert!(problem.why.len() < 16 << 10, "{} bytes", problem.why.len());
        assert!(!problem.why.is_empty());
    }
}

/// Reports as the test runners themselves wrote them.
const REPORTS: [(ReportSource, &[u8]); 6] = [
    (
        ReportSource::Junit,
        include_bytes!("../../host/src/outside/reports/samples/pytest.xml"),
    ),
    (
        ReportSource::Junit,
        include_bytes!("../../host/src/outside/reports/samples/surefire.xml"),
    ),
    (
        ReportSource::Libtest,
        include_bytes!("../../host/src/outside/reports/samples/libtest.txt"),
    ),
    (
        ReportSource::GoTest,
        include_bytes!("../../host/src/outside/reports/samples/gotest.txt"),
    ),
    (
        ReportSource::Tap,
        include_bytes!("../../host/src/outside/reports/samples/node.tap"),
    ),
    (
        ReportSource::Tap,
        include_bytes!("../../host/src/outside/reports/samples/perl.tap"),
    ),
];

#[tokio::test]
async fn a_report_may_hold_anything() {
    let seeds: Vec<Vec<u8>> = REPORTS.iter().map(|(_, text)| text.to_vec()).collect();
    drive("a_report", 400, async |random| {
        let report = mutated(random, &seeds);
        let (source, _) = REPORTS[random.usize(..REPORTS.len())];
        reports::told(&String::from_utf8_lossy(&report));
        let Ok(tests) = reports::read(source, &report, &Scrub::default()) else {
            return;
        };
        for failure in &tests.failures {
            let outcome = tests.outcomes.get(&failure.id);
            assert!(outcome.is_some(), "{failure:?} of no test");
            assert!(failure.detail.len() < 10 << 10, "{failure:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_manifest_may_hold_anything() {
    let shell = component(
        r#"(component (instance $i) (export "changebus:scorer/judge@0.1.0" (instance $i)))"#,
    );
    let seeds: Vec<Vec<u8>> = [
        r#"{"manifest":1,"kind":"scorer","name":"a","version":"0.1.0","sdk":"0.1.0","interface":"0.1.0","about":"one line",
            "asks":["llm","probe","workspace","history"],"config":{"type":"object","additionalProperties":false,
            "properties":{"a":{"type":"number","minimum":0},"b":{"type":"string","pattern":"^a*$"}}}}"#,
        r##"{"manifest":1,"kind":"scorer","config":{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/a"}}}}"##,
        r#"{"manifest":1,"kind":"scorer","config":{"$ref":"https://example.org/schema.json"}}"#,
        r#"{"manifest":1,"kind":"scorer","config":{"patternProperties":{"((a*)*)*$":{}},"allOf":[true,false,{}]}}"#,
        r#"{"manifest":2}"#,
        r#"{"manifest":1,"kind":"strategy","asks":["everything"]}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    let deep = [
        b"{\"manifest\":1,\"kind\":\"scorer\",\"config\":".to_vec(),
        b"[".repeat(5_000),
    ]
    .concat();
    let seeds = [seeds, vec![deep]].concat();
    let plugins = plugins(short_limits());
    let dir = tempfile::tempdir().expect("a directory");
    drive("a_manifest", 150, async |random| {
        let path = dir.path().join("f.wasm");
        let file = with_manifest(&shell, &mutated(random, &seeds));
        std::fs::write(&path, file).expect("it is written");
        assert_examined(&plugins, path).await;
    })
    .await;
}
