//! How long what an application says takes to be in the log, at a thousand messages a second.
//!
//! Touches: files, processes, http, sqlite, network (loopback), clock.
//! Change here: when messages come another way. As a benchmark: `cargo xtask bench apps`.

use std::path::Path;
use std::time::{Duration, Instant};

use changebus::config::Config;
use changebus::fleet::Fleet;
use changebus::outside::bus::Bus;
use changebus::outside::store::Store;
use changebus_tests::nats::Nats;
use changebus_tests::tables;
use serde_json::json;

use super::{SHOWN, Scene};
use changebus::event::Fact;

const A_SECOND: usize = 1000;
const SECONDS: usize = 20;
/// The first do not count: connections are made, and a host joins.
const WARMING: usize = 2000;
const ALL: usize = WARMING + A_SECOND * SECONDS;
/// Sent together, so that no timer of a hundredth of that has to be trusted.
const BURST: usize = 10;

/// Milliseconds from sending to being in the log, of each message.
struct Delays(Vec<f64>);

impl Delays {
    /// In the order of sending.
    fn of(mut all: Vec<Duration>) -> Delays {
        assert_eq!(all.len(), ALL, "some were lost");
        let mut all = all.split_off(WARMING);
        all.sort();
        Delays(all.iter().map(|d| d.as_secs_f64() * 1e3).collect())
    }

    fn at(&self, part: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * part) as usize]
    }

    fn row(&self, way: &str) -> String {
        let [half, most, all] = [0.5, 0.99, 1.0].map(|part| self.at(part));
        let holds = if most < 50.0 {
            "holds"
        } else {
            "does not hold"
        };
        format!("| {way} | {half:.1} | {most:.1} | {all:.1} | {holds} |\n")
    }
}

/// Calls `send` for each message, a thousand times a second.
async fn paced(mut send: impl FnMut(usize)) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) * BURST as u32 / A_SECOND as u32);
    for burst in 0..ALL / BURST {
        ticks.tick().await;
        for n in 0..BURST {
            send(burst * BURST + n);
        }
    }
}

/// The answer comes once the message is on disk.
async fn over_http() -> Delays {
    let scene = Scene::new(&["ada"]).await;
    let _ada = scene.fleet.daemon("ada");
    scene.adopted().await;
    changebus::outside::tls::prepare();
    let client = reqwest::Client::new();
    let url = format!("{}/apps/ci/load", scene.address);
    let mut answers = vec![];
    paced(|n| {
        let request = client.post(&url).header(SHOWN.0, SHOWN.1);
        let body = json!({ "n": n, "text": "x".repeat(200) }).to_string();
        answers.push(tokio::spawn(async move {
            let sent = Instant::now();
            let answer = request.body(body).send().await.expect("it is answered");
            assert_eq!(answer.status().as_u16(), 202);
            sent.elapsed()
        }));
    })
    .await;
    let all = futures::future::try_join_all(answers).await;
    Delays::of(all.expect("all end"))
}

/// A host in this process, so that one watch tells when a message was sent and when it stood in the log.
async fn over_nats() -> Delays {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let nats = Nats::start(&dir.path().join("nats"), "");
    let text = format!(
        "[host]\nname = \"ada\"\nstate = {:?}\n[bus]\nkind = \"nats\"\nservers = [{:?}]\n[apps.ci]\n",
        dir.path(),
        nats.url()
    );
    let config = Config::parse(&text, Path::new("a story's")).expect("it is a configuration");
    let store = Store::open(&dir.path().join("events.sqlite")).expect("a log can be made");
    let _fleet = Fleet::join(&config, &store)
        .await
        .expect("the server is fit");
    let client = async_nats::connect(nats.url()).await.expect("it answers");
    let context = async_nats::jetstream::new(client);
    let mut log = Bus::of(store)
        .tail(&["app.>"], Some(0))
        .await
        .expect("a good subject");
    let kept = tokio::spawn(async move {
        let mut kept = vec![None; ALL];
        for _ in 0..kept.len() {
            let event = log.next().await.expect("the log can be read");
            if let Fact::AppSaid { message } = event.fact {
                kept[message.data["n"].as_u64().expect("a number") as usize] = Some(Instant::now());
            }
        }
        kept
    });
    let mut sent = vec![];
    paced(|n| {
        sent.push(Instant::now());
        let body = json!({ "n": n, "text": "x".repeat(200) }).to_string();
        let context = context.clone();
        tokio::spawn(async move {
            let told = context.publish("app.ci.load", body.into()).await;
            told.expect("it was sent").await.expect("the stream has it");
        });
    })
    .await;
    let kept = kept.await.expect("it ends");
    let delay = |(kept, sent): (Option<Instant>, Instant)| kept.expect("each came") - sent;
    Delays::of(kept.into_iter().zip(sent).map(delay).collect())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute; `cargo xtask bench apps` runs it"]
async fn a_thousand_messages_a_second_are_in_the_log_in_a_moment() {
    let rows =
        over_http().await.row("HTTP, to the answer") + &over_nats().await.row("NATS, to the log");
    tables::tell(&format!(
        "# Benchmark of external applications\n\n\
         Written by `cargo xtask bench apps` in one run, profile `measure`. {A_SECOND} messages of about 220 bytes a second \
         for {SECONDS} s, in bursts of {BURST}; milliseconds from sending to being on disk. Sender, NATS server and host \
         share the machine, and the server writes before it acknowledges.\n\n\
         | way | median | 99 of 100 within | slowest | at most 50 ms for 99 of 100 |\n|---|---|---|---|---|\n{rows}"
    ));
}
