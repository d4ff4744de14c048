//! What people are told in their channels, at once and once in a while.
//!
//! Touches: files, processes, git, http, sqlite, network (loopback).
//! Change here: when people are told something else, or in another place.

use changebus::event::{Event, Fact, RunStatus};
use changebus_tests::discord::{Discord, complaint};
use changebus_tests::fleet::{BAD, Fleet, all_adopted};
use changebus_tests::shop;
use changebus_tests::world::World;
use scripted_claude::{Reply, Script};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::envelope::assert_well_told;

/// A shop whose fixes are for people to decide on, and a channel that is told of it.
async fn world(discord: &Discord, lines: &str) -> World {
    let mut world = World::new(Script::from_fn(|_| Reply::text(shop::HONEST))).await;
    world.policy("min_confidence = 0.5\ndeliver = \"human\"\nreruns = 1");
    world.variants(&[("A", "minimal-fix", "{ probe = false }")]);
    let url = world.path().join("discord-url");
    std::fs::write(&url, discord.url()).expect("a file can be written");
    world.tables(&format!(
        "[notices.ops]\nkind = \"discord\"\nurl = {{ file = {url:?} }}\n{lines}"
    ));
    shop::open(&world);
    world
}

fn sent(events: &[Event]) -> Vec<(String, Option<String>)> {
    let sent = |e: &Event| match &e.fact {
        Fact::NoticeSent { sent } => Some((sent.sink.clone(), sent.given_up.clone())),
        _ => None,
    };
    events.iter().filter_map(sent).collect()
}

async fn watched(world: &World) -> changebus_tests::world::Daemon {
    let daemon = world.daemon();
    world
        .until("the tip is adopted", |events| !events.is_empty())
        .await;
    daemon
}

