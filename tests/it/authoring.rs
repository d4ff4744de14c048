//! Plugins as their authors meet them: made, tested, recorded, measured, installed, and winning a tournament.
//!
//! Touches: files, processes, git.
//! Change here: when a verb of `changebus plugin` comes or goes (with `docs/commands.md`).

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use changebus_tests::guests::{cache, guest_dir, plugin_dir};
use changebus_tests::world::{World, git, program, target};
use serde_json::Value;

use crate::orders;

/// An author's directory, with a state of its own and everything cargo builds in one place for all stories.
struct Author {
    dir: tempfile::TempDir,
}

impl Author {
    fn new() -> Author {
        let author = Author {
            dir: tempfile::tempdir().expect("a temporary directory can be made"),
        };
        std::fs::create_dir(author.path("state")).expect("it can be made");
        std::os::unix::fs::symlink(cache(), author.path("state/cache"))
            .expect("a link can be made");
        author
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `changebus` in a directory of the author's, with the author's state.
    fn changebus(&self, dir: &str, args: &[&str]) -> Output {
        let mut command = Command::new(program());
        command.arg("--state").arg(self.path("state")).args(args);
        self.run(command.current_dir(self.path(dir)))
    }

    fn run(&self, command: &mut Command) -> Output {
        as_an_author(command).output().expect("it can be started")
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("it can be made");
        std::fs::write(path, text).expect("it can be written");
    }

    fn read(&self, path: &str) -> String {
        let path = self.path(path);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }
}

/// Cargo as an author's shell starts it, not as one that runs under `cargo test`; git with an identity; no key.
fn as_an_author(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars().filter(|(n, _)| n.starts_with("CARGO") && n != "CARGO_HOME") {
        command.env_remove(name);
    }
    for role in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{role}_NAME"), "Ada")
            .env(format!("GIT_{role}_EMAIL"), "ada@example.org");
    }
    command
        .env("CARGO_TARGET_DIR", target().join("authoring"))
        .env_remove("RUSTFLAGS")
        .env_remove("ANTHROPIC_API_KEY")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("NO_COLOR", "1")
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn well(output: Output) -> String {
    let words = said(&output);
    assert!(output.status.success(), "{words}");
    words
}

fn bundled(name: &str) -> String {
    plugin_dir()
        .join(format!("{name}.wasm"))
        .display()
        .to_string()
}

#[test]
fn a_fresh_plugin_of_each_world_builds_passes_its_own_tests_and_does_its_case() {
    let author = Author::new();
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../sdk")
        .display()
        .to_string();
    // Two of them against the SDK of the checkout, the third with what the program carries.
    for (name, world, sdk) in [
        ("least-change", "scorer", Some(&sdk)),
        ("small-and-clear", "escalation", Some(&sdk)),
        ("put-back", "strategy", None),
    ] {
        let mut new = vec!["plugin", "new", name, "--world", world];
        new.extend(sdk.iter().flat_map(|sdk| ["--sdk", sdk.as_str()]));
        well(author.changebus("", &new));
        let mut tests = Command::new("cargo");
        let tests = well(author.run(tests.arg("test").current_dir(author.path(name))));
        assert!(
            tests.contains("test tests::") && tests.contains("0 failed"),
            "{tests}"
        );
        let case = well(author.changebus(name, &["plugin", "test"]));
        assert!(case.contains("same  "), "{case}");
        let inspected = well(author.changebus(name, &["plugin", "inspect"]));
        assert!(
            inspected.contains(&format!("kind       {world}")),
            "{inspected}"
        );
        assert!(
            inspected.starts_with(&format!("{name}: it would be loaded")),
            "{inspected}"
        );
    }
    assert!(author.path("put-back/sdk/sdk/src/lib.rs").is_file());
    let again = author.changebus("", &["plugin", "new", "put-back", "--world", "strategy"]);
    assert!(
        code(&again) == 1 && said(&again).contains("is not empty"),
        "{}",
        said(&again)
    );
}

#[test]
fn a_name_that_cargo_would_stumble_over_makes_nothing() {
    let author = Author::new();
    for bad in ["Fix", "a/b", "test", "-x", "fix--it"] {
        let refused = author.changebus("", &["plugin", "new", "--world", "scorer", "--", bad]);
        assert_eq!(code(&refused), 1, "{bad}: {}", said(&refused));
    }
    let left: Vec<_> = std::fs::read_dir(author.path(""))
        .expect("it is there")
        .collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

const CASE: &str = r#"
world = "strategy"

[facts]
project = "shop"

[[failing]]
id = "test_shop::test_pay_less"
message = "assert 12 == 8"
file = "test_shop.py"
line = 4
"#;

/// A case by hand: one answer of the model, and what the tests say of it is not known.
fn shop_case(author: &Author, answer: &str) {
    author.write("cases/discount/case.toml", CASE);
    author.write(
        "cases/discount/before/shop.py",
        "def pay(price, off=0):\n    return price - off\n",
    );
    author.write(
        "cases/discount/head/shop.py",
        "def pay(price, off=0):\n    return price + off\n",
    );
    for tree in ["before", "head"] {
        let test = "from shop import pay\n\ndef test_pay_less():\n    assert pay(10, 2) == 8\n";
        author.write(&format!("cases/discount/{tree}/test_shop.py"), test);
    }
    let line = serde_json::json!({"model": {"answer": {"text": answer}}});
    author.write("cases/discount/answers.jsonl", &format!("{line}\n"));
}

const ANSWER: &str = "A discount is taken off.\n\nshop.py\n<<<<<<< SEARCH\n    return price + off\n=======\n    return price - off\n>>>>>>> REPLACE\n";

#[test]
fn a_case_by_hand_runs_without_a_key_and_shows_what_changed() {
    let author = Author::new();
    shop_case(&author, ANSWER);
    let plugin = bundled("minimal-fix");
    let fresh = author.changebus("", &["plugin", "test", &plugin]);
    assert_eq!(code(&fresh), 6, "{}", said(&fresh));
    assert!(said(&fresh).contains("new   discount"), "{}", said(&fresh));

    well(author.changebus("", &["plugin", "test", &plugin, "--update"]));
    let kept: Value =
        serde_json::from_str(&author.read("cases/discount/expected.json")).expect("JSON");
    assert_eq!(kept["outcome"], "propose", "{kept:#}");
    let patch = kept["patch"].as_str().expect("a patch");
    assert!(
        patch.contains("\n-    return price + off\n+    return price - off\n"),
        "{patch}"
    );
    assert_eq!(kept["used"]["llm_calls"], 1, "{kept:#}");
    let same = well(author.changebus("", &["plugin", "test", &plugin]));
    assert!(same.contains("same  discount"), "{same}");

    shop_case(
        &author,
        &ANSWER.replace("return price - off", "return price - abs(off)"),
    );
    let other = author.changebus("", &["plugin", "test", &plugin, "--case", "disc*"]);
    assert_eq!(code(&other), 6);
    let difference = said(&other);
    assert!(
        difference.contains("-    +    return price - off"),
        "{difference}"
    );
    assert!(
        difference.contains("+    +    return price - abs(off)"),
        "{difference}"
    );
    let none = author.changebus("", &["plugin", "test", &plugin, "--case", "nothing*"]);
    assert!(
        said(&none).contains("holds no case that matches nothing*"),
        "{}",
        said(&none)
    );
}

#[test]
fn a_case_that_ran_out_of_answers_says_so_to_the_plugin() {
    let author = Author::new();
    shop_case(&author, ANSWER);
    author.write("cases/discount/answers.jsonl", "");
    well(author.changebus("", &["plugin", "test", &bundled("minimal-fix"), "--update"]));
    let kept = author.read("cases/discount/expected.json");
    assert!(
        kept.contains("llm.not-recorded") && kept.contains("decline"),
        "{kept}"
    );
}

#[test]
fn a_case_that_cannot_be_read_names_its_file_and_line() {
    let author = Author::new();
    shop_case(&author, ANSWER);
    author.write(
        "cases/discount/answers.jsonl",
        "{\"model\":{\"answer\":{\"text\":\"x\"}}}\n{\"modl\":1}\n",
    );
    let bad = author.changebus("", &["plugin", "test", &bundled("minimal-fix")]);
    assert!(
        code(&bad) == 1 && said(&bad).contains("answers.jsonl:2"),
        "{}",
        said(&bad)
    );
    author.write(
        "cases/discount/case.toml",
        &CASE.replace("[[failing]]", "[[falling]]"),
    );
    let bad = author.changebus("", &["plugin", "test", &bundled("minimal-fix")]);
    assert!(
        said(&bad).contains("case.toml") && said(&bad).contains("falling"),
        "{}",
        said(&bad)
    );
    let judge = author.changebus("", &["plugin", "test", &bundled("weighted")]);
    assert_ne!(code(&judge), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_of_the_log_becomes_cases_that_pass_at_once() {
    let world = orders::watched("").await;
    orders::break_it(&world);
    let (story, exit) = world.fix(&[]);
    assert_eq!(exit, 0, "{story:#}");
    let to = world.path().join("cases");
    let cases = to.display().to_string();
    for (name, how, plugin) in [
        ("minimal", ["--variant", "A"], "minimal-fix"),
        ("robust", ["--variant", "B"], "robust-refactor"),
        ("revert", ["--variant", "C"], "revert-culprit"),
        ("scorer", ["--judge", "scorer"], "weighted"),
        ("escalation", ["--judge", "escalation"], "default"),
    ] {
        let dir = to.join(name).display().to_string();
        let args = ["plugin", "record", "last", how[0], how[1], "--to", &dir];
        let words = well(world.changebus(&args).output().expect("it can be started"));
        assert!(words.contains(plugin), "{words}");
        // Nothing of the run is left to ask: neither its log nor its repository.
        let author = Author::new();
        let args = [
            "plugin",
            "test",
            &bundled(plugin),
            "--cases",
            &cases,
            "--case",
            name,
        ];
        let same = well(author.changebus("", &args));
        assert!(same.contains(&format!("same  {name}")), "{same}");
    }
    let kept = std::fs::read_to_string(to.join("minimal/expected.json")).expect("it is kept");
    let kept: Value = serde_json::from_str(&kept).expect("JSON");
    let won = story["variants"][0]["patch"].as_str().expect("A proposed");
    assert_eq!(kept["patch"].as_str(), Some(won), "{kept:#}");
    assert!(!to.join("minimal/head/.git").exists() && to.join("minimal/head/shop.py").exists());

    let dir = to.join("minimal").display().to_string();
    let again = ["plugin", "record", "last", "--variant", "A", "--to", &dir];
    let again = world.changebus(&again).output().expect("it can be started");
    assert!(said(&again).contains("is not empty"), "{}", said(&again));
    let unnamed = world.changebus(&[
        "plugin",
        "record",
        "last",
        "--to",
        &cases.replace("cases", "other"),
    ]);
    let unnamed = { unnamed }.output().expect("it can be started");
    assert!(
        said(&unnamed).contains("--variant: A, B, C"),
        "{}",
        said(&unnamed)
    );
}

/// A repository of two commits, the second of which mistypes a line.
fn mistyped(author: &Author) {
    let example =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/templates/strategy/cases/mistyped");
    let repo = author.path("greeting");
    std::fs::create_dir_all(repo.join("tests")).expect("it can be made");
    let run = |args: &[&str]| assert!(git(&repo, args).status.success(), "git {args:?}");
    run(&["init", "--quiet", "--initial-branch=main"]);
    for tree in ["before", "head"] {
        for file in ["greet.sh", "tests/run.sh"] {
            std::fs::copy(example.join(tree).join(file), repo.join(file))
                .expect("it can be copied");
        }
        run(&["add", "--all"]);
        run(&["commit", "--quiet", "-m", tree]);
    }
}

#[test]
fn a_repository_and_two_commits_become_a_case() {
    let author = Author::new();
    mistyped(&author);
    let record = |to: &str, head: &str| {
        let plugin = bundled("revert-culprit");
        let args = [
            "plugin",
            "record",
            "--repo",
            "greeting",
            "--head",
            head,
            "--base",
            "main~1",
            "--test",
            "sh tests/run.sh",
            "--plugin",
            &plugin,
            "--to",
            to,
        ];
        author.changebus("", &args)
    };
    let words = well(record("cases/greeting", "main"));
    assert!(words.contains("proposes +1 -1"), "{words}");
    let case = author.read("cases/greeting/case.toml");
    assert!(
        case.contains("id = \"greeting::hello\"") && case.contains("sh tests/run.sh"),
        "{case}"
    );
    assert!(
        author
            .read("cases/greeting/answers.jsonl")
            .contains("\"probe\"")
    );
    // Answered from the record alone: the tests cannot even be found any more.
    let case = case.replace("sh tests/run.sh", "exit 99");
    author.write("cases/greeting/case.toml", &case);
    well(author.changebus("", &["plugin", "test", &bundled("revert-culprit")]));

    let green = record("cases/green", "main~1");
    assert!(
        code(&green) == 1 && said(&green).contains("nothing to record"),
        "{}",
        said(&green)
    );
    assert!(!author.path("cases/green").exists());
}

#[test]
fn what_a_plugin_costs_is_measured_on_a_case() {
    let author = Author::new();
    shop_case(&author, ANSWER);
    let plugin = bundled("minimal-fix");
    let case = "cases/discount";
    let measured = author.changebus(
        "",
        &[
            "plugin", "bench", &plugin, "--case", case, "--calls", "5", "--json",
        ],
    );
    let measured: Value = serde_json::from_str(&well(measured)).expect("JSON");
    let number = |path: &str| {
        measured
            .pointer(path)
            .and_then(Value::as_f64)
            .unwrap_or_else(|| panic!("{path}: {measured:#}"))
    };
    assert!(number("/cold_ms") > number("/cached_ms"), "{measured:#}");
    assert!(number("/calls/p99_us") >= number("/calls/p50_us") && number("/calls/p50_us") > 0.0);
    assert!(number("/calls/memory_bytes") >= 65536.0 && number("/calls/host_calls") > 1.0);
    assert_eq!(measured["calls"]["count"], 5);
    let table = well(author.changebus(
        "",
        &["plugin", "bench", &plugin, "--case", case, "--calls", "1"],
    ));
    assert!(
        table.contains("activation, never compiled") && table.contains("discount, 1 times"),
        "{table}"
    );
}

#[test]
fn any_file_that_would_not_load_is_told_the_step_and_the_reason() {
    let author = Author::new();
    let good = std::fs::read(bundled("minimal-fix")).expect("it is built");
    let refused = |name: &str, bytes: &[u8]| {
        std::fs::write(author.path(name), bytes).expect("it can be written");
        let inspected = author.changebus("", &["plugin", "inspect", name]);
        assert_eq!(code(&inspected), 6, "{}", said(&inspected));
        let json = author.changebus("", &["plugin", "inspect", name, "--json"]);
        let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
        assert_eq!(
            (&json["loads"], &json["plugin"]),
            (&Value::Bool(false), &Value::Null)
        );
        let step = json["problem"]["step"].as_str().expect("a step").to_owned();
        let words = said(&inspected);
        assert!(
            words.contains(&format!("refused at the step `{step}`")),
            "{words}"
        );
        assert!(!words.contains('\u{1b}'), "{words:?}");
        (step, words)
    };
    let (step, words) = refused("torn.wasm", &good[..good.len() / 2]);
    assert!(step == "kind" && words.contains("torn"), "{words}");
    let (step, words) = refused("text.wasm", b"#!/bin/sh\n");
    assert!(
        step == "kind" && words.contains("not a WebAssembly component"),
        "{words}"
    );
    let (step, words) = refused("core.wasm", b"\0asm\x01\0\0\0");
    assert!(step == "kind" && words.contains("core module"), "{words}");
    let missing = author.changebus("", &["plugin", "inspect", "nothing.wasm"]);
    assert!(
        code(&missing) == 6 && said(&missing).contains("cannot be read"),
        "{}",
        said(&missing)
    );
}

#[test]
fn a_file_that_loads_is_told_with_its_capabilities_and_what_the_operator_withholds() {
    let author = Author::new();
    author.write(
        "changebus.toml",
        "[plugins]\nallow = [\"workspace\", \"history\", \"probe\"]\n",
    );
    let plugin = bundled("minimal-fix");
    let args = ["--config", "changebus.toml", "plugin", "inspect", &plugin];
    let words = well(author.changebus("", &args));
    assert!(words.contains("kind       strategy"), "{words}");
    assert!(
        words.contains("withheld   llm; allow it in [plugins]"),
        "{words}"
    );
    assert!(words.contains("changebus:host/llm@0.1.1"), "{words}");
    let json = well(author.changebus("", &[&args[..], &["--json"]].concat()));
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        json["plugin"]["withheld"],
        serde_json::json!(["llm"]),
        "{json:#}"
    );
    assert_eq!(json["plugin"]["digest"].as_str().map(str::len), Some(64));
}

/// A state and one plugin directory, and what `plugin list` says of them.
fn operator(author: &Author, more: &str) {
    std::fs::create_dir_all(author.path("plugins")).expect("it can be made");
    author.write(
        "changebus.toml",
        &format!("[host]\nplugins = [\"plugins\"]\n\n{more}"),
    );
}

fn listed(author: &Author) -> Value {
    let output = author.changebus(
        "",
        &["--config", "changebus.toml", "plugin", "list", "--json"],
    );
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(&output)))
}

fn active<'a>(view: &'a Value, name: &str) -> Option<&'a Value> {
    view["active"]
        .as_array()?
        .iter()
        .find(|p| p["name"] == name)
}

