//! Webhooks of forges: hints, believed by their signature and heard once.
//!
//! Touches: files, processes, git, http, sqlite, network (loopback), clock.
//! Change here: when a forge tells of something else.

use std::time::Instant;

use changebus_tests::shop;

use super::{KINDS, SECRET, Scene, is_closed, is_opened};

impl Scene {
    async fn post(&self, headers: &[(&'static str, String)], body: &str) -> u16 {
        changebus::outside::tls::prepare();
        let mut request = reqwest::Client::new().post(&self.webhooks);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let answer = request.body(body.to_owned()).send().await;
        answer.expect("it is answered").status().as_u16()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_told_is_looked_at_at_once_and_what_was_overheard_is_not_heard_again() {
    for kind in KINDS {
        let mut scene = Scene::new(kind, "deliver = \"pull-request\"", "").await;
        // Nobody would look for an hour.
        scene.world.looks_every(3600);
        let _daemon = scene.world.daemon();
        scene
            .world
            .until("the tip is adopted", |events| !events.is_empty())
            .await;
        shop::break_it(&scene.world);
        let (headers, body) = scene.forge.push_hook("main", SECRET);
        assert_eq!(scene.post(&headers, &body).await, 204);
        scene.until("the push is worked on", is_closed, 1).await;

        assert_eq!(scene.post(&headers, &body).await, 409);
        let renumbered: Vec<_> = headers
            .iter()
            .map(|(name, value)| match name.ends_with("-delivery") {
                true => (*name, "another".to_owned()),
                false => (*name, value.clone()),
            })
            .collect();
        assert_eq!(scene.post(&renumbered, &body).await, 409);
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_or_not_by_the_forge_is_not_believed() {
    for kind in KINDS {
        let scene = Scene::new(kind, "", "").await;
        let _daemon = scene.world.daemon();
        scene
            .world
            .until("the tip is adopted", |events| !events.is_empty())
            .await;
        let (headers, body) = scene.forge.push_hook("main", SECRET);
        let unsigned: Vec<_> = headers
            .iter()
            .filter(|(name, _)| !name.contains("signature"))
            .cloned()
            .collect();
        assert_eq!(scene.post(&unsigned, &body).await, 401);
        assert_eq!(scene.post(&headers, &format!("{body} ")).await, 401);
        let (forged, _) = scene.forge.push_hook("main", "another secret");
        assert_eq!(scene.post(&forged, &body).await, 401);
        let large = "x".repeat((1 << 20) + 1);
        assert_eq!(scene.post(&headers, &large).await, 413);
        let (headers, body) = scene.forge.push_hook("other", SECRET);
        assert_eq!(scene.post(&headers, &body).await, 204);
        let nowhere = scene.webhooks.replace("/home", "/elsewhere");
        let answer = reqwest::Client::new().post(nowhere).send().await;
        assert_eq!(answer.expect("it is answered").status(), 404);
        scene.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_do_to_a_pull_request_is_heard_without_waiting_for_the_next_look() {
    for kind in KINDS {
        let mut scene = Scene::new(kind, "deliver = \"pull-request\"", "").await;
        scene
            .world
            .replace_in_tables("poll_seconds = 1", "poll_seconds = 3600");
        let (_daemon, _) = scene.broken().await;
        scene.until("a pull request is open", is_opened, 1).await;
        scene.forge.merge_by(1, "grace");
        let merged = Instant::now();
        let (headers, body) = scene.forge.pull_hook(1, "closed", SECRET);
        assert_eq!(scene.post(&headers, &body).await, 204);
        scene.fate().await;
        // Far below the hour that a look would have taken; the story's own patience is three minutes.
        assert!(merged.elapsed().as_secs() < 3600);
        scene.end().await;
    }
}
