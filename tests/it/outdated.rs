//! What projects depend on and what is newer, with real packages from their registries.
//!
//! Touches: files, processes, git.
//! Change here: when `changebus deps` should tell something else.

use changebus_tests::world::World;
use scripted_claude::{Reply, Script};
use serde_json::Value;

/// As npm writes it for what `package.json` below says.
const LOCK: &str = r#"{
  "name": "shop",
  "version": "1.0.0",
  "lockfileVersion": 3,
  "requires": true,
  "packages": {
    "": { "name": "shop", "version": "1.0.0", "dependencies": { "escape-string-regexp": "^4.0.0", "isarray": "2.0.5" } },
    "node_modules/escape-string-regexp": { "version": "4.0.0" },
    "node_modules/isarray": { "version": "2.0.5" }
  }
}
"#;

/// A project in two languages. Of what it uses nothing is new: the versions named here have had successors for years.
async fn shop() -> World {
    let world = World::new(Script::from_fn(|_| Reply::text("I am not asked."))).await;
    let manifest = r#"{ "name": "shop", "version": "1.0.0",
        "dependencies": { "escape-string-regexp": "^4.0.0", "isarray": "2.0.5" } }"#;
    world.push(
        "Open the shop",
        &[
            ("package.json", Some(manifest)),
            ("package-lock.json", Some(LOCK)),
            (
                "requirements.txt",
                Some("markupsafe==2.0.0  # for the labels\n"),
            ),
        ],
    );
    world
}

fn told(world: &World, args: &[&str]) -> Value {
    let args = [&["deps", "--json"], args].concat();
    let output = world.changebus(&args).output().expect("it starts");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{words}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn outlooks<'a>(told: &'a Value, name: &str) -> &'a Vec<Value> {
    let manifests = told.as_array().expect("a list");
    let all = manifests
        .iter()
        .flat_map(|m| m["dependencies"].as_array().expect("a list"));
    let mut found = all.filter(|dependency| dependency["name"] == name);
    let one = found
        .next()
        .unwrap_or_else(|| panic!("no {name} in {told:#}"));
    assert_eq!(one["trouble"], Value::Null, "{one:#}");
    one["outlooks"].as_array().expect("a list")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_in_every_ecosystem_is_told_at_once() {
    let world = shop().await;
    let told = told(&world, &[]);
    let markupsafe = outlooks(&told, "markupsafe");
    assert_eq!(markupsafe.len(), 2, "{markupsafe:#?}");
    assert_eq!(
        (&markupsafe[0]["is"], &markupsafe[0]["level"]),
        (&"due".into(), &"minor".into())
    );
    assert_eq!(
        (&markupsafe[1]["is"], &markupsafe[1]["level"]),
        (&"due".into(), &"major".into())
    );
    let beyond = markupsafe[1]["to"].as_str().expect("a version");
    assert!(!beyond.starts_with("2."), "{beyond}");
    let regexp = outlooks(&told, "escape-string-regexp");
    assert_eq!(regexp.len(), 1, "{regexp:#?}");
    assert_eq!(
        (&regexp[0]["is"], &regexp[0]["level"]),
        (&"due".into(), &"major".into())
    );
    assert_eq!(outlooks(&told, "isarray")[0]["is"], "current");

    let printed = world.changebus(&["deps"]).output().expect("it starts");
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(
        printed.contains("app: package.json (npm, 2 dependencies)"),
        "{printed}"
    );
    assert!(
        printed.contains("  escape-string-regexp 4.0.0: 5."),
        "{printed}"
    );
    assert!(!printed.contains("isarray"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_project_leaves_alone_and_what_is_too_fresh_is_told_with_its_reason() {
    let mut world = shop().await;
    world.project(
        "deps.release_age_days = 3650\ndeps.ignore_manifests = [\"requirements.txt\"]\n\
         deps.ignore = [{ package = \"escape-*\", from = \"5.0.0\", reason = \"we are not on modules yet\" }]",
    );
    let told = told(&world, &["--project", "app"]);
    let regexp = &outlooks(&told, "escape-string-regexp")[0];
    assert_eq!(regexp["is"], "left-alone");
    assert_eq!(regexp["because"], "we are not on modules yet");
    assert_eq!(told.as_array().expect("a list").len(), 1, "{told:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_cannot_be_asked_is_told_and_the_rest_goes_on() {
    let world = shop().await;
    let nobody = "--index-url http://127.0.0.1:9/simple\nmarkupsafe==2.0.0\n";
    world.push("Name our own index", &[("requirements.txt", Some(nobody))]);
    let output = world.changebus(&["deps"]).output().expect("it starts");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = printed.lines().find(|line| line.contains("markupsafe"));
    let line = line.unwrap_or_else(|| panic!("{printed}"));
    assert!(line.contains("the index cannot be reached"), "{line}");
    assert!(printed.contains("is due (major)"), "{printed}");
}
