//! People elsewhere decide: tasks of HumanRail from their making to a merge, and everything that can come between.
//!
//! Touches: files, processes, git, http, sqlite, network (loopback), clock.
//! Change here: when people elsewhere are asked otherwise.

use changebus::event::{Event, Fact, RunStatus};
use changebus::rules::signature;
use changebus_tests::humanrail::{HumanRail, misfits};
use changebus_tests::nats::free_port;
use changebus_tests::python::run_python;
use changebus_tests::shop;
use changebus_tests::world::{Daemon, World};
use jiff::Timestamp;
use scripted_claude::{Reply, Script};
use serde_json::{Value, json};

use crate::envelope::assert_well_told;

const SECRET: &str = "webhook-secret-of-a-story";

struct Scene {
    world: World,
    service: HumanRail,
    webhooks: String,
}

impl Scene {
    /// `poll_seconds` as long that only a webhook can be what is heard, or short.
    async fn new(poll_seconds: u32) -> Scene {
        let service = HumanRail::start().await;
        let mut world = World::new(Script::from_fn(|_| Reply::text(shop::HONEST))).await;
        world.policy("min_confidence = 0.5\ndeliver = \"human\"\nreruns = 1");
        world.variants(&[("A", "minimal-fix", "{ probe = false }")]);
        let (key, secret) = (world.path().join("hr-key"), world.path().join("hr-secret"));
        std::fs::write(&key, HumanRail::key()).expect("a file can be written");
        std::fs::write(&secret, SECRET).expect("a file can be written");
        let port = free_port();
        world.tables(&format!(
            "[http]\nlisten = \"127.0.0.1:{port}\"\n\
             [humanrail]\nbase_url = {:?}\napi_key = {{ file = {key:?} }}\nwebhook_secret = {{ file = {secret:?} }}\n\
             poll_seconds = {poll_seconds}\nrisk_tier = \"high\"\nsla_seconds = 600\nmax_amount = 2.5\n\
             callback_url = \"https://changebus.example/webhooks/humanrail\"\n",
            service.url()
        ));
        shop::open(&world);
        Scene {
            world,
            service,
            webhooks: format!("http://127.0.0.1:{port}/webhooks/humanrail"),
        }
    }

    /// The shop breaks, a human is needed, and a task is posted; its id.
    async fn asked(&self) -> (Daemon, String) {
        let daemon = self.world.daemon();
        self.world
            .until("the tip is adopted", |events| !events.is_empty())
            .await;
        shop::break_it(&self.world);
        let events = self
            .until(
                "people are asked",
                |f| matches!(f, Fact::TaskPosted { .. }),
                1,
            )
            .await;
        let posted = events.iter().find_map(|e| match &e.fact {
            Fact::TaskPosted { task } => Some(task.id.clone()),
            _ => None,
        });
        (daemon, posted.expect("it was counted"))
    }

    async fn until(&self, what: &str, is: fn(&Fact) -> bool, times: usize) -> Vec<Event> {
        let enough = |events: &[Event]| events.iter().filter(|e| is(&e.fact)).count() >= times;
        self.world.until(what, enough).await
    }

    async fn post(&self, header: &str, signature: &str, body: &str) -> u16 {
        changebus::outside::tls::prepare();
        let request = reqwest::Client::new()
            .post(&self.webhooks)
            .header(header, signature);
        let answer = request
            .body(body.to_owned())
            .send()
            .await
            .expect("it is answered");
        answer.status().as_u16()
    }
}

fn is_closed(fact: &Fact) -> bool {
    matches!(fact, Fact::RunClosed { .. })
}

fn is_ended(fact: &Fact) -> bool {
    matches!(fact, Fact::TaskEnded { .. })
}

