//! Lets the first of several requests with one shared prefix go ahead, so that the others find it cached.
//!
//! Touches: clock.
//! Change here: when who waits for whom, or for how long, should differ.
//!
//! The provider's cache entry can be read only once the answer to the request that wrote it has begun.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::event::ModelRequest;

use super::wire;

/// A shorter prefix, in bytes, is below what any model caches.
const SHORTEST_PREFIX: usize = 512;
/// How long the provider keeps an entry after its last use.
const KEPT_FOR: Duration = Duration::from_secs(300);
/// A request that has waited this long goes without the cache: being late costs more than the prefix.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Prefixes remembered at once.
const MOST_PREFIXES: usize = 64;

/// Digest of a model and a shared prefix.
pub type Key = [u8; 32];

/// The prefixes in flight and those lately cached.
#[derive(Clone, Debug)]
pub struct FanOut {
    prefixes: Arc<Mutex<HashMap<Key, Prefix>>>,
    longest_wait: Duration,
}

#[derive(Debug)]
enum Prefix {
    /// Somebody is on the way; the sender's end is in their [`Turn`].
    Leading(watch::Receiver<()>),
    Cached {
        since: Instant,
    },
}

/// The right to send. Of several holders of one prefix the first leads; dropping its turn before the answer
/// began hands the lead to the next.
#[derive(Debug, Default)]
pub struct Turn(Option<Lead>);

#[derive(Debug)]
struct Lead {
    key: Key,
    fan_out: FanOut,
    /// Dropped, and so heard by those who wait, when the lead ends in whatever way.
    _signal: watch::Sender<()>,
}

/// What a request shares with others; none where it is too little to be cached.
pub fn key(model: &str, request: &ModelRequest) -> Option<Key> {
    let shared: Vec<&str> = wire::shared(&request.system)
        .map(|block| block.text.as_str())
        .collect();
    if shared.iter().map(|text| text.len()).sum::<usize>() < SHORTEST_PREFIX {
        return None;
    }
    let mut hash = Sha256::new();
    for part in std::iter::once(model).chain(shared) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    Some(hash.finalize().into())
}

impl Default for FanOut {
    fn default() -> Self {
        FanOut {
            prefixes: Arc::default(),
            longest_wait: LONGEST_WAIT,
        }
    }
}

impl FanOut {
    /// Waits until this request may go.
    pub async fn turn(&self, key: Option<Key>) -> Turn {
        let Some(key) = key else {
            return Turn::default();
        };
        let in_order = async {
            loop {
                match self.take_turn(key) {
                    Ok(turn) => return turn,
                    // An error says that the leader is gone, which is what is waited for.
                    Err(mut leader) => _ = leader.changed().await,
                }
            }
        };
        tokio::time::timeout(self.longest_wait, in_order)
            .await
            .unwrap_or_default()
    }

