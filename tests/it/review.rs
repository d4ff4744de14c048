//! Escalation and review: what waits for people, what they decide, and what comes of it.
//!
//! Touches: files, processes, git, http, sqlite.
//! Change here: when people can decide something else, or a run waits for them for another reason.

use std::os::unix::process::ExitStatusExt;
use std::process::Output;

use changebus::event::{Event, Fact, RunId, RunStatus};
use changebus_tests::fleet::{BAD, Fleet, GOOD, all_adopted};
use changebus_tests::shop;
use changebus_tests::world::{Daemon, World};
use scripted_claude::{Reply, Script};
use serde_json::{Value, json};

use crate::envelope::assert_well_told;

/// Mends the shop in another way.
const OTHER: &str = "\
Takes the discount off the price.

shop.py
<<<<<<< SEARCH
    return price + off
=======
    return -off + price
>>>>>>> REPLACE
";

/// A shop whose fixes are for people to decide on: A and B mend it, each in its own way.
pub async fn world() -> World {
    let mut world = World::new(Script::from_fn(|request| {
        let minimal = request.body["output_config"]["effort"] == "low";
        Reply::text(if minimal { shop::HONEST } else { OTHER })
    }))
    .await;
    world.policy("min_confidence = 0.5\ndeliver = \"human\"\nreruns = 1");
    world.variants(&[
        ("A", "minimal-fix", "{ probe = false, effort = \"low\" }"),
        (
            "B",
            "robust-refactor",
            "{ probe = false, effort = \"high\" }",
        ),
    ]);
    shop::open(&world);
    world
}

pub fn closings(events: &[Event]) -> Vec<(RunId, RunStatus)> {
    let closing = |e: &Event| match (&e.fact, &e.run) {
        (Fact::RunClosed { status }, Some(run)) => Some((run.clone(), *status)),
        _ => None,
    };
    events.iter().filter_map(closing).collect()
}

/// The daemon watches, a push breaks the shop, and a human is asked.
pub async fn escalated(world: &World) -> (Daemon, RunId) {
    let daemon = world.daemon();
    world
        .until("the tip is adopted", |events| !events.is_empty())
        .await;
    shop::break_it(world);
    let events = world
        .until("a human is asked", |events| !closings(events).is_empty())
        .await;
    let (run, status) = closings(&events)[0].clone();
    assert_eq!(status, RunStatus::Human);
    (daemon, run)
}

fn review(world: &World, args: &[&str]) -> Output {
    let args = [&["review"], args].concat();
    world
        .changebus(&args)
        .output()
        .expect("changebus can be started")
}

