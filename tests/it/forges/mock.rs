//! Our client before another judge: a mock that is made of nothing but the official description.
//!
//! Touches: files, processes (the mock, npm, node), http, network (loopback).
//! Change here: when another operation is used. The mock knows no state: what it shows is that each request is one.

use std::fmt::Debug;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use changebus::config::ForgeKind;
use changebus::event::Oid;
use changebus::outside::forge::{Forge, ForgeError, Offer, StatusState};
use changebus_tests::described;
use changebus_tests::forge::Protection;
use changebus_tests::javascript::{file_of_a_package, run_javascript};
use changebus_tests::nats::free_port;
use serde_json::json;

use super::Scene;

const STEADY: &str = "@stdy/cli@0.22.2";
const CONVERTER: &str = "swagger2openapi@7.0.8";
const SCHEMA: [&str; 2] = ["graphql@16.14.0", "@octokit/graphql-schema@15.26.1"];

struct Mock {
    child: Child,
    url: String,
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Mock {
    async fn start(description: &Path) -> Mock {
        let port = free_port();
        let program = file_of_a_package(&[STEADY], ".bin/steady");
        let child = Command::new(program)
            .args([
                "--host",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "--quiet",
            ])
            .arg(description)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the mock can be started");
        let mock = Mock {
            child,
            url: format!("http://127.0.0.1:{port}"),
        };
        for _ in 0..300 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .is_ok()
            {
                return mock;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the mock does not answer");
    }

    fn client(&self, kind: ForgeKind) -> Forge {
        Forge::new(kind, &self.url, "a-token".to_owned().into()).expect("it is an address")
    }
}

/// The mock answers with examples, which need not say anything; a request that is none it refuses.
fn taken<T: Debug>(what: &str, done: Result<T, ForgeError>) {
    if let Err(error) = &done {
        let is_empty = matches!(error, ForgeError::Away(why) if why.starts_with("its "));
        assert!(is_empty, "{what}: {error}");
    }
}

async fn every_operation(forge: &Forge) {
    let repo = "acme/shop";
    let commit = Oid("a".repeat(40));
    let offer = Offer {
        title: "Fix it".to_owned(),
        body: "It broke.".to_owned(),
        head: "changebus/app-1".to_owned(),
        base: "main".to_owned(),
        draft: true,
    };
    taken("login", forge.login().await);
    taken("find", forge.find(repo, &offer.head, &offer.base).await);
    taken("open", forge.open(repo, &offer).await);
    taken("pull", forge.pull(repo, 7).await);
    taken("update", forge.update(repo, 7, &offer).await);
    taken("close", forge.close(repo, 7).await);
    taken(
        "label",
        forge.label(repo, 7, &["changebus".to_owned()]).await,
    );
    taken("ask", forge.ask_to_review(repo, 7, "ada").await);
    taken("comment", forge.comment(repo, 7, "Closed.").await);
    taken("comments", forge.comments(repo, 7).await);
    taken("author", forge.author(repo, &commit).await);
    for state in [
        StatusState::Pending,
        StatusState::Success,
        StatusState::Failure,
        StatusState::Error,
    ] {
        taken("tell", forge.tell(repo, &commit, state, "tests").await);
    }
    taken("protection", forge.protection(repo, "release/1").await);
    taken("remove", forge.remove_branch(repo, "changebus/app-1").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_to_github_is_one_by_its_description() {
    let mock = Mock::start(&described::github_file()).await;
    every_operation(&mock.client(ForgeKind::Github)).await;
    refuses(&mock, "/repos/acme/shop/statuses/abc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_to_forgejo_is_one_by_its_description() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let converted = dir.path().join("forgejo.json");
    let output = Command::new(file_of_a_package(&[CONVERTER], ".bin/swagger2openapi"))
        .arg(described::forgejo_file())
        .args(["--patch", "-o"])
        .arg(&converted)
        .output()
        .expect("node can be started");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mock = Mock::start(&converted).await;
    let forge = mock.client(ForgeKind::Forgejo);
    every_operation(&forge).await;
    refuses(&mock, "/repos/acme/shop/statuses/abc").await;
}

/// A judge that lets everything pass is none.
async fn refuses(mock: &Mock, path: &str) {
    let request = reqwest::Client::new().post(format!("{}{path}", mock.url));
    let answer = request.json(&json!({ "state": "fine" })).send().await;
    let status = answer.expect("it is answered").status();
    assert!(status.is_client_error(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_through_graphql_is_right_by_githubs_own_schema() {
    let scene = Scene::new(ForgeKind::Github, "", "").await;
    let forge = Forge::new(
        ForgeKind::Github,
        &scene.forge.url(),
        changebus_tests::forge::ForgeStandIn::token()
            .to_owned()
            .into(),
    );
    let forge = forge.expect("it is an address");
    scene
        .world
        .push("Offer something", &[("new.py", Some("x = 1\n"))]);
    scene
        .world
        .git_in(&scene.world.origin(), &["branch", "offered", "main"]);
    scene.world.git_in(
        &scene.world.origin(),
        &["update-ref", "refs/heads/main", "main~1"],
    );
    let offer = Offer {
        title: "t".to_owned(),
        body: "b".to_owned(),
        head: "offered".to_owned(),
        base: "main".to_owned(),
        draft: false,
    };
    let pull = forge.open("acme/shop", &offer).await.expect("it is opened");
    scene.forge.protect(Protection {
        required_checks: vec!["ci".to_owned()],
        ..Protection::default()
    });
    let merged = forge
        .merge_once_it_can("acme/shop", &pull, &pull.head)
        .await;
    merged.expect("it is, once it can be");
    let stopped = forge.do_not_merge("acme/shop", &pull).await;
    stopped.expect("it is not");
    let seen = scene.forge.seen();
    let queries: Vec<String> = seen
        .iter()
        .filter(|s| s.path == "/graphql")
        .filter_map(|s| s.body.as_ref()?["query"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(queries.len(), 2);
    let judged = |queries: &[String]| {
        let queries = json!(queries).to_string();
        run_javascript("graphql.mjs", &SCHEMA, &[&queries])["wrong"].clone()
    };
    assert_eq!(judged(&queries), json!([]));
    let misspelt = queries[0].replace("expectedHeadOid", "expectedHead");
    assert_ne!(judged(&[misspelt]), json!([]));
}
