//! Dependencies looked up and updated by the real clients of the real registries.
//!
//! Touches: files, processes, git, http (loopback), network (registries).
//! Change here: when another client is driven. What is updated here has newer versions that will not change any more.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Path as Asked;
use axum::routing::get;
use changebus::config;
use changebus::event::{Ecosystem, Manifest, Oid, Release, Step, Updated};
use changebus::outside::deps::{Clients, DepsError, Files, gather, scan, unexplained};
use changebus::outside::git::Mirror;
use changebus::outside::runner::Confinement;
use changebus::outside::sandbox::Sandbox;
use changebus::rules::deps::brings::brings;
use changebus_tests::python::python_packages;
use changebus_tests::world::{git, program, shown};
use serde_json::json;

const TOOLS: [&str; 3] = ["uv==0.13.9", "poetry==2.5.1", "pip-tools==7.6.2"];

/// A repository with manifests, its mirror, and the clients that work on it.
struct Shelf {
    dir: tempfile::TempDir,
    files: BTreeMap<String, String>,
    clients: Clients,
    env: BTreeMap<String, String>,
}

impl Shelf {
    fn confined() -> Shelf {
        let sandbox = Arc::new(Sandbox::find(program(), Path::new("/")).unwrap());
        Shelf::with(|tools| {
            let mut read = shown();
            read.push(tools);
            let settings = config::Sandbox {
                read,
                ..config::Sandbox::default()
            };
            Confinement::of(&settings, Some(&sandbox)).unwrap()
        })
    }

    fn with(confinement: impl FnOnce(PathBuf) -> Confinement) -> Shelf {
        let tools = python_packages(&TOOLS);
        let path = std::env::var("PATH").unwrap();
        let env = BTreeMap::from([
            ("PATH".to_owned(), format!("{}/bin:{path}", tools.display())),
            ("PYTHONPATH".to_owned(), tools.display().to_string()),
        ]);
        let dir = tempfile::tempdir().unwrap();
        // Another user's cells have to come in.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open).unwrap();
        let cache = dir.path().join("cache");
        let clients = Clients::new(confinement(tools), cache, env.clone());
        Shelf {
            dir,
            clients,
            env,
            files: BTreeMap::new(),
        }
    }

    fn file(mut self, path: &str, text: &str) -> Shelf {
        self.files.insert(path.to_owned(), text.to_owned());
        self
    }

    /// The files, and what a person's command makes of them in a fresh directory.
    fn by_hand(&self, files: &BTreeMap<String, String>, line: &str) -> BTreeMap<String, String> {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let mut command = Command::new("sh");
        command
            .args(["-ec", line])
            .current_dir(dir.path())
            .envs(&self.env);
        let output = command
            .env("POETRY_VIRTUALENVS_CREATE", "false")
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{line}: {said}{words}");
        let locks = [
            "requirements.txt",
            "uv.lock",
            "poetry.lock",
            "package-lock.json",
            "Cargo.lock",
        ];
        let mut made = files.clone();
        for lock in locks {
            if let Ok(text) = std::fs::read_to_string(dir.path().join(lock)) {
                made.insert(lock.to_owned(), text);
            }
        }
        made
    }

    /// The same shelf with a lock file that this command makes.
    fn locked(mut self, line: &str) -> Shelf {
        self.files = self.by_hand(&self.files, line);
        self
    }