#[test]
fn a_plugin_is_installed_whole_and_never_over_another_one() {
    let author = Author::new();
    operator(&author, "");
    let install = |args: &[&str]| {
        author.changebus(
            "",
            &[&["--config", "changebus.toml", "plugin", "install"], args].concat(),
        )
    };
    let reverting = bundled("revert-culprit");
    well(install(&[&reverting, "--name", "mine"]));
    let view = listed(&author);
    let mine = active(&view, "mine").unwrap_or_else(|| panic!("{view:#}"));
    assert_eq!(mine["health"]["state"], "well");
    // The same package again is an update; another one has to be asked for.
    well(install(&[&reverting, "--name", "mine"]));
    let over = install(&[&bundled("minimal-fix"), "--name", "mine"]);
    assert!(
        code(&over) == 1 && said(&over).contains("--replace"),
        "{}",
        said(&over)
    );
    let still = listed(&author);
    assert_eq!(
        active(&still, "mine").map(|p| &p["digest"]),
        Some(&mine["digest"])
    );
    // A name that is taken in another directory, where the program's own lie.
    let over = install(&[&reverting, "--name", "minimal-fix"]);
    assert!(
        code(&over) == 1 && said(&over).contains("another plugin of this name"),
        "{}",
        said(&over)
    );
    well(install(&[
        &bundled("minimal-fix"),
        "--name",
        "mine",
        "--replace",
    ]));
    assert_ne!(
        active(&listed(&author), "mine").expect("it is there")["digest"],
        mine["digest"]
    );

    author.write("torn.wasm", "\0asm");
    let torn = install(&["torn.wasm"]);
    assert!(
        code(&torn) == 6 && said(&torn).contains("is not installed"),
        "{}",
        said(&torn)
    );
    let left: Vec<_> = std::fs::read_dir(author.path("plugins"))
        .expect("it is there")
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert_eq!(left, ["mine.wasm"]);
}

