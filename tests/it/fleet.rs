//! Several hosts and a real NATS server: projects are shared out, nobody's work is lost, nothing is done twice.
//!
//! Touches: files, processes, git, http, sqlite, network (loopback).
//! Change here: when hosts promise each other something new.

use std::collections::BTreeMap;

use changebus::event::{Event, Fact, RunStatus};
use changebus_tests::fleet::{BAD, Fleet, GOOD, all_adopted};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_host_killed_in_mid_tournament_is_followed_by_another_and_its_paid_answer_is_used() {
    let mut fleet = Fleet::new(&["ada", "bob"], 1).await;
    fleet.test_seconds = 1.0;
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
