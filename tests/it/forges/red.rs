//! A fix that did harm: what people merged turned the branch red, and a run of its own takes it back.
//!
//! Touches: files, processes, git, http, sqlite, network (loopback), clock.
//! Change here: when what was delivered is taken back otherwise.

use changebus::event::{Fact, RunStatus};
use changebus_tests::shop;

use super::{KINDS, Scene, is_opened, proposal, statuses};

/// Somebody relies on what the push broke.
const RELIES_ON_IT: &str = "\
from shop import pay


def test_discounts_cost_more():
    assert pay(10, 2) == 12
";

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_that_turned_the_branch_red_is_taken_back_by_a_run_of_its_own() {
    for kind in KINDS {
        let scene = Scene::new(kind, "deliver = \"pull-request\"", "").await;
        let (_daemon, _) = scene.broken().await;
        let pull = scene.pull().await;
        scene
            .world
            .push("Rely on it", &[("tests/test_dear.py", Some(RELIES_ON_IT))]);
        let closed = |f: &Fact| matches!(f, Fact::RunClosed { .. });
        scene.until("the second push is seen", closed, 2).await;
        let calls = scene.world.model.calls();

        scene.forge.merge_by(pull.number, "grace");
        let events = scene.until("what was merged is worked on", closed, 3).await;
        assert_eq!(statuses(&events)[2], RunStatus::Fixed);
        let opening = events.iter().rev().find_map(|e| match &e.fact {
            Fact::TournamentOpened { opening } => Some(opening.clone()),
            _ => None,
        });
        let opening = opening.expect("there was a tournament");
        let taken_back = opening.takes_back.expect("it is known what did it");
        assert_eq!(format!("changebus/{}", taken_back.run), pull.head);
        assert_eq!(opening.entries.len(), 1);
        assert_eq!(opening.entries[0].strategy.name, "revert-culprit");
        // No model is asked how to take something back.
        assert_eq!(scene.world.model.calls(), calls);

        scene.until("it is offered", is_opened, 2).await;
        let (_, commit, _) = proposal(&events);
        let shown = scene.world.git_in(
            &scene.world.origin(),
            &["show", &format!("{commit}:{}", shop::SOURCE)],
        );
        assert!(shown.contains("price + off"), "{shown}");
        scene.end().await;
    }
}
