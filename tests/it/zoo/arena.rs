//! A whole tournament full of beasts, through the daemon: it ends, the honest strategy wins, everybody is named.
//!
//! Touches: files, processes, git, http, sqlite.
//! Change here: when a beast should meet the tournament in another way, or people read of it in another place.

use changebus::event::{Event, Fact, RunStatus, Sighting};
use changebus::outside::wasm::PluginKind;
use changebus::story;
use changebus_tests::beasts::stamped;
use changebus_tests::guests::{guest_dir, plugin_dir};
use changebus_tests::shop;
use changebus_tests::world::World;
use scripted_claude::{Reply, Script};
use serde_json::{Value, json};

use super::any_of;
use super::keepers::{self, Beast, Ends};

const LENIENT: &str = "min_confidence = 0.5\nstrategy_timeout_seconds = 120";

/// Of `super::limits`. A table of its own, after the lines of another one.
const LIMITS: &str = "[plugins.limits]\nmemory_mib = 160\nstrategy_cpu_seconds = 3\njudge_cpu_seconds = 3\nhost_calls = 20000";

/// What stands in the story of each: its state, and part of its reason.
struct Fate {
    name: String,
    state: &'static str,
    why: String,
}

fn fate(name: &str, state: &'static str, why: &str) -> Fate {
    Fate {
        name: name.to_owned(),
        state,
        why: why.to_owned(),
    }
}

/// A world with a broken shop, in whose plugin directory the beasts lie.
async fn infested(beasts: &[(&str, &[u8])]) -> World {
    let honest = Script::from_fn(|_| Reply::text(shop::HONEST));
    let mut world = World::new(honest).await;
    let lair = world.path().join("lair");
    std::fs::create_dir(&lair).expect("a directory");
    for (name, file) in beasts {
        std::fs::write(lair.join(format!("{name}.wasm")), file).expect("it is written");
    }
    world
        .plugins(&[plugin_dir(), guest_dir(), lair])
        .policy(LENIENT)
        .claude(LIMITS);
    shop::open(&world);
    world
}

/// What a beast comes to here: its limits are those of the other tests, as far as they can be configured.
fn at_home(beast: &Beast) -> Option<Fate> {
    let usual = |why: &str| {
        let why = why.replace("16 MiB of prompts", "32 MiB of prompts");
        why.replace("shop means", "app means")
    };
    match beast.ends {
        _ if beast.name.starts_with("hanging") || beast.name.starts_with("costume") => None,
        _ if keepers::NOT_GRANTED.contains(&beast.name) => None,
        Ends::Stopped(why) => Some(fate(beast.name, "failed", &usual(why))),
        Ends::Refused(why) => Some(fate(beast.name, "failed", &usual(why))),
        Ends::Tamed(_) => None,
    }
}

/// Patches that would like to get out, or in where nobody may write.
fn burglars() -> Vec<(&'static str, Vec<u8>, Fate)> {
    let edit = |edit: Value| {
        stamped(
            "moody-strategy",
            &json!({ "do": "hand-in", "sly": true, "edits": [edit] }),
        )
    };
    let write = |path: &str| edit(json!({ "edit": "write", "path": path, "content": "x" }));
    let rows = [
        ("out-of-the-tree", write("../../outside"), "../../outside"),
        ("absolute", write("/etc/cron.d/x"), "/etc/cron.d/x"),
        ("through-the-middle", write("a/../../b"), "a/../../b"),
        (
            "into-git",
            write(".git/hooks/post-commit"),
            ".git/hooks/post-commit",
        ),
        ("into-git-in-capitals", write(".GIT/config"), ".GIT/config"),
        (
            "no-diff",
            edit(json!({ "edit": "diff", "text": "@@ -99999999999999999999 +0,0 @@" })),
            "the patch",
        ),
    ];
    rows.into_iter()
        .map(|(name, file, why)| (name, file, fate(name, "failed", why)))
        .collect()
}