fn waiting(world: &World) -> Vec<Value> {
    let listed = review(world, &["list", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("it is JSON");
    listed.as_array().expect("a list").clone()
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub async fn settled(world: &World, run: &RunId, times: usize) -> RunStatus {
    let of_run = |events: &[Event]| {
        let all = closings(events).into_iter().filter(|(of, _)| of == run);
        all.map(|(_, status)| status).collect::<Vec<_>>()
    };
    let events = world
        .until("the run is closed again", |events| {
            of_run(events).len() > times
        })
        .await;
    of_run(&events)[times]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_human_approves_is_merged_and_says_who_approved_it() {
    let world = world().await;
    let (_daemon, run) = escalated(&world).await;
    let listed = waiting(&world);
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["run"], run.0);
    assert_eq!(listed[0]["candidates"], json!(["A", "B"]));
    let given = review(
        &world,
        &["approve", "last", "--as", "ada", "--reason", "it is right"],
    );
    assert!(given.status.success(), "{given:?}");
    assert_eq!(settled(&world, &run, 1).await, RunStatus::Fixed);
    world.events().await.iter().for_each(assert_well_told);
    assert_eq!(world.at_tip(shop::SOURCE), shop::GOOD.trim());
    let message = world.git_in(&world.origin(), &["log", "-1", "--format=%B", "main"]);
    assert!(message.contains("ChangeBus-Approved-By: ada"), "{message}");
    assert_eq!(waiting(&world), Vec::<Value>::new());
    let again = review(&world, &["approve", &run.0]);
    assert!(refused(&again).contains("waits for nobody"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_variant_can_be_chosen_and_nothing_is_asked_of_the_model_for_it() {
    let world = world().await;
    let (_daemon, run) = escalated(&world).await;
    let calls = world.model.calls();
    let unknown = review(&world, &["approve", "last", "--variant", "Z"]);
    assert!(refused(&unknown).contains("there are A, B"));
    review(&world, &["approve", "last", "--variant", "B"]);
    assert_eq!(settled(&world, &run, 1).await, RunStatus::Fixed);
    assert!(world.at_tip(shop::SOURCE).contains("-off + price"));
    assert_eq!(world.model.calls(), calls);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_needs_a_reason_and_takes_the_run_off_the_list() {
    let world = world().await;
    let (_daemon, run) = escalated(&world).await;
    let silent = review(&world, &["reject", "last", "--reason", " "]);
    assert!(refused(&silent).contains("say why"));
    let broken = world.tip();
    review(
        &world,
        &["reject", "last", "--as", "ada", "--reason", "hides the bug"],
    );
    world
        .until("it stands in the run", |events| {
            let rejected =
                |e: &Event| matches!(&e.fact, Fact::Reviewed { review, .. } if review.run == run);
            events.iter().any(rejected)
        })
        .await;
    assert_eq!(waiting(&world), Vec::<Value>::new());
    assert_eq!(world.tip(), broken);
    // People may think again.
    review(&world, &["approve", &run.0]);
    assert_eq!(settled(&world, &run, 1).await, RunStatus::Fixed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_right_meanwhile_waits_for_nobody() {
    let world = world().await;
    let (_daemon, run) = escalated(&world).await;
    world.push(
        "Mend it by hand",
        &[(shop::SOURCE, Some(shop::GOOD)), ("NOTES", Some("x"))],
    );
    world
        .until("the branch is green", |events| closings(events).len() > 1)
        .await;
    assert_eq!(waiting(&world), Vec::<Value>::new());
    // An approval that comes late finds nothing to mend.
    review(&world, &["approve", &run.0]);
    assert_eq!(settled(&world, &run, 1).await, RunStatus::Green);
    assert_eq!(world.at_tip("NOTES"), "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_survives_the_daemon_and_is_carried_out_once() {
    let world = world().await;
    let (mut daemon, run) = escalated(&world).await;
    daemon.kill();
    review(&world, &["approve", "last"]);
    for point in ["before-merge-push", "after-merge-push"] {
        let armed = format!("{point}=return");
        let mut daemon = world.daemon_with(&[("FAILPOINTS", &armed)]);
        assert_eq!(daemon.wait().signal(), Some(9), "{point}");
    }
    let _daemon = world.daemon();
    assert_eq!(settled(&world, &run, 1).await, RunStatus::Fixed);
    let made = world.git_in(&world.origin(), &["rev-list", "--count", "main"]);
    assert_eq!(made, "3");
}

/// A fix that comes with this version of the tests, approved by a human; how the run ends.
async fn approved_with_tests(tests: &str) -> (World, RunStatus) {
    let mut world = World::new(Script::from_fn(|_| Reply::text("nobody asks"))).await;
    world.policy("min_confidence = 0.5\nreruns = 1");
    let write =
        |path: &str, content: &str| json!({ "edit": "write", "path": path, "content": content });
    let edits = [
        write(shop::SOURCE, shop::GOOD),
        write(shop::TEST_FILE, tests),
    ];
    let config = toml::Value::try_from(json!({ "do": "hand-in", "edits": edits }));
    let config = config.expect("it is TOML").to_string();
    world.variants(&[("A", "moody-strategy", &config)]);
    shop::open(&world);
    let (daemon, run) = escalated(&world).await;
    review(&world, &["approve", "last"]);
    let status = settled(&world, &run, 1).await;
    drop(daemon);
    (world, status)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fix_that_touches_the_tests_is_tested_as_it_stands_before_it_is_merged() {
    let tidied = format!("{}\n# All of it in euros.\n", shop::TESTS);
    let (world, status) = approved_with_tests(&tidied).await;
    assert_eq!(status, RunStatus::Fixed);
    assert_eq!(world.at_tip(shop::TEST_FILE), tidied.trim());
    // A test that is gone is more than an approval can make up for.
    let renamed = shop::TESTS.replace("def test_label", "def test_the_label");
    let (world, status) = approved_with_tests(&renamed).await;
    assert_eq!(status, RunStatus::Human);
    assert_eq!(waiting(&world).len(), 1);
    assert_eq!(world.at_tip(shop::SOURCE), shop::BAD.trim());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_given_to_one_host_is_carried_out_by_the_one_that_has_the_project() {
    let mut fleet = Fleet::new(&["ada", "bob"], 1).await;
    fleet.policy_lines = "deliver = \"human\"".to_owned();
    let (_ada, _bob) = (fleet.daemon("ada"), fleet.daemon("bob"));
    for host in ["ada", "bob"] {
        fleet
            .until(host, "the tip is known", |e| {
                all_adopted(e, &fleet.projects)
            })
            .await;
    }
    fleet.push("p1", "Rework discounts", BAD);
    for host in ["ada", "bob"] {
        let asked = |events: &[Event]| closings(events).len() == 1;
        fleet.until(host, "a human is asked", asked).await;
    }
    let events = fleet.events("ada").await;
    let last = events
        .iter()
        .rev()
        .find(|e| e.run.is_some())
        .expect("a run");
    let other = if last.origin.is_none() { "bob" } else { "ada" };
    let given = fleet
        .changebus(other, &["review", "approve", "last"])
        .output();
    assert!(given.expect("it starts").status.success());
    for host in ["ada", "bob"] {
        let done = |events: &[Event]| closings(events).len() == 2;
        let events = fleet.until(host, "it is carried out", done).await;
        assert_eq!(closings(&events)[1].1, RunStatus::Fixed, "{host}");
    }
    assert_eq!(fleet.at_tip("p1", "shop.conf"), GOOD.trim());
}
