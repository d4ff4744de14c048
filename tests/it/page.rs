//! The page: who is answered, what stands on it, and that a decision made there is carried out.
//!
//! Touches: files, processes, git, http, sqlite, network (loopback).
//! Change here: when there is another page, or somebody else may be answered.

use changebus::event::{Event, Fact, RunId, RunStatus};
use changebus_tests::nats::free_port;
use changebus_tests::shop;
use changebus_tests::world::{Daemon, World};
use reqwest::header::{HeaderMap, LOCATION, SET_COOKIE};
use reqwest::{Method, StatusCode};
use scripted_claude::{Reply, Script};

use crate::review::{escalated, settled, world};

mod browser;

const TOKEN: &str = "token-of-ada-in-a-story";

/// Every page there is, but for those of a project and of a run.
const PAGES: [&str; 6] = ["/", "/review", "/plugins", "/events", "/about", "/sign-in"];

/// A world with a page.
struct Scene {
    world: World,
    port: u16,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Scene {
    fn of(world: World) -> Scene {
        Scene::with(world, "127.0.0.1", "")
    }

    fn with(mut world: World, address: &str, lines: &str) -> Scene {
        let token = world.path().join("ada-token");
        std::fs::write(&token, TOKEN).expect("the token can be written");
        let port = free_port();
        world.tables(&format!(
            "[http]\nlisten = \"{address}:{port}\"\npeople = {{ ada = {{ file = {token:?} }} }}\n{lines}"
        ));
        Scene { world, port }
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        form: &[(&str, &str)],
    ) -> Answer {
        changebus::outside::tls::prepare();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let client = client.build().expect("a client");
        let mut request = client.request(method.clone(), format!("http://{}{path}", self.host()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if method == Method::POST {
            let encoded = form
                .iter()
                .map(|(name, value)| format!("{name}={}", percent(value)))
                .collect::<Vec<_>>()
                .join("&");
            request = request
                .header("content-type", "application/x-www-form-urlencoded")
                .body(encoded);
        }
        let answer = request.send().await.expect("it is answered");
        Answer {
            status: answer.status(),
            headers: answer.headers().clone(),
            text: answer.text().await.expect("it is text"),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], &[]).await
    }

    /// A form as a browser sends it from one of our own pages.
    async fn post(&self, path: &str, cookie: &str, form: &[(&str, &str)]) -> Answer {
        let origin = format!("http://{}", self.host());
        let headers = [("origin", origin.as_str()), ("cookie", cookie)];
        self.ask(Method::POST, path, &headers, form).await
    }

    /// The cookie of somebody who signed in.
    async fn signed_in(&self) -> String {
        let answer = self
            .post("/sign-in", "", &[("token", TOKEN), ("to", "/review")])
            .await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        assert_eq!(answer.headers[LOCATION], "/review");
        let cookie = answer.headers[SET_COOKIE].to_str().expect("it is text");
        for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        let (value, _) = cookie.split_once(';').expect("it has attributes");
        value.to_owned()
    }

    /// What a form on this page has to bring along.
    async fn form(&self, path: &str, cookie: &str) -> String {
        let page = self
            .ask(Method::GET, path, &[("cookie", cookie)], &[])
            .await;
        let (_, after) = page
            .text
            .split_once("name=\"form\" value=\"")
            .unwrap_or_else(|| panic!("no form on {path}: {}", page.text));
        after.split('"').next().expect("it ends").to_owned()
    }
}

fn percent(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}

async fn green(scene: &Scene) -> Daemon {
    shop::open(&scene.world);
    let daemon = scene.world.daemon();
    scene
        .world
        .until("the tip is adopted", |events| !events.is_empty())
        .await;
    daemon
}

async fn quiet() -> World {
    World::new(Script::from_fn(|_| Reply::text("nobody asks"))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_answered_on_loopback() {
    let scene = Scene::of(quiet().await);
    let _daemon = green(&scene).await;
    let own = scene.host();
    let (origin, bearer) = (format!("http://{own}"), format!("Bearer {TOKEN}"));
    let cookie = scene.signed_in().await;
    let local = format!("localhost:{}", scene.port);
    let (get, post) = (Method::GET, Method::POST);
    let (none, from) = ("", origin.as_str());
    // Method, path, Host, Origin, Sec-Fetch-Site, Authorization, Cookie.
    let table = [
        (&get, "/", own.as_str(), none, none, none, none, 200),
        (&get, "/", &local, none, none, none, none, 200),
        (&get, "/", "evil.example", none, none, none, none, 421),
        (&get, "/", "evil.example", none, none, &bearer, none, 421),
        (
            &get,
            "/",
            "127.0.0.1.evil.example",
            none,
            none,
            none,
            none,
            421,
        ),
        (
            &get,
            "/page.css",
            "evil.example",
            none,
            none,
            none,
            none,
            421,
        ),
        (
            &get,
            "/",
            &own,
            "http://evil.example",
            "cross-site",
            none,
            none,
            200,
        ),
        (&get, "/", &own, none, none, "Bearer wrong", none, 401),
        (&get, "/", &own, none, none, "Basic YQ==", none, 401),
        (&get, "/live", "evil.example", none, none, none, none, 421),
        (&get, "/nothing", &own, none, none, none, none, 404),
        (&get, "/runs/nothing", &own, none, none, none, none, 404),
        (&get, "/projects/nothing", &own, none, none, none, none, 404),
        (&get, "/health", "evil.example", none, none, none, none, 200),
        (&post, "/", &own, from, none, none, &cookie, 405),
        (&post, "/runs/x/review", &own, none, none, none, none, 403),
        (&post, "/runs/x/review", &own, from, none, none, none, 401),
        (
            &post,
            "/runs/x/review",
            &own,
            none,
            none,
            none,
            &cookie,
            403,
        ),
        (
            &post,
            "/runs/x/review",
            &own,
            "http://evil.example",
            none,
            none,
            &cookie,
            403,
        ),
        (
            &post,
            "/runs/x/review",
            &own,
            "null",
            none,
            none,
            &cookie,
            403,
        ),
        (
            &post,
            "/runs/x/review",
            &own,
            from,
            "cross-site",
            none,
            &cookie,
            403,
        ),
        (
            &post,
            "/runs/x/review",
            &own,
            none,
            "same-site",
            none,
            &cookie,
            403,
        ),
        // Signed in and from here, but without what the form brings along.
        (
            &post,
            "/runs/x/review",
            &own,
            from,
            none,
            none,
            &cookie,
            403,
        ),
        (
            &post,
            "/runs/x/review",
            &own,
            none,
            "same-origin",
            none,
            &cookie,
            403,
        ),
        (
            &post,
            "/runs/x/review",
            &own,
            none,
            none,
            &bearer,
            none,
            404,
        ),
        (
            &post,
            "/runs/x/review",
            &own,
            "http://evil.example",
            none,
            &bearer,
            none,
            404,
        ),
        (
            &post,
            "/runs/x/review",
            &own,
            from,
            none,
            "Bearer wrong",
            &cookie,
            401,
        ),
        (
            &post,
            "/runs/x/review",
            "evil.example",
            none,
            none,
            &bearer,
            none,
            421,
        ),
        (&post, "/sign-in", &own, none, none, none, none, 403),
        (
            &post,
            "/sign-in",
            &own,
            "http://evil.example",
            none,
            none,
            none,
            403,
        ),
        (&post, "/sign-in", &own, from, none, none, none, 401),
        (&post, "/sign-out", &own, from, none, none, &cookie, 403),
        (
            &post,
            "/apps/ci/x",
            "evil.example",
            "http://evil.example",
            none,
            none,
            none,
            401,
        ),
    ];
    for (method, path, host, origin, site, authorization, cookie, expected) in table {
        let all = [
            ("host", host),
            ("origin", origin),
            ("sec-fetch-site", site),
            ("authorization", authorization),
            ("cookie", cookie),
        ];
        let headers: Vec<_> = all.into_iter().filter(|(_, v)| !v.is_empty()).collect();
        let answer = scene.ask(method.clone(), path, &headers, &[]).await;
        assert_eq!(
            answer.status.as_u16(),
            expected,
            "{method} {path} {headers:?}: {}",
            answer.text
        );
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
        ] {
            assert_eq!(answer.headers[name], value, "{path}");
        }
        let policy = answer.headers["content-security-policy"].to_str();
        let policy = policy.expect("it is text");
        for part in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        if path != "/page.css" || expected != 200 {
            assert_eq!(answer.headers["cache-control"], "no-store", "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_can_reach_is_read_signed_in_only() {
    for (address, lines) in [
        ("0.0.0.0", ""),
        ("127.0.0.1", "names = [\"bus.example.org\"]"),
    ] {
        let scene = Scene::with(quiet().await, address, lines);
        let _daemon = green(&scene).await;
        for path in PAGES.iter().filter(|p| **p != "/sign-in") {
            let answer = scene.get(path).await;
            assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}");
            let to = answer.headers[LOCATION].to_str().expect("it is text");
            assert_eq!(to, format!("/sign-in?to={}", to_field(path)));
        }
        assert_eq!(scene.get("/live").await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(scene.get("/page.css").await.status, StatusCode::OK);
        let cookie = scene.signed_in().await;
        let bearer = format!("Bearer {TOKEN}");
        for shown in [("cookie", cookie.as_str()), ("authorization", &bearer)] {
            for path in PAGES {
                let answer = scene.ask(Method::GET, path, &[shown], &[]).await;
                assert_eq!(answer.status, StatusCode::OK, "{path}");
                assert!(answer.text.contains("Signed in as <strong>ada</strong>"));
            }
        }
        let form = scene.form("/", &cookie).await;
        let out = scene.post("/sign-out", &cookie, &[("form", &form)]).await;
        assert_eq!(out.status, StatusCode::SEE_OTHER);
        let gone = out.headers[SET_COOKIE].to_str().expect("it is text");
        assert!(gone.starts_with("changebus=;") && gone.contains("Max-Age=0"));
    }
}

fn to_field(path: &str) -> String {
    path.replace('/', "%2F")
}

/// Of one run, what its pages say.
async fn assert_told(scene: &Scene, run: &RunId, expected: &[&str]) {
    let page = scene.get(&format!("/runs/{run}")).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    for words in expected {
        assert!(page.text.contains(words), "{words:?} not in {}", page.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_made_on_the_page_is_carried_out_and_every_page_tells_of_it() {
    let scene = Scene::of(world().await);
    let (_daemon, run) = escalated(&scene.world).await;
    let address = format!("/runs/{run}");
    for path in ["/", "/review"] {
        let page = scene.get(path).await.text;
        assert!(
            page.contains(&address) && page.contains("test_pay_less"),
            "{page}"
        );
    }
    let project = scene.get("/projects/app").await.text;
    for words in [
        &address,
        "Rework discounts",
        "minimal-fix",
        "1 for people",
        "robust-refactor",
    ] {
        assert!(project.contains(words), "{words:?} not in {project}");
    }
    assert_told(
        &scene,
        &run,
        &[
            "test_pay_less",
            "4 passed, 1 failed",
            "5 of 5 passed",
            "<span class=\"del\">-    return price + off</span>",
            "<span class=\"add\">+    return price - off</span>",
            "breaks none",
            "A discount makes things cheaper.",
            "Model call 1",
            "Sign in</a> to decide",
            "namespaces",
            "Rework discounts",
        ],
    )
    .await;
    let plugins = scene.get("/plugins").await.text;
    assert!(plugins.contains("minimal-fix") && plugins.contains("robust-refactor"));
    let events = scene
        .get("/events?project=app&subject=result.delivery")
        .await;
    assert!(events.text.contains("result.delivery.app.escalated"));
    assert!(!events.text.contains("result.test.app"));
    let before = scene.get("/events?before=3").await.text;
    assert_eq!(before.matches("<tr><td>").count(), 2, "{before}");
    assert!(scene.get("/about").await.text.contains("embedded"));

    let cookie = scene.signed_in().await;
    let form = scene.form(&address, &cookie).await;
    let review = format!("{address}/review");
    let decide = async |fields: &[(&str, &str)]| {
        let all = [&[("form", form.as_str())], fields].concat();
        scene.post(&review, &cookie, &all).await
    };
    for (fields, why) in [
        (
            &[("ruling", "reject"), ("reason", " ")][..],
            "say why it is rejected",
        ),
        (&[("ruling", "approve"), ("variant", "Z")], "there are A, B"),
        (&[("ruling", "perhaps")], "approved or rejected"),
    ] {
        let refused = decide(fields).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(refused.text.contains(why), "{}", refused.text);
    }
    let taken = decide(&[
        ("ruling", "approve"),
        ("variant", "B"),
        ("reason", "it reads well"),
    ])
    .await;
    assert_eq!(taken.status, StatusCode::SEE_OTHER, "{}", taken.text);
    assert_eq!(settled(&scene.world, &run, 1).await, RunStatus::Fixed);
    assert!(scene.world.at_tip(shop::SOURCE).contains("-off + price"));
    assert_told(
        &scene,
        &run,
        &[
            "merged into main",
            "ada approved B on the page: it reads well",
        ],
    )
    .await;
    assert!(scene.get("/").await.text.contains("Nothing waits"));
    let late = decide(&[("ruling", "approve"), ("variant", "A")]).await;
    assert_eq!(late.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(late.text.contains("waits for nobody"), "{}", late.text);
    let given = |e: &&Event| matches!(e.fact, Fact::ReviewGiven { .. });
    let events = scene.world.events().await;
    assert_eq!(events.iter().filter(given).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_says_why_nothing_happens() {
    let mut world = quiet().await;
    world.project("ignore_paths = [\"*.md\"]");
    let scene = Scene::of(world);
    let overview = async || scene.get("/").await.text;
    let daemon = green(&scene).await;
    let page = overview().await;
    assert!(
        page.contains("watching from") && page.contains("no runs yet"),
        "{page}"
    );
    let sightings = |events: &[Event]| {
        let sighting = |e: &&Event| matches!(e.fact, Fact::Watched { .. });
        events.iter().filter(sighting).count()
    };
    scene.world.push("Explain", &[("README.md", Some("x"))]);
    let world = &scene.world;
    world
        .until("the push is ignored", |events| sightings(events) == 2)
        .await;
    assert!(overview().await.contains("ignored: only ignored paths"));
    let away = world.path().join("away.git");
    std::fs::rename(world.origin(), &away).expect("it can be moved");
    world
        .until("the origin is missed", |events| sightings(events) == 3)
        .await;
    assert!(
        overview()
            .await
            .contains("<span class=\"bad\">unreachable: ")
    );
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_open_pages_hear_of_everything_that_happens() {
    let scene = Scene::of(quiet().await);
    let _daemon = green(&scene).await;
    let mut pages = vec![];
    for _ in 0..50 {
        let answer = reqwest::get(format!("http://{}/live", scene.host())).await;
        pages.push(answer.expect("it is answered"));
    }
    scene.world.push("Add notes", &[("NOTES", Some("x"))]);
    let events = scene
        .world
        .until("the run is closed", |events| {
            !crate::review::closings(events).is_empty()
        })
        .await;
    let last = events.last().expect("there are events");
    let end = format!("\"seq\":{},\"project\":\"app\",\"run\":", last.seq);
    for mut page in pages {
        let mut heard = String::new();
        while !heard.contains(&end) {
            let chunk = page.chunk().await.expect("the stream goes on");
            let chunk = chunk.expect("the stream does not end");
            heard.push_str(&String::from_utf8_lossy(&chunk));
        }
        assert_eq!(heard.matches("data: ").count(), events.len() - 1, "{heard}");
    }
}

const SCRIPT: &str = "<script>alert(1)</script>";
const HIDDEN: &str = "\u{202e}\u{200b}\x1b[31m\x1b]0;title\x07";

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_wrote_stays_text() {
    let answer = format!("{SCRIPT}{HIDDEN} makes it right.\n{}", shop::HONEST);
    let mut world = World::new(Script::from_fn(move |_| Reply::text(&answer))).await;
    world.policy("min_confidence = 0.5\ndeliver = \"human\"\nreruns = 1");
    world.variants(&[("A", "minimal-fix", "{ probe = false }")]);
    let scene = Scene::of(world);
    let tests = format!(
        "import pytest\nfrom shop import pay\n\nEVIL = {:?}\n\n@pytest.mark.parametrize(\"off\", [2], ids=[\"<img src=x onerror=alert(2)>\"])\ndef test_less(off):\n    print(EVIL + \"x\" * 5_000_000)\n    assert pay(10, off) == 8, EVIL\n",
        format!("{SCRIPT}\u{202e}\x1b[31m").replace('\x1b', "~")
    )
    .replace('~', "\\x1b")
    .replace("\\u{202e}", "\\u202e");
    scene.world.push(
        "Open the shop",
        &[
            (shop::SOURCE, Some(shop::GOOD)),
            (shop::TEST_FILE, Some(&tests)),
        ],
    );
    let daemon = scene.world.daemon();
    scene
        .world
        .until("the tip is adopted", |events| !events.is_empty())
        .await;
    scene.world.push(
        &format!("{SCRIPT}{HIDDEN}"),
        &[(shop::SOURCE, Some(shop::BAD))],
    );
    let events = scene
        .world
        .until("a human is asked", |events| {
            !crate::review::closings(events).is_empty()
        })
        .await;
    let (run, status) = crate::review::closings(&events)[0].clone();
    assert_eq!(status, RunStatus::Human);
    let (run, project) = (format!("/runs/{run}"), "/projects/app".to_owned());
    let own = PAGES.iter().map(|p| (*p).to_owned());
    for path in own.chain([run.clone(), project]) {
        let page = scene.get(&path).await.text;
        assert!(page.len() < 1_000_000, "{path}: {}", page.len());
        assert_eq!(page.matches("<script").count(), 1, "{path}: {page}");
        assert!(!page.contains("<img"), "{path}");
        let steers = |c: char| {
            c.is_control() && !"\n\t".contains(c) || ('\u{200b}'..='\u{202e}').contains(&c)
        };
        assert!(!page.contains(steers), "{path}: {page:?}");
    }
    let page = scene.get(&run).await.text;
    for words in [
        "&#60;script&#62;alert(1)",
        "&#60;img src=x onerror=alert(2)&#62;",
        "makes it right",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_cannot_be_used_is_named_when_the_daemon_starts() {
    let mut world = quiet().await;
    shop::open(&world);
    let token = world.path().join("short");
    std::fs::write(&token, "short").expect("it can be written");
    world.tables(&format!(
        "[http]\nlisten = \"127.0.0.1:{}\"\npeople = {{ ada = {{ file = {token:?} }} }}",
        free_port()
    ));
    let output = world.changebus(&["run"]).output().expect("it starts");
    assert!(!output.status.success());
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        words.contains("http.people.ada") && words.contains("16 characters"),
        "{words}"
    );
}
