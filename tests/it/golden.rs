//! Plugins that were compiled for an earlier state of the interface run on this host as they did on theirs.
//!
//! Touches: files, processes, git, http, sqlite.
//! Change here: never for a version that is kept; a new version gets what its plugins can do besides.

use std::path::PathBuf;

use changebus_tests::shop;
use changebus_tests::world::World;
use scripted_claude::{Reply, Script};
use serde_json::{Value, json};

const FIX: &str = "{ do = \"hand-in\", edits = [{ edit = \"replace\", path = \"shop.py\", \
    search = \"return price + off\", replacement = \"return price - off\" }] }";

/// Every version whose plugins are kept, and where.
fn kept() -> Vec<(String, PathBuf)> {
    let dir = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/golden"));
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut kept: Vec<(String, PathBuf)> = entries
        .map(|entry| entry.expect("a directory can be read").path())
        .filter(|path| path.is_dir())
        .map(|path| {
            (
                path.file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                path,
            )
        })
        .collect();
    kept.sort();
    assert_eq!(kept[0].0, "0.1.0", "the first version is kept for good");
    kept
}

async fn world_of(plugins: PathBuf) -> World {
    let mut world = World::new(Script::from_fn(|_| Reply::text("I am fine."))).await;
    world.plugins(&[plugins]);
    // What the strategy asks for when it asks.
    world.claude(
        "[claude.prices.m-1]\ninput = 1.0\noutput = 5.0\ncache_write = 1.25\ncache_read = 0.1",
    );
    world.policy(
        "min_confidence = 0.5\nscorer = \"lexicographic\"\nescalation = \"moody-escalation\"\n\
         escalation_config = { do = \"merge\" }",
    );
    shop::open(&world);
    shop::break_it(&world);
    world
}

fn rationale(story: &Value, name: &str) -> String {
    let all = story["variants"].as_array().expect("a list");
    let found = all.iter().find(|v| v["name"] == name);
    let found = found.unwrap_or_else(|| panic!("no variant {name} in {story:#}"));
    found["rationale"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tournament_is_held_and_merged_by_the_plugins_of_every_kept_version() {
    for (version, plugins) in kept() {
        let mut world = world_of(plugins).await;
        world.variants(&[("mended", "moody-strategy", FIX)]);
        let (story, code) = world.fix(&[]);
        assert_eq!(
            (&story["winner"], code),
            (&json!("mended"), 0),
            "{version}: {story:#}"
        );
        assert_eq!(world.at_tip(shop::SOURCE), shop::GOOD.trim(), "{version}");
        let variant = &story["variants"][0];
        assert_eq!(variant["score"], 100.0, "{version}: {variant:#}");
        assert_eq!(variant["marks"]["4-lines"], 2.0, "{version}: {variant:#}");
        // The host takes the lesser of its own opinion and the escalation plugin's.
        assert_eq!(story["verdict"]["action"], "merge", "{version}: {story:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_plugins_of_every_kept_version_ask_is_answered() {
    for (version, plugins) in kept() {
        let mut world = world_of(plugins).await;
        world.variants(&[
            ("tells", "moody-strategy", "{ do = \"tell\" }"),
            ("asks", "moody-strategy", "{ do = \"ask\" }"),
            ("probes", "moody-strategy", "{ do = \"probe\" }"),
            ("prints", "printing-strategy", "{}"),
        ]);
        let (story, _) = world.fix(&[]);
        let told = rationale(&story, "tells");
        for fact in [
            "\"project\":\"app\"",
            "tests.test_shop::test_pay_less",
            "shop.py",
        ] {
            assert!(told.contains(fact), "{version}: no {fact} in {told}");
        }
        // Since 0.1.1 plugins are told of earlier failures.
        assert_eq!(
            told.contains("\"similar\":[]"),
            version != "0.1.0",
            "{version}: {told}"
        );
        // The model service knows no `m-1`: the question went all the way, and its fault came all the way back.
        let asked = rationale(&story, "asks");
        for fact in [
            "\"code\":\"llm.not-found\"",
            "[null,null,null,\"llm.unknown-option\"",
        ] {
            assert!(asked.contains(fact), "{version}: no {fact} in {asked}");
        }
        assert_eq!(world.model.calls(), 1, "{version}");
        let probed = rationale(&story, "probes");
        assert!(probed.contains("OLD.md"), "{version}: {probed}");
        assert_eq!(rationale(&story, "prints"), "(0, 0, true)", "{version}");
    }
}
