//! A host's relay, from its outbox to JetStream, beside a plain publisher of the same messages.
//!
//! Touches: sqlite, network (loopback), processes, clock, files.
//! Change here: when events are told otherwise.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use changebus::config::{BusKind, Config};
use changebus::event::RunId;
use changebus::fleet::Fleet;
use changebus::outside::store::Store;
use changebus::rules::envelope;
use changebus_tests::nats::Nats;
use changebus_tests::tables::Row;

use super::{each_second, fact, median, runtime};

const EVENTS: usize = 4_000;
const ROUNDS: usize = 7;
const BYTES: usize = 600;
/// What the relay tells at a time.
const IN_FLIGHT: usize = 256;
const HOST: &str = "bench";

pub fn rows(dir: &Path) -> Vec<Row> {
    let nats = Nats::start(&dir.join("server"), "");
    let log = dir.join("log/events.sqlite");
    let bodies = full_outbox(&log);
    let size = bodies.iter().map(|(_, body)| body.len()).sum::<usize>() / EVENTS;
    let (mut ours, mut theirs) = (vec![], vec![]);
    for round in 0..=ROUNDS {
        let state = dir.join(format!("state-{round}"));
        std::fs::create_dir_all(&state).expect("a directory");
        std::fs::copy(&log, state.join("events.sqlite")).expect("a log at rest can be copied");
        let config = config(&nats, &state, round);
        let (our, their) = (relayed(&config), published(&nats, &config, round, &bodies));
        // The first round warms up.
        if round > 0 {
            ours.push(each_second(EVENTS, our));
            theirs.push(each_second(EVENTS, their));
        }
    }
    let ratios = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs);
    let ratio = median(ratios.collect());
    let (ours, theirs) = (median(ours), median(theirs));
    vec![Row {
        what: "events told by the relay, beside a plain publisher".to_owned(),
        measured: format!("{ratio:.2} times as many ({ours:.0}/s beside {theirs:.0}/s)"),
        target: "at least 0.5 times",
        holds: ratio >= 0.5,
        how: format!(
            "from the moment a host with {EVENTS} events in its outbox joins until none is in it, its own messages heard \
             again meanwhile; beside `async-nats` publishing the same bodies ({size} bytes on average) to a stream of the \
             same configuration on the same server, {IN_FLIGHT} on their way at any time as in the relay, without headers; \
             the server writes before it acknowledges; median of {ROUNDS} rounds in turns"
        ),
    }]
}

fn config(nats: &Nats, state: &Path, round: usize) -> Config {
    let mut config = Config::default();
    config.host.name = HOST.to_owned();
    config.host.state = state.to_owned();
    config.bus.kind = BusKind::Nats;
    config.bus.servers = vec![nats.url()];
    config.bus.stream = format!("OURS{round}");
    config.bus.prefix = format!("ours{round}");
    config
}

/// A log of one host among several, none of whose events was told yet; their subjects and messages.
fn full_outbox(log: &Path) -> Vec<(String, Vec<u8>)> {
    let store = Store::open(log).expect("a log");
    store.tenures().join_a_fleet(BTreeMap::new());
    store.tenures().begin("app", 1);
    let events = runtime().block_on(async {
        let hands = (0..40).map(|hand| {
            let store = store.clone();
            tokio::spawn(async move {
                let run = RunId(format!("app-{hand:08x}"));
                for _ in 0..EVENTS / 40 {
                    let kept = store.append("app", Some(&run), fact(BYTES)).await;
                    kept.expect("it is kept");
                }
            })
        });
        for hand in hands.collect::<Vec<_>>() {
            hand.await.expect("it ends");
        }
        store.waiting(EVENTS).await.expect("it reads")
    });
    assert_eq!(events.len(), EVENTS);
    let message = |event| {
        let body = envelope::wrap(event, HOST).json().expect("it is JSON");
        (envelope::subject("", event), body)
    };
    events.iter().map(message).collect()
}

fn relayed(config: &Config) -> Duration {
    let store = Store::open(&config.host.state.join("events.sqlite")).expect("a log");
    let runtime = runtime();
    let taken = runtime.block_on(async {
        let waiting = async || store.backlog().await.expect("it reads").0;
        assert_eq!(waiting().await, EVENTS as u64);
        let started = Instant::now();
        let _fleet = Fleet::join(config, &store).await.expect("a host");
        while waiting().await > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        started.elapsed()
    });
    // With it go the tasks of the host.
    runtime.shutdown_timeout(Duration::from_secs(5));
    taken
}

fn published(nats: &Nats, config: &Config, round: usize, bodies: &[(String, Vec<u8>)]) -> Duration {
    runtime().block_on(async {
        let client = async_nats::connect(nats.url()).await.expect("a connection");
        let context = jetstream::new(client);
        let ours = context.get_stream(&config.bus.stream).await;
        let like_ours = ours.expect("the host made it").cached_info().config.clone();
        let prefix = format!("theirs{round}");
        let stream = jetstream::stream::Config {
            name: prefix.to_uppercase(),
            subjects: vec![format!("{prefix}.>")],
            ..like_ours
        };
        context.create_stream(stream).await.expect("a stream");
        let mut going = VecDeque::new();
        let started = Instant::now();
        for (subject, body) in bodies {
            if going.len() == IN_FLIGHT {
                acknowledged(&mut going).await;
            }
            let subject = format!("{prefix}.{subject}");
            let sent = context.publish(subject, body.clone().into()).await;
            going.push_back(sent.expect("it is sent"));
        }
        while !going.is_empty() {
            acknowledged(&mut going).await;
        }
        started.elapsed()
    })
}

async fn acknowledged(going: &mut VecDeque<jetstream::context::PublishAckFuture>) {
    if let Some(first) = going.pop_front() {
        first.await.expect("it is acknowledged");
    }
}
