//! The bus as anybody in this host sees it: subscriptions to the event log, each with its own place in it. Embedded or
//! over a server makes no difference here: what other hosts state is in the log before anybody hears of it.
//!
//! Touches: sqlite (through the store), clock (waits).
//! Change here: when subscribers get another way to listen, or the events another way to travel.

use std::collections::VecDeque;
use std::sync::Arc;

use super::store::{Store, StoreError};
use crate::event::Event;

/// Events looked through at a time.
const SPAN: usize = 256;
/// Events a kept place may lag behind what was looked through.
const STRETCH: i64 = 4096;

/// Tells subscribers of every event in the store, in order and at least once. There is nothing to publish:
/// an appended event is on the bus.
#[derive(Clone)]
pub struct Bus {
    store: Store,
}

#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error(
        "subject \"{subject}\" {why}: write words with dots between them, `*` for any one word, and `>` at \
         the end for one or more"
    )]
    BadSubject { subject: String, why: &'static str },
    #[error("a consumer that keeps its place needs a name; for a live view use a tail")]
    Unnamed,
    #[error("the event log behind the bus failed")]
    Store(#[from] StoreError),
}

impl Bus {
    /// What stands in this host's log, whichever host stated it.
    pub fn of(store: Store) -> Bus {
        Bus { store }
    }

    /// What this consumer has not acknowledged yet, then whatever comes. A consumer nobody has heard of
    /// starts with the first event. Its place is kept in the store, so a crash repeats events rather than
    /// losing them; one subscription at a time should use a name.
    pub async fn subscribe(
        &self,
        consumer: &str,
        subjects: &[&str],
    ) -> Result<Subscription, BusError> {
        if consumer.is_empty() {
            return Err(BusError::Unnamed);
        }
        let wanted = Subjects::parse(subjects)?;
        let after = self.store.cursor(consumer).await?;
        let consumer = Some(consumer.to_owned());
        Ok(Subscription::new(&self.store, consumer, wanted, after))
    }

    /// Whatever comes after `after`, without a kept place; after the newest event where that is None.
    /// Works on a store opened for reading while another process writes.
    pub async fn tail(
        &self,
        subjects: &[&str],
        after: Option<i64>,
    ) -> Result<Subscription, BusError> {
        let wanted = Subjects::parse(subjects)?;
        let after = match after {
            Some(seq) => seq,
            None => self.store.newest().await?,
        };
        Ok(Subscription::new(&self.store, None, wanted, after))
    }
}

/// One listener's view of the bus.
pub struct Subscription {
    store: Store,
    consumer: Option<String>,
    wanted: Arc<Subjects>,
    /// Everything up to here has been looked through.
    reached: i64,
    /// The last event that was given out, and how far the kept place has come.
    given: i64,
    kept: i64,
    ready: VecDeque<Event>,
}

impl Subscription {
    fn new(store: &Store, consumer: Option<String>, wanted: Subjects, after: i64) -> Subscription {
        Subscription {
            store: store.clone(),
            consumer,
            wanted: Arc::new(wanted),
            reached: after,
            given: after,
            kept: after,
            ready: VecDeque::new(),
        }
    }

    /// The next event, when there is one. May be dropped and called again without losing any.
    pub async fn next(&mut self) -> Result<Event, BusError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.given = event.seq;
                return Ok(event);
            }
            self.pass_over().await?;
            self.store.wait_beyond(self.reached).await?;
            let wanted = self.wanted.clone();
            let scan = self
                .store
                .scan(self.reached, SPAN, move |subject| wanted.hold(subject));
            let (found, reached) = scan.await?;
            self.ready.extend(found);
            self.reached = reached;
        }
    }

    /// More can be had without waiting.
    pub fn has_more(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Everything up to `seq` is done with and will not come again. Does nothing for a tail.
    pub async fn ack(&mut self, seq: i64) -> Result<(), BusError> {
        if let Some(consumer) = &self.consumer {
            self.store.advance_cursor(consumer, seq).await?;
            self.kept = self.kept.max(seq);
        }
        Ok(())
    }

    /// A long stretch of what nobody wanted need not be looked through again after a restart.
    async fn pass_over(&mut self) -> Result<(), BusError> {
        let nothing_is_out = self.kept >= self.given;
        if nothing_is_out && self.reached - self.kept >= STRETCH {
            self.ack(self.reached).await?;
        }
        Ok(())
    }
}

