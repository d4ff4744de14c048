//! A strategy that behaves as its config says: `{"do": "loop"}` loops, `{"do": "propose"}` proposes.
//!
//! Touches: nothing.
//! Change here: when a strategy can misbehave in a new way, or can ask the host for something new.

#![cfg(target_family = "wasm")]

use std::collections::BTreeMap;
use std::hint::black_box;

use changebus::host::{budget, clock, config, history, llm, log, probe, random, tools};
use exports::changebus::strategy::fix::{Context, Guest, Outcome, Patch, Proposal, Tree};
use serde_json::{Value, json};

wit_bindgen::generate!({ path: "../../../wit", world: "changebus:strategy/strategy", generate_all });

mod fuzz;
#[path = "../../mood.rs"]
mod mood;
#[path = "../../stamp.rs"]
mod stamp;
#[path = "../../tape.rs"]
pub mod tape;

/// What steers a terminal, hides, or speaks to the page around it.
const COSTUME: &str = "\u{1b}[2J\u{1b}[31mRED\u{1b}]0;owned\u{7} <script>alert(1)</script> <img src=x onerror=y> \
    \u{202e}gnp.exe\u{202c}\u{200b}\r\nSigned-off-by: Root <root@example.org>\n\n# @everyone [x](javascript:y) fixes #1\n";

struct Moody;

export!(Moody);

changebus_sdk::manifest!(strategy, asks = [clock, history, llm, probe, random, tools, workspace], config = BTreeMap<String, Value>);

impl Guest for Moody {
    fn run(context: Context, tree: Tree) -> Result<Outcome, String> {
        std::panic::set_hook(Box::new(|panic| {
            log::emit(log::Level::Error, &panic.to_string(), &[])
        }));
        let config = mood::mood(&config::get_json(), &context.project(), "decline")?;
        match config["do"].as_str().unwrap_or_default() {
            "propose" => Ok(propose(&config)),
            "propose-bytes" => Ok(propose_bytes()),
            "hand-in" => Ok(hand_in(&config)),
            "decline" => Ok(Outcome::Decline("nothing to do".to_owned())),
            "give-up" => Err("I am broken".to_owned()),
            "loop" => spin(),
            "allocate" => allocate(),
            "abort" => std::process::abort(),
            "exit" => std::process::exit(3),
            "recurse-flat" => Ok(Outcome::Decline(recurse_flat(1).to_string())),
            "panic" => panic!("no idea what {} means", context.project()),
            "recurse" => Ok(Outcome::Decline(recurse(1).to_string())),
            "return-100mb" => Ok(Outcome::Decline("x".repeat(100 << 20))),
            "send-100mb" => Ok(send(100 << 20)),
            "flood-log" => Ok(flood_log()),
            "flood-hostcalls" => flood_hostcalls(),
            "hoard-handles" => hoard_handles(&context),
            "hoard-prompts" => hoard_prompts(),
            "big-patch" => big_patch(),
            "tell" => Ok(tell(&context, &tree)),
            "ask" => Ok(ask(&config)),
            "probe" => Ok(try_patch()),
            "tool" => Ok(use_tool()),
            "getters" => Ok(use_getter(config["times"].as_u64().unwrap_or_default())),
            "ask-forever" => ask_forever(),
            "million-log-lines" => Ok(log_lines(1_000_000)),
            "long-log-line" => Ok(send(4 << 20)),
            "costume" => Ok(dress_up(config["edits"].is_array().then_some(&config))),
            "costume-err" => Err(COSTUME.to_owned()),
            "costume-panic" => panic!("{COSTUME}"),
            "many-notes" => Ok(many_notes()),
            "draw" => Ok(draw()),
            "watch-the-clock" => watch_the_clock(),
            "search" => Ok(search(&tree)),
            "fuzz" => Ok(fuzz::play(
                config["tape"].as_str().unwrap_or_default(),
                &context,
                &tree,
            )),
            other => Err(format!("no mood `{other}`")),
        }
    }
}

fn answer(value: &Value) -> Outcome {
    Outcome::Decline(value.to_string())
}

fn proposal(patch: Patch, confidence: f32) -> Outcome {
    Outcome::Propose(Proposal {
        patch,
        rationale: "the sign was wrong".to_owned(),
        confidence,
        notes: vec![("mood".to_owned(), "good".to_owned())],
    })
}

fn propose(config: &Value) -> Outcome {
    let patch = Patch::new();
    patch.replace("src/lib.rs", "a - b", "a + b");
    patch.write("NEW.md", b"new\n");
    patch.delete("OLD.md");
    patch.unified_diff("--- a/x\n+++ b/x\n");
    let confidence = match &config["confidence"] {
        Value::String(not_a_number) => not_a_number.parse().unwrap_or_default(),
        number => number.as_f64().unwrap_or(0.5) as f32,
    };
    proposal(patch, confidence)
}

