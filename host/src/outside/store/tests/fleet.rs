//! Stories about a log that others write too: what they state is kept once, and who was overtaken states nothing more.
//!
//! Touches: sqlite, files.
//! Change here: when hosts share their events otherwise.

use std::time::Instant;

use super::*;
use crate::event::Asked;
use crate::outside::store::post::MOST_DEAD;

/// An event as it comes from elsewhere.
fn told(id: &str, version: u64, epoch: u64, fact: Fact) -> Event {
    Event {
        seq: 0,
        id: id.to_owned(),
        at: Timestamp::UNIX_EPOCH,
        project: "p".to_owned(),
        run: Some(run("r")),
        version: Some(version),
        epoch,
        origin: Some("elsewhere".to_owned()),
        fact,
    }
}

fn fleet(d: &Dir) -> Store {
    let store = Store::open(&d.log).unwrap();
    store.tenures().join_a_fleet(BTreeMap::new());
    store
}

async fn ids(store: &Store) -> Vec<String> {
    let events = store.run_events(&run("r")).await.unwrap();
    events.into_iter().map(|event| event.id).collect()
}

#[tokio::test]
async fn what_another_host_stated_is_kept_once_however_often_it_comes() {
    let d = dir();
    let store = fleet(&d);
    let event = told("e1", 1, 1, change_seen("h"));
    let kept = store.import(event.clone()).await.unwrap().unwrap();
    assert_eq!(
        kept,
        Event {
            seq: 1,
            ..event.clone()
        }
    );
    assert_eq!(store.import(event).await.unwrap(), None);
    assert_eq!(store.open_runs().await.unwrap(), [("p".into(), run("r"))]);
    // Who stated it tells it; nobody else does.
    assert_eq!(store.waiting(9).await.unwrap(), []);
    store.verify().await.unwrap();
}

#[tokio::test]
async fn who_takes_a_project_over_goes_on_where_the_other_stood() {
    let d = dir();
    let store = fleet(&d);
    store
        .import(told("e1", 1, 1, change_seen("h")))
        .await
        .unwrap();
    let refused = store.append_expecting("p", &run("r"), 1, failed("x")).await;
    assert!(
        matches!(refused, Err(StoreError::NotHeld { .. })),
        "{refused:?}"
    );
    store.tenures().begin("p", 2);
    let own = store
        .append_expecting("p", &run("r"), 1, failed("x"))
        .await
        .unwrap();
    assert_eq!(
        (own.version, own.epoch, own.origin.as_deref()),
        (Some(2), 2, None)
    );
    let waiting = store.waiting(9).await.unwrap();
    assert_eq!(waiting, std::slice::from_ref(&own));
    store.told(vec![own.seq]).await.unwrap();
    assert_eq!(store.backlog().await.unwrap(), (0, own.seq + 1));
    store.tenures().end("p");
    let refused = store.append("p", None, failed("x")).await;
    assert!(
        matches!(refused, Err(StoreError::NotHeld { .. })),
        "{refused:?}"
    );
}

/// It was thought dead, and states what nobody heard while another goes on: the run is what the other makes of it, on
/// either host and in whatever order the two stories come together.
#[tokio::test]
async fn what_an_overtaken_host_stated_in_vain_is_kept_and_counts_for_nothing() {
    let story = [
        told("e1", 1, 1, change_seen("h")),
        told("e2", 2, 1, failed("x")),
        told("vain3", 3, 1, refused("A")),
        told("vain4", 4, 1, closed("error")),
        told("e3", 3, 2, failed("y")),
        told("e4", 4, 2, closed("fixed")),
    ];
    let orders = [[0, 1, 2, 3, 4, 5], [0, 1, 4, 5, 2, 3], [0, 1, 2, 4, 3, 5]];
    let mut tables = vec![];
    for order in orders {
        let d = dir();
        let store = fleet(&d);
        for n in order {
            store.import(story[n].clone()).await.unwrap();
        }
        assert_eq!(ids(&store).await, ["e1", "e2", "e3", "e4"], "{order:?}");
        assert_eq!(store.newest().await.unwrap(), 6);
        let runs = store.runs(Some("p"), 9).await.unwrap();
        assert_eq!(runs[0].closed, Some(RunStatus::Fixed), "{order:?}");
        assert_eq!(store.examine().await.unwrap().flaws, [], "{order:?}");
        let kept = [dump(&d.log, "runs"), dump(&d.log, "heats")];
        store.rebuild().await.unwrap();
        assert_eq!([dump(&d.log, "runs"), dump(&d.log, "heats")], kept);
        tables.push(kept);
    }
    assert!(tables.windows(2).all(|two| two[0] == two[1]), "{tables:?}");
}

#[tokio::test]
async fn who_comes_back_late_finds_the_run_overtaken() {
    let d = dir();
    let store = fleet(&d);
    store.tenures().begin("p", 1);
    store
        .append("p", Some(&run("r")), change_seen("h"))
        .await
        .unwrap();
    store.import(told("e2", 2, 2, failed("x"))).await.unwrap();
    let late = store
        .append_expecting("p", &run("r"), 1, failed("late"))
        .await;
    assert!(
        matches!(late, Err(StoreError::Overtaken { found: 2, .. })),
        "{late:?}"
    );
    let late = store
        .append_expecting("p", &run("r"), 2, failed("late"))
        .await;
    assert!(
        matches!(late, Err(StoreError::Overtaken { .. })),
        "{late:?}"
    );
}

