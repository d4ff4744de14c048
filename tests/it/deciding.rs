//! How soon what people decide is on the branch, and what the pages cost that they have open.
//!
//! Touches: files, processes, git, http, sqlite, network (loopback), clock.
//! Change here: when people decide another way. As a benchmark: `cargo xtask bench people`.

use std::time::{Duration, Instant};

use changebus::event::{Event, Fact, RunId};
use changebus_tests::humanrail::HumanRail;
use changebus_tests::nats::free_port;
use changebus_tests::shop;
use changebus_tests::tables;
use changebus_tests::world::{Daemon, World};
use scripted_claude::{Reply, Script};
use serde_json::json;

const TOKEN: &str = "token-of-ada-in-a-story";
const SECRET: &str = "webhook-secret-of-a-story";
const TIMES: usize = 5;
const PAGES: usize = 50;
const MEASURED: Duration = Duration::from_secs(40);
/// A page fetches itself anew at most that often, as its script does.
const ANEW: Duration = Duration::from_secs(1);

struct Scene {
    world: World,
    service: HumanRail,
    address: String,
}

impl Scene {
    /// Nobody looks at anything by themselves for an hour, but for the tasks' first look.
    async fn new() -> Scene {
        let service = HumanRail::start().await;
        let mut world = World::new(Script::from_fn(|_| Reply::text(shop::HONEST))).await;
        world.policy("min_confidence = 0.5\ndeliver = \"human\"\nreruns = 1");
        world.variants(&[("A", "minimal-fix", "{ probe = false }")]);
        let keep = |name: &str, text: &str| {
            let path = world.path().join(name);
            std::fs::write(&path, text).expect("a file can be written");
            path
        };
        let (key, secret) = (keep("key-hr", HumanRail::key()), keep("secret-hr", SECRET));
        let token = keep("token-ada", TOKEN);
        let port = free_port();
        world.tables(&format!(
            "[http]\nlisten = \"127.0.0.1:{port}\"\npeople = {{ ada = {{ file = {token:?} }} }}\n\
             [apps.ci]\ntoken = {{ file = {token:?} }}\n\
             [humanrail]\nbase_url = {:?}\napi_key = {{ file = {key:?} }}\nwebhook_secret = {{ file = {secret:?} }}\n\
             poll_seconds = 3600\n",
            service.url()
        ));
        shop::open(&world);
        Scene {
            world,
            service,
            address: format!("http://127.0.0.1:{port}"),
        }
    }

    async fn asked(&mut self) -> (Daemon, RunId) {
        let daemon = self.world.daemon();
        self.world
            .until("the tip is adopted", |events| !events.is_empty())
            .await;
        shop::break_it(&self.world);
        let posted = |events: &[Event]| {
            events
                .iter()
                .any(|e| matches!(e.fact, Fact::TaskPosted { .. }))
        };
        let events = self.world.until("people are asked", posted).await;
        let run = events.iter().find_map(|e| e.run.clone());
        (daemon, run.expect("there is a run"))
    }

    /// Seconds from the decision to the pushed merge, without those that the tests took.
    async fn merged_since(&self, at: jiff::Timestamp) -> f64 {
        let merged = |e: &Event| matches!(&e.fact, Fact::Delivered { delivery } if delivery.name() == "merged");
        let events = self
            .world
            .until("it is merged", |events| events.iter().any(merged))
            .await;
        let end = events.iter().find(|e| merged(e)).expect("it is merged").at;
        let tests: f64 = events
            .iter()
            .filter(|e| e.at >= at)
            .filter_map(|e| match &e.fact {
                Fact::Tested { report, .. } => Some(report.seconds),
                _ => None,
            })
            .sum();
        end.duration_since(at).as_secs_f64() - tests
    }
}

async fn on_the_command_line() -> f64 {
    let mut scene = Scene::new().await;
    let (_daemon, run) = scene.asked().await;
    let at = jiff::Timestamp::now();
    let mut approve = scene
        .world
        .changebus(&["review", "approve", &run.0, "--as", "ada"]);
    let approved = tokio::task::spawn_blocking(move || approve.output()).await;
    assert!(
        approved
            .expect("it ends")
            .expect("it starts")
            .status
            .success()
    );
    scene.merged_since(at).await
}

async fn on_the_page() -> f64 {
    let mut scene = Scene::new().await;
    let (_daemon, run) = scene.asked().await;
    let client = reqwest::Client::new();
    let page = format!("{}/runs/{run}", scene.address);
    let bearer = format!("Bearer {TOKEN}");
    let shown = client.get(&page).header("authorization", &bearer).send();
    let shown = shown.await.expect("it is answered").text().await;
    let shown = shown.expect("it is a text");
    let form = shown.split("name=\"form\" value=\"").nth(1);
    let form = form.and_then(|rest| rest.split('"').next());
    let form = form.expect("there is a form");
    let at = jiff::Timestamp::now();
    let body = format!("form={form}&ruling=approve&variant=A&reason=");
    let posted = client
        .post(format!("{page}/review"))
        .header("authorization", &bearer)
        .header("origin", &scene.address)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
        .send()
        .await
        .expect("it is answered");
    assert!(posted.status().is_success(), "{}", posted.status());
    scene.merged_since(at).await
}