#[test]
fn with_a_lock_only_what_is_installed_or_locked_is_loaded() {
    let author = Author::new();
    operator(&author, "[plugins]\nlock = \"plugins.lock\"\n");
    let run = |args: &[&str]| {
        author.changebus(
            "",
            &[&["--config", "changebus.toml", "plugin"], args].concat(),
        )
    };
    well(run(&["lock", "--write", "plugins.lock"]));
    assert!(active(&listed(&author), "weighted").is_some());
    let smuggled = author.path("plugins/smuggled.wasm");
    std::fs::copy(bundled("revert-culprit"), &smuggled).expect("it can be copied");
    let view = listed(&author);
    assert!(active(&view, "smuggled").is_none());
    assert_eq!(view["problems"][0]["step"], "lock", "{view:#}");
    let shown = run(&["list"]);
    assert!(
        code(&shown) == 6 && said(&shown).contains("NOT LOADED"),
        "{}",
        said(&shown)
    );
    std::fs::remove_file(smuggled).expect("it can be removed");
    well(run(&[
        "install",
        &bundled("revert-culprit"),
        "--name",
        "mine",
    ]));
    let view = listed(&author);
    assert!(active(&view, "mine").is_some(), "{view:#}");
    assert!(author.read("plugins.lock").contains("mine = \"sha256:"));
}

