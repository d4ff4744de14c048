//! Updates that prove themselves, with real packages: tried, merged, taken apart, repaired, held back.
//!
//! Touches: files, processes, git, network (registries).
//! Change here: when the daemon should do something else with a newer version, or another ecosystem is looked after.
//!
//! What is updated here has newer versions that will not change any more: `ignore` ends each story where its version is.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Instant;

use changebus::event::{Delivery, Event, Fact, RunId, RunStatus, Update};
use changebus::story::{self, Look};
use changebus_tests::python::python_packages;
use changebus_tests::world::World;
use scripted_claude::{Reply, Script};

mod table;

/// A project, what it uses, and what happens to one of its dependencies.
struct Plot {
    client: Client,
    files: Vec<(&'static str, &'static str)>,
    /// How a person locked it long ago.
    lock: &'static str,
    /// Lines of `[projects.app]` that say what is looked for.
    deps: &'static str,
    /// What the model proposes, whatever it is asked.
    says: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
enum Client {
    Pip,
    Uv,
    Npm,
    Cargo,
}

impl Client {
    fn name(self) -> &'static str {
        match self {
            Client::Pip => "pip",
            Client::Uv => "uv",
            Client::Npm => "npm",
            Client::Cargo => "cargo",
        }
    }

    /// The lock file, and the command with which its client makes sure that it fits the manifest.
    fn lock(self) -> Option<(&'static str, &'static str)> {
        match self {
            Client::Pip => None,
            Client::Uv => Some(("uv.lock", "uv lock --quiet")),
            Client::Npm => Some(("package-lock.json", NPM_LOCK)),
            Client::Cargo => Some(("Cargo.lock", "cargo update --quiet --workspace")),
        }
    }
}

impl Plot {
    /// Its world, with the lock file as the client makes it.
    async fn world(&self) -> World {
        let says = self.says;
        let mut world = World::new(Script::from_fn(move |_| Reply::text(says))).await;
        world.with_the_machines_indexes();
        world.policy("min_confidence = 0.3");
        self.client.tests(&mut world);
        let setup = self.client.setup();
        world.project(&format!(
            "setup = {setup:?}\ndeps.every_hours = 1\n{}",
            self.deps
        ));
        world.commit(
            "Begin",
            &self
                .files
                .iter()
                .map(|(p, t)| (*p, Some(*t)))
                .collect::<Vec<_>>(),
        );
        by_hand(&world, self.lock);
        world.push("Open the shop", &[]);
        world
    }
}

impl Client {
    fn setup(self) -> &'static str {
        match self {
            Client::Pip => {
                "python3 -m venv .venv && .venv/bin/python -m pip install --quiet -r requirements.txt"
            }
            Client::Uv => "uv sync --quiet --locked --no-python-downloads",
            Client::Npm => "npm ci --silent",
            // What an update breaks may be what does not build any more.
            Client::Cargo => "cargo build --tests --keep-going || true",
        }
    }

    fn tests(self, world: &mut World) {
        match self {
            Client::Pip => drop(world.before_the_tests("export PATH=$PWD/.venv/bin:$PATH")),
            Client::Uv => {
                let uv = python_packages(&[UV]);
                let path = std::env::var("PATH").expect("there is a PATH");
                world.env("PATH", &format!("{}/bin:{path}", uv.display()));
                world.before_the_tests("export PATH=$PWD/.venv/bin:$PATH");
            }
            Client::Npm => drop(world.test(
                "node --test --test-reporter=junit --test-reporter-destination=$CHANGEBUS_REPORT *.test.js",
            )),
            Client::Cargo => drop(world.test("cargo test --offline --no-fail-fast")),
        }
    }
}

const UV: &str = "uv==0.13.9";
const NPM_LOCK: &str = "npm install --silent --package-lock-only --ignore-scripts";