fn ends(events: &[Event]) -> Vec<(String, String)> {
    let end = |e: &Event| match &e.fact {
        Fact::TaskEnded { end } => Some((end.status.clone(), end.why.clone())),
        _ => None,
    };
    events.iter().filter_map(end).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_they_approve_is_merged_and_they_were_shown_what_it_takes_to_decide() {
    let scene = Scene::new(1).await;
    scene.service.storm(2);
    let (_daemon, task) = scene.asked().await;
    let shown = scene.service.task(&task);
    assert_eq!(
        (shown["riskTier"].as_str(), shown["slaSeconds"].as_u64()),
        (Some("high"), Some(600))
    );
    let payload = &shown["payload"];
    assert!(
        payload["failing"][0]["test"]
            .as_str()
            .expect("a text")
            .contains("test_pay_less")
    );
    assert!(
        payload["candidates"][0]["diff"]
            .as_str()
            .expect("a text")
            .contains("price - off")
    );
    assert!(payload["candidates"][0]["marks"].is_object(), "{payload:#}");
    scene.service.verify(
        &task,
        json!({ "decision": "approve", "variant": "A", "reason": "it is right" }),
    );
    let events = scene.until("it is merged", is_closed, 2).await;
    events.iter().for_each(assert_well_told);
    assert!(matches!(
        events
            .iter()
            .rfind(|e| is_closed(&e.fact))
            .expect("two")
            .fact,
        Fact::RunClosed {
            status: RunStatus::Fixed
        }
    ));
    assert_eq!(scene.world.at_tip(shop::SOURCE), shop::GOOD.trim());
    assert_eq!(scene.service.created(), 1);
    assert_eq!(scene.service.complaints(), Vec::<String>::new());
    let events = scene.until("the task has ended", is_ended, 1).await;
    assert_eq!(ends(&events), [("verified".to_owned(), String::new())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_a_hint_if_it_is_genuine_and_nothing_if_it_is_not() {
    let scene = Scene::new(3600).await;
    let (_daemon, task) = scene.asked().await;
    scene.service.verify(
        &task,
        json!({ "decision": "reject", "reason": "hides the bug" }),
    );
    let now = Timestamp::now().as_second();
    let (good, body) = scene.service.webhook(&task, SECRET, now);
    let (forged, _) = scene.service.webhook(&task, "another-secret", now);
    let (old, _) = scene.service.webhook(&task, SECRET, now - 301);
    assert_eq!(scene.post("X-Other", &good, &body).await, 401);
    assert_eq!(
        scene.post("X-Escalation-Signature", &forged, &body).await,
        401
    );
    assert_eq!(scene.post("X-Escalation-Signature", &old, &body).await, 401);
    assert_eq!(
        scene
            .post("X-HumanRail-Signature", &good, &format!("{body} "))
            .await,
        401
    );
    assert_eq!(ends(&scene.world.events().await), []);
    // The second is the first again, and comes to nothing more.
    assert_eq!(scene.post("X-HumanRail-Signature", &good, &body).await, 204);
    assert_eq!(
        scene.post("X-Escalation-Signature", &good, &body).await,
        204
    );
    let rejected = |f: &Fact| matches!(f, Fact::Reviewed { .. });
    let events = scene.until("it is rejected", rejected, 1).await;
    assert_eq!(events.iter().filter(|e| rejected(&e.fact)).count(), 1);
    assert_eq!(scene.world.at_tip(shop::SOURCE), shop::BAD.trim());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_they_do_not_decide_stays_with_the_built_in_review_and_is_not_asked_again() {
    for (expires, status) in [(true, "expired"), (false, "failed")] {
        let scene = Scene::new(1).await;
        let (mut daemon, task) = scene.asked().await;
        match expires {
            true => scene.service.expire(&task),
            false => scene.service.fail(&task, "nobody understood it"),
        }
        let events = scene.until("the task has ended", is_ended, 1).await;
        assert_eq!(ends(&events)[0].0, status);
        daemon.kill();
        let _daemon = scene.world.daemon();
        let given = scene
            .world
            .changebus(&["review", "approve", "last"])
            .output();
        assert!(given.expect("it starts").status.success());
        scene.until("it is merged", is_closed, 2).await;
        assert_eq!(scene.world.at_tip(shop::SOURCE), shop::GOOD.trim());
        assert_eq!(scene.service.created(), 1, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_called_off_when_somebody_else_was_faster() {
    let scene = Scene::new(1).await;
    let (_daemon, task) = scene.asked().await;
    let given = scene
        .world
        .changebus(&["review", "approve", "last"])
        .output();
    assert!(given.expect("it starts").status.success());
    let events = scene.until("the task has ended", is_ended, 1).await;
    assert_eq!(ends(&events)[0].0, "cancelled");
    assert_eq!(scene.service.task(&task)["status"], "cancelled");
    assert_eq!(scene.service.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_died_before_it_could_say_that_it_asked_makes_no_second_task() {
    let scene = Scene::new(1).await;
    let (mut daemon, _) = scene.asked().await;
    daemon.kill();
    // As if the fact had never been written: another log, the same events up to then, the same key.
    let client = changebus::outside::humanrail::Humanrail::new(
        &scene.service.url(),
        HumanRail::key().into(),
    );
    let client = client.expect("an address");
    let before = scene.service.tasks()[0].clone();
    let again = changebus::outside::humanrail::NewTask {
        idempotency_key: before["idempotencyKey"]
            .as_str()
            .expect("a text")
            .to_owned(),
        task_type: "code_fix_review".to_owned(),
        risk_tier: changebus::config::RiskTier::Low,
        sla_seconds: 60,
        payload: json!({}),
        output_schema: json!({ "type": "object" }),
        payout: changebus::outside::humanrail::Payout {
            currency: changebus::config::Currency::Usd,
            max_amount: 1.0,
        },
        callback_url: None,
    };
    let told = client.create(&again).await.expect("it is answered");
    assert_eq!(before["id"], told.id);
    assert_eq!(scene.service.created(), 1);
    let wrong = changebus::outside::humanrail::Humanrail::new(
        &scene.service.url(),
        "ek_wrong".to_owned().into(),
    );
    let refused = wrong
        .expect("an address")
        .get(&told.id)
        .await
        .expect_err("the key is wrong");
    assert!(refused.to_string().contains("make another"), "{refused}");
    let gone = client.get("0198c0de-0000-7000-8000-999999999999").await;
    assert!(matches!(
        gone,
        Err(changebus::outside::humanrail::HumanrailError::NotFound)
    ));
}

#[test]
fn the_judge_does_not_take_everything() {
    let good: Value = json!({ "idempotencyKey": "k", "taskType": "t", "payload": {}, "outputSchema": {},
        "payout": { "currency": "USD", "maxAmount": 1 } });
    assert_eq!(misfits("TaskCreateRequest", &good), Vec::<String>::new());
    for (field, value) in [
        ("slaSeconds", json!(10)),
        ("riskTier", json!("extreme")),
        ("payout", json!({ "currency": "EUR", "maxAmount": 1 })),
        ("payload", json!([])),
        ("taskType", json!("x".repeat(200))),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        assert!(!misfits("TaskCreateRequest", &bad).is_empty(), "{field}");
    }
}

/// It asks for a newer Python than Debian 12 has, and runs on that one all the same.
const OFFICIAL: [&str; 2] = ["--ignore-requires-python", "humanrail==0.1.0"];

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_verifies_what_we_sign_and_signs_what_we_verify() {
    let service = HumanRail::start().await;
    let now = Timestamp::now().as_second();
    let body = "{\"type\": \"task.verified\", \"note\": \"ünïcödé\"}\n";
    let sign = |secret| signature::sign(secret, now, body.as_bytes());
    let task = json!({ "idempotencyKey": "k", "taskType": "code_fix_review", "payload": { "run": "shop-1" },
        "outputSchema": { "type": "object" }, "payout": { "currency": "USD", "maxAmount": 1 } });
    let input =
        json!({ "body": body, "signed": sign(SECRET), "forged": sign("another"), "task": task });
    let url = service.url();
    let told = tokio::task::spawn_blocking(move || {
        let args = [url.as_str(), HumanRail::key(), SECRET];
        run_python("official_humanrail.py", &OFFICIAL, &args, &input)
    });
    let told = told.await.expect("the official client runs");
    assert_eq!(
        (&told["verified"], &told["forged"]),
        (&json!(true), &json!(false))
    );
    let verify =
        |secret| signature::verify(secret, told["signed"].as_str(), body.as_bytes(), now + 60);
    assert_eq!(verify(SECRET), Ok(()));
    assert_eq!(verify("another"), Err(signature::Forged::Wrong));
    assert_eq!(told["task"], told["again"]);
    assert_eq!(
        (&told["cancelled"], &told["status"]),
        (&json!("cancelled"), &json!("cancelled"))
    );
    assert_eq!(told["refused"], json!([409, 404, 401]));
    assert_eq!(service.complaints(), Vec::<String>::new());
}
