//! Several hosts and a real NATS server: projects are shared out, nobody's work is lost, nothing is done twice.
//!
//! Touches: files, processes, git, http, sqlite, network (loopback).
//! Change here: when hosts promise each other something new.

use std::collections::BTreeMap;
use std::time::Duration;

use cdevents_sdk::CDEvent;
use changebus::event::{Event, Fact, RunStatus};
use changebus::outside::store::Store;
use changebus::rules::envelope;
use changebus_tests::fleet::{BAD, Fleet, GOOD, all_adopted};
use changebus_tests::nats::Nats;
use changebus_tests::python::run_python;
use changebus_tests::world::Daemon;
use serde_json::{Value, json};

mod takeover;

fn closed<'a>(events: &'a [Event], project: &str) -> Vec<&'a Event> {
    let of_it = |e: &&Event| e.project == project && matches!(e.fact, Fact::RunClosed { .. });
    events.iter().filter(of_it).collect()
}

fn status(event: &Event) -> RunStatus {
    match &event.fact {
        Fact::RunClosed { status } => *status,
        other => panic!("{other:?} closes nothing"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_share_the_projects_and_each_knows_what_the_other_did() {
    let fleet = Fleet::new(&["ada", "bob"], 4).await;
    let (_ada, _bob) = (fleet.daemon("ada"), fleet.daemon("bob"));
    for host in ["ada", "bob"] {
        fleet
            .until(host, "every tip is known", |e| {
                all_adopted(e, &fleet.projects)
            })
            .await;
    }
    for project in &fleet.projects {
        fleet.push(project, "Rework discounts", BAD);
    }
    let mended = |events: &[Event]| fleet.projects.iter().all(|p| !closed(events, p).is_empty());
    let mut by_host = vec![];
    for host in ["ada", "bob"] {
        let events = fleet.until(host, "every project is mended", mended).await;
        for project in &fleet.projects {
            let closed = closed(&events, project);
            assert_eq!(closed.len(), 1, "{project} on {host}");
            assert_eq!(status(closed[0]), RunStatus::Fixed, "{project} on {host}");
            assert_eq!(fleet.at_tip(project, "shop.conf"), GOOD.trim());
        }
        let own = events
            .iter()
            .filter(|e| e.origin.is_none() && e.run.is_some());
        by_host.push(own.count());
    }
    assert!(
        by_host.iter().all(|own| *own > 0),
        "one host did everything: {by_host:?}"
    );
    // One call for each project, whoever made it.
    assert_eq!(fleet.model.requests().len(), fleet.projects.len());
}

fn holder<'a>(events: &'a [Event], project: &str, own: &'a str) -> &'a str {
    let of_it = |e: &&Event| e.project == project && e.run.is_some();
    let last = events.iter().rev().find(of_it).expect("a run is open");
    last.origin.as_deref().unwrap_or(own)
}

/// Of two hosts the one that has the run is killed once the model has answered: both, who died, and who lives.
async fn killed_in_mid_tournament(
    fleet: &Fleet,
) -> (BTreeMap<&'static str, Daemon>, &'static str, &'static str) {
    let mut daemons = BTreeMap::from([("ada", fleet.daemon("ada")), ("bob", fleet.daemon("bob"))]);
    for host in ["ada", "bob"] {
        fleet
            .until(host, "the tip is known", |e| {
                all_adopted(e, &fleet.projects)
            })
            .await;
    }
    fleet.push("p1", "Rework discounts", BAD);
    let proposed = |events: &[Event]| {
        events
            .iter()
            .any(|e| matches!(e.fact, Fact::Proposed { .. }))
    };
    let events = fleet.until("bob", "the model has answered", proposed).await;
    let dies = if holder(&events, "p1", "bob") == "bob" {
        "bob"
    } else {
        "ada"
    };
    let lives = if dies == "bob" { "ada" } else { "bob" };
    fleet.until(lives, "the other knows of it", proposed).await;
    daemons.get_mut(dies).expect("it runs").kill();
    (daemons, dies, lives)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_killed_in_mid_tournament_is_followed_by_another_and_its_paid_answer_is_used() {
    let mut fleet = Fleet::new(&["ada", "bob"], 1).await;
    fleet.test_seconds = 1.0;
    let (_daemons, dies, lives) = killed_in_mid_tournament(&fleet).await;
    let events = fleet
        .until(lives, "the other goes on", |e| !closed(e, "p1").is_empty())
        .await;
    assert_eq!(status(closed(&events, "p1")[0]), RunStatus::Fixed);
    assert_eq!(holder(&events, "p1", lives), lives);
    assert_eq!(fleet.model.calls(), 1);
    assert_eq!(fleet.at_tip("p1", "shop.conf"), GOOD.trim());
    // Who comes back learns how it ended.
    let _back = fleet.daemon(dies);
    fleet
        .until(dies, "the other one's end is heard of", |e| {
            !closed(e, "p1").is_empty()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_its_own_works_while_the_server_is_away_and_tells_when_it_is_back() {
    let mut fleet = Fleet::new(&["ada"], 1).await;
    fleet.project_lines = "hosts = [\"ada\"]".to_owned();
    fleet.nats.kill();
    let _ada = fleet.daemon("ada");
    fleet
        .until("ada", "the tip is known", |e| {
            all_adopted(e, &fleet.projects)
        })
        .await;
    fleet.push("p1", "Rework discounts", BAD);
    fleet
        .until("ada", "the project is mended", |e| {
            !closed(e, "p1").is_empty()
        })
        .await;
    assert_eq!(fleet.at_tip("p1", "shop.conf"), GOOD.trim());
    fleet.nats.resume_or_start();
    fleet.hosts.push("eve".to_owned());
    let _eve = fleet.daemon("eve");
    fleet
        .until("eve", "a new host hears all of it", |e| {
            !closed(e, "p1").is_empty()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_wiped_is_told_everything_again() {
    let mut fleet = Fleet::new(&["ada", "bob"], 2).await;
    let (_ada, _bob) = (fleet.daemon("ada"), fleet.daemon("bob"));
    fleet
        .until("ada", "every tip is known", |e| {
            all_adopted(e, &fleet.projects)
        })
        .await;
    fleet.nats.wipe();
    for project in &fleet.projects {
        fleet.push(project, "Rework discounts", BAD);
    }
    let mended = |events: &[Event]| fleet.projects.iter().all(|p| !closed(events, p).is_empty());
    fleet.until("ada", "every project is mended", mended).await;
    // Who knows nothing learns all of it from the new stream.
    let _eve = fleet.daemon("eve");
    let events = fleet
        .until("eve", "a new host hears all of it", |e| {
            mended(e) && all_adopted(e, &fleet.projects)
        })
        .await;
    for project in &fleet.projects {
        assert_eq!(closed(&events, project).len(), 1);
        assert_eq!(fleet.at_tip(project, "shop.conf"), GOOD.trim());
    }
    assert_eq!(fleet.model.calls(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_asked_to_end_gives_its_projects_back_at_once() {
    let mut fleet = Fleet::new(&["ada", "bob"], 3).await;
    // Nobody is missed within the patience of the story.
    fleet.lease_seconds = 600;
    let mut ada = fleet.daemon("ada");
    fleet
        .until("ada", "every tip is known", |e| {
            all_adopted(e, &fleet.projects)
        })
        .await;
    let _bob = fleet.daemon("bob");
    assert!(ada.stop().success());
    for project in &fleet.projects {
        fleet.push(project, "Rework discounts", BAD);
    }
    let mended = |events: &[Event]| fleet.projects.iter().all(|p| !closed(events, p).is_empty());
    fleet.until("bob", "every project is mended", mended).await;
}

/// Everything a fleet tells is what the official clients of the three specifications take it for.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_is_read_by_the_official_clients() {
    let fleet = Fleet::new(&["ada"], 1).await;
    let ada = fleet.daemon("ada");
    fleet
        .until("ada", "the tip is known", |e| {
            all_adopted(e, &fleet.projects)
        })
        .await;
    fleet.push("p1", "Rework discounts", BAD);
    fleet
        .until("ada", "the project is mended", |e| {
            !closed(e, "p1").is_empty()
        })
        .await;
    // Told within a moment.
    let store = Store::open_read_only(&fleet.state("ada").join("events.sqlite")).expect("a log");
    while store.backlog().await.expect("it can be asked").0 > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let read = run_python(
        "listen.py",
        &["nats-py==2.16.0", "cloudevents==2.2.0"],
        &[&fleet.nats.url(), "CHANGEBUS"],
        &Value::Null,
    );
    drop(ada);
    let read = read.as_array().expect("a list");
    let events = fleet.events("ada").await;
    let ids: Vec<&str> = read.iter().filter_map(|m| m["id"].as_str()).collect();
    let stated: Vec<&str> = events.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(ids, stated);
    for (message, event) in read.iter().zip(&events) {
        assert_eq!(message["nats_id"], message["id"]);
        assert_eq!(message["nats_subject"], event.fact.subject("p1"));
        assert_eq!(message["source"], "/changebus/ada");
        let cdevent: Result<CDEvent, _> = serde_json::from_value(message["data"].clone());
        let cdevent = cdevent.unwrap_or_else(|e| panic!("{e}: {message:#}"));
        assert_eq!(cdevent.ty(), message["type"].as_str().expect("a text"));
        let fact = message["data"]["customData"]["fact"].clone();
        assert_eq!(
            serde_json::from_value::<Fact>(fact).expect("a fact"),
            event.fact
        );
    }
    // The judge does not take everything.
    let suite = |m: &&Value| {
        m["type"]
            .as_str()
            .is_some_and(|t| t.contains("testsuiterun"))
    };
    let mut wrong = read.iter().find(suite).expect("tests ran")["data"].clone();
    wrong["subject"]["content"]["outcome"] = "splendid".into();
    assert!(serde_json::from_value::<CDEvent>(wrong).is_err());
}

async fn say(fleet: &Fleet, subject: &str, body: &[u8]) {
    let client = async_nats::connect(fleet.nats.url())
        .await
        .expect("it answers");
    let context = async_nats::jetstream::new(client);
    let told = context
        .publish(subject.to_owned(), body.to_vec().into())
        .await;
    told.expect("it was sent").await.expect("the stream has it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_understands_is_buried_with_a_reason_and_blocks_nothing() {
    let fleet = Fleet::new(&["ada"], 1).await;
    let _ada = fleet.daemon("ada");
    fleet
        .until("ada", "the tip is known", |e| {
            all_adopted(e, &fleet.projects)
        })
        .await;
    let good = fleet.events("ada").await[0].clone();
    let told = |change: &dyn Fn(&mut Value)| {
        let mut told: Value =
            serde_json::to_value(envelope::wrap(&good, "bob")).expect("it is JSON");
        told["id"] = format!("of-bob-{}", fastrand::u64(..)).into();
        change(&mut told);
        told.to_string().into_bytes()
    };
    let project =
        |name: &'static str| move |t: &mut Value| t["data"]["customData"]["project"] = name.into();
    let bad: [(Vec<u8>, &str); 7] = [
        (b"garbage".to_vec(), "not JSON"),
        (vec![0xff; 1000], "not JSON"),
        (told(&|t| t["specversion"] = "9.9".into()), "specversion"),
        (told(&|t| t["id"] = 7.into()), "id is `7`"),
        (told(&project("p1.>")), "customData.project"),
        (told(&project("../p1")), "customData.project"),
        (
            told(&|t| t["data"]["customData"]["fact"] = json!({"type": "of-tomorrow"})),
            "newer",
        ),
    ];
    for (body, _) in &bad {
        say(&fleet, "result.test.p1.passed", body).await;
    }
    say(&fleet, "change.repo.p9.watched", &told(&project("p9"))).await;
    fleet
        .until("ada", "what comes behind them is kept", |e| {
            e.iter().any(|e| e.project == "p9")
        })
        .await;
    let store = Store::open_read_only(&fleet.state("ada").join("events.sqlite")).expect("a log");
    let dead = store.dead().await.expect("it can be asked");
    assert_eq!(dead.len(), bad.len(), "{dead:#?}");
    for (body, why) in &bad {
        let buried = dead
            .iter()
            .find(|d| d.body == *body)
            .expect("it was buried");
        assert!(buried.why.contains(why), "{why}: {}", buried.why);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_host_gives_its_projects_back_and_takes_them_again() {
    let mut fleet = Fleet::new(&["ada", "bob"], 4).await;
    fleet.lease_seconds = 600;
    let _ada = fleet.daemon("ada");
    fleet
        .until("ada", "every tip is known", |e| {
            all_adopted(e, &fleet.projects)
        })
        .await;
    let _bob = fleet.daemon("bob");
    let drain = |args: &[&str]| {
        let done = fleet
            .changebus("ada", args)
            .output()
            .expect("changebus can be started");
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    };
    drain(&["drain", "--reason", "a new disk"]);
    for project in &fleet.projects {
        fleet.push(project, "Rework discounts", BAD);
    }
    fleet
        .until("bob", "the other mends everything", |e| {
            fleet.projects.iter().all(|p| !closed(e, p).is_empty())
        })
        .await;
    // A push from before the drain may have been looked at by either.
    drain(&["drain", "--off"]);
    let shared = |events: &[Event]| {
        let last = |p: &String| closed(events, p).last().map(|e| e.origin.is_some());
        fleet.projects.iter().any(|p| last(p) == Some(true))
    };
    let mut nth = 1;
    loop {
        for project in &fleet.projects {
            fleet.push(project, &format!("Rework discounts again {nth}"), BAD);
        }
        let events = fleet
            .until("bob", "everything is mended again", |e| {
                fleet.projects.iter().all(|p| closed(e, p).len() > nth)
            })
            .await;
        if shared(&events) {
            break;
        }
        nth += 1;
        assert!(nth < 8, "the host that came back got nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_the_server_is_buried_and_told_when_asked_for() {
    let mut fleet = Fleet::new(&["ada"], 1).await;
    let small = fleet.path().join("small");
    let lines = |most: usize| {
        format!(
            "max_payload: {most}\njetstream {{ store_dir: {:?}, sync_interval: always }}",
            small.join("data")
        )
    };
    // Random words do not pack.
    let noise: String = (0..40_000).map(|_| fastrand::alphanumeric()).collect();
    fleet.nats = Nats::run(&small, &lines(16 << 10));
    let ada = fleet.daemon("ada");
    fleet
        .until("ada", "the tip is known", |e| {
            all_adopted(e, &fleet.projects)
        })
        .await;
    fleet.push("p1", &noise, BAD);
    fleet
        .until("ada", "the project is mended", |e| {
            !closed(e, "p1").is_empty()
        })
        .await;
    let store = Store::open_read_only(&fleet.state("ada").join("events.sqlite")).expect("a log");
    let dead = store.dead().await.expect("it can be asked");
    assert!(
        !dead.is_empty() && dead.iter().all(|d| d.why.contains("max_payload")),
        "{dead:#?}"
    );
    drop(ada);
    fleet.nats = Nats::run(&small, &lines(1 << 20));
    let _ada = fleet.daemon("ada");
    for dead in &dead {
        let asked = fleet
            .changebus("ada", &["events", "retry", &dead.id])
            .output();
        assert!(asked.expect("changebus can be started").status.success());
    }
    let _eve = fleet.daemon("eve");
    fleet
        .until("eve", "all of it is heard", |e| {
            dead.iter().all(|d| e.iter().any(|e| e.id == d.id))
        })
        .await;
    assert_eq!(store.dead().await.expect("it can be asked"), []);
}