/// A person's command in the clone.
fn by_hand(world: &World, line: &str) {
    let path = std::env::var("PATH").expect("there is a PATH");
    let uv = python_packages(&[UV]);
    let output = Command::new("sh")
        .args(["-ec", line])
        .current_dir(world.checkout())
        .env("PATH", format!("{}/bin:{path}", uv.display()))
        .output()
        .expect("sh starts");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {words}");
}

/// What the log says of the update runs of a world, oldest first.
struct Told {
    updates: Vec<(RunId, Update, RunStatus)>,
    events: Vec<Event>,
}

/// Waits until the runs of updates came to these ends, and says at once where one came to another.
async fn told(world: &World, ends: &[RunStatus]) -> Told {
    let told = |events: &[Event]| Told {
        updates: updates(events),
        events: events.to_vec(),
    };
    let events = world
        .until("the runs of the updates end", |events| {
            let so_far = told(events);
            let statuses = so_far.statuses();
            assert!(ends.starts_with(&statuses), "{}", so_far.lines());
            statuses.len() == ends.len()
        })
        .await;
    told(&events)
}

fn updates(events: &[Event]) -> Vec<(RunId, Update, RunStatus)> {
    let closed: BTreeMap<&RunId, RunStatus> = events
        .iter()
        .filter_map(|event| match (&event.fact, &event.run) {
            (Fact::RunClosed { status }, Some(run)) => Some((run, *status)),
            _ => None,
        })
        .collect();
    let of_update = |event: &Event| match (&event.fact, &event.run) {
        (Fact::ChangeSeen { change }, Some(run)) => {
            let status = closed.get(run)?;
            Some((run.clone(), change.update.as_deref()?.clone(), *status))
        }
        _ => None,
    };
    events.iter().filter_map(of_update).collect()
}

impl Told {
    fn statuses(&self) -> Vec<RunStatus> {
        self.updates.iter().map(|(_, _, status)| *status).collect()
    }

