//! Updates that prove themselves, with real packages: tried, merged, taken apart, held back.
//!
//! Touches: files, processes, git, network (registries).
//! Change here: when the daemon should do something else with a newer version.

use changebus::event::{Delivery, Event, Fact, RunStatus};
use changebus::story;
use changebus_tests::world::World;
use scripted_claude::{Reply, Script};

/// A Python project whose dependencies setup installs beside its sources.
async fn python(requirements: &str, test: &str) -> World {
    let mut world = World::new(Script::from_fn(|_| Reply::text("I do not know."))).await;
    world.with_the_machines_indexes();
    world.project(
        "setup = \"python3 -m venv .venv && .venv/bin/python -m pip install --quiet -r requirements.txt\"\n\
         deps.every_hours = 1\ndeps.levels = [\"patch\", \"minor\"]",
    );
    world.before_the_tests("export PATH=$PWD/.venv/bin:$PATH");
    world.push(
        "Open the shop",
        &[
            ("requirements.txt", Some(requirements)),
            ("test_shop.py", Some(test)),
        ],
    );
    world
}

/// The events once the run of an update has come to its end, which is this.
async fn ends(world: &World, wanted: RunStatus) -> Vec<Event> {
    let of_update = |event: &Event| matches!(&event.fact, Fact::ChangeSeen { change } if change.update.is_some());
    let events = world
        .until("the update's run ends", |events| {
            let run = events.iter().find(|e| of_update(e)).map(|e| &e.run);
            let mut closed = events
                .iter()
                .filter(|e| matches!(e.fact, Fact::RunClosed { .. }));
            run.is_some_and(|run| closed.any(|e| e.run == *run))
        })
        .await;
    let last = events.iter().rev().find_map(|event| match event.fact {
        Fact::RunClosed { status } => Some(status),
        _ => None,
    });
    let told: Vec<String> = events
        .iter()
        .map(|event| {
            story::event_line(
                event,
                story::Look {
                    width: 300,
                    ..story::Look::plain()
                },
            )
        })
        .collect();
    assert_eq!(last, Some(wanted), "{told:#?}");
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_breaks_nothing_is_merged() {
    let world = python(
        "markupsafe==2.0.0  # for the labels\n",
        "from markupsafe import escape\n\ndef test_label():\n    assert escape('<') == '&lt;'\n",
    )
    .await;
    let _daemon = world.daemon();
    let events = ends(&world, RunStatus::Updated).await;
    assert_eq!(
        world.at_tip("requirements.txt"),
        "markupsafe==2.1.5  # for the labels"
    );
    let message = world.git(&[
        "--git-dir",
        "../origin.git",
        "log",
        "-1",
        "--format=%B",
        "main",
    ]);
    assert!(
        message.starts_with("Update markupsafe from 2.0.0 to 2.1.5"),
        "{message}"
    );
    assert!(world.model.requests().is_empty(), "no model is asked");
    let merged = events.iter().filter(|event| {
        matches!(
            &event.fact,
            Fact::Delivered {
                delivery: Delivery::Merged { .. }
            }
        )
    });
    assert_eq!(merged.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_nothing_mends_is_held_back_with_the_reason() {
    let world = python(
        "jinja2==2.11.3\nmarkupsafe==2.0.1\n",
        "import jinja2\n\ndef test_label():\n    assert jinja2.Template('{{ 1 }}').render() == '1'\n",
    )
    .await;
    let _daemon = world.daemon();
    let events = ends(&world, RunStatus::Fixed).await;
    let pinned = world.at_tip("requirements.txt");
    assert!(
        pinned.contains("# held by ChangeBus: 2.1.5 breaks test_shop"),
        "{pinned}"
    );
    let brings = events.iter().find_map(|event| match &event.fact {
        Fact::TournamentOpened { opening } => opening.brings.clone(),
        _ => None,
    });
    let brings = brings.unwrap_or_default();
    let gone = "markupsafe/__init__.py: soft_unicode";
    assert!(brings.contains(gone), "{brings}");
    let asked = format!("{:?}", world.model.requests());
    assert!(asked.contains(gone), "the model is told too: {asked}");
}