async fn through_humanrail() -> f64 {
    let mut scene = Scene::new().await;
    let (_daemon, _) = scene.asked().await;
    let id = scene.service.tasks()[0]["id"].clone();
    let id = id.as_str().expect("it is a text");
    scene.service.verify(
        id,
        json!({ "decision": "approve", "variant": "A", "reason": "it is right" }),
    );
    let at = jiff::Timestamp::now();
    let (signature, body) = scene.service.webhook(id, SECRET, at.as_second());
    let told = reqwest::Client::new()
        .post(format!("{}/webhooks/humanrail", scene.address))
        .header("x-escalation-signature", signature)
        .body(body);
    let told = told.send().await.expect("it is answered");
    assert_eq!(told.status().as_u16(), 204);
    scene.merged_since(at).await
}

/// Processor seconds that a process has used so far.
fn used(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let after = stat.rsplit(')').next().expect("it has a name");
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |nth: usize| fields[nth].parse::<f64>().expect("a number");
    // utime and stime are the 14th and 15th of all fields; USER_HZ is 100 on Linux.
    (ticks(11) + ticks(12)) / 100.0
}

/// One open page: it hears what happens and fetches itself anew.
async fn watch(address: String) {
    let client = reqwest::Client::new();
    let mut live = client
        .get(format!("{address}/live"))
        .send()
        .await
        .expect("it is answered");
    let mut last = Instant::now() - ANEW;
    while let Ok(Some(chunk)) = live.chunk().await {
        if !String::from_utf8_lossy(&chunk).contains("data: ") {
            continue;
        }
        tokio::time::sleep(ANEW.saturating_sub(last.elapsed())).await;
        last = Instant::now();
        let page = client.get(format!("{address}/")).send().await;
        let page = page.expect("it is answered").text().await;
        assert!(page.expect("it is a text").contains("<main"));
    }
}

/// Share of a core that the daemon takes while something happens every so often.
async fn share(pages: usize, pause: Duration) -> f64 {
    let mut scene = Scene::new().await;
    let (daemon, _) = scene.asked().await;
    let mut open = tokio::task::JoinSet::new();
    for _ in 0..pages {
        open.spawn(watch(scene.address.clone()));
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (before, began) = (used(daemon.0.id()), Instant::now());
    let client = reqwest::Client::new();
    while began.elapsed() < MEASURED {
        let said = client
            .post(format!("{}/apps/ci/tick", scene.address))
            .header("authorization", format!("Bearer {TOKEN}"))
            .body("{}")
            .send()
            .await
            .expect("it is answered");
        assert_eq!(said.status().as_u16(), 202);
        tokio::time::sleep(pause).await;
    }
    let share = (used(daemon.0.id()) - before) / began.elapsed().as_secs_f64();
    open.shutdown().await;
    share
}

fn row(what: &str, mut all: Vec<f64>) -> String {
    all.sort_by(f64::total_cmp);
    let (median, most) = (all[all.len() / 2], all[all.len() - 1]);
    let holds = if most < 2.0 {
        "holds"
    } else {
        "**does not hold**"
    };
    format!("| {what} | {median:.2} | {most:.2} | {holds} |\n")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `cargo xtask bench people` runs it"]
async fn what_people_decide_is_on_the_branch_in_a_moment_and_their_pages_cost_little() {
    changebus::outside::tls::prepare();
    let mut rows = String::new();
    let (mut line, mut page, mut humanrail) = (vec![], vec![], vec![]);
    for _ in 0..TIMES {
        line.push(on_the_command_line().await);
        page.push(on_the_page().await);
        humanrail.push(through_humanrail().await);
    }
    rows += &row("the command line", line);
    rows += &row("the page", page);
    rows += &row("HumanRail, from its webhook", humanrail);
    let mut costs = String::new();
    for (what, pause) in [("every ten seconds", 10), ("every second", 1)] {
        let pause = Duration::from_secs(pause);
        let none = share(0, pause).await;
        let all = share(PAGES, pause).await;
        costs += &format!(
            "| {what} | {:.2} % | {:.2} % | {:.2} % |\n",
            none * 100.0,
            all * 100.0,
            (all - none) * 100.0
        );
    }
    tables::tell(&format!(
        "# What people decide, and what they look at\n\n\
         Written by `cargo xtask bench people`. {}\n\n\
         Seconds from a decision to the pushed merge, without those that the tests took; {TIMES} times each. Nobody looks at the\n\
         repository or at HumanRail by themselves in that time. At most 2 are allowed.\n\n\
         | decided | median | longest | |\n|---|---|---|---|\n{rows}\n\
         Of one core, over {} s in which something happens so often: the daemon alone, with {PAGES} pages open, and the difference,\n\
         of which 5 % are allowed. Each page fetches itself anew whenever something happened, as its script does.\n\n\
         | something happens | no page | {PAGES} pages | the pages |\n|---|---|---|---|\n{costs}",
        tables::machine(),
        MEASURED.as_secs()
    ));
}