    fn lines(&self) -> String {
        let look = Look {
            width: 300,
            ..Look::plain()
        };
        let line = |event: &Event| story::event_line(event, look);
        self.events.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn merges(&self) -> usize {
        let merged = |event: &&Event| {
            matches!(
                &event.fact,
                Fact::Delivered {
                    delivery: Delivery::Merged { .. }
                }
            )
        };
        self.events.iter().filter(merged).count()
    }
}

/// Tells a story whose updates end like this, and keeps its row of the table. The tip afterwards is what counts.
async fn tell(name: &'static str, plot: Plot, ends: &[RunStatus]) -> (World, Told) {
    let world = plot.world().await;
    let began = Instant::now();
    let mut daemon = world.daemon();
    let told = told(&world, ends).await;
    daemon.stop();
    world.git(&["fetch", "--quiet", "origin"]);
    let exact = plot.client.lock().map(|lock| is_exact(&world, lock));
    assert_ne!(
        exact,
        Some(false),
        "the lock file is another than the client's own"
    );
    table::keep(name, plot.client, &told, exact, began.elapsed());
    (world, told)
}

/// Whether the client itself, run on the manifest at the tip with the lock file there, would leave the lock file as it is.
fn is_exact(world: &World, (path, command): (&str, &str)) -> bool {
    world.git(&["fetch", "--quiet", "origin"]);
    world.git(&["checkout", "--quiet", "--force", "--detach", "origin/main"]);
    let before = world.at_tip(path);
    by_hand(world, command);
    let after = std::fs::read_to_string(world.checkout().join(path)).expect("it is there");
    after.trim_end() == before
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_breaks_nothing_is_merged() {
    let plot = Plot {
        client: Client::Pip,
        files: vec![
            ("requirements.txt", "markupsafe==2.0.0  # for the labels\n"),
            (
                "test_shop.py",
                "from markupsafe import escape\n\ndef test_label():\n    assert escape('<') == '&lt;'\n",
            ),
        ],
        lock: "true",
        deps: "deps.levels = [\"patch\", \"minor\"]",
        says: "I am not asked.",
    };
    let (world, told) = tell(
        "an_update_that_breaks_nothing_is_merged",
        plot,
        &[RunStatus::Updated],
    )
    .await;
    assert_eq!(
        world.at_tip("requirements.txt"),
        "markupsafe==2.1.5  # for the labels"
    );
    let message = world.git(&["log", "-1", "--format=%B", "origin/main"]);
    assert!(
        message.starts_with("Update markupsafe from 2.0.0 to 2.1.5"),
        "{message}"
    );
    assert!(world.model.requests().is_empty(), "no model is asked");
    assert_eq!(told.merges(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_uv_locks_is_merged_with_its_lock_file() {
    let plot = Plot {
        client: Client::Uv,
        files: vec![
            (
                "pyproject.toml",
                "[project]\nname = \"shop\"\nversion = \"1.0.0\"\nrequires-python = \">=3.9\"\ndependencies = [\"idna==3.4\"]\n",
            ),
            (
                "test_shop.py",
                "import idna\n\ndef test_name():\n    assert idna.encode('käse') == b'xn--kse-qla'\n",
            ),
        ],
        lock: "uv lock --quiet",
        deps: "deps.ignore = [{ package = \"idna\", from = \"3.8\", reason = \"the story ends there\" }]",
        says: "I am not asked.",
    };
    let (world, _) = tell(
        "what_uv_locks_is_merged_with_its_lock_file",
        plot,
        &[RunStatus::Updated],
    )
    .await;
    assert!(world.at_tip("pyproject.toml").contains("\"idna==3.7\""));
    assert!(world.at_tip("uv.lock").contains("version = \"3.7\""));
}

/// `package.json` with these dependencies, and a test of what is required as it is used.
fn npm(dependencies: &'static str, test: &'static str) -> Vec<(&'static str, &'static str)> {
    vec![
        ("package.json", dependencies),
        ("shop.test.js", test),
        (".gitignore", "node_modules\n"),
    ]
}

const PICOCOLORS_TEST: &str = "const test = require('node:test');
const { red } = require('picocolors').createColors(true);
test('a label is red', () => {
  if (!red('x').includes('x')) throw new Error('no label');
});
";

#[tokio::test(flavor = "multi_thread")]
async fn what_npm_locks_is_merged_with_its_lock_file() {
    let plot = Plot {
        client: Client::Npm,
        files: npm(
            "{\n  \"name\": \"shop\",\n  \"version\": \"1.0.0\",\n  \"dependencies\": {\n    \"picocolors\": \"^1.0.0\"\n  }\n}\n",
            PICOCOLORS_TEST,
        ),
        lock: "npm install --silent --package-lock-only --ignore-scripts picocolors@1.0.0",
        deps: "deps.ignore = [{ package = \"picocolors\", from = \"1.1.2\", reason = \"the story ends there\" }]",
        says: "I am not asked.",
    };
    let name = "what_npm_locks_is_merged_with_its_lock_file";
    let (world, _) = tell(name, plot, &[RunStatus::Updated]).await;
    assert!(
        world.at_tip("package.json").contains("\"^1.0.0\""),
        "it admits the new one"
    );
    assert!(
        world
            .at_tip("package-lock.json")
            .contains("\"version\": \"1.1.1\"")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_together_moves_together() {
    let plot = Plot {
        client: Client::Npm,
        files: npm(
            "{\n  \"name\": \"shop\",\n  \"version\": \"1.0.0\",\n  \"dependencies\": {\n    \"ms\": \"2.1.2\",\n    \"picocolors\": \"1.0.0\"\n  }\n}\n",
            "const test = require('node:test');
const ms = require('ms');
const { red } = require('picocolors').createColors(true);
test('a day is red', () => {
  if (!red(String(ms('1d'))).includes('86400000')) throw new Error('no day');
});
",
        ),
        lock: NPM_LOCK,
        deps: "deps.groups.small.packages = [\"*\"]
deps.ignore = [
    { package = \"picocolors\", from = \"1.1.2\", reason = \"the story ends there\" },
    { package = \"ms\", from = \"2.1.4\", reason = \"the story ends there\" },
]",
        says: "I am not asked.",
    };
    let name = "what_belongs_together_moves_together";
    let (world, told) = tell(name, plot, &[RunStatus::Updated]).await;
    let manifest = world.at_tip("package.json");
    assert!(
        manifest.contains("\"ms\": \"2.1.3\"") && manifest.contains("\"picocolors\": \"1.1.1\""),
        "{manifest}"
    );
    assert_eq!(told.merges(), 1, "in one commit");
}

fn cargo(dependency: &'static str, library: &'static str) -> Vec<(&'static str, &'static str)> {
    vec![
        ("Cargo.toml", dependency),
        ("src/lib.rs", library),
        (".gitignore", "target\n"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cargo_locks_is_merged_with_its_lock_file() {
    let plot = Plot {
        client: Client::Cargo,
        files: cargo(
            "[package]\nname = \"shop\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[dependencies]\nitoa = \"1.0\" # for receipts\n",
            "#[test]\nfn a_price_is_written() {\n    assert_eq!(itoa::Buffer::new().format(42), \"42\");\n}\n",
        ),
        lock: "cargo generate-lockfile --quiet && cargo update --quiet --package itoa --precise 1.0.1",
        deps: "deps.ignore = [{ package = \"itoa\", from = \"1.0.12\", reason = \"the story ends there\" }]",
        says: "I am not asked.",
    };
    let name = "what_cargo_locks_is_merged_with_its_lock_file";
    let (world, _) = tell(name, plot, &[RunStatus::Updated]).await;
    assert!(world.at_tip("Cargo.lock").contains("version = \"1.0.11\""));
    assert!(
        world
            .at_tip("Cargo.toml")
            .contains("itoa = \"1.0\" # for receipts")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requirement_that_is_in_the_way_moves_and_nothing_else_of_the_manifest() {
    let plot = Plot {
        client: Client::Cargo,
        files: cargo(
            "[package]\nname = \"shop\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[dependencies]\nfastrand = { version = \"1.9\" } # the older one\n",
            "#[test]\nfn chance_keeps_its_bounds() {\n    assert!(fastrand::u8(1..3) < 3);\n}\n",
        ),
        lock: "cargo generate-lockfile --quiet",
        deps: "deps.merge = [\"major\"]
deps.ignore = [{ package = \"fastrand\", from = \"2.1.0\", reason = \"the story ends there\" }]",
        says: "I am not asked.",
    };
    let name = "a_requirement_that_is_in_the_way_moves_and_nothing_else_of_the_manifest";
    let (world, _) = tell(name, plot, &[RunStatus::Updated]).await;
    let manifest = world.at_tip("Cargo.toml");
    assert!(
        manifest.contains("fastrand = { version = \"2.0\" } # the older one"),
        "{manifest}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_nothing_mends_is_held_back_with_the_reason() {
    let plot = Plot {
        client: Client::Pip,
        files: vec![
            ("requirements.txt", "jinja2==2.11.3\nmarkupsafe==2.0.1\n"),
            (
                "test_shop.py",
                "import jinja2\n\ndef test_label():\n    assert jinja2.Template('{{ 1 }}').render() == '1'\n",
            ),
        ],
        lock: "true",
        deps: "deps.levels = [\"patch\", \"minor\"]",
        says: "I do not know.",
    };
    let name = "an_update_that_nothing_mends_is_held_back_with_the_reason";
    let (world, told) = tell(name, plot, &[RunStatus::Fixed]).await;
    let pinned = world.at_tip("requirements.txt");
    assert!(
        pinned.contains("# held by ChangeBus: 2.1.5 breaks test_shop"),
        "{pinned}"
    );
    assert!(pinned.contains("markupsafe==2.0.1"), "{pinned}");
    let brings = told.events.iter().find_map(|event| match &event.fact {
        Fact::TournamentOpened { opening } => opening.brings.clone(),
        _ => None,
    });
    let gone = "markupsafe/__init__.py: soft_unicode";
    assert!(brings.is_some_and(|brings| brings.contains(gone)));
    let asked = format!("{:?}", world.model.requests());
    assert!(asked.contains(gone), "the model is told too: {asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_does_not_fit_the_new_version_is_adapted_and_merged_with_it() {
    let plot = Plot {
        client: Client::Pip,
        files: vec![
            ("requirements.txt", "pydantic==1.10.13\n"),
            (
                "settings.py",
                "from pydantic import BaseSettings\n\n\nclass Settings(BaseSettings):\n    port: int = 80\n",
            ),
            (
                "test_settings.py",
                "from settings import Settings\n\ndef test_port():\n    assert Settings().port == 80\n",
            ),
        ],
        lock: "true",
        deps: "deps.levels = [\"major\"]
deps.merge = [\"major\"]
deps.ignore = [{ package = \"pydantic\", from = \"2.12.0\", reason = \"the story ends there\" }]",
        says: "Settings moved to a package of their own.\n\nsettings.py
<<<<<<< SEARCH
from pydantic import BaseSettings


class Settings(BaseSettings):
=======
from pydantic import BaseModel


class Settings(BaseModel):
>>>>>>> REPLACE
",
    };
    let name = "code_that_does_not_fit_the_new_version_is_adapted_and_merged_with_it";
    let (world, told) = tell(name, plot, &[RunStatus::Fixed]).await;
    assert!(
        world
            .at_tip("requirements.txt")
            .starts_with("pydantic==2.11.")
    );
    assert!(world.at_tip("settings.py").contains("BaseModel"));
    assert_eq!(told.merges(), 1, "both in one commit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_cannot_be_required_any_more_is_imported_instead() {
    let plot = Plot {
        client: Client::Npm,
        files: vec![
            (
                "package.json",
                "{\n  \"name\": \"shop\",\n  \"version\": \"1.0.0\",\n  \"dependencies\": {\n    \"chalk\": \"^4.1.2\"\n  }\n}\n",
            ),
            (
                "shout.js",
                "const chalk = require('chalk');

exports.shout = async (text) => new chalk.Instance({ level: 0 }).red(text).toUpperCase();
",
            ),
            (
                "shout.test.js",
                "const test = require('node:test');
const { shout } = require('./shout.js');
test('who shouts is heard', async () => {
  if ((await shout('a')) !== 'A') throw new Error('unheard');
});
",
            ),
            (".gitignore", "node_modules\n"),
        ],
        lock: NPM_LOCK,
        deps: "deps.merge = [\"major\"]
deps.ignore = [{ package = \"chalk\", from = \"5.3.1\", reason = \"the story ends there\" }]",
        says: "It is a module now.\n\nshout.js
<<<<<<< SEARCH
const chalk = require('chalk');

exports.shout = async (text) => new chalk.Instance({ level: 0 }).red(text).toUpperCase();
=======
exports.shout = async (text) => {
  const { Chalk } = await import('chalk');
  return new Chalk({ level: 0 }).red(text).toUpperCase();
};
>>>>>>> REPLACE
",
    };
    let name = "a_package_that_cannot_be_required_any_more_is_imported_instead";
    let (world, _) = tell(name, plot, &[RunStatus::Fixed]).await;
    assert!(world.at_tip("package.json").contains("\"^5.3.0\""));
    assert!(world.at_tip("shout.js").contains("await import('chalk')"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_group_the_guilty_one_is_found_and_the_others_go_on_without_it() {
    let plot = Plot {
        client: Client::Npm,
        files: npm(
            "{\n  \"name\": \"shop\",\n  \"version\": \"1.0.0\",\n  \"dependencies\": {\n    \"escape-string-regexp\": \"^4.0.0\",\n    \"ms\": \"2.1.2\",\n    \"picocolors\": \"1.0.0\"\n  }\n}\n",
            "const test = require('node:test');
const escape = require('escape-string-regexp');
const ms = require('ms');
const { red } = require('picocolors').createColors(true);
test('a day is red', () => {
  if (!red(escape(String(ms('1d')))).includes('86400000')) throw new Error('no day');
});
",
        ),
        lock: NPM_LOCK,
        deps: "deps.groups.small.packages = [\"*\"]
deps.merge = [\"patch\", \"minor\", \"major\"]
deps.ignore = [
    { package = \"picocolors\", from = \"1.1.2\", reason = \"the story ends there\" },
    { package = \"ms\", from = \"2.1.4\", reason = \"the story ends there\" },
    { package = \"escape-*\", from = \"5.0.1\", reason = \"the story ends there\" },
]",
        says: "I do not know.",
    };
    let name = "of_a_group_the_guilty_one_is_found_and_the_others_go_on_without_it";
    let ends = [RunStatus::Split, RunStatus::Updated, RunStatus::Fixed];
    let (world, told) = tell(name, plot, &ends).await;
    let names =
        |n: usize| -> Vec<&str> { told.updates[n].1.steps().map(|s| s.name.as_str()).collect() };
    assert_eq!(names(0), ["escape-string-regexp", "ms", "picocolors"]);
    assert_eq!(names(1), ["ms", "picocolors"]);
    assert_eq!(names(2), ["escape-string-regexp"]);
    let manifest = world.at_tip("package.json");
    assert!(
        manifest.contains("\"escape-string-regexp\": \"4.0.0\""),
        "held: {manifest}"
    );
    assert!(manifest.contains("\"ms\": \"2.1.3\""), "{manifest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crate_whose_names_changed_takes_the_code_along() {
    let plot = Plot {
        client: Client::Cargo,
        files: cargo(
            "[package]\nname = \"shop\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[dependencies]\nheck = \"0.3.3\"\n",
            "use heck::SnakeCase;

pub fn name(text: &str) -> String {
    text.to_snake_case()
}

#[test]
fn a_name_is_a_snake() {
    assert_eq!(name(\"OneName\"), \"one_name\");
}
",
        ),
        lock: "cargo generate-lockfile --quiet",
        deps: "deps.merge = [\"major\"]
deps.ignore = [{ package = \"heck\", from = \"0.5.0\", reason = \"the story ends there\" }]",
        says: "The trait has another name.\n\nsrc/lib.rs
<<<<<<< SEARCH
use heck::SnakeCase;
=======
use heck::ToSnakeCase;
>>>>>>> REPLACE
",
    };
    let name = "a_crate_whose_names_changed_takes_the_code_along";
    let (world, _) = tell(name, plot, &[RunStatus::Fixed]).await;
    assert!(world.at_tip("Cargo.toml").contains("heck = \"0.4.1\""));
    assert!(world.at_tip("src/lib.rs").contains("ToSnakeCase"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crate_that_nobody_can_follow_stays_where_it_is() {
    let plot = Plot {
        client: Client::Cargo,
        files: cargo(
            "[package]\nname = \"shop\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[dependencies]\nsemver = \"0.9\"\n",
            "#[test]
fn an_offer_is_no_release() {
    assert!(semver::Version::parse(\"1.0.0-offer\").unwrap().is_prerelease());
}
",
        ),
        lock: "cargo generate-lockfile --quiet",
        deps: "deps.ignore = [{ package = \"semver\", from = \"1.0.24\", reason = \"the story ends there\" }]
deps.merge = [\"major\"]",
        says: "I do not know.",
    };
    let name = "a_crate_that_nobody_can_follow_stays_where_it_is";
    let (world, _) = tell(name, plot, &[RunStatus::Fixed]).await;
    let manifest = world.at_tip("Cargo.toml");
    assert!(manifest.contains("semver = \"=0.9.0\""), "{manifest}");
    assert!(
        manifest.contains("# held by ChangeBus: 1.0.23 breaks"),
        "{manifest}"
    );
}
