//! What becomes a plugin and what does not: every way to be refused, the lock, the grants, the quarantine.
//!
//! Touches: wasm, files.
//! Change here: when a file can be refused for another reason, or a plugin left out for another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use changebus::conduct::Kept;
use changebus::config::Quarantine;
use changebus::event::{Health, PluginFailure, PluginFailureKind, PluginRef};
use changebus::outside::wasm::{
    Capability, Grants, InUse, Limits, LoadProblem, PluginKind, Plugins, Setup, Step, clear,
    lock_text,
};
use changebus_tests::guests::{cache, guest, manifest, setup, stamp};
use serde_json::json;

use crate::swap::until;
use changebus_tests::desk::field;

/// A plugin directory and a state directory of its own.
pub struct Place {
    pub dir: tempfile::TempDir,
    pub state: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Place {
        Place {
            dir: tempfile::tempdir().expect("a directory"),
            state: tempfile::tempdir().expect("a directory"),
        }
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    pub fn put(&self, file: &str, bytes: &[u8]) {
        std::fs::write(self.path(file), bytes).expect("it is written");
    }

    /// As a careful copy does it: the file stands there at once or not at all.
    pub fn swap(&self, file: &str, bytes: &[u8]) {
        let fresh = self.path(&format!(".{file}.new"));
        std::fs::write(&fresh, bytes).expect("it is written");
        std::fs::rename(&fresh, self.path(file)).expect("it is renamed");
    }

    pub fn setup(&self) -> Setup {
        let dirs = vec![self.dir.path().to_owned()];
        Setup {
            state: Some(self.state.path().to_owned()),
            records: true,
            ..setup(&dirs, &cache(), Limits::default())
        }
    }
}

pub fn open(setup: Setup) -> Plugins {
    Plugins::open(setup).expect("the engine starts")
}

fn problem(plugins: &Plugins, path: &Path) -> LoadProblem {
    let mut problems = plugins.problems().into_iter();
    let found = problems.find(|problem| problem.path == path);
    found.unwrap_or_else(|| panic!("{} is no problem", path.display()))
}

fn assert_refused(plugins: &Plugins, path: &Path, step: Step, why: &str) {
    let problem = problem(plugins, path);
    assert!(problem.why.contains(why), "{why}: {problem}");
    assert_eq!(problem.step, step, "{problem}");
}

fn judge(asks: &[&str]) -> Vec<u8> {
    stamp(
        &guest("moody-escalation"),
        &manifest("escalation", "1.0.0", asks),
    )
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Some(next) = bytes[at..].windows(from.len()).position(|one| one == from) {
        at += next;
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    assert!(at > 0, "it holds {}", String::from_utf8_lossy(from));
    bytes
}

#[test]
fn every_file_that_is_no_plugin_is_told_apart_by_name() {
    let place = Place::new();
    let good = judge(&[]);
    let strategy = guest("moody-strategy");
    let newer = replaced(&guest("moody-escalation"), b"@0.1.1", b"@0.2.0");
    let newer = stamp(&newer, &json!({"manifest": 1, "sdk": "0.2.4"}));
    let says = |text: &str| {
        let mut value = manifest("escalation", "1.0.0", &[]);
        let extra: serde_json::Value = serde_json::from_str(text).expect("JSON");
        for (key, of) in extra.as_object().expect("an object") {
            value[key] = of.clone();
        }
        stamp(&guest("moody-escalation"), &value)
    };
    let mut damaged = good.clone();
    // A length that never ends.
    damaged[9..16].fill(0xff);
    let mut patched = good.clone();
    let name = b"cabi_realloc";
    let last = good.windows(name.len()).rposition(|one| one == name);
    patched[last.expect("it exports its allocator")] = b'k';
    let files: Vec<(&str, Vec<u8>, Step, &str)> = vec![
        ("nothing", vec![], Step::Kind, "is empty; copy it again"),
        (
            "text",
            b"hello".to_vec(),
            Step::Kind,
            "does not begin like one",
        ),
        (
            "torn",
            good[..good.len() / 2].to_vec(),
            Step::Kind,
            "is torn",
        ),
        (
            "damaged",
            damaged,
            Step::Kind,
            "is a damaged WebAssembly component",
        ),
        ("patched", patched, Step::Compile, "does not compile"),
        (
            "core",
            b"\0asm\x01\0\0\0".to_vec(),
            Step::Kind,
            "is a core module, not a component",
        ),
        (
            "stranger",
            b"\0asm\x0d\0\x01\0".to_vec(),
            Step::Kind,
            "exports none of `changebus:strategy/fix`",
        ),
        (
            "newer",
            newer,
            Step::Kind,
            "was built with SDK 0.2.4 against changebus 0.2 (`changebus:escalation/gate@0.2.0`), this host offers 0.1; build it against this host's SDK, or bring this host up to date",
        ),
        (
            "greedy",
            guest("greedy-scorer"),
            Step::Imports,
            "imports `changebus:host/llm@0.1.1`, which plugins of kind scorer are not given",
        ),
        (
            "silent",
            stamp(
                &strategy,
                &manifest("strategy", "1.0.0", &["workspace", "history"]),
            ),
            Step::Imports,
            "imports `changebus:host/llm@0.1.1` without asking for it; write `asks = [llm, ...]`",
        ),
        (
            "form",
            says(r#"{"manifest": 9}"#),
            Step::Manifest,
            "form 9, this host reads form 1",
        ),
        (
            "kind",
            says(r#"{"kind": "scorer"}"#),
            Step::Manifest,
            "says it is a scorer, but exports what a escalation exports",
        ),
        (
            "asks",
            says(r#"{"asks": ["gpu"]}"#),
            Step::Manifest,
            "asks for `gpu`, which this host does not know",
        ),
        (
            "schema",
            says(r#"{"config": {"type": 7}}"#),
            Step::Manifest,
            "description of its configuration cannot be used",
        ),
    ];
    for (name, bytes, ..) in &files {
        place.put(&format!("{name}.wasm"), bytes);
    }
    place.put("good.wasm", &good);
    place.put("README.md", b"not looked at");
    place.put(".half.wasm", b"a copy on its way");
    let plugins = open(place.setup());
    for (name, _, step, why) in &files {
        assert_refused(&plugins, &place.path(&format!("{name}.wasm")), *step, why);
    }
    assert_eq!(plugins.problems().len(), files.len());
    let names: Vec<_> = plugins.list().into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["good"]);
}

#[test]
fn what_is_no_file_of_this_directory_is_never_opened() {
    let place = Place::new();
    let outside = tempfile::tempdir().expect("a directory");
    std::fs::write(outside.path().join("there.wasm"), judge(&[])).expect("it is written");
    let link = |to: &Path, file: &str| {
        std::os::unix::fs::symlink(to, place.path(file)).expect("it is linked");
    };
    link(&outside.path().join("there.wasm"), "out.wasm");
    link(&outside.path().join("nowhere.wasm"), "dangling.wasm");
    place.put("within-1.0.wasm", &judge(&[]));
    link(Path::new("within-1.0.wasm"), "within.wasm");
    std::fs::create_dir(place.path("folder.wasm")).expect("it is made");
    nix::unistd::mkfifo(&place.path("pipe.wasm"), nix::sys::stat::Mode::S_IRWXU)
        .expect("it is made");
    let huge = std::fs::File::create(place.path("huge.wasm")).expect("it is made");
    huge.set_len(65 << 20).expect("it is sparse");
    let plugins = open(place.setup());
    for (file, why) in [
        ("out.wasm", "is a link to "),
        (
            "dangling.wasm",
            "outside of its directory; copy the file here instead",
        ),
        ("folder.wasm", "is not a regular file"),
        ("pipe.wasm", "is not a regular file"),
        ("huge.wasm", "is larger than 64 MiB"),
    ] {
        assert_refused(&plugins, &place.path(file), Step::Read, why);
    }
    let names: Vec<_> = plugins.list().into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["within", "within-1.0"]);
}

#[test]
fn a_plugin_that_breaks_a_limit_on_its_first_call_is_refused() {
    let place = Place::new();
    place.put("gate.wasm", &judge(&[]));
    let mut setup = place.setup();
    setup.limits.host_calls = 0;
    let why = "failed when it was tried on a made-up task: it called the host more than the 0 times it may";
    assert_refused(&open(setup), &place.path("gate.wasm"), Step::Smoke, why);
    let mut setup = place.setup();
    setup.limits.memory_bytes = 64 << 10;
    let refused = problem(&open(setup), &place.path("gate.wasm"));
    assert!(refused.why.contains("memory"), "{refused}");
}

#[test]
fn a_configuration_that_a_plugin_does_not_take_keeps_it_out_and_is_named() {
    let place = Place::new();
    let mut says = manifest("escalation", "2.0.0", &[]);
    says["config"] = json!({
        "type": "object",
        "properties": {"do": {"enum": ["human", "merge"]}},
        "additionalProperties": false,
    });
    place.put("gate.wasm", &stamp(&guest("moody-escalation"), &says));
    let with = |config| Setup {
        in_use: vec![InUse {
            place: "projects.shop.policy.escalation_config".to_owned(),
            kind: PluginKind::Escalation,
            plugin: "gate".to_owned(),
            config,
        }],
        ..place.setup()
    };
    let plugins = open(with(json!({"do": "humane"})));
    let why = "does not take the configuration of projects.shop.policy.escalation_config: `do`: \"humane\" is not one of";
    assert_refused(&plugins, &place.path("gate.wasm"), Step::Config, why);
    let plugins = open(with(json!({"do": "human"})));
    assert_eq!(plugins.problems(), []);
}

#[test]
fn a_right_needs_the_import_the_manifest_and_the_operator() {
    let place = Place::new();
    let asks = Capability::ALL.map(Capability::name);
    let strategy = stamp(
        &guest("moody-strategy"),
        &manifest("strategy", "1.0.0", &asks),
    );
    place.put("ours.wasm", &strategy);
    place.put("third-party.wasm", &strategy);
    let plugins = open(Setup {
        grants: Grants {
            allow: Capability::ALL
                .into_iter()
                .filter(|one| *one != Capability::Probe)
                .collect(),
            allow_for: BTreeMap::from([(
                "third-party".to_owned(),
                BTreeSet::from([Capability::Workspace]),
            )]),
        },
        ..place.setup()
    });
    let list = plugins.list();
    let all = BTreeSet::from(Capability::ALL);
    let (probe, workspace) = (
        BTreeSet::from([Capability::Probe]),
        BTreeSet::from([Capability::Workspace]),
    );
    assert_eq!(list[0].granted, &all - &probe);
    assert_eq!(list[0].withheld, probe);
    assert_eq!(list[1].granted, workspace);
    assert_eq!(list[1].withheld, &all - &workspace);
    let printing = stamp(
        &guest("printing-strategy"),
        &manifest("strategy", "1.0.0", &asks),
    );
    let place = Place::new();
    place.put("printing.wasm", &printing);
    let granted = open(place.setup()).list()[0].granted.clone();
    assert!(
        !granted.contains(&Capability::Llm),
        "what is asked for and allowed, but not imported, is not granted: {granted:?}"
    );
}

#[test]
fn where_there_is_a_lock_nothing_runs_that_is_not_in_it() {
    let place = Place::new();
    place.put("gate.wasm", &judge(&[]));
    let lock = place.state.path().join("plugins.lock");
    let locked = || {
        open(Setup {
            lock: Some(lock.clone()),
            ..place.setup()
        })
    };
    let gate = place.path("gate.wasm");
    assert_refused(
        &locked(),
        &gate,
        Step::Lock,
        "nothing is loaded until it can be read",
    );
    std::fs::write(&lock, "[plugins]\ngate = 3\n").expect("it is written");
    assert_refused(
        &locked(),
        &gate,
        Step::Lock,
        "is not of the form `[plugins]`",
    );
    std::fs::write(&lock, "[plugins]\n").expect("it is written");
    assert_refused(&locked(), &gate, Step::Lock, "is not in the lock file");
    let text = lock_text(&open(place.setup()).view()).expect("it can be written");
    std::fs::write(&lock, text).expect("it is written");
    let plugins = locked();
    assert_eq!(plugins.problems(), []);

    plugins.watch().expect("it watches");
    place.swap("gate.wasm", &judge(&["history"]));
    until("the other file is refused", || {
        !plugins.problems().is_empty()
    });
    assert_refused(
        &plugins,
        &gate,
        Step::Lock,
        "put that file back, or change the lock",
    );
    assert_eq!(plugins.list().len(), 1, "the listed one stays");
    std::fs::write(&lock, "[plugins]\n").expect("it is written");
    until("what is not listed any more is gone", || {
        plugins.list().is_empty()
    });
}

#[test]
fn a_file_is_examined_the_same_way_without_taking_anything_into_service() {
    let place = Place::new();
    let plugins = open(place.setup());
    place.put("gate.wasm", &judge(&[]));
    place.put("broken.wasm", b"hello");
    let info = plugins.examine(&place.path("gate.wasm")).expect("it holds");
    assert_eq!(
        (info.name.as_str(), info.interface.as_str()),
        ("gate", "0.1.1")
    );
    assert_eq!(
        info.manifest.map(|said| said.version),
        Some("1.0.0".to_owned())
    );
    let refused = plugins
        .examine(&place.path("broken.wasm"))
        .expect_err("it is text");
    assert_eq!(refused.step, Step::Kind);
    assert_eq!(plugins.list(), []);
}

async fn ask(plugins: &Plugins, gate: &PluginRef, mood: &str) -> Result<(), PluginFailure> {
    let called = plugins.run_escalation(gate, field(mood)).await;
    called.answer.map(drop)
}

#[tokio::test]
async fn a_plugin_that_keeps_failing_is_left_out_until_it_is_cleared_or_replaced() {
    let place = Place::new();
    place.put("gate.wasm", &judge(&[]));
    let patience = Quarantine {
        strikes: 2,
        bench_seconds: 3600,
        benches: 1,
    };
    let plugins = open(Setup {
        conduct: Arc::new(Kept::fold(&patience, [], &[])),
        ..place.setup()
    });
    plugins.watch().expect("it watches");
    let gate = plugins.reference(PluginKind::Escalation, "gate");
    let kind = |asked: Result<(), PluginFailure>| asked.map_err(|failure| failure.kind);
    for mood in ["panic", "human", "panic"] {
        assert_eq!(ask(&plugins, &gate, mood).await.is_ok(), mood == "human");
    }
    assert_eq!(
        kind(ask(&plugins, &gate, "panic").await),
        Err(PluginFailureKind::Trapped),
        "an answer in between starts the count anew"
    );
    let refused = ask(&plugins, &gate, "human").await;
    let refused = refused.expect_err("it is benched");
    assert_eq!(refused.kind, PluginFailureKind::Benched);
    for words in [
        "plugin `gate` is benched since 20",
        "trapped: ",
        "`changebus plugin clear gate`",
    ] {
        assert!(refused.why.contains(words), "{}", refused.why);
    }
    let health = plugins.view().active[0].health.clone();
    assert!(matches!(health, Health::Benched { .. }), "{health:?}");

    clear(place.state.path(), &gate.digest).expect("it is noted");
    until("it is let back", || {
        plugins.view().active[0].health == Health::Well { strikes: 0 }
    });
    assert_eq!(ask(&plugins, &gate, "human").await, Ok(()));

    for _ in 0..2 {
        assert!(ask(&plugins, &gate, "panic").await.is_err());
    }
    place.swap("gate.wasm", &judge(&["history"]));
    until("the other file is active", || {
        plugins.reference(PluginKind::Escalation, "gate").digest != gate.digest
    });
    let other = plugins.reference(PluginKind::Escalation, "gate");
    assert_eq!(ask(&plugins, &other, "human").await, Ok(()));
    assert_eq!(
        kind(ask(&plugins, &gate, "human").await),
        Err(PluginFailureKind::Benched),
        "the old bytes stay out"
    );
}

#[test]
fn only_a_digest_can_be_cleared() {
    let place = Place::new();
    for name in ["", "gate", "../../etc/passwd"] {
        let error = clear(place.state.path(), name).expect_err(name);
        assert!(error.to_string().contains("is no digest"), "{error}");
    }
}