#[test]
fn a_component_of_another_toolchain_is_given_a_manifest_when_it_is_installed() {
    let author = Author::new();
    operator(&author, "");
    let bare = without_manifest(&std::fs::read(bundled("minimal-fix")).expect("it is built"));
    std::fs::write(author.path("bare.wasm"), bare).expect("it can be written");
    let install = |args: &[&str]| {
        author.changebus(
            "",
            &[
                &[
                    "--config",
                    "changebus.toml",
                    "plugin",
                    "install",
                    "bare.wasm",
                ],
                args,
            ]
            .concat(),
        )
    };
    let refused = install(&[]);
    assert!(
        code(&refused) == 6 && said(&refused).contains("without asking for it"),
        "{}",
        said(&refused)
    );
    well(install(&["--asks", "llm,probe,workspace,history"]));
    let view = listed(&author);
    let asks = &active(&view, "bare").unwrap_or_else(|| panic!("{view:#}"))["manifest"]["asks"];
    assert_eq!(asks.as_array().map(Vec::len), Some(4), "{view:#}");
    let twice = author.changebus(
        "",
        &[
            "plugin",
            "install",
            &bundled("minimal-fix"),
            "--dir",
            "plugins",
            "--asks",
            "llm",
        ],
    );
    assert!(
        said(&twice).contains("without a manifest"),
        "{}",
        said(&twice)
    );
}

