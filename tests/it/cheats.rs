//! Patches that make tests pass, or seem to, without mending anything: none is ever merged, and the story says why.
//!
//! Touches: files, processes, git, http, sqlite.
//! Change here: when another way to cheat becomes known.
//!
//! Every story is the same tournament under rules that would merge anything: no threshold, no minimum of evidence,
//! an escalation plugin that always says `merge`. What holds then holds by the host's own gates. Each cheat enters
//! twice, said by the model through `minimal-fix` and handed in as it is by a plugin that checks nothing.

use std::os::unix::fs::symlink;

use changebus_tests::shop;
use changebus_tests::world::World;
use scripted_claude::{Reply, Script};
use serde_json::{Value, json};

const MERGE_ANYTHING: &str = "\
merge_threshold = 0.0
min_confidence = 0.0
escalation = \"moody-escalation\"
escalation_config = { do = \"merge\" }";

/// A shop with one broken test, and a model that gives this answer however often it is asked.
async fn broken_shop(answer: &str) -> World {
    let answer = answer.to_owned();
    let mut world = World::new(Script::from_fn(move |_| Reply::text(answer.clone()))).await;
    world.policy(MERGE_ANYTHING);
    shop::open(&world);
    shop::break_it(&world);
    world
}

/// Enters the edits as `B`, beside the model's words as `A`.
fn enter(world: &mut World, edits: &Value) {
    let config = json!({ "do": "hand-in", "edits": edits });
    world.variants(&[
        ("A", "minimal-fix", "{ probe = false }"),
        ("B", "moody-strategy", &inline(&config)),
    ]);
}

/// JSON as an inline table of TOML.
fn inline(config: &Value) -> String {
    toml::Value::try_from(config)
        .expect("a config without null is TOML")
        .to_string()
}

/// The model's words for whole files.
fn say(edits: &Value) -> String {
    let block = |edit: &Value| {
        let word = |key: &str| edit[key].as_str().unwrap_or_default().to_owned();
        match edit["edit"].as_str() {
            Some("write") => format!(
                "{}\n<<<<<<< FILE\n{}>>>>>>> FILE\n",
                word("path"),
                word("content")
            ),
            Some("delete") => format!(
                "{}\n<<<<<<< DELETE\n>>>>>>> DELETE\n",
                word("path")
            ),
            _ => "NO_FIX: this cannot be said in blocks\n".to_owned(),
        }
    };
    let blocks: Vec<_> = edits.as_array().into_iter().flatten().map(block).collect();
    format!("This should do.\n\n{}", blocks.join("\n"))
}

fn write(path: &str, content: &str) -> Value {
    json!({ "edit": "write", "path": path, "content": content })
}

/// Holds the tournament; the story, after making sure that nothing was merged.
fn hold(world: &World) -> Value {
    let before = world.tip();
    let (story, code) = world.fix(&[]);
    assert_eq!(world.tip(), before, "{story:#}");
    assert_ne!(story["verdict"]["action"], "merge", "{story:#}");
    assert!([4, 5].contains(&code), "exit {code}: {story:#}");
    story
}

async fn cheat(edits: Value) -> Value {
    let mut world = broken_shop(&say(&edits)).await;
    enter(&mut world, &edits);
    hold(&world)
}

/// Everything the story says of variant `B`, with the verdict's reasons.
fn said(story: &Value) -> String {
    let variant = story["variants"]
        .as_array()
        .and_then(|all| all.iter().find(|v| v["name"] == "B"))
        .unwrap_or(&Value::Null);
    format!(
        "{} {} {}",
        variant["gates"], variant["rationale"], story["verdict"]["reasons"]
    )
}

fn assert_said(story: &Value, words: &str) {
    assert!(said(story).contains(words), "no `{words}` in {story:#}");
}

fn state(story: &Value, name: &str) -> String {
    let all = story["variants"].as_array().into_iter().flatten();
    all.into_iter()
        .find(|v| v["name"] == name)
        .and_then(|v| v["state"].as_str())
        .unwrap_or("absent")
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn under_these_rules_an_honest_fix_is_merged_without_further_questions() {
    let mut world = broken_shop(shop::HONEST).await;
    enter(&mut world, &json!([]));
    let before = world.tip();
    let (story, code) = world.fix(&[]);
    assert_eq!(code, 0, "{story:#}");
    assert_eq!(story["status"], "fixed");
    assert_eq!(story["winner"], "A");
    assert_ne!(world.tip(), before);
    assert_eq!(world.at_tip(shop::SOURCE), shop::GOOD.trim());
}