    fn take_turn(&self, key: Key) -> Result<Turn, watch::Receiver<()>> {
        let mut prefixes = self.lock();
        forget(&mut prefixes, Instant::now());
        let full = prefixes.len() >= MOST_PREFIXES;
        match prefixes.get_mut(&key) {
            Some(Prefix::Leading(leader)) => return Err(leader.clone()),
            Some(Prefix::Cached { since }) => {
                *since = Instant::now();
                return Ok(Turn::default());
            }
            None if full => return Ok(Turn::default()),
            None => {}
        }
        let (signal, leader) = watch::channel(());
        prefixes.insert(key, Prefix::Leading(leader));
        Ok(Turn(Some(Lead {
            key,
            fan_out: self.clone(),
            _signal: signal,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Prefix>> {
        // The table is whole after every statement; a panic elsewhere does not spoil it.
        self.prefixes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget(prefixes: &mut HashMap<Key, Prefix>, now: Instant) {
    prefixes.retain(|_, prefix| match prefix {
        Prefix::Leading(_) => true,
        Prefix::Cached { since } => now.duration_since(*since) < KEPT_FOR,
    });
}

impl Turn {
    /// The answer has begun: whoever waits may go.
    pub fn begun(&mut self) {
        if let Some(lead) = self.0.take() {
            lead.fan_out.lock().insert(
                lead.key,
                Prefix::Cached {
                    since: Instant::now(),
                },
            );
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let mut prefixes = self.fan_out.lock();
        if matches!(prefixes.get(&self.key), Some(Prefix::Leading(_))) {
            prefixes.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::SystemBlock;
    use futures::FutureExt;

    const A: Option<Key> = Some([1; 32]);
    const B: Option<Key> = Some([2; 32]);

    #[tokio::test]
    async fn the_first_goes_and_the_others_wait_until_its_answer_begins() {
        let fan_out = FanOut::default();
        let mut first = fan_out.turn(A).await;
        let mut second = Box::pin(fan_out.turn(A));
        let mut third = Box::pin(fan_out.turn(A));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        first.begun();
        assert!(second.now_or_never().is_some());
        assert!(third.now_or_never().is_some());
        assert!(
            fan_out.turn(A).now_or_never().is_some(),
            "the prefix is cached now"
        );
    }

    #[tokio::test]
    async fn when_the_first_fails_the_next_one_leads() {
        let fan_out = FanOut::default();
        let first = fan_out.turn(A).await;
        let mut second = Box::pin(fan_out.turn(A));
        let mut third = Box::pin(fan_out.turn(A));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        let mut lead = second.now_or_never().expect("the lead is free");
        assert!(third.as_mut().now_or_never().is_none());
        lead.begun();
        assert!(third.now_or_never().is_some());
    }

    #[tokio::test]
    async fn other_prefixes_and_requests_without_one_do_not_wait() {
        let fan_out = FanOut::default();
        let _first = fan_out.turn(A).await;
        assert!(fan_out.turn(B).now_or_never().is_some());
        assert!(fan_out.turn(None).now_or_never().is_some());
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let fan_out = FanOut {
            longest_wait: Duration::ZERO,
            ..FanOut::default()
        };
        let _never_answered = fan_out.turn(A).await;
        fan_out.turn(A).await;
    }

    #[test]
    fn what_was_cached_is_forgotten_with_the_providers_entry() {
        let start = Instant::now();
        let mut prefixes = HashMap::from([([1; 32], Prefix::Cached { since: start })]);
        forget(&mut prefixes, start + KEPT_FOR / 2);
        assert_eq!(prefixes.len(), 1);
        forget(&mut prefixes, start + KEPT_FOR);
        assert!(prefixes.is_empty());
    }

    #[tokio::test]
    async fn the_table_stops_growing() {
        let fan_out = FanOut::default();
        let mut turns = Vec::new();
        for n in 0..=MOST_PREFIXES as u8 {
            turns.push(fan_out.turn(Some([n; 32])).await);
        }
        assert_eq!(fan_out.lock().len(), MOST_PREFIXES);
        drop(turns);
        assert!(fan_out.lock().is_empty());
    }

    #[test]
    fn the_key_is_model_and_shared_blocks_and_nothing_else() {
        let request = |own: &str, shared: &str| ModelRequest {
            model: None,
            max_output_tokens: 1,
            system: vec![
                SystemBlock {
                    text: own.into(),
                    shared: false,
                },
                SystemBlock {
                    text: shared.into(),
                    shared: true,
                },
            ],
            messages: vec![],
            effort: None,
            temperature: None,
        };
        let long = "x".repeat(SHORTEST_PREFIX);
        let of = |model: &str, own: &str, shared: &str| key(model, &request(own, shared));
        assert_eq!(of("m", "mine", &long), of("m", "yours", &long));
        assert_ne!(of("m", "", &long), of("n", "", &long));
        assert_ne!(of("m", "", &long), of("m", "", &format!("{long}y")));
        assert_eq!(of("m", "", &long[1..]), None);
    }
}