/// Whatever the config lists under `edits`, unseen and untried: in the words of the host's own patches.
fn hand_in(config: &Value) -> Outcome {
    let patch = Patch::new();
    for edit in config["edits"].as_array().into_iter().flatten() {
        let word = |key: &str| edit[key].as_str().unwrap_or_default();
        match word("edit") {
            "replace" => patch.replace(word("path"), word("search"), word("replacement")),
            "write" => patch.write(word("path"), word("content").as_bytes()),
            "delete" => patch.delete(word("path")),
            _ => patch.unified_diff(word("text")),
        }
    }
    proposal(patch, 1.0)
}

fn propose_bytes() -> Outcome {
    let patch = Patch::new();
    patch.write("logo.png", &[0x89, 0x50, 0xff, 0xfe]);
    proposal(patch, 0.5)
}

fn spin() -> ! {
    let mut n = 0u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

fn allocate() -> ! {
    let mut hoard = Vec::new();
    loop {
        hoard.push(black_box(vec![1u8; 1 << 20]));
    }
}

#[expect(unconditional_recursion, reason = "the host has to end it")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(depth + 1) + frame[0]
}

#[expect(unconditional_recursion, reason = "the host has to end it")]
#[inline(never)]
fn recurse_flat(depth: u64) -> u64 {
    recurse_flat(black_box(depth) + 1) + 1
}

fn log_lines(lines: u32) -> Outcome {
    for line in 0..lines {
        log::emit(log::Level::Info, &line.to_string(), &[]);
    }
    Outcome::Decline("logged".to_owned())
}

/// Text that would like to be more than text, wherever a strategy may leave some.
fn dress_up(config: Option<&Value>) -> Outcome {
    let fields = [(COSTUME.to_owned(), COSTUME.to_owned())];
    log::emit(log::Level::Error, COSTUME, &fields);
    let Some(config) = config else {
        return Outcome::Decline(COSTUME.to_owned());
    };
    match hand_in(config) {
        Outcome::Propose(honest) => Outcome::Propose(Proposal {
            rationale: COSTUME.to_owned(),
            notes: vec![(COSTUME.to_owned(), COSTUME.to_owned())],
            ..honest
        }),
        declined => declined,
    }
}

fn many_notes() -> Outcome {
    let note = |n: usize| (n.to_string(), "n".repeat(20));
    Outcome::Propose(Proposal {
        patch: Patch::new(),
        rationale: "r".repeat(1 << 20),
        confidence: 1.0,
        notes: (0..1_000).map(note).collect(),
    })
}

/// Chance without end: how much comes when far too much is asked for, and whether it is always the same.
fn draw() -> Outcome {
    let (first, second) = (random::bytes(u32::MAX), random::bytes(16));
    answer(&json!({ "drawn": first.len(), "little": second.len(), "now": clock::now_ms() }))
}

fn watch_the_clock() -> ! {
    loop {
        black_box(clock::now_ms());
    }
}

/// Patterns that are expensive where an engine is naive.
fn search(tree: &Tree) -> Outcome {
    let regex = changebus::host::workspace::SearchOpts::REGEX;
    let patterns = ["(a*)*b", "((a{100}){100}){100}", "(", "\\p{L}{5000}"];
    let codes = patterns.map(|pattern| tree.search(pattern, regex, Some("**/**/**/**"), u32::MAX));
    let codes = codes.map(|found| found.err().map(|fault| fault.code));
    let glob = tree.glob(&"**/".repeat(10_000), u32::MAX);
    answer(&json!({ "search": codes, "glob": glob.err().map(|fault| fault.code) }))
}

fn use_getter(times: u64) -> Outcome {
    for _ in 0..times {
        black_box(clock::now_ms());
    }
    Outcome::Decline("got".to_owned())
}

/// Asks the model again and again, as fast as it answers.
fn ask_forever() -> ! {
    let prompt = llm::Prompt::new(10);
    loop {
        let _ = black_box(prompt.send());
    }
}

fn use_tool() -> Outcome {
    match tools::run("format", &Patch::new()) {
        Err(fault) => answer(&json!({ "code": fault.code, "message": fault.message })),
        Ok(report) => answer(&json!({ "output": report.output(100), "diff": report.diff() })),
    }
}

fn send(bytes: usize) -> Outcome {
    log::emit(log::Level::Info, &"x".repeat(bytes), &[]);
    Outcome::Decline("sent".to_owned())
}

fn flood_log() -> Outcome {
    let long = "y".repeat(10 << 10);
    for _ in 0..5_000 {
        log::emit(
            log::Level::Info,
            &long,
            &[("key".to_owned(), "value".to_owned())],
        );
    }
    Outcome::Decline("logged".to_owned())
}

