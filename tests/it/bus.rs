//! What anybody who listens may rely on, told once and held by both buses: the log of one host, and a NATS server between
//! two.
//!
//! Touches: files, processes, sqlite, network (loopback).
//! Change here: when the bus promises something new.

use std::path::Path;
use std::time::Duration;

use changebus::config::Config;
use changebus::event::{Event, Fact, RunId};
use changebus::fleet::Fleet;
use changebus::outside::bus::{Bus, Subscription};
use changebus::outside::store::Store;
use changebus_tests::nats::Nats;
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(30);

/// One host states, and somebody listens: in the same host, or in another.
struct Pair {
    states: Store,
    hears: Store,
    nats: Option<Nats>,
    dir: tempfile::TempDir,
}

impl Pair {
    fn embedded() -> Pair {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let store = Store::open(&dir.path().join("one/events.sqlite")).expect("a log can be made");
        Pair {
            states: store.clone(),
            hears: store,
            nats: None,
            dir,
        }
    }

    async fn over_nats() -> Pair {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let nats = Nats::start(&dir.path().join("nats"), "");
        Pair {
            states: joined(dir.path(), "ada", &nats).await,
            hears: joined(dir.path(), "bob", &nats).await,
            nats: Some(nats),
            dir,
        }
    }

    async fn both() -> [Pair; 2] {
        [Pair::embedded(), Pair::over_nats().await]
    }

    async fn state(&self, run: &str, why: &str) -> Event {
        let fact = json!({"type": "stage-failed", "stage": "test", "why": why});
        let fact: Fact = serde_json::from_value(fact).expect("a fact");
        let run = RunId(format!("p1-{run}"));
        let event = self.states.append("p1", Some(&run), fact).await;
        event.expect("it can be kept")
    }

    async fn listen(&self, name: &str, subjects: &[&str]) -> Subscription {
        let listening = Bus::of(self.hears.clone()).subscribe(name, subjects).await;
        listening.expect("the name and the subjects are good")
    }

    fn kind(&self) -> &'static str {
        if self.nats.is_some() {
            "nats"
        } else {
            "embedded"
        }
    }
}

/// A host that has nothing but its log, and a project no other may work on.
async fn joined(dir: &Path, name: &str, nats: &Nats) -> Store {
    let state = dir.join(name);
    let text = format!(
        "[host]\nname = {name:?}\nstate = {state:?}\n[bus]\nkind = \"nats\"\nservers = [{:?}]\n\
         [projects.p1]\nrepo = \"/nowhere\"\ntest = \"true\"\nhosts = [\"ada\"]\n",
        nats.url()
    );
    let config = Config::parse(&text, Path::new("a story's")).expect("it is a configuration");
    let store = Store::open(&state.join("events.sqlite")).expect("a log can be made");
    Fleet::join(&config, &store)
        .await
        .expect("the server is fit");
    store
}

async fn why(listening: &mut Subscription) -> (String, i64) {
    let next = tokio::time::timeout(PATIENCE, listening.next()).await;
    let event = next
        .expect("it comes in time")
        .expect("the log can be read");
    match event.fact {
        Fact::StageFailed { why, .. } => (why, event.seq),
        other => panic!("{other:?} was not stated"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_stated_is_heard_in_order_and_once() {
    for pair in Pair::both().await {
        let mut listening = pair.listen("digest", &[]).await;
        for n in 0..500 {
            pair.state(&format!("{}", n % 3), &n.to_string()).await;
        }
        for n in 0..500 {
            assert_eq!(
                why(&mut listening).await.0,
                n.to_string(),
                "{}",
                pair.kind()
            );
        }
        assert_eq!(
            pair.hears.newest().await.expect("it can be asked"),
            500,
            "{}",
            pair.kind()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_acknowledged_comes_again_and_what_was_does_not() {
    for pair in Pair::both().await {
        for n in 0..4 {
            pair.state("a", &n.to_string()).await;
        }
        let mut listening = pair.listen("digest", &[]).await;
        let mut seqs = vec![];
        for _ in 0..3 {
            seqs.push(why(&mut listening).await.1);
        }
        listening.ack(seqs[1]).await.expect("it can be kept");
        drop(listening);
        let mut again = pair.listen("digest", &[]).await;
        assert_eq!(why(&mut again).await.0, "2", "{}", pair.kind());
        assert_eq!(why(&mut again).await.0, "3", "{}", pair.kind());
        let mut late = pair.listen("feedback", &[]).await;
        assert_eq!(why(&mut late).await.0, "0", "{}", pair.kind());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_asked_for_is_heard() {
    for pair in Pair::both().await {
        let mut none = pair.listen("none", &["change.>"]).await;
        let mut some = pair.listen("some", &["result.run.*.failed"]).await;
        pair.state("a", "wanted").await;
        assert_eq!(why(&mut some).await.0, "wanted", "{}", pair.kind());
        let heard = tokio::time::timeout(Duration::from_millis(100), none.next()).await;
        assert!(heard.is_err(), "{}: {heard:?}", pair.kind());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stated_while_the_server_is_dead_is_heard_when_it_is_back() {
    let mut pair = Pair::over_nats().await;
    let mut listening = pair.listen("digest", &[]).await;
    pair.state("a", "before").await;
    assert_eq!(why(&mut listening).await.0, "before");
    let mut nats = pair.nats.take().expect("it runs");
    nats.kill();
    for n in 0..50 {
        pair.state("a", &n.to_string()).await;
    }
    nats.resume_or_start();
    for n in 0..50 {
        assert_eq!(why(&mut listening).await.0, n.to_string());
    }
    assert_eq!(pair.hears.dead().await.expect("it can be asked"), []);
    assert!(pair.dir.path().exists());
}
