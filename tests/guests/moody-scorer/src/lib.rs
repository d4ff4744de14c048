//! A scorer that behaves as its config says: `{"do": "score"}` scores, `{"do": "nan"}` scores nonsense.
//!
//! Touches: nothing.
//! Change here: when a scorer can misbehave in a new way, or can ask the host for something new.

#![cfg(target_family = "wasm")]

use std::collections::BTreeMap;
use std::hint::black_box;

use changebus::host::{arena, config, history, log};
use exports::changebus::scorer::judge::{Guest, Scored, Tournament};
use serde_json::{Value, json};

wit_bindgen::generate!({ path: "../../../wit", world: "changebus:scorer/scorer", generate_all });

mod fuzz;
#[path = "../../mood.rs"]
mod mood;
#[path = "../../stamp.rs"]
mod stamp;
#[path = "../../tape.rs"]
pub mod tape;

struct Moody;

export!(Moody);

changebus_sdk::manifest!(scorer, asks = [history], config = BTreeMap<String, Value>);

impl Guest for Moody {
    fn score(tournament: Tournament) -> Result<Vec<Scored>, String> {
        let config = mood::mood(&config::get_json(), &tournament.project(), "score")?;
        let all = tournament.contenders();
        let honest = all.iter().map(mark);
        match config["do"].as_str().unwrap_or_default() {
            "score" => Ok(honest.collect()),
            "first-only" => Ok(honest.take(1).collect()),
            "nan" => Ok(totals(honest, f64::NAN)),
            "infinite" => Ok(totals(honest, f64::INFINITY)),
            "negative" => Ok(totals(honest, -0.5)),
            "too-high" => Ok(totals(honest, 100.5)),
            "none" => Ok(Vec::new()),
            "million" => Ok(million(honest.collect())),
            "costume" => Ok(honest.map(dressed).collect()),
            "panic" => panic!("cannot count"),
            "allocate" => allocate(),
            "return-100mb" => Err("x".repeat(100 << 20)),
            "hoard-handles" => hoard_handles(&tournament),
            "flood-hostcalls" => flood_hostcalls(&tournament),
            "fuzz" => Ok(fuzz::scores(
                config["tape"].as_str().unwrap_or_default(),
                &all,
            )),
            "bad-mark" => Ok(honest
                .map(|one| Scored {
                    marks: vec![("diff".to_owned(), f64::INFINITY)],
                    ..one
                })
                .collect()),
            "stranger" => Ok(honest
                .map(|one| Scored {
                    id: "Z".to_owned(),
                    ..one
                })
                .collect()),
            "twice" => Ok(honest.flat_map(|one| [one.clone(), one]).collect()),
            "give-up" => Err("cannot judge".to_owned()),
            "loop" => spin(),
            "tell" => Err(tell(&tournament, &all).to_string()),
            other => Err(format!("no mood `{other}`")),
        }
    }
}

fn totals(honest: impl Iterator<Item = Scored>, total: f64) -> Vec<Scored> {
    honest.map(|one| Scored { total, ..one }).collect()
}

fn million(honest: Vec<Scored>) -> Vec<Scored> {
    honest.into_iter().cycle().take(1_000_000).collect()
}

fn dressed(one: Scored) -> Scored {
    let costume = "\u{1b}[2J<script>x</script>\u{202e}\n@everyone".to_owned();
    Scored {
        disqualified: Some(costume.clone()),
        marks: vec![(costume, 1.0)],
        ..one
    }
}

fn allocate() -> ! {
    let mut hoard = Vec::new();
    loop {
        hoard.push(black_box(vec![1u8; 1 << 20]));
    }
}

fn hoard_handles(tournament: &Tournament) -> ! {
    let mut hoard = Vec::new();
    loop {
        hoard.push(tournament.contenders());
    }
}

fn flood_hostcalls(tournament: &Tournament) -> ! {
    loop {
        black_box(tournament.score("A"));
    }
}

fn mark(contender: &arena::Contender) -> Scored {
    let tests = contender.metric("tests.fixed").unwrap_or(0.0) * 10.0;
    let disqualified = contender.broken_gates().into_iter().next();
    Scored {
        id: contender.id(),
        total: tests,
        disqualified,
        marks: vec![("tests".to_owned(), tests)],
    }
}

fn spin() -> ! {
    let mut n = 0u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

/// Everything there is to learn about the field.
fn tell(tournament: &Tournament, all: &[arena::Contender]) -> Value {
    log::emit(log::Level::Info, "telling", &[]);
    let contender = |one: &arena::Contender| {
        json!({
            "id": one.id(), "strategy": one.strategy(), "rationale": one.rationale(), "confidence": one.confidence(),
            "diff": one.unified_diff(5), "paths": one.paths(), "fixed": one.metric("tests.fixed"),
            "other": one.metric("x"), "gates": one.broken_gates(), "failing": one.failing(0, 1),
        })
    };
    json!({
        "project": tournament.project(), "base": tournament.base(), "head": tournament.head(),
        "threshold": tournament.attribute("merge-threshold"), "other": tournament.attribute("x"),
        "contenders": all.iter().map(contender).collect::<Vec<_>>(),
        "scores": [tournament.score("A"), tournament.score("B"), tournament.score("Z")],
        "evidence": tournament.confidence("A"), "security": tournament.security("A"),
        "stranger": tournament.security("Z"), "ambiguity": tournament.ambiguity(),
        "history": history::metric("strategy", "moody", "merged"),
    })
}
