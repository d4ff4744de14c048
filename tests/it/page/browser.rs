//! The page in a real browser: it follows a run live, a person signs in, reviews and approves, and nothing is out of reach.
//!
//! Touches: files, processes, git, http, sqlite, network (loopback).
//! Change here: when somebody can do something else on the page. What the browser does is `tests/javascript/browser.mjs`.

use std::path::Path;
use std::time::Duration;

use changebus::event::RunStatus;
use changebus_tests::javascript::run_javascript;
use changebus_tests::shop;
use serde_json::json;

use super::{Scene, TOKEN};
use crate::review::{closings, world};

const PACKAGES: [&str; 2] = ["playwright-core@1.65.1", "axe-core@4.14.1"];

/// Screenshots go where `CHANGEBUS_SCREENSHOTS` says.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_watches_a_run_in_a_browser_and_decides_about_it() {
    let scene = Scene::of(world().await);
    let daemon = scene.world.daemon();
    scene
        .world
        .until("the tip is adopted", |events| !events.is_empty())
        .await;
    let go = scene.world.path().join("go");
    let pictures = std::env::var("CHANGEBUS_SCREENSHOTS");
    let pictures = pictures.unwrap_or_else(|_| scene.world.path().display().to_string());
    let (address, go_file) = (format!("http://{}", scene.host()), go.display().to_string());
    let browser = tokio::task::spawn_blocking(move || {
        let args = [address.as_str(), TOKEN, &go_file, &pictures];
        run_javascript("browser.mjs", &PACKAGES, &args)
    });
    // The browser says when it looks at the overview and hears the news, and when it has seen the end.
    let until_made = async |file: &Path| {
        while !file.exists() && !browser.is_finished() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    until_made(&go).await;
    shop::break_it(&scene.world);
    until_made(&go.with_extension("end")).await;
    drop(daemon);
    let told = browser.await.expect("the browser did its part");
    assert_eq!(told["violations"], json!([]), "{told:#}");
    assert_eq!(told["console"], json!([]), "{told:#}");
    assert_eq!(
        told["wide"],
        json!([]),
        "pages wider than a phone: {told:#}"
    );
    assert_eq!(told["reloads"], 0, "{told:#}");
    let looked = told["looked"].as_array().map_or(0, Vec::len);
    assert!(looked >= 40, "{told:#}");
    assert!(
        told["silent"].as_array().is_some_and(|p| p.len() >= 8),
        "{told:#}"
    );
    assert_eq!(told["lost"], true, "the end of the connection is told");
    let closed = closings(&scene.world.events().await);
    assert_eq!(closed[1].1, RunStatus::Fixed);
    assert!(scene.world.at_tip(shop::SOURCE).contains("price - off"));
}
