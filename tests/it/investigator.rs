//! Investigations in real tournaments: the model looks, tries, errs, and wins with what is green.
//!
//! Touches: files, processes, git, http, sqlite.
//! Change here: when an investigation can take another course in the host than on the bench.

use changebus::event::{Fact, RunStatus};
use changebus_tests::world::World;
use scripted_claude::{RecordedRequest, Reply, Script};

use crate::orders;

/// Whose request it is: an investigator says how it works.
pub fn is_an_investigator(request: &RecordedRequest) -> bool {
    request.body["messages"][0]["content"]
        .to_string()
        .contains("Work in turns")
}

/// Turns that stand in the request already: what a model without memory knows of how far it got.
pub fn turns_so_far(request: &RecordedRequest) -> usize {
    let messages = request.body["messages"].as_array();
    messages.map_or(0, |all| {
        all.iter().filter(|m| m["role"] == "assistant").count()
    })
}

/// Edits of the shop's limit, in the form the model answers with.
pub fn probe(limit: &str, because: &str) -> String {
    format!(
        "{because}\n\nPROBE\n\nshop.py\n<<<<<<< SEARCH\n    return cents > FREE_FROM\n=======\n    return {limit}\n>>>>>>> REPLACE\n"
    )
}

const WRONG: &str = "cents > FREE_FROM + 1";
const RIGHT: &str = "cents >= FREE_FROM";

/// Two reads, a search, a probe that is red and one that is green.
fn looks_and_learns() -> Script {
    Script::from_fn(|request| {
        if !is_an_investigator(request) {
            return Reply::text("NO_FIX: let the other one try");
        }
        Reply::text(match turns_so_far(request) {
            0 => "I begin at the test.\nHYPOTHESIS: the limit itself\nREAD test_shop.py".to_owned(),
            1 => "READ shop.py 1-14".to_owned(),
            2 => "SEARCH FREE_FROM IN **/*.py".to_owned(),
            3 => probe(WRONG, "The limit is off by one."),
            _ => probe(RIGHT, "An order of exactly the limit ships free again."),
        })
    })
}

async fn runs_to_its_end(world: &World) -> Vec<changebus::event::Event> {
    let mut daemon = world.daemon();
    world
        .until("the green tip is adopted", |events| !events.is_empty())
        .await;
    orders::break_it(world);
    let events = world
        .until("the run closes", |events| {
            let closed = |e: &changebus::event::Event| matches!(e.fact, Fact::RunClosed { .. });
            events.iter().any(closed)
        })
        .await;
    daemon.stop();
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_investigation_that_errs_once_wins_the_tournament() {
    let mut world = orders::with_model(looks_and_learns(), "").await;
    world.variants(&[
        ("A", "minimal-fix", r#"{ effort = "low" }"#),
        ("I", "investigator", r#"{ effort = "medium" }"#),
    ]);
    let events = runs_to_its_end(&world).await;
    let of = |wanted: &dyn Fn(&Fact) -> bool| events.iter().filter(|e| wanted(&e.fact)).count();
    let closed = of(&|fact| {
        matches!(
            fact,
            Fact::RunClosed {
                status: RunStatus::Fixed
            }
        )
    });
    assert_eq!(closed, 1, "{:#?}", events.last());
    assert!(orders::is_mended(&world.at_tip("shop.py")));
    let won = |fact: &Fact| matches!(fact, Fact::Decided { verdict } if verdict.winner.as_deref() == Some("I"));
    assert_eq!(of(&won), 1);
    let greens: Vec<bool> = events
        .iter()
        .filter_map(|e| match &e.fact {
            Fact::Probed {
                variant, answer, ..
            } if variant == "I" => {
                let report = answer.as_ref().expect("the probe ran");
                Some(report.still_failing.is_empty() && report.broken.is_empty())
            }
            _ => None,
        })
        .collect();
    assert_eq!(greens, [false, true]);
    let asked = |fact: &Fact| matches!(fact, Fact::ModelAsked { variant, .. } if variant == "I");
    assert_eq!(of(&asked), 5);
    the_model_was_shown_what_it_asked_for(&world);
}

/// And what every variant opens with is sent by all of them, byte for byte.
fn the_model_was_shown_what_it_asked_for(world: &World) {
    let requests = world.model.requests();
    let (own, others): (Vec<_>, Vec<_>) = requests.iter().partition(|r| is_an_investigator(r));
    assert_eq!((own.len(), others.len()), (5, 1));
    for request in &own {
        assert_eq!(request.system(), others[0].system());
    }
    for (turn, shown) in [
        (1, "def test_an_order_of_exactly_the_limit_ships_free():"),
        (2, "lines=\"1 to 14 of "),
        (3, "shop.py:1: FREE_FROM = 5000"),
        (4, "Those edits were taken back"),
    ] {
        let told = own[turn].last_message();
        assert!(told.contains(shown), "{turn}: {told}");
    }
}