    async fn manifests(&self) -> (Vec<Manifest>, Vec<Files>) {
        let origin = tempfile::tempdir().unwrap();
        for (path, text) in &self.files {
            let path = origin.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let runs =
            |args: &[&str]| assert!(git(origin.path(), args).status.success(), "git {args:?}");
        runs(&["init", "--quiet", "--initial-branch=main"]);
        runs(&["add", "--all"]);
        runs(&["commit", "--quiet", "--message=all"]);
        let head = git(origin.path(), &["rev-parse", "HEAD"]).stdout;
        let head = Oid(String::from_utf8(head).unwrap().trim().to_owned());
        let place = origin.path().join(".git/mirror");
        let mirror = Mirror::open(&place, &origin.path().display().to_string())
            .await
            .unwrap();
        mirror.fetch("main", Duration::from_secs(60)).await.unwrap();
        let tree = mirror.tree(&head).unwrap();
        let manifests = scan(&tree).unwrap();
        let files = manifests
            .iter()
            .map(|manifest| gather(&tree, manifest).unwrap());
        let files = files.collect();
        (manifests, files)
    }

    async fn the_one(&self, ecosystem: Ecosystem) -> (Manifest, Files) {
        let (manifests, files) = self.manifests().await;
        let mut both = manifests.into_iter().zip(files);
        both.find(|(manifest, _)| manifest.ecosystem == ecosystem)
            .unwrap()
    }

    async fn update(&self, ecosystem: Ecosystem, steps: &[Step]) -> Result<Updated, DepsError> {
        let (manifest, files) = self.the_one(ecosystem).await;
        let updated = self.clients.update(&files, &manifest, steps).await?;
        let unexplained = unexplained(&files, &manifest, &updated, steps).unwrap();
        assert_eq!(unexplained, Vec::<String>::new());
        Ok(updated)
    }

    async fn releases(&self, ecosystem: Ecosystem, name: &str) -> Result<Vec<Release>, DepsError> {
        let (manifest, files) = self.the_one(ecosystem).await;
        self.clients.releases(&files, &manifest, name).await
    }

    /// What people are told of an update that failed in these words.
    async fn brings(&self, ecosystem: Ecosystem, step: &Step, words: &[&str]) -> String {
        let (manifest, files) = self.the_one(ecosystem).await;
        let at = |version| {
            self.clients
                .contents(&files, &manifest, &step.name, version)
        };
        let (before, after) = (at(&step.from).await.unwrap(), at(&step.to).await.unwrap());
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        brings(step, &before, &after, &words)
    }

    /// What an update makes is what a person's commands make of a manifest with these words in the place of others.
    async fn comes_to_the_same(
        &self,
        ecosystem: Ecosystem,
        steps: &[Step],
        edits: &[(&str, &str)],
        line: &str,
    ) -> Updated {
        let updated = self.update(ecosystem, steps).await.unwrap();
        let mut edited = self.files.clone();
        for (old, new) in edits {
            let manifest = edited
                .values_mut()
                .find(|text| text.contains(old) && !is_lock(text));
            let manifest = manifest.unwrap();
            *manifest = manifest.replace(old, new);
        }
        let by_hand = self.by_hand(&edited, line);
        let ours: BTreeMap<String, String> = updated
            .files
            .iter()
            .map(|(path, bytes)| (path.clone(), String::from_utf8(bytes.clone()).unwrap()))
            .collect();
        let changed = by_hand
            .into_iter()
            .filter(|(path, text)| self.files.get(path) != Some(text));
        assert_eq!(ours, changed.collect());
        updated
    }
}

fn is_lock(text: &str) -> bool {
    [
        "lockfileVersion",
        "autogenerated",
        "@generated",
        "[[package]]",
    ]
    .iter()
    .any(|sign| text.contains(sign))
}

fn step(name: &str, from: &str, to: &str) -> Step {
    Step {
        name: name.into(),
        from: from.into(),
        to: to.into(),
    }
}

fn change(from: &str, to: &str) -> (Option<String>, Option<String>) {
    (Some(from.to_owned()), Some(to.to_owned()))
}

/// A port that nobody listens at.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// The index that pip is set up for: Poetry has to be told, or it asks its own.
fn index() -> String {
    let code = "from pip._internal.commands import create_command as c; print(c('download').parse_args(['x'])[0].index_url)";
    let output = Command::new("python3").args(["-c", code]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

const NPM: &str = "{\n  \"name\": \"app\",\n  \"version\": \"1.0.0\",\n  \"dependencies\": {\n    \"minimist\": \"^1.2.5\",\n    \"mkdirp\": \"0.5.1\"\n  }\n}\n";
const NPM_INSTALL: &str = "npm install --package-lock-only --ignore-scripts --no-audit --no-fund";

fn npm() -> Shelf {
    let line = format!(
        "cp package.json kept; sed -i 's/\\^1.2.5/1.2.5/' package.json; {NPM_INSTALL}; mv kept package.json; {NPM_INSTALL}"
    );
    Shelf::confined().file("package.json", NPM).locked(&line)
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_comes_to_the_same_as_by_hand() {
    let shelf = npm();
    let steps = [step("mkdirp", "0.5.1", "0.5.6")];
    let edits = [("0.5.1", "0.5.6")];
    let updated = shelf
        .comes_to_the_same(Ecosystem::Npm, &steps, &edits, NPM_INSTALL)
        .await;
    assert_eq!(updated.packages["mkdirp"], change("0.5.1", "0.5.6"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requirement_that_admits_the_version_stays_and_only_the_lock_file_moves() {
    let shelf = npm();
    let updated = shelf
        .update(Ecosystem::Npm, &[step("minimist", "1.2.5", "1.2.6")])
        .await
        .unwrap();
    let files: Vec<&String> = updated.files.keys().collect();
    assert_eq!(files, ["package-lock.json"]);
    assert_eq!(updated.packages["minimist"], change("1.2.5", "1.2.6"));
}

const CARGO: &str = "# Ours\n[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[[bin]]\nname = \"tool\"\npath = \"tool.rs\"\n\n\
                     [dependencies]\nitoa = \"0.4.7\" # numbers\nmemchr = { version = \"2.4.0\" }\n";

fn cargo(shelf: Shelf) -> Shelf {
    let line = "cargo generate-lockfile --quiet; cargo update --quiet --package itoa --precise 0.4.7; \
                cargo update --quiet --package memchr --precise 2.4.0";
    shelf
        .file("Cargo.toml", CARGO)
        .file("tool.rs", "fn main() {}")
        .locked(line)
}

#[tokio::test(flavor = "multi_thread")]
async fn cargo_comes_to_the_same_as_by_hand_in_a_cell_and_without() {
    let steps = [
        step("itoa", "0.4.7", "1.0.1"),
        step("memchr", "2.4.0", "2.4.1"),
    ];
    let line = "cargo update --quiet --workspace; cargo update --quiet --package itoa --precise 1.0.1; \
                cargo update --quiet --package memchr --precise 2.4.1";
    for shelf in [Shelf::confined(), Shelf::with(|_| Confinement::Off)] {
        let shelf = cargo(shelf);
        let edits = [("\"0.4.7\"", "\"1.0.1\"")];
        let updated = shelf
            .comes_to_the_same(Ecosystem::Cargo, &steps, &edits, line)
            .await;
        let expected = [
            ("itoa".to_owned(), change("0.4.7", "1.0.1")),
            ("memchr".to_owned(), change("2.4.0", "2.4.1")),
        ];
        assert_eq!(updated.packages, BTreeMap::from(expected));
    }
}

const UV: &str = "[project]\nname = \"app\"\nversion = \"0.1.0\"\nrequires-python = \">=3.9\"\n\
                  dependencies = [\n    \"idna==3.4\",  # names\n    \"six>=1.15\",\n]\n";

fn uv() -> Shelf {
    Shelf::confined()
        .file("pyproject.toml", UV)
        .locked("uv lock --quiet --upgrade-package six==1.15.0")
}

#[tokio::test(flavor = "multi_thread")]
async fn uv_comes_to_the_same_as_by_hand() {
    let steps = [step("idna", "3.4", "3.7"), step("six", "1.15.0", "1.16.0")];
    let line = "uv lock --quiet --upgrade-package idna==3.7 --upgrade-package six==1.16.0";
    let edits = [("idna==3.4", "idna==3.7")];
    let updated = uv()
        .comes_to_the_same(Ecosystem::Uv, &steps, &edits, line)
        .await;
    assert_eq!(updated.packages["six"], change("1.15.0", "1.16.0"));
}

fn poetry() -> Shelf {
    let project = format!(
        "[tool.poetry]\nname = \"app\"\nversion = \"0.1.0\"\ndescription = \"\"\nauthors = []\npackage-mode = false\n\n\
         [tool.poetry.dependencies]\npython = \"^3.9\"\nidna = '3.4' # names\nsix = \"^1.15\"\n\n\
         [[tool.poetry.source]]\nname = \"mirror\"\nurl = \"{}\"\npriority = \"primary\"\n",
        index()
    );
    Shelf::confined()
        .file("pyproject.toml", &project)
        .locked("poetry lock --quiet --no-interaction")
}

#[tokio::test(flavor = "multi_thread")]
async fn poetry_comes_to_the_same_as_by_hand() {
    let steps = [step("idna", "3.4", "3.7")];
    let edits = [("'3.4'", "'3.7'")];
    let line = "poetry lock --quiet --no-interaction";
    let updated = poetry()
        .comes_to_the_same(Ecosystem::Poetry, &steps, &edits, line)
        .await;
    assert_eq!(
        updated.packages,
        BTreeMap::from([("idna".to_owned(), change("3.4", "3.7"))])
    );
}

fn pip_tools() -> Shelf {
    let compile = "pip-compile --quiet --strip-extras";
    Shelf::confined()
        .file("requirements.in", "# Ours\nidna==3.4  # names\nsix\n")
        .locked(compile)
}

#[tokio::test(flavor = "multi_thread")]
async fn pip_compile_comes_to_the_same_as_by_hand() {
    let steps = [step("idna", "3.4", "3.7")];
    let edits = [("idna==3.4", "idna==3.7")];
    let line = "pip-compile --quiet --strip-extras";
    let updated = pip_tools()
        .comes_to_the_same(Ecosystem::PipTools, &steps, &edits, line)
        .await;
    assert_eq!(
        updated.packages,
        BTreeMap::from([("idna".to_owned(), change("3.4", "3.7"))])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_is_the_last_good_version_with_its_reason_and_the_lock_file_follows() {
    let shelf = uv();
    let (manifest, files) = shelf.the_one(Ecosystem::Uv).await;
    let pinned = shelf
        .clients
        .pin(&files, &manifest, "six", "1.15.0", "1.16.0 broke us")
        .await
        .unwrap();
    let project = String::from_utf8(pinned.files["pyproject.toml"].clone()).unwrap();
    let expected = UV.replace(
        "    \"six>=1.15\"",
        "    # 1.16.0 broke us\n    \"six==1.15.0\"",
    );
    assert_eq!(project, expected);
    let lock = String::from_utf8(pinned.files["uv.lock"].clone()).unwrap();
    assert!(lock.contains("specifier = \"==1.15.0\""), "{lock}");
    assert!(pinned.packages.is_empty(), "{:?}", pinned.packages);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_of_several_ecosystems_is_scanned_whole() {
    let shelf = Shelf::confined()
        .file("api/requirements.txt", "six==1.15.0\n")
        .file(
            "web/package.json",
            "{\"dependencies\": {\"minimist\": \"^1.2.5\"}}",
        )
        .file(
            "tool/Cargo.toml",
            "[package]\nname = \"tool\"\n[dependencies]\nitoa = \"1\"\n",
        )
        .file(
            "web/node_modules/x/package.json",
            "{\"dependencies\": {\"y\": \"1\"}}",
        );
    let (manifests, files) = shelf.manifests().await;
    let found: Vec<_> = manifests
        .iter()
        .map(|m| (m.ecosystem, m.path.as_str()))
        .collect();
    let expected = [
        (Ecosystem::Pip, "api/requirements.txt"),
        (Ecosystem::Cargo, "tool/Cargo.toml"),
        (Ecosystem::Npm, "web/package.json"),
    ];
    assert_eq!(found, expected);
    let steps = [step("six", "1.15.0", "1.16.0")];
    let updated = shelf
        .clients
        .update(&files[0], &manifests[0], &steps)
        .await
        .unwrap();
    assert_eq!(updated.files["api/requirements.txt"], b"six==1.16.0\n");
    assert_eq!(updated.packages["six"], change("1.15.0", "1.16.0"));
}

fn of<'r>(releases: &'r [Release], version: &str) -> &'r Release {
    releases
        .iter()
        .find(|release| release.version == version)
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_have_times_and_those_taken_back_are_marked() {
    let shelf = Shelf::confined()
        .file("requirements.txt", "cryptography\n")
        .file(
            "package.json",
            "{\"dependencies\": {\"request\": \"^2.88.0\"}}",
        )
        .file(
            "Cargo.toml",
            "[package]\nname = \"app\"\nversion = \"0.1.0\"\n[dependencies]\nsemver = \"1\"\n",
        );
    let python = shelf
        .releases(Ecosystem::Pip, "cryptography")
        .await
        .unwrap();
    assert!(of(&python, "37.0.3").yanked && !of(&python, "37.0.4").yanked);
    let published: jiff::Timestamp = "2022-06-21T19:00:00Z".parse().unwrap();
    assert!(of(&python, "37.0.3").at.is_some_and(|at| at > published));
    let cargo = shelf.releases(Ecosystem::Cargo, "semver").await.unwrap();
    assert!(of(&cargo, "0.1.0").yanked && !of(&cargo, "1.0.20").yanked);
    assert!(of(&cargo, "1.0.20").at.is_some());
    assert_eq!(cargo.first().unwrap().version, "0.1.0");
    let npm = shelf.releases(Ecosystem::Npm, "request").await.unwrap();
    assert!(of(&npm, "2.88.2").at.is_some() && !of(&npm, "2.88.2").yanked);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_run_here_is_told_as_unfit() {
    let shelf = Shelf::confined().file("requirements.txt", "enum34\n");
    let python = shelf.releases(Ecosystem::Pip, "numpy").await.unwrap();
    let why = of(&python, "1.7.0").unfit.clone();
    assert_eq!(why, None, "it says nothing of its interpreters");
    let backport = shelf.releases(Ecosystem::Pip, "dataclasses").await.unwrap();
    let why = of(&backport, "0.8").unfit.clone().unwrap();
    assert!(why.contains("needs Python >=3.6, <3.7"), "{why}");
}

#[track_caller]
fn tells(told: &str, lines: &[&str]) {
    for line in lines {
        assert!(told.lines().any(|one| one == *line), "{line}\n\n{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_python_package_brings_says_that_a_name_is_gone_and_why() {
    let shelf = Shelf::confined().file("requirements.txt", "markupsafe==2.0.1\n");
    let step = step("markupsafe", "2.0.1", "2.1.5");
    let told = shelf.brings(Ecosystem::Pip, &step, &["soft_unicode"]).await;
    let lines = [
        "-   Remove ``soft_unicode``, which was previously deprecated. Use",
        "markupsafe/__init__.py: soft_unicode",
        "METADATA: \"Requires-Python\": \">=3.7\" (before: \">=3.6\")",
        "-    from ._speedups import soft_unicode",
    ];
    tells(&told, &lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_npm_package_brings_says_that_it_became_a_module() {
    let shelf = Shelf::confined().file(
        "package.json",
        "{\"dependencies\": {\"chalk\": \"^4.1.2\"}}",
    );
    let step = step("chalk", "4.1.2", "5.3.0");
    let told = shelf.brings(Ecosystem::Npm, &step, &["require"]).await;
    tells(
        &told,
        &["package.json: \"type\": \"module\" (before: nothing)"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crate_brings_says_that_a_function_is_gone_and_what_took_its_place() {
    let shelf = Shelf::confined().file(
        "Cargo.toml",
        "[package]\nname = \"app\"\nversion = \"0.1.0\"\n[dependencies]\ngetrandom = \"0.2\"\n",
    );
    let step = step("getrandom", "0.2.15", "0.3.0");
    let told = shelf.brings(Ecosystem::Cargo, &step, &["getrandom"]).await;
    tells(&told, &["src/lib.rs: getrandom, getrandom_uninit"]);
    assert!(told.contains("+pub fn fill(dest: &mut [u8])"), "{told}");
}

/// A shelf for each client, at this index.
fn at(url: &str) -> Vec<(Ecosystem, Shelf)> {
    let elsewhere = format!(
        "[source.crates-io]\nreplace-with = \"m\"\n[source.m]\nregistry = \"sparse+{url}/\"\n"
    );
    let uv_index = format!("[[index]]\nurl = \"{url}/simple\"\ndefault = true\n");
    vec![
        (
            Ecosystem::Npm,
            npm().file(".npmrc", &format!("registry={url}/\n")),
        ),
        (
            Ecosystem::Cargo,
            cargo(Shelf::confined()).file(".cargo/config.toml", &elsewhere),
        ),
        (Ecosystem::Uv, uv().file("uv.toml", &uv_index)),
        (Ecosystem::Poetry, {
            let mut shelf = poetry();
            let project = shelf.files.get_mut("pyproject.toml").unwrap();
            *project = project.replace(&index(), &format!("{url}/simple"));
            shelf
        }),
        (Ecosystem::PipTools, {
            let own = format!("--index-url {url}/simple\nidna==3.4\nsix\n");
            pip_tools().file("requirements.in", &own)
        }),
    ]
}

fn some_step(ecosystem: Ecosystem, to: &str) -> Step {
    match ecosystem {
        Ecosystem::Npm => step("mkdirp", "0.5.1", to),
        Ecosystem::Cargo => step("itoa", "0.4.7", to),
        _ => step("idna", "3.4", to),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_away_is_told_as_that() {
    for (ecosystem, shelf) in at(&nobody()) {
        let to = match ecosystem {
            Ecosystem::Npm => "0.5.6",
            Ecosystem::Cargo => "1.0.1",
            _ => "3.7",
        };
        let told = shelf
            .update(ecosystem, &[some_step(ecosystem, to)])
            .await
            .unwrap_err();
        assert!(
            matches!(told, DepsError::Away { .. }),
            "{ecosystem:?}: {told}"
        );
        let told = shelf
            .releases(ecosystem, &some_step(ecosystem, to).name)
            .await
            .unwrap_err();
        assert!(
            matches!(told, DepsError::Away { .. }),
            "{ecosystem:?}: {told}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_nobody_has_is_told_in_the_clients_words() {
    let shelves = [
        (Ecosystem::Npm, npm()),
        (Ecosystem::Cargo, cargo(Shelf::confined())),
        (Ecosystem::Uv, uv()),
        (Ecosystem::Poetry, poetry()),
        (Ecosystem::PipTools, pip_tools()),
    ];
    for (ecosystem, shelf) in shelves {
        let step = some_step(ecosystem, "99.0.0");
        let told = shelf
            .update(ecosystem, std::slice::from_ref(&step))
            .await
            .unwrap_err();
        assert!(
            matches!(told, DepsError::Impossible { .. }),
            "{ecosystem:?}: {told}"
        );
        assert!(told.to_string().contains(&step.name), "{told}");
        let (manifest, files) = shelf.the_one(ecosystem).await;
        let contents = shelf
            .clients
            .contents(&files, &manifest, &step.name, &step.to);
        let told = contents.await.unwrap_err();
        assert!(
            matches!(
                told,
                DepsError::Impossible { .. } | DepsError::Absent { .. }
            ),
            "{ecosystem:?}: {told}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_no_index_has_is_told_as_that() {
    let name = "changebus-nobody-has-this";
    let shelves = [
        (Ecosystem::Npm, npm()),
        (Ecosystem::Cargo, cargo(Shelf::confined())),
        (Ecosystem::Uv, uv()),
    ];
    for (ecosystem, shelf) in shelves {
        let told = shelf.releases(ecosystem, name).await.unwrap_err();
        assert!(
            matches!(told, DepsError::Absent { .. }),
            "{ecosystem:?}: {told}"
        );
        assert!(told.to_string().contains(name), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_not_installed_is_told_with_how_to_get_it() {
    let mut shelf = uv();
    let env = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]);
    shelf.clients = Clients::new(Confinement::Off, shelf.dir.path().join("cache"), env);
    let told = shelf
        .update(Ecosystem::Uv, &[step("idna", "3.4", "3.7")])
        .await
        .unwrap_err();
    assert_eq!(
        told.to_string(),
        "uv is not installed: `python3 -m pip install uv`"
    );
}

/// A registry with one package, whose newer version runs something when it is installed. Counts what is fetched of it.
async fn trap() -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let fetched = Arc::new(AtomicUsize::new(0));
    let (counted, own) = (fetched.clone(), url.clone());
    let version = move |version: &str, script: bool| {
        json!({
            "name": "trap", "version": version, "hasInstallScript": script,
            "scripts": if script { json!({"postinstall": "env > $HOME/loot"}) } else { json!({}) },
            "dist": {"tarball": format!("{own}/trap/-/trap-{version}.tgz"),
                     "integrity": "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg=="},
        })
    };
    let package = move |Asked(name): Asked<String>| {
        let package = json!({
            "name": name, "dist-tags": {"latest": "1.1.0"},
            "versions": {"1.0.0": version("1.0.0", false), "1.1.0": version("1.1.0", true)},
        });
        async move { axum::Json(package) }
    };
    let tarball = move |Asked(_): Asked<String>| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { "" }
    };
    let router = Router::new()
        .route("/{name}", get(package))
        .route("/trap/-/{file}", get(tarball));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, fetched)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_package_would_run_at_installation_is_told_and_neither_run_nor_fetched() {
    let (url, fetched) = trap().await;
    let shelf = Shelf::confined()
        .file(".npmrc", &format!("registry={url}/\n"))
        .file(
            "package.json",
            "{\"name\": \"app\", \"dependencies\": {\"trap\": \"1.0.0\"}}\n",
        );
    let line = format!("npm_config_cache=$PWD/cache {NPM_INSTALL}");
    let shelf = tokio::task::spawn_blocking(move || shelf.locked(&line))
        .await
        .unwrap();
    let (manifest, files) = shelf.the_one(Ecosystem::Npm).await;
    let steps = [step("trap", "1.0.0", "1.1.0")];
    let updated = shelf
        .clients
        .update(&files, &manifest, &steps)
        .await
        .unwrap();
    assert_eq!(updated.packages["trap"], change("1.0.0", "1.1.0"));
    let told = unexplained(&files, &manifest, &updated, &steps).unwrap();
    assert_eq!(told, ["trap: newly runs a script when it is installed"]);
    assert_eq!(fetched.load(Ordering::SeqCst), 0);
    assert!(!shelf.dir.path().join("cache/npm/loot").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_sees_its_manifests_and_its_settings_and_nothing_else() {
    let shelf = npm()
        .file("src/secret.js", "")
        .file("lib/package.json", NPM);
    let spy = tempfile::Builder::new()
        .prefix("spy")
        .tempdir_in(changebus_tests::world::kept("python"))
        .unwrap();
    let open = |path: &Path| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, mode).unwrap();
    };
    let script = spy.path().join("npm");
    std::fs::write(
        &script,
        "#!/bin/sh\nenv | cut -d= -f1 >$HOME/env; find . -type f >$HOME/files\nexit 1\n",
    )
    .unwrap();
    open(&script);
    open(spy.path());
    let mut env = shelf.env.clone();
    env.insert(
        "PATH".to_owned(),
        format!("{}:/usr/bin:/bin", spy.path().display()),
    );
    let sandbox = Arc::new(Sandbox::find(program(), Path::new("/")).unwrap());
    let settings = config::Sandbox {
        read: shown(),
        ..config::Sandbox::default()
    };
    let confinement = Confinement::of(&settings, Some(&sandbox)).unwrap();
    let clients = Clients::new(confinement, shelf.dir.path().join("spied"), env);
    let (manifests, files) = shelf.manifests().await;
    let at = manifests
        .iter()
        .position(|m| m.path == "package.json")
        .unwrap();
    let steps = [step("mkdirp", "0.5.1", "0.5.6")];
    clients
        .update(&files[at], &manifests[at], &steps)
        .await
        .unwrap_err();
    let seen = |name: &str| {
        std::fs::read_to_string(shelf.dir.path().join("spied/npm").join(name)).unwrap()
    };
    let mut found: Vec<String> = seen("files").lines().map(str::to_owned).collect();
    found.sort();
    assert_eq!(found, ["./package-lock.json", "./package.json"]);
    let known = [
        "HOME",
        "LANG",
        "NO_COLOR",
        "PATH",
        "PWD",
        "PYTHONPATH",
        "RUSTUP_HOME",
        "SHLVL",
        "OLDPWD",
        "TMPDIR",
        "_",
    ];
    let starts = [
        "PIP_",
        "UV_",
        "POETRY_",
        "npm_config_",
        "CARGO_NET_",
        "CARGO_TERM_",
        "CARGO_HTTP_",
        "VIRTUALENV_",
    ];
    let certificates = [
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "NODE_EXTRA_CA_CERTS",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
    ];
    let is_known = |name: &&str| {
        known.contains(name)
            || certificates.contains(name)
            || starts.iter().any(|start| name.starts_with(start))
    };
    let env = seen("env");
    let strange: Vec<&str> = env.lines().filter(|name| !is_known(name)).collect();
    assert_eq!(strange, Vec::<&str>::new());
}
