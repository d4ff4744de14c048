//! Every beast of the zoo, and how each one ends.
//!
//! Touches: nothing.
//! Change here: when there is another way to harm a host: give it a row, and a mood or a module that does it.

use changebus::outside::wasm::PluginKind;
use changebus_tests::beasts::stamped;
use serde_json::{Value, json};

use super::forge;

/// One file and its fate.
pub struct Beast {
    pub name: &'static str,
    pub kind: PluginKind,
    pub file: Vec<u8>,
    pub ends: Ends,
}

/// What becomes of a beast; each text is part of what people are told.
#[derive(Clone, Copy, Debug)]
pub enum Ends {
    /// It does not even load.
    Refused(&'static str),
    /// It loads and is stopped, or its answer is.
    Stopped(&'static str),
    /// What it does comes to nothing: it answers, and the answer holds this.
    Tamed(&'static str),
}

use Ends::{Refused, Stopped, Tamed};

/// To these the operator grants nothing but the tree.
pub const NOT_GRANTED: [&str; 3] = [
    "not-granted-model",
    "not-granted-clock",
    "not-granted-chance",
];

pub fn all() -> Vec<Beast> {
    let mut all = strategies();
    all.extend(scorers());
    all.extend(escalations());
    all.extend(forge::all());
    all
}

/// What `moody-strategy` does, sly: nobody who tries it out sees any of it.
pub fn strategies() -> Vec<Beast> {
    let confidence = |confidence: Value| json!({ "do": "propose", "confidence": confidence });
    let rows = [
        (
            "loop",
            json!({ "do": "loop" }),
            Stopped("computed for more than the 3 s it may"),
        ),
        (
            "allocate",
            json!({ "do": "allocate" }),
            Stopped("more than the 160 MiB of memory it may have"),
        ),
        (
            "recurse",
            json!({ "do": "recurse" }),
            Stopped("out of bounds memory access"),
        ),
        (
            "recurse-flat",
            json!({ "do": "recurse-flat" }),
            Stopped("call stack exhausted"),
        ),
        (
            "panic",
            json!({ "do": "panic" }),
            Stopped("no idea what shop means"),
        ),
        (
            "abort",
            json!({ "do": "abort" }),
            Stopped("wasm `unreachable` instruction executed"),
        ),
        (
            "exit",
            json!({ "do": "exit" }),
            Stopped("wasm `unreachable` instruction executed"),
        ),
        (
            "give-up",
            json!({ "do": "give-up" }),
            Stopped("gave up: I am broken"),
        ),
        (
            "return-100mb",
            json!({ "do": "return-100mb" }),
            Stopped("more data in one call than the 8 MiB it may"),
        ),
        (
            "send-100mb",
            json!({ "do": "send-100mb" }),
            Stopped("more data in one call than the 8 MiB it may"),
        ),
        (
            "long-log-line",
            json!({ "do": "long-log-line" }),
            Tamed("sent"),
        ),
        (
            "million-log-lines",
            json!({ "do": "million-log-lines" }),
            Stopped("called the host more than the 20000 times it may"),
        ),
        ("flood-log", json!({ "do": "flood-log" }), Tamed("logged")),
        (
            "flood-hostcalls",
            json!({ "do": "flood-hostcalls" }),
            Stopped("called the host more than the 20000 times it may"),
        ),
        (
            "watch-the-clock",
            json!({ "do": "watch-the-clock" }),
            Stopped("called the host more than the 20000 times it may"),
        ),
        ("draw", json!({ "do": "draw" }), Tamed("1024")),
        (
            "hoard-handles",
            json!({ "do": "hoard-handles" }),
            Stopped("holds more than the 10000 host objects it may"),
        ),
        (
            "hoard-prompts",
            json!({ "do": "hoard-prompts" }),
            Stopped("more than the 16 MiB of prompts and patches"),
        ),
        (
            "big-patch",
            json!({ "do": "big-patch" }),
            Stopped("made a patch larger than the 8 MiB it may be"),
        ),
        (
            "hanging-model",
            json!({ "do": "ask" }),
            Stopped("gave no answer within 2 s"),
        ),
        (
            "hanging-probe",
            json!({ "do": "probe" }),
            Stopped("gave no answer within 2 s"),
        ),
        (
            "hanging-tool",
            json!({ "do": "tool" }),
            Stopped("gave no answer within 2 s"),
        ),
        (
            "confidence-nan",
            confidence(json!("NaN")),
            Stopped("gave a confidence of NaN, which is not between 0 and 1"),
        ),
        (
            "confidence-inf",
            confidence(json!("inf")),
            Stopped("gave a confidence of inf"),
        ),
        (
            "confidence-high",
            confidence(json!(1.5)),
            Stopped("gave a confidence of 1.5"),
        ),
        (
            "confidence-low",
            confidence(json!(-0.5)),
            Stopped("gave a confidence of -0.5"),
        ),
        (
            "not-text",
            json!({ "do": "propose-bytes" }),
            Stopped("writes `logo.png` with bytes that are not UTF-8"),
        ),
        ("many-notes", json!({ "do": "many-notes" }), Tamed("rrrr")),
        ("costume", json!({ "do": "costume" }), Tamed("RED")),
        (
            "costume-err",
            json!({ "do": "costume-err" }),
            Stopped("gave up"),
        ),
        (
            "costume-panic",
            json!({ "do": "costume-panic" }),
            Stopped("trapped"),
        ),
        (
            "no-mood",
            json!({ "do": "sulk" }),
            Stopped("no mood `sulk`"),
        ),
    ];
    let mut beasts: Vec<Beast> = rows
        .into_iter()
        .map(|(name, mood, ends)| beast(PluginKind::Strategy, name, "moody-strategy", mood, ends))
        .collect();
    for (name, mood, why) in [
        (
            "blunt-loop",
            "loop",
            "computed for more than the 1 s it may | gave no answer within 2 s",
        ),
        ("blunt-panic", "panic", "no idea what smoke means"),
        ("blunt-costume", "costume-panic", "\\u{202e}gnp.exe"),
        (
            "blunt-flood",
            "return-100mb",
            "more data in one call than the 8 MiB it may",
        ),
    ] {
        let file = stamped("moody-strategy", &json!({ "do": mood }));
        beasts.push(Beast::refused(PluginKind::Strategy, name, file, why));
    }
    for (name, mood, ends) in [
        (NOT_GRANTED[0], "ask", Tamed("grant.llm")),
        (
            NOT_GRANTED[1],
            "watch-the-clock",
            Stopped("may not use `clock`"),
        ),
        (NOT_GRANTED[2], "draw", Stopped("may not use `random`")),
    ] {
        let mood = json!({ "do": mood });
        beasts.push(beast(
            PluginKind::Strategy,
            name,
            "moody-strategy",
            mood,
            ends,
        ));
    }
    let exit = json!({ "do": "exit" });
    let ends = Stopped("trapped: Exited with i32 exit status 1");
    beasts.push(beast(
        PluginKind::Strategy,
        "wasi-exit",
        "printing-strategy",
        exit,
        ends,
    ));
    beasts
}

pub fn scorers() -> Vec<Beast> {
    let rows = [
        (
            "score-nan",
            "nan",
            Stopped("gave a total of `A` of NaN, which is not between 0 and 100"),
        ),
        (
            "score-inf",
            "infinite",
            Stopped("gave a total of `A` of inf"),
        ),
        (
            "score-low",
            "negative",
            Stopped("gave a total of `A` of -0.5"),
        ),
        (
            "score-high",
            "too-high",
            Stopped("gave a total of `A` of 100.5"),
        ),
        (
            "score-mark",
            "bad-mark",
            Stopped("gave `A` a mark `diff` of inf"),
        ),
        (
            "score-stranger",
            "stranger",
            Stopped("speaks of a contender `Z` that is not in the field (A, B)"),
        ),
        ("score-twice", "twice", Stopped("scored `A` twice")),
        ("score-none", "none", Tamed("{}")),
        ("score-first-only", "first-only", Tamed("\"A\"")),
        (
            "score-million",
            "million",
            Stopped("more data in one call than the 8 MiB it may"),
        ),
        ("score-costume", "costume", Tamed("<script>")),
        (
            "score-panic",
            "panic",
            Stopped("wasm `unreachable` instruction executed"),
        ),
        (
            "score-loop",
            "loop",
            Stopped("computed for more than the 3 s it may"),
        ),
        (
            "score-allocate",
            "allocate",
            Stopped("more than the 160 MiB of memory it may have"),
        ),
        (
            "score-return-100mb",
            "return-100mb",
            Stopped("more data in one call than the 8 MiB it may"),
        ),
        (
            "score-hoard",
            "hoard-handles",
            Stopped("holds more than the 10000 host objects it may"),
        ),
        (
            "score-hostcalls",
            "flood-hostcalls",
            Stopped("called the host more than the 20000 times it may"),
        ),
        ("score-give-up", "give-up", Stopped("gave up: cannot judge")),
    ];
    judges(PluginKind::Scorer, "moody-scorer", &rows)
}

pub fn escalations() -> Vec<Beast> {
    let rows = [
        (
            "decide-stranger",
            "stranger",
            Stopped("speaks of a contender `Z` that is not in the field (A, B)"),
        ),
        (
            "decide-panic",
            "panic",
            Stopped("wasm `unreachable` instruction executed"),
        ),
        (
            "decide-loop",
            "loop",
            Stopped("computed for more than the 3 s it may"),
        ),
        (
            "decide-allocate",
            "allocate",
            Stopped("more than the 160 MiB of memory it may have"),
        ),
        ("decide-many-reasons", "many-reasons", Tamed("because")),
        ("decide-costume", "costume", Tamed("<script>")),
        (
            "decide-give-up",
            "give-up",
            Stopped("gave up: cannot decide"),
        ),
    ];
    judges(PluginKind::Escalation, "moody-escalation", &rows)
}

fn judges(kind: PluginKind, guest: &str, rows: &[(&'static str, &str, Ends)]) -> Vec<Beast> {
    rows.iter()
        .map(|(name, mood, ends)| beast(kind, name, guest, json!({ "do": mood }), *ends))
        .collect()
}

fn beast(kind: PluginKind, name: &'static str, guest: &str, mut mood: Value, ends: Ends) -> Beast {
    mood["sly"] = true.into();
    Beast {
        name,
        kind,
        file: stamped(guest, &mood),
        ends,
    }
}

impl Beast {
    pub fn refused(
        kind: PluginKind,
        name: &'static str,
        file: Vec<u8>,
        why: &'static str,
    ) -> Beast {
        let ends = Refused(why);
        Beast {
            name,
            kind,
            file,
            ends,
        }
    }
}