fn flood_hostcalls() -> ! {
    loop {
        black_box(budget::remaining("llm.calls"));
    }
}

fn hoard_handles(context: &Context) -> ! {
    let mut hoard = Vec::new();
    loop {
        hoard.push(context.before());
    }
}

fn hoard_prompts() -> ! {
    let (mut hoard, text) = (Vec::new(), "z".repeat(1 << 20));
    loop {
        let prompt = llm::Prompt::new(10);
        prompt.message(llm::Role::User, &text);
        hoard.push(prompt);
    }
}

fn big_patch() -> ! {
    let (patch, content) = (Patch::new(), vec![b'w'; 1 << 20]);
    for file in 0.. {
        patch.write(&format!("{file}.txt"), &content);
    }
    unreachable!()
}

/// Everything there is to learn about the failure and its trees.
fn tell(context: &Context, tree: &Tree) -> Outcome {
    let before = context.before();
    let options = changebus::host::workspace::SearchOpts::IGNORE_CASE;
    answer(&json!({
        "project": context.project(), "base": context.base(), "head": context.head(),
        "failing": context.failing_tests(0, 10), "second": context.failing_tests(1, 1),
        "message": context.message("t::one"), "unknown": context.message("t::none"),
        "detail": context.detail("t::one", 7), "location": context.location("t::one"),
        "output": context.suite_output(6), "commits": context.commits(1),
        "paths": context.changed_paths(), "diff": context.diff(Some("a.txt"), 3, 1_000),
        "protected": context.protected("tests/a.rs"), "free": context.protected("a.txt"),
        "language": context.attribute("language"), "other": context.attribute("other"),
        "revision": tree.revision(), "before": before.revision(),
        "size": tree.size("a.txt").ok(), "read": tree.read("a.txt", 2, 3).ok(),
        "missing": tree.read("gone.txt", 0, 10).err().map(|f| (format!("{:?}", f.kind), f.code, f.retry_after_ms)),
        "glob": tree.glob("*.txt", 9).ok(),
        "hits": tree.search("HELLO", options, None, 9).ok()
            .map(|hits| hits.into_iter().map(|hit| (hit.path, hit.line, hit.text)).collect::<Vec<_>>()),
        "history": history::metric("strategy", "moody", "merged"), "unheard": history::metric("a", "b", "c"),
        "similar": history::similar(5).iter().map(past).collect::<Vec<_>>(),
        "rejections": [history::rejections(5).len(), history::rejections(1).len()], "said": history::rejections(1),
        "calls": budget::remaining("llm.calls"), "meter": budget::remaining("no-such"),
    }))
}

fn past(episode: &history::Episode) -> Value {
    json!({
        "run": episode.run(), "likeness": episode.likeness(), "class": episode.class(),
        "failing": episode.failing(), "message": episode.message(), "strategy": episode.strategy(),
        "rationale": episode.rationale(), "diff": episode.unified_diff(5), "fate": episode.fate(),
        "rejections": episode.rejections(),
    })
}

/// One conversation with the model, and what the options said.
fn ask(config: &Value) -> Outcome {
    let prompt = llm::Prompt::new(500);
    prompt.system("shared rules", true);
    prompt.system("own rules", false);
    prompt.message(llm::Role::User, "hello");
    prompt.message(llm::Role::Assistant, "hi");
    let options = [
        ("model", "\"m-1\""),
        ("effort", "\"low\""),
        ("temperature", "0.25"),
        ("mood", "1"),
        ("effort", "7"),
    ];
    let options =
        options.map(|(key, value)| prompt.set_option(key, value).err().map(|fault| fault.code));
    if config["twice"] == true {
        let _ = prompt.send();
    }
    match prompt.send() {
        Err(fault) => answer(
            &json!({ "kind": format!("{:?}", fault.kind), "code": fault.code, "options": options }),
        ),
        Ok(said) => {
            let meters = [
                "input-tokens",
                "output-tokens",
                "cache-read-tokens",
                "cache-write-tokens",
                "usd-micros",
                "x",
            ];
            let usage = meters.map(|meter| said.usage(meter));
            answer(&json!({
                "text": said.text(), "stop": said.stop_reason(), "model": said.model(), "options": options,
                "usage": usage,
            }))
        }
    }
}

fn try_patch() -> Outcome {
    let patch = Patch::new();
    patch.delete("OLD.md");
    match probe::run(&patch) {
        Err(fault) => answer(&json!({ "code": fault.code, "message": fault.message })),
        Ok(report) => {
            let metrics =
                ["tests.passed", "tests.failed", "seconds", "x"].map(|name| report.metric(name));
            answer(&json!({
                "fixed": report.fixed(), "still": report.still_failing(0, 9), "broken": report.broken(0, 9),
                "message": report.message("t::one"), "output": report.output(4), "metrics": metrics,
            }))
        }
    }
}