/// As a toolchain makes it that knows nothing of manifests: the section's name is another one.
fn without_manifest(component: &[u8]) -> Vec<u8> {
    let (from, to) = (b"changebus:manifest", b"changebus:nothing!");
    let mut bytes = component.to_vec();
    let at = bytes
        .windows(from.len())
        .position(|w| w == from)
        .expect("it has a manifest");
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_is_the_daemons_while_it_runs_and_this_commands_own_afterwards() {
    let world = World::new(orders::knows_the_fix()).await;
    let list = || {
        let output = world
            .changebus(&["plugin", "list", "--json"])
            .output()
            .expect("it can be started");
        serde_json::from_slice::<Value>(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", said(&output)))
    };
    let mut daemon = world.daemon();
    let pid = u64::from(daemon.0.id());
    let started = Instant::now();
    let view = loop {
        let view = list();
        if view["daemon"].as_u64() == Some(pid) {
            break view;
        }
        assert!(
            started.elapsed().as_secs() < 120,
            "the daemon never told: {view:#}"
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    assert!(active(&view, "minimal-fix").is_some(), "{view:#}");
    daemon.stop();
    let view = list();
    assert_eq!(view["daemon"], Value::Null);
    assert!(active(&view, "minimal-fix").is_some(), "{view:#}");
}

#[test]
fn an_operator_lets_a_plugin_back_by_name() {
    let author = Author::new();
    operator(&author, "");
    let clear =
        |name: &str| author.changebus("", &["--config", "changebus.toml", "plugin", "clear", name]);
    let words = well(clear("minimal-fix"));
    assert!(words.contains("may be called again"), "{words}");
    let digest = active(&listed(&author), "minimal-fix").expect("it is there")["digest"]
        .as_str()
        .expect("hex")
        .to_owned();
    assert!(author.path("state/plugins/cleared").join(&digest).is_file());
    well(clear(&digest));
    let unknown = clear("nobody");
    assert!(
        code(&unknown) == 1 && said(&unknown).contains("is not active"),
        "{}",
        said(&unknown)
    );
}

#[test]
fn a_plugin_that_misbehaves_in_a_case_is_told_and_not_endured() {
    let author = Author::new();
    shop_case(&author, ANSWER);
    let case = CASE.replace("[facts]", "[config]\ndo = \"panic\"\n\n[facts]");
    author.write("cases/discount/case.toml", &case);
    let moody = guest_dir()
        .join("moody-strategy.wasm")
        .display()
        .to_string();
    well(author.changebus("", &["plugin", "test", &moody, "--update"]));
    let kept = author.read("cases/discount/expected.json");
    assert!(
        kept.contains("\"failed\"") && kept.contains("\"trapped\""),
        "{kept}"
    );
}

/// The shell blocks of a document, in their order.
fn commands_of(document: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(document);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let blocks = text.split("\n```sh\n").skip(1);
    let blocks: Vec<&str> = blocks
        .map(|b| b.split("\n```").next().expect("a block ends"))
        .collect();
    assert!(blocks.len() >= 5, "{document} has lost its commands");
    blocks.join("\n")
}

/// Runs every command of a document in an empty directory; what they said, and the story of the last run.
fn follow(author: &Author, document: &str) -> (String, Value) {
    std::fs::create_dir(author.path("empty")).expect("it can be made");
    let beside = program()
        .parent()
        .expect("it lies in a directory")
        .to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(beside).chain(std::env::split_paths(&path));
    let paths = std::env::join_paths(paths).expect("paths can be joined");
    let mut shell = Command::new("sh");
    shell.arg("-eu").arg("-c").arg(commands_of(document));
    shell
        .current_dir(author.path("empty"))
        .env("PATH", paths)
        .env("HOME", author.path(""));
    if let Some(home) = std::env::var_os("HOME") {
        // The toolchain and what it downloaded stay where they are.
        for (name, usual) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            if std::env::var_os(name).is_none() {
                shell.env(name, Path::new(&home).join(usual));
            }
        }
    }
    let started = Instant::now();
    let words = well(author.run(&mut shell));
    eprintln!("{document} took {:.1} s", started.elapsed().as_secs_f64());
    let show = ["--config", "changebus.toml", "show", "--json"];
    let show = Command::new(program())
        .args(show)
        .current_dir(author.path("empty"))
        .output()
        .map(well)
        .map(|t| serde_json::from_str::<Value>(&t).expect("JSON"));
    (words, show.expect("it can be started")["story"].take())
}

#[test]
fn the_quickstart_followed_literally_ends_with_the_new_plugin_winning() {
    let (words, story) = follow(&Author::new(), "plugin-quickstart.md");
    assert!(words.contains("Hello, Ada!"), "{words}");
    assert_eq!(
        (story["status"].as_str(), story["winner"].as_str()),
        (Some("fixed"), Some("mine")),
        "{story:#}"
    );
}

#[test]
fn a_strategy_in_javascript_wins_before_a_scorer_in_python() {
    let (words, story) = follow(&Author::new(), "plugin-languages.md");
    assert!(words.contains("Hello, Ada!"), "{words}");
    assert_eq!(
        (story["status"].as_str(), story["winner"].as_str()),
        (Some("fixed"), Some("mine")),
        "{story:#}"
    );
    assert_eq!(story["variants"][0]["marks"]["lines"], 2.0, "{story:#}");
}