/// Patterns of which a subject has to match one; no pattern at all wants everything.
struct Subjects(Vec<Vec<String>>);

impl Subjects {
    fn parse(subjects: &[&str]) -> Result<Subjects, BusError> {
        let patterns: Result<_, _> = subjects.iter().map(|s| parse_subject(s)).collect();
        patterns.map(Subjects)
    }

    fn hold(&self, subject: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| matches(pattern, subject))
    }
}

fn parse_subject(subject: &str) -> Result<Vec<String>, BusError> {
    let words: Vec<String> = subject.split('.').map(str::to_owned).collect();
    let bad = |why| BusError::BadSubject {
        subject: subject.to_owned(),
        why,
    };
    if words.iter().any(String::is_empty) {
        return Err(bad("has an empty word"));
    }
    let wild_inside = |word: &String| word.len() > 1 && word.contains(['*', '>']);
    if words.iter().any(wild_inside) || subject.contains(char::is_whitespace) {
        return Err(bad("has a word that is neither plain nor a wildcard"));
    }
    if words.iter().rev().skip(1).any(|word| word == ">") {
        return Err(bad("goes on after `>`"));
    }
    Ok(words)
}

fn matches(pattern: &[String], subject: &str) -> bool {
    let mut words = subject.split('.');
    for expected in pattern {
        match (expected.as_str(), words.next()) {
            (_, None) => return false,
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (plain, Some(word)) if plain == word => {}
            _ => return false,
        }
    }
    words.next().is_none()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::event::{Fact, RunId};

    struct Dir {
        _temp: tempfile::TempDir,
        log: PathBuf,
    }

    fn dir() -> Dir {
        let temp = tempfile::tempdir().unwrap();
        let log = temp.path().join("events.db");
        Dir { _temp: temp, log }
    }

    async fn say(store: &Store, project: &str, fact: serde_json::Value) -> i64 {
        let fact: Fact = serde_json::from_value(fact).unwrap();
        let run = RunId(format!("{project}-1"));
        store.append(project, Some(&run), fact).await.unwrap().seq
    }

    async fn fail(store: &Store, project: &str) -> i64 {
        let fact = serde_json::json!({"type": "stage-failed", "stage": "test", "why": "no disk"});
        say(store, project, fact).await
    }

    async fn close(store: &Store, project: &str) -> i64 {
        say(
            store,
            project,
            serde_json::json!({"type": "run-closed", "status": "green"}),
        )
        .await
    }

    #[tokio::test]
    async fn a_consumer_goes_on_after_what_it_acknowledged_and_sees_the_rest_again() {
        let d = dir();
        let store = Store::open(&d.log).unwrap();
        for _ in 0..4 {
            fail(&store, "p").await;
        }
        let bus = Bus::of(store.clone());
        let mut first = bus.subscribe("digest", &[]).await.unwrap();
        for expected in 1..=3 {
            assert_eq!(first.next().await.unwrap().seq, expected);
        }
        first.ack(2).await.unwrap();
        // An acknowledgement that comes late takes nothing back.
        first.ack(1).await.unwrap();
        drop((first, bus, store));

        let store = Store::open(&d.log).unwrap();
        let bus = Bus::of(store.clone());
        let mut second = bus.subscribe("digest", &[]).await.unwrap();
        assert_eq!(second.next().await.unwrap().seq, 3);
        assert_eq!(second.next().await.unwrap().seq, 4);
        let mut other = bus.subscribe("feedback", &[]).await.unwrap();
        assert_eq!(other.next().await.unwrap().seq, 1);
    }

    #[tokio::test]
    async fn only_the_subjects_asked_for_arrive_in_order() {
        let d = dir();
        let store = Store::open(&d.log).unwrap();
        let bus = Bus::of(store.clone());
        let mut closed = bus.subscribe("c", &["result.run.*.closed"]).await.unwrap();
        let mut of_q = bus.subscribe("q", &["change.>", "*.*.q.>"]).await.unwrap();
        // More than one look takes in, and nothing wanted among them.
        for _ in 0..SPAN + 10 {
            fail(&store, "p").await;
        }
        let one = close(&store, "p").await;
        let two = fail(&store, "q").await;
        let three = close(&store, "q").await;
        assert_eq!(closed.next().await.unwrap().seq, one);
        assert_eq!(closed.next().await.unwrap().seq, three);
        assert_eq!(of_q.next().await.unwrap().seq, two);
        assert_eq!(of_q.next().await.unwrap().seq, three);
    }

    #[tokio::test]
    async fn what_nobody_wanted_is_not_looked_through_again_and_what_is_in_work_comes_again() {
        let d = dir();
        let store = Store::open(&d.log).unwrap();
        let bus = Bus::of(store.clone());
        let mut closed = bus.subscribe("c", &["result.run.*.closed"]).await.unwrap();
        let all: Vec<_> = (0..STRETCH).map(|_| fail(&store, "p")).collect();
        futures::future::join_all(all).await;
        let first = close(&store, "p").await;
        assert_eq!(closed.next().await.unwrap().seq, first);
        let place = store.cursor("c").await.unwrap();
        assert!((1..first).contains(&place), "{place}");
        let all: Vec<_> = (0..STRETCH).map(|_| fail(&store, "p")).collect();
        futures::future::join_all(all).await;
        let second = close(&store, "p").await;
        assert_eq!(closed.next().await.unwrap().seq, second);
        assert!(
            store.cursor("c").await.unwrap() < first,
            "it is not done with"
        );
    }

    #[tokio::test]
    async fn a_subscriber_that_waits_is_told_of_what_comes() {
        let d = dir();
        let store = Store::open(&d.log).unwrap();
        let bus = Bus::of(store.clone());
        let mut waiting = bus.subscribe("w", &[]).await.unwrap();
        let told = tokio::spawn(async move {
            let mut seqs = Vec::new();
            for _ in 0..100 {
                seqs.push(waiting.next().await.unwrap().seq);
            }
            seqs
        });
        for _ in 0..100 {
            fail(&store, "p").await;
        }
        assert!(told.await.unwrap().into_iter().eq(1..=100));
    }

    #[tokio::test]
    async fn a_tail_starts_now_or_where_it_is_told_and_follows_another_process() {
        let d = dir();
        let store = Store::open(&d.log).unwrap();
        fail(&store, "p").await;
        let reader = Bus::of(Store::open_read_only(&d.log).unwrap());
        let mut now = reader.tail(&[], None).await.unwrap();
        let mut from_start = reader.tail(&[], Some(0)).await.unwrap();
        fail(&store, "p").await;
        assert_eq!(now.next().await.unwrap().seq, 2);
        assert_eq!(from_start.next().await.unwrap().seq, 1);
        assert_eq!(from_start.next().await.unwrap().seq, 2);
        from_start.ack(2).await.unwrap();

        let mut named = reader.subscribe("digest", &[]).await.unwrap();
        let refused = named.ack(1).await;
        assert!(matches!(
            refused,
            Err(BusError::Store(StoreError::ReadOnly { .. }))
        ));
    }

    #[tokio::test]
    async fn a_next_that_was_given_up_loses_nothing() {
        let d = dir();
        let store = Store::open(&d.log).unwrap();
        let bus = Bus::of(store.clone());
        let mut tail = bus.tail(&[], None).await.unwrap();
        for expected in 1..=20 {
            let given_up = tail.next();
            drop(futures::future::select(Box::pin(given_up), futures::future::ready(())).await);
            assert_eq!(fail(&store, "p").await, expected);
            let given_up = tail.next();
            drop(futures::future::select(futures::future::ready(()), Box::pin(given_up)).await);
            assert_eq!(tail.next().await.unwrap().seq, expected);
        }
    }

    #[test]
    fn wildcards_stand_for_one_word_or_for_the_rest() {
        let holds = |pattern: &str, subject: &str| {
            let subjects = Subjects::parse(&[pattern]).unwrap();
            subjects.hold(subject)
        };
        for (pattern, subject, expected) in [
            ("a.b.c", "a.b.c", true),
            ("a.b.c", "a.b", false),
            ("a.b", "a.b.c", false),
            ("a.*.c", "a.b.c", true),
            ("a.*", "a.b.c", false),
            ("*", "a", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a.b", true),
            ("a.b", "a.bb", false),
        ] {
            assert_eq!(holds(pattern, subject), expected, "{pattern} and {subject}");
        }
    }

    #[test]
    fn a_pattern_nobody_could_mean_is_refused_with_the_rules() {
        for pattern in ["", "a..b", "a.>.b", "a.b*", "a b", ">.>"] {
            let Err(refused) = Subjects::parse(&[pattern]) else {
                panic!("{pattern} was taken");
            };
            assert!(refused.to_string().contains("`>` at the end"), "{refused}");
        }
    }
}
