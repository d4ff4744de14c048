//! External applications: over HTTP, over the stream, through the adapters, and with nothing but a socket.
//!
//! Touches: files, processes, git, http, sqlite, network (loopback).
//! Change here: when applications can say something another way, or something else can become of it.

use std::io::Write;

use changebus::event::{AppMessage, Event, Fact, RunStatus};
use changebus::outside::store::Store;
use changebus::rules::envelope;
use changebus_tests::fleet::{Fleet, all_adopted};
use changebus_tests::javascript::run_javascript;
use changebus_tests::nats::{Nats, free_port};
use changebus_tests::python::run_python;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::envelope::assert_well_told;

mod rate;

const TOKEN: &str = "token-of-a-story";
const ROUTES: &str = "\
[[apps.ci.routes]]
event = \"start.*\"
start = \"p1\"
[[apps.ci.routes]]
event = \"job.failed\"
where = { \"data.branch\" = \"main\" }
project = \"p1\"
alert = \"job {data.job} failed on {data.branch}\"
[[apps.ci.routes]]
event = \"job.*\"
digest = \"{event} {data.job}\"
";

/// A fleet whose hosts hear one application, the first of them over HTTP too.
struct Scene {
    fleet: Fleet,
    address: String,
}

impl Scene {
    async fn new(hosts: &[&str]) -> Scene {
        Scene::of(Fleet::new(hosts, 1).await)
    }

    fn of(mut fleet: Fleet) -> Scene {
        let token = fleet.path().join("token");
        std::fs::write(&token, TOKEN).expect("the token can be written");
        let port = free_port();
        fleet.first_host_lines = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n");
        fleet.tables = format!("[apps.ci]\ntoken = {{ file = {token:?} }}\n{ROUTES}");
        Scene {
            fleet,
            address: format!("http://127.0.0.1:{port}"),
        }
    }

    async fn adopted(&self) {
        for host in &self.fleet.hosts {
            let all = |e: &[Event]| all_adopted(e, &self.fleet.projects);
            self.fleet.until(host, "the tip is known", all).await;
        }
    }

    async fn post(
        &self,
        event: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> (StatusCode, Value) {
        changebus::outside::tls::prepare();
        let client = reqwest::Client::new();
        let mut request = client.post(format!("{}/apps/{event}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.body(body).send().await.expect("it is answered");
        let status = answer.status();
        (status, answer.json().await.expect("it is JSON"))
    }

    async fn dead(&self, host: &str) -> Vec<(String, String)> {
        let path = self.fleet.state(host).join("events.sqlite");
        let store = Store::open_read_only(&path).expect("a log");
        let dead = store.dead().await.expect("it can be asked");
        dead.into_iter().map(|d| (d.subject, d.why)).collect()
    }
}

const SHOWN: (&str, &str) = ("Authorization", "Bearer token-of-a-story");

fn said(events: &[Event]) -> Vec<&AppMessage> {
    let message = |e: &'_ Event| matches!(&e.fact, Fact::AppSaid { .. });
    let all = events.iter().filter(|e| message(e));
    all.filter_map(|e| match &e.fact {
        Fact::AppSaid { message } => Some(message),
        _ => None,
    })
    .collect()
}

/// How often each of these stands in the log.
fn counts(events: &[Event]) -> (usize, usize, usize) {
    let count = |is: fn(&Fact) -> bool| events.iter().filter(|e| is(&e.fact)).count();
    (
        count(|f| matches!(f, Fact::StartAsked { .. })),
        count(|f| matches!(f, Fact::Alerted { .. })),
        count(|f| matches!(f, Fact::Noted { .. })),
    )
}

/// Runs that were opened because somebody asked, and how they ended.
fn asked_runs(events: &[Event]) -> Vec<RunStatus> {
    let asked = events.iter().filter_map(|e| match &e.fact {
        Fact::ChangeSeen { change } => change.asked.is_some().then_some(e.run.as_ref()?),
        _ => None,
    });
    asked
        .filter_map(|run| {
            events.iter().find_map(|e| match e.fact {
                Fact::RunClosed { status } if e.run.as_ref() == Some(run) => Some(status),
                _ => None,
            })
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_http_is_kept_once_and_has_the_tip_tested_as_it_stands() {
    let scene = Scene::new(&["ada"]).await;
    let _ada = scene.fleet.daemon("ada");
    scene.adopted().await;
    let body = br#"{"why": "a mirror was rebuilt"}"#.to_vec();
    let once = ("Idempotency-Key", "rebuilt-7");
    let (status, first) = scene
        .post("ci/start.now", &[SHOWN, once], body.clone())
        .await;
    assert_eq!(
        (status, &first["again"]),
        (StatusCode::ACCEPTED, &json!(false))
    );
    let (status, second) = scene.post("ci/start.now", &[SHOWN, once], body).await;
    assert_eq!(
        (status, &second["again"]),
        (StatusCode::ACCEPTED, &json!(true))
    );
    assert_eq!(first["id"], second["id"]);
    let done = |events: &[Event]| !asked_runs(events).is_empty();
    let events = scene.fleet.until("ada", "the tip was tested", done).await;
    assert_eq!(asked_runs(&events), [RunStatus::Green]);
    assert_eq!(counts(&events), (1, 0, 0));
    assert_eq!(
        said(&events)[0].data,
        json!({"why": "a mirror was rebuilt"})
    );
    let told = scene.fleet.changebus("ada", &["apps", "--json"]).output();
    let told: Value = serde_json::from_slice(&told.expect("it can be asked").stdout).expect("JSON");
    assert_eq!(told[0]["said"]["start.now"]["count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_said_over_http_is_refused_with_the_reason_and_blocks_nothing() {
    let scene = Scene::new(&["ada"]).await;
    let _ada = scene.fleet.daemon("ada");
    scene.adopted().await;
    let fine = || b"{}".to_vec();
    let wrong = ("Authorization", "Bearer token-of-a-stranger");
    let cloud = ("Content-Type", "application/cloudevents+json");
    let whole = |version: &str| {
        json!({"specversion": version, "id": "1", "source": "s", "type": "t"})
            .to_string()
            .into_bytes()
    };
    for (event, headers, body, status, why) in [
        ("ci/ping", &[][..], fine(), 401, "Authorization"),
        ("ci/ping", &[wrong][..], fine(), 401, "Authorization"),
        ("other/ping", &[SHOWN][..], fine(), 401, "Authorization"),
        (
            "ci/ping",
            &[SHOWN][..],
            b"garbage".to_vec(),
            400,
            "not JSON",
        ),
        (
            "ci/ping",
            &[SHOWN][..],
            vec![b' '; 10 << 20],
            413,
            "max_kib",
        ),
        (
            "ci/a%20b",
            &[SHOWN][..],
            fine(),
            400,
            "no name for an event",
        ),
        ("ci/%3E", &[SHOWN][..], fine(), 400, "no name for an event"),
        (
            "ci/ping",
            &[SHOWN, cloud][..],
            whole("7.0"),
            400,
            "specversion",
        ),
    ] {
        let (found, told) = scene.post(event, headers, body).await;
        assert_eq!(found.as_u16(), status, "{event}: {told}");
        let told = told["error"].as_str().expect("a reason");
        assert!(told.contains(why), "{told} does not say {why}");
    }
    let (status, _) = scene.post("ci/ping", &[SHOWN, cloud], whole("1.0")).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let kept = |events: &[Event]| !said(events).is_empty();
    let events = scene.fleet.until("ada", "the good one is kept", kept).await;
    assert_eq!(said(&events).len(), 1);
}

/// As anybody can who has a socket: no acknowledgement, no client.
fn publish_plainly(nats: &Nats, subject: &str, body: &[u8]) {
    let address = ("127.0.0.1", nats.port());
    let mut socket = std::net::TcpStream::connect(address).expect("the server listens");
    let head = format!(
        "CONNECT {{\"verbose\":false}}\r\nPUB {subject} {}\r\n",
        body.len()
    );
    let told = [head.as_bytes(), body, b"\r\nPING\r\n"].concat();
    socket.write_all(&told).expect("it takes it");
    let mut answer = std::io::BufReader::new(socket);
    let mut line = String::new();
    while !line.starts_with("PONG") {
        line.clear();
        let read = std::io::BufRead::read_line(&mut answer, &mut line).expect("it answers");
        assert!(read > 0 && !line.starts_with("-ERR"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_on_the_stream_is_heard_by_every_host_and_followed_once() {
    let scene = Scene::new(&["ada", "bob"]).await;
    let fleet = &scene.fleet;
    let (_ada, _bob) = (fleet.daemon("ada"), fleet.daemon("bob"));
    scene.adopted().await;
    publish_plainly(&fleet.nats, "app.ci.start.now", b"{}");
    publish_plainly(
        &fleet.nats,
        "app.ci.job.failed",
        br#"{"job": 7, "branch": "main"}"#,
    );
    publish_plainly(
        &fleet.nats,
        "app.ci.job.failed",
        br#"{"job": 8, "branch": "side"}"#,
    );
    let whole =
        json!({"specversion": "1.0", "id": "9", "source": "s", "type": "t", "data": {"job": 9}});
    for _ in 0..3 {
        publish_plainly(&fleet.nats, "app.ci.job.done", whole.to_string().as_bytes());
    }
    let done = |events: &[Event]| {
        said(events).len() == 4 && counts(events) == (1, 1, 3) && !asked_runs(events).is_empty()
    };
    let mut ids = vec![];
    for host in &fleet.hosts {
        let events = fleet
            .until(host, "all of it is heard and followed", done)
            .await;
        let own = events.iter().filter(|e| e.origin.is_none());
        own.for_each(assert_well_told);
        assert_eq!(asked_runs(&events), [RunStatus::Green], "{host}");
        let alert = events.iter().find_map(|e| match &e.fact {
            Fact::Alerted { remark } => Some((e.project.clone(), remark.text.clone())),
            _ => None,
        });
        let alert = alert.expect("it was counted");
        assert_eq!(alert, ("p1".to_owned(), "job 7 failed on main".to_owned()));
        let outside = events.iter().filter(|e| e.run.is_none());
        let mut of_host: Vec<_> = outside.map(|e| e.id.clone()).collect();
        of_host.sort();
        ids.push(of_host);
        assert_eq!(scene.dead(host).await, [], "{host}");
    }
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_write_as_an_application_cannot_speak_as_a_host_or_fill_the_log() {
    let scene = Scene::of(Fleet::with_nats(&["ada"], 1, "max_payload: 16777216").await);
    let fleet = &scene.fleet;
    let _ada = fleet.daemon("ada");
    scene.adopted().await;
    let good = fleet.events("ada").await[0].clone();
    let as_a_host = envelope::wrap(
        &Event {
            id: "stolen".to_owned(),
            ..good
        },
        "bob",
    );
    let as_a_host = as_a_host.json().expect("it is JSON");
    publish_plainly(&fleet.nats, "app.ci.ping", &as_a_host);
    publish_plainly(&fleet.nats, "app.ci.ping", &vec![b' '; 10 << 20]);
    publish_plainly(&fleet.nats, "app.ci.ping", b"\xffgarbage");
    publish_plainly(&fleet.nats, "app.other.ping", b"{}");
    publish_plainly(&fleet.nats, "app.ci", b"{}");
    publish_plainly(&fleet.nats, "app.ci.last", b"{}");
    let kept = |events: &[Event]| said(events).len() == 1;
    let events = fleet
        .until("ada", "what comes behind them is kept", kept)
        .await;
    assert!(events.iter().all(|e| e.id != "stolen"));
    let dead = scene.dead("ada").await;
    let reasons = [
        "belongs under",
        "max_kib",
        "not JSON",
        "[apps.other]",
        "app.ci",
    ];
    assert_eq!(dead.len(), 5, "{dead:#?}");
    for why in reasons {
        let found = dead
            .iter()
            .any(|(subject, told)| told.contains(why) || subject == why);
        assert!(found, "{why} is not among {dead:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_to_one_host_over_http_is_told_to_the_others() {
    let scene = Scene::new(&["ada", "bob"]).await;
    let fleet = &scene.fleet;
    let (_ada, _bob) = (fleet.daemon("ada"), fleet.daemon("bob"));
    scene.adopted().await;
    scene
        .post(
            "ci/job.failed",
            &[SHOWN],
            br#"{"job": 7, "branch": "main"}"#.to_vec(),
        )
        .await;
    let done = |events: &[Event]| said(events).len() == 1 && counts(events) == (0, 1, 1);
    for host in &fleet.hosts {
        fleet
            .until(host, "it is heard and followed once", done)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_adapters_of_both_languages_say_and_hear_the_same() {
    let scene = Scene::new(&["ada"]).await;
    let _ada = scene.fleet.daemon("ada");
    scene.adopted().await;
    scene.post("ci/start.now", &[SHOWN], b"{}".to_vec()).await;
    let url = scene.fleet.nats.url();
    let args = [url.as_str(), &scene.address, TOKEN];
    let python = run_python("adapter.py", &["nats-py==2.16.0"], &args, &Value::Null);
    let packages = ["@nats-io/transport-node@3.4.0", "@nats-io/jetstream@3.4.0"];
    let javascript = run_javascript("adapter.mjs", &packages, &args);
    for told in [&python, &javascript] {
        assert_eq!(
            told["heard"]["data"]["customData"]["fact"]["status"], "green",
            "{told}"
        );
        let refused = told["refused"].as_str().expect("it was refused");
        assert!(
            refused.starts_with("413") && refused.contains("max_kib"),
            "{refused}"
        );
    }
    assert_eq!(python["heard"], javascript["heard"]);
    let all = |events: &[Event]| said(events).len() == 5;
    let events = scene.fleet.until("ada", "each is kept once", all).await;
    let mut told: Vec<_> = said(&events)
        .into_iter()
        .map(|m| (m.event.as_str(), m.id.as_str(), m.about.as_deref(), &m.data))
        .skip(1)
        .collect();
    told.sort_by_key(|(event, ..)| *event);
    let (one, two) = (json!({"n": 1}), json!({"n": 2}));
    assert_eq!(
        told,
        [
            ("javascript.http", "js-2", None, &two),
            ("javascript.nats", "js-1", Some("a job"), &one),
            ("python.http", "py-2", None, &two),
            ("python.nats", "py-1", Some("a job"), &one),
        ]
    );
}