fn in_costume() -> (&'static str, Vec<u8>) {
    let mended = json!({
        "edit": "replace", "path": "shop.py", "search": "price + off", "replacement": "price - off",
    });
    let mood = json!({ "do": "costume", "sly": true, "edits": [mended] });
    ("costume-party", stamped("moody-strategy", &mood))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tournament_full_of_beasts_ends_and_the_honest_strategy_wins() {
    let beasts: Vec<Beast> = keepers::strategies();
    let (costume, dressed) = in_costume();
    let mut fates: Vec<Fate> = beasts.iter().filter_map(at_home).collect();
    let mut files: Vec<(&str, &[u8])> =
        beasts.iter().map(|b| (b.name, b.file.as_slice())).collect();
    let burglars = burglars();
    for (name, file, fate) in &burglars {
        files.push((name, file));
        fates.push(Fate {
            name: fate.name.clone(),
            state: fate.state,
            why: fate.why.clone(),
        });
    }
    files.push((costume, &dressed));
    fates.push(fate(costume, "duplicate", "RED"));
    fates.push(fate("costume", "refused", "RED"));
    fates.push(fate("costume-err", "failed", "gave up"));
    fates.push(fate("costume-panic", "failed", "trapped"));
    fates.push(fate("many-notes", "failed", "changes nothing"));
    let mut world = infested(&files).await;
    let mut variants = vec![("honest", "minimal-fix", "{ probe = false }")];
    variants.extend(
        fates
            .iter()
            .map(|fate| (fate.name.as_str(), fate.name.as_str(), "{}")),
    );
    assert!(variants.len() > 25, "{} variants", variants.len());
    world.variants(&variants);

    let _daemon = world.daemon();
    world.until("the shop is adopted", adopted).await;
    shop::break_it(&world);
    let events = world
        .until("the tournament ends", |events| closed(events).is_some())
        .await;
    assert_eq!(closed(&events), Some(RunStatus::Fixed));
    assert_eq!(world.at_tip(shop::SOURCE), shop::GOOD.trim());

    let shown = world
        .changebus(&["show", "--json"])
        .output()
        .expect("changebus can be started");
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("it is JSON");
    let story = &shown["story"];
    assert_eq!(story["winner"], "honest", "{story:#}");
    let wrong: Vec<String> = fates
        .iter()
        .filter_map(|fate| complaint(story, fate))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let screen = world
        .changebus(&["show"])
        .output()
        .expect("changebus can be started");
    let of_run: Vec<Event> = events.into_iter().filter(|e| e.run.is_some()).collect();
    let report = story::report(&of_run).expect("the run has a report");
    let log = std::fs::read(world.path().join("daemon.log")).expect("the daemon has a log");
    for (place, text) in [
        ("show", screen.stdout.as_slice()),
        ("the report", report.as_bytes()),
        ("the log", log.as_slice()),
    ] {
        // The report itself breaks up what would ring somebody, with a space of no width.
        let text = String::from_utf8_lossy(text).replace("@\u{200b}", "@");
        assert_harmless(place, &text.replace("#\u{200b}", "#"));
    }
    assert_no_markup("the report", &report);
    for variant in story["variants"].as_array().expect("there are variants") {
        assert_harmless(
            "show --json",
            variant["rationale"].as_str().unwrap_or_default(),
        );
    }
}

fn adopted(events: &[Event]) -> bool {
    let adopted = |e: &Event| {
        matches!(
            &e.fact,
            Fact::Watched {
                sighting: Sighting::Adopted { .. }
            }
        )
    };
    events.iter().any(adopted)
}

fn closed(events: &[Event]) -> Option<RunStatus> {
    events.iter().find_map(|event| match event.fact {
        Fact::RunClosed { status } => Some(status),
        _ => None,
    })
}

fn complaint(story: &Value, fate: &Fate) -> Option<String> {
    let variants = story["variants"].as_array()?;
    let Some(variant) = variants.iter().find(|variant| variant["name"] == fate.name) else {
        return Some(format!("{} is not in the story", fate.name));
    };
    let said = variant["rationale"].as_str().unwrap_or_default();
    let named = fate.state != "failed"
        || !fate.why.contains("trapped")
        || said.contains(&format!("`{}`", fate.name));
    let as_told = variant["state"] == fate.state && any_of(&fate.why, said) && named;
    let said: String = said.chars().take(300).collect();
    (!as_told).then(|| {
        format!(
            "{}: {}, not {} with `{}`: {said}",
            fate.name, variant["state"], fate.state, fate.why
        )
    })
}

/// Nothing in it steers a terminal, hides, or turns the reading direction.
fn assert_harmless(place: &str, text: &str) {
    let bad = text.chars().find(|c| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    });
    if let Some(bad) = bad {
        let around = text
            .split('\n')
            .find(|line| line.contains(bad))
            .unwrap_or_default();
        let around: String = around.chars().take(400).collect();
        panic!("{place} holds U+{:04X}: {around:?}", bad as u32);
    }
}