fn texts(discord: &Discord) -> Vec<String> {
    let all = discord.shown();
    let embed = |m: &Value| {
        format!(
            "{} {}",
            m["embeds"][0]["title"], m["embeds"][0]["description"]
        )
    };
    all.iter().map(embed).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_is_told_once_that_a_human_is_needed_through_a_storm_of_refusals() {
    let discord = Discord::start().await;
    let world = world(&discord, "").await;
    let mut daemon = watched(&world).await;
    discord.storm(5);
    shop::break_it(&world);
    let told = |events: &[Event]| sent(events).len() == 1;
    let events = world.until("the channel was told", told).await;
    events.iter().for_each(assert_well_told);
    assert_eq!(sent(&events), [("ops".to_owned(), None)]);
    let shown = texts(&discord);
    assert_eq!(shown.len(), 1, "{shown:#?}");
    assert!(shown[0].contains("needs a human"), "{shown:#?}");
    assert_eq!(discord.posted().len(), 6, "five were refused");
    // Nothing of the past is told again after a restart.
    daemon.kill();
    let _daemon = world.daemon();
    world.push(
        "Mend it by hand",
        &[(shop::SOURCE, Some(shop::GOOD)), ("NOTES", Some("x"))],
    );
    let green = |events: &[Event]| {
        let closed = |e: &Event| {
            matches!(
                e.fact,
                Fact::RunClosed {
                    status: RunStatus::Green
                }
            )
        };
        events.iter().any(closed)
    };
    world.until("the branch is green", green).await;
    assert_eq!(texts(&discord).len(), 1);
}

#[test]
fn what_strangers_write_pings_nobody_and_fits() {
    let evil = format!("@everyone <@1> [a](http://evil) ```{}", "log\n".repeat(500));
    let notice = changebus::rules::notices::Notice {
        id: "1".to_owned(),
        kind: changebus::rules::notices::NoticeKind::Alert,
        project: "p".to_owned(),
        title: evil.clone(),
        lines: vec![evil; 50],
        parts: vec![],
        urgency: changebus::rules::notices::Urgency::Needed,
    };
    let messages = changebus::rules::discord::messages(&notice);
    for message in &messages {
        assert_eq!(complaint(&message.to_string()), None);
    }
    // The judge does not take everything.
    let long = json!({ "content": "x".repeat(2001), "allowed_mentions": { "parse": [] } });
    assert!(complaint(&long.to_string()).is_some());
    assert!(complaint(&json!({ "content": "@everyone" }).to_string()).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_gone_is_given_up_and_the_log_says_so() {
    let discord = Discord::start().await;
    let world = world(&discord, "").await;
    let _daemon = watched(&world).await;
    discord.delete();
    shop::break_it(&world);
    let told = |events: &[Event]| sent(events).len() == 1;
    let events = world.until("it is given up", told).await;
    let why = sent(&events)[0].1.clone().expect("it was given up");
    assert!(why.contains("gone (404"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_digest_comes_when_its_time_has_come_to_a_webhook_that_can_check_who_sends_it() {
    let hook = Discord::start().await;
    let mut world = world(&hook, "").await;
    let (url, secret) = (world.path().join("url"), world.path().join("secret"));
    std::fs::write(&url, hook.url()).expect("a file can be written");
    std::fs::write(&secret, "of-a-story").expect("a file can be written");
    world.tables(&format!(
        "[digest]\nat = \"*/2 * * * * *\"\ntime_zone = \"Europe/Berlin\"\n\
         [notices.own]\nkind = \"webhook\"\nurl = {{ file = {url:?} }}\nsecret = {{ file = {secret:?} }}\n"
    ));
    let _daemon = watched(&world).await;
    shop::break_it(&world);
    let broke = |events: &[Event]| {
        events.iter().any(|e| match &e.fact {
            Fact::DigestMade { digest } => digest
                .projects
                .get("app")
                .is_some_and(|p| !p.waiting.is_empty()),
            _ => false,
        })
    };
    let events = world.until("a digest says what waits", broke).await;
    events.iter().for_each(assert_well_told);
    let is_it = |p: &changebus_tests::discord::Posted| {
        p.body.contains("\"digest\"") && p.body.contains("waits for people")
    };
    let posted = loop {
        if let Some(posted) = hook.posted().into_iter().find(is_it) {
            break posted;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let signature = posted.headers["x-changebus-signature"]
        .to_str()
        .expect("ASCII");
    let (time, given) = signature.split_once(",v1=").expect("two parts");
    let time = time.strip_prefix("t=").expect("a time");
    assert_eq!(
        given,
        hmac(b"of-a-story", format!("{time}.{}", posted.body).as_bytes())
    );
}

/// HMAC-SHA256 by the book, so that what signs is not what checks.
fn hmac(key: &[u8], message: &[u8]) -> String {
    let mut block = [0u8; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |byte: u8| block.map(|b| b ^ byte);
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(message)
        .finalize();
    let outer = Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize();
    outer.iter().map(|b| format!("{b:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_hosts_one_tells_and_another_goes_on_when_it_dies() {
    let discord = Discord::start().await;
    let mut fleet = Fleet::new(&["ada", "bob"], 2).await;
    fleet.policy_lines = "deliver = \"human\"".to_owned();
    let url = fleet.path().join("discord-url");
    std::fs::write(&url, discord.url()).expect("a file can be written");
    fleet.tables = format!("[notices.ops]\nkind = \"discord\"\nurl = {{ file = {url:?} }}\n");
    let mut daemons = ["ada", "bob"].map(|host| (host, fleet.daemon(host)));
    for host in ["ada", "bob"] {
        fleet
            .until(host, "the tips are known", |e| {
                all_adopted(e, &fleet.projects)
            })
            .await;
    }
    fleet.push("p1", "Rework discounts", BAD);
    let told = |times: usize| move |events: &[Event]| sent(events).len() == times;
    let events = fleet.until("bob", "the channel was told", told(1)).await;
    let tells = events
        .iter()
        .find(|e| matches!(e.fact, Fact::NoticeSent { .. }))
        .expect("it was told");
    let (dies, lives) = match tells.origin {
        None => (1, "ada"),
        Some(_) => (0, "bob"),
    };
    daemons[dies].1.kill();
    fleet.push("p2", "Rework discounts", BAD);
    fleet
        .until(lives, "the channel was told of the other", told(2))
        .await;
    assert_eq!(texts(&discord).len(), 2, "{:#?}", texts(&discord));
}