/// A process that was stopped for a while does not know that its time is up.
#[tokio::test]
async fn who_gave_no_sign_of_life_in_time_may_state_but_not_act() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    let own = BTreeMap::from([("mine".to_owned(), 3)]);
    let tenures = store.tenures();
    tenures.join_a_fleet(own);
    tenures.begin("p", 1);
    assert!(!tenures.may_act("p") && tenures.may_act("mine"));
    tenures.extend(Instant::now() + Duration::from_secs(3600));
    assert!(tenures.may_act("p") && !tenures.may_act("other"));
    tenures.extend(Instant::now());
    assert!(!tenures.may_act("p") && tenures.may_act("mine"));
    assert_eq!(keep(&store, "p", "", failed("x")).await.epoch, 1);
    assert_eq!(keep(&store, "mine", "", failed("x")).await.epoch, 3);
}

#[tokio::test]
async fn the_tip_that_counts_is_the_one_of_the_last_tenure() {
    let d = dir();
    let store = fleet(&d);
    let seen = |id: &str, epoch, head: &str| Event {
        run: Some(run(id)),
        ..told(id, 1, epoch, change_seen(head))
    };
    store.import(seen("new", 2, "h2")).await.unwrap();
    store.import(seen("old", 1, "h1")).await.unwrap();
    assert_eq!(store.last_tip("p").await.unwrap(), Some(Oid("h2".into())));
}

#[tokio::test]
async fn two_hosts_that_state_the_same_place_in_one_tenure_are_told_apart() {
    let d = dir();
    let store = fleet(&d);
    store
        .import(told("e1", 1, 1, change_seen("h")))
        .await
        .unwrap();
    let other = store.import(told("f1", 1, 1, change_seen("g"))).await;
    assert!(
        matches!(other, Err(StoreError::Contradicts { .. })),
        "{other:?}"
    );
}

#[tokio::test]
async fn a_stream_that_was_lost_is_told_everything_again() {
    let d = dir();
    let store = fleet(&d);
    store
        .import(told("e1", 1, 1, change_seen("h")))
        .await
        .unwrap();
    store.tell_all("stream", "made today").await.unwrap();
    assert_eq!(
        store.note("stream").await.unwrap().as_deref(),
        Some("made today")
    );
    assert_eq!(store.backlog().await.unwrap(), (1, 1));
}

#[tokio::test]
async fn what_could_not_be_told_is_buried_listed_and_comes_back_to_life() {
    let d = dir();
    let store = fleet(&d);
    store.tenures().begin("p", 1);
    let event = keep(&store, "p", "", failed("x")).await;
    let dead = Dead {
        id: event.id.clone(),
        coming: false,
        subject: "result.run.p.failed".to_owned(),
        body: vec![],
        size: 2 << 20,
        why: "too large".to_owned(),
        attempts: 1,
        at: Timestamp::UNIX_EPOCH,
    };
    store.bury(dead.clone()).await.unwrap();
    assert_eq!(store.dead().await.unwrap(), [dead]);
    assert_eq!(store.waiting(9).await.unwrap(), []);
    store.revive(&event.id).await.unwrap();
    assert_eq!(store.waiting(9).await.unwrap(), [event]);
    assert_eq!(store.dead().await.unwrap(), []);
}

#[tokio::test]
async fn rubbish_without_end_pushes_out_older_rubbish_and_nothing_else() {
    let d = dir();
    let store = fleet(&d);
    store.tenures().begin("p", 1);
    let event = keep(&store, "p", "", failed("x")).await;
    let dead = |id: String, coming, second| Dead {
        id,
        coming,
        subject: "app.ci.ping".to_owned(),
        body: vec![],
        size: 0,
        why: "not JSON".to_owned(),
        attempts: 1,
        at: Timestamp::from_second(second).unwrap(),
    };
    store.bury(dead(event.id.clone(), false, 0)).await.unwrap();
    let most = i64::from(MOST_DEAD);
    for n in 0..most + 5 {
        store
            .bury(dead(format!("stream-{n}"), true, n))
            .await
            .unwrap();
    }
    let left = store.dead().await.unwrap();
    assert_eq!(left.len(), MOST_DEAD as usize + 1);
    assert_eq!(left[0].id, event.id);
    assert_eq!(left[1].id, "stream-5");
}

#[tokio::test]
async fn who_asked_for_a_run_is_remembered_until_one_was_opened() {
    let d = dir();
    let store = Store::open(&d.log).unwrap();
    let ask = async |id: &str| {
        let asked = Asked {
            because: id.to_owned(),
            by: "app.ci.ping".to_owned(),
        };
        let fact = Fact::StartAsked {
            asked: asked.clone(),
        };
        keep(&store, "p", "", fact).await;
        asked
    };
    assert_eq!(store.asked("p").await.unwrap(), None);
    ask("one").await;
    let second = ask("two").await;
    assert_eq!(store.asked("p").await.unwrap(), Some(second.clone()));
    assert_eq!(store.asked("q").await.unwrap(), None);
    keep(&store, "p", "p-1", change_seen("b")).await;
    assert_eq!(store.asked("p").await.unwrap(), None);
    assert_eq!(ask("three").await, store.asked("p").await.unwrap().unwrap());
}