/// Nothing that a forge would run, load or ring somebody up for.
fn assert_no_markup(place: &str, text: &str) {
    let quoted_out: String = outside_of_code(text);
    for bad in [
        "<script",
        "<img",
        "@everyone",
        "[x](javascript:",
        "fixes #1",
    ] {
        assert!(
            !quoted_out.contains(bad),
            "{place} holds {bad}: {quoted_out}"
        );
    }
}

/// Markdown without its fenced blocks and code spans, where nothing has a meaning.
fn outside_of_code(markdown: &str) -> String {
    let mut fence: Option<String> = None;
    let mut text = String::new();
    for line in markdown.lines() {
        let ticks: String = line
            .trim_start()
            .chars()
            .take_while(|c| *c == '`')
            .collect();
        match &fence {
            Some(open) if ticks.len() >= open.len() => fence = None,
            Some(_) => {}
            None if ticks.len() >= 3 => fence = Some(ticks),
            None => {
                let outside = line.split('`').step_by(2);
                text.push_str(&outside.collect::<Vec<_>>().join(" "));
                text.push('\n');
            }
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_judge_is_a_beast_a_human_is_asked() {
    let of_kind = |kind: PluginKind, name: &str| {
        let all = match kind {
            PluginKind::Escalation => keepers::escalations(),
            _ => keepers::scorers(),
        };
        let found = all.into_iter().find(|beast| beast.name == name);
        found.unwrap_or_else(|| panic!("no beast {name}")).file
    };
    let rows = [
        (
            "score-nan",
            PluginKind::Scorer,
            "scorer = \"score-nan\"",
            "NaN",
        ),
        (
            "score-million",
            PluginKind::Scorer,
            "scorer = \"score-million\"",
            "more data in one call",
        ),
        (
            "score-allocate",
            PluginKind::Scorer,
            "scorer = \"score-allocate\"",
            "160 MiB of memory",
        ),
        (
            "decide-loop",
            PluginKind::Escalation,
            "escalation = \"decide-loop\"",
            "computed for more than",
        ),
        (
            "decide-stranger",
            PluginKind::Escalation,
            "escalation = \"decide-stranger\"",
            "`Z`",
        ),
        (
            "decide-costume",
            PluginKind::Escalation,
            "escalation = \"decide-costume\"",
            "",
        ),
    ];
    let files: Vec<(&str, Vec<u8>)> = rows
        .iter()
        .map(|(name, kind, ..)| (*name, of_kind(*kind, name)))
        .collect();
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, file)| (*name, file.as_slice()))
        .collect();
    let mut world = infested(&files).await;
    world.variants(&[("honest", "minimal-fix", "{ probe = false }")]);
    shop::break_it(&world);
    let before = world.tip();
    for (name, _, policy, why) in rows {
        world.policy(&format!("{LENIENT}\n{policy}"));
        let (story, code) = world.fix(&["--dry-run"]);
        assert_eq!(
            (&story["verdict"]["action"], code),
            (&"human".into(), 4),
            "{name}: {story:#}"
        );
        let reasons = story["verdict"]["reasons"]
            .as_array()
            .expect("there are reasons");
        let reasons: Vec<&str> = reasons.iter().filter_map(Value::as_str).collect();
        let reasons = reasons.join("\n");
        assert!(reasons.contains(why), "{name}: no `{why}` in {reasons}");
        assert_harmless(name, &reasons);
        assert_eq!(world.tip(), before);
    }
}
