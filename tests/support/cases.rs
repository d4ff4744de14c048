//! The real cases: pushes that broke true packages, rebuilt from what their authors released.
//!
//! A case names a package and two neighbouring releases; `old` holds a bug that `new` fixed. From the two we tell a git
//! story of two commits on `main`, a green base and a red head, whose true fix is known because the author published it.
//! None of the packages' code lives in this repository: it is fetched by name with the ordinary clients (`pip`, `npm`,
//! `cargo`) into a cache outside every repository under test, once.
//!
//! ```text
//! cases::all()  ->  Case::prepare(cache)  ->  Prepared::materialize(dest)  ->  Repo
//!  tests/cases/*.toml   network, idempotent      git only, offline             origin, base, head, command, env, true fix
//! ```
//!
//! What may be touched: `cache` and `dest`, nothing else. Both must be absolute or become so before tests run from
//! another directory; `prepare` and `materialize` take care of that.
//!
//! Running a case: check out `head`, set `Repo::env` (relative entries such as `.` in `PYTHONPATH` are meant to be read
//! from the checkout), set `CHANGEBUS_REPORT` to where the report shall go, and run `Repo::test` with `sh -c`.
//!
//! Test ids, as in `failing` and `red_before`, are the product's:
//! - pytest and mocha: `classname::name` of the JUnit report, e.g. `tests.test_xmltodict.XMLToDictTestCase::test_keep_whitespace`;
//! - node, whose reporter says `test` for every class name: the name alone;
//! - Rust: the name as libtest prints it, behind its test binary's, e.g. `doctype::dtd_07`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;

/// A file after an edit: its path in the repository, and its new content, or `None` when the edit removes it.
pub type Edit = (String, Option<String>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    Python,
    JavaScript,
    Rust,
}

/// What the push did. Decides what base and head hold, and whether undoing the push can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The push put the sources of `old` back under the tests of `new`: a regression, and undoing it is a fix.
    OldSourcesUnderNewTests,
    /// The push brought the tests of `new` to the sources of `old`: nothing to undo but the tests themselves.
    TestsAheadOfSources,
}

/// One case, as written in `tests/cases/<name>.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    pub language: Language,
    pub package: String,
    /// The release with the bug.
    pub old: String,
    /// The release that fixed it.
    pub new: String,
    pub kind: Kind,
    /// The true bug, in one sentence.
    pub story: String,
    /// Globs of the files under test. What `tests` also matches is a test, not a source.
    pub sources: Vec<String>,
    /// Globs of the tests.
    pub tests: Vec<String>,
    /// Globs of released files that the repository does without, because they need more than the case brings along.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Shell command that runs the suite from the root of a checkout.
    pub test: String,
    /// Ids that fail at head and pass once the true fix is in.
    pub failing: Vec<String>,
    /// The push does not build: at head no test reports at all, and every id seen at base is missing. `failing` is empty.
    #[serde(default)]
    pub broken_build: bool,
    /// Ids that fail at base already, and still fail under the true fix: an older red that is not the push's doing.
    #[serde(default)]
    pub red_before: Vec<String>,
    pub passing_at_base: usize,
    /// Hunks of the true fix in the sources, as `git diff` counts them.
    pub hunks: usize,
    /// How many of them are enough to make `failing` pass, found by leaving out one after the other; absent when it is
    /// all of them. Where the push brought the old sources, these are the hunks that a smallest revert undoes.
    pub deciding_hunks: Option<usize>,
    /// One run of the suite where this corpus was made (2 shared cores); for Rust with the dependencies built.
    pub seconds: f64,
    /// What the tests need beside the package itself, pinned.
    #[serde(default)]
    pub dependencies: BTreeMap<String, String>,
}

/// Every case of the corpus, by name.
pub fn all() -> Result<Vec<Case>> {
    let dir = corpus()?;
    let mut cases = Vec::new();
    for path in files_in(&dir)? {
        if path.extension() == Some(OsStr::new("toml")) {
            let text = read(&dir.join(&path))?;
            let case =
                Case::parse(&text).with_context(|| format!("tests/cases/{}", path.display()))?;
            ensure!(
                Some(OsStr::new(&case.name)) == path.file_stem(),
                "{}: the file is not named after its case",
                path.display()
            );
            cases.push(case);
        }
    }
    ensure!(!cases.is_empty(), "no case in {}", dir.display());
    Ok(cases)
}

// The module may be compiled into any crate of the workspace, at any depth below the corpus.
fn corpus() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = here
        .ancestors()
        .map(|dir| dir.join("tests/cases"))
        .find(|dir| dir.is_dir());
    found.ok_or_else(|| anyhow!("no tests/cases above {}", here.display()))
}

impl Case {
    fn parse(text: &str) -> Result<Case> {
        let case: Case = toml::from_str(text)?;
        ensure!(
            case.failing.is_empty() == case.broken_build,
            "a case has failing tests, or a build too broken to report any"
        );
        ensure!(
            !case.sources.is_empty() && !case.tests.is_empty(),
            "sources and tests must name files"
        );
        Ok(case)
    }

    /// Fetches both releases and what the tests need into `cache`. What is there already is not fetched again; two
    /// threads or processes may prepare the same case at once. The only part of a case that needs the network.
    pub fn prepare(&self, cache: &Path) -> Result<Prepared> {
        fs::create_dir_all(cache).with_context(|| format!("create {}", cache.display()))?;
        let cache = cache.canonicalize()?;
        let old = self.release(&cache, &self.old)?;
        let new = self.release(&cache, &self.new)?;
        let mut prepared = Prepared {
            case: self.clone(),
            old,
            new,
            lock: None,
            env: BTreeMap::new(),
            outside: Vec::new(),
            setup: None,
        };
        match self.language {
            Language::Python => self.prepare_python(&cache, &mut prepared)?,
            Language::JavaScript => self.prepare_node(&cache, &mut prepared)?,
            Language::Rust => self.prepare_cargo(&cache, &mut prepared)?,
        }
        Ok(prepared)
    }

    /// The unpacked files of one release, as its author published them.
    fn release(&self, cache: &Path, version: &str) -> Result<PathBuf> {
        let package = &self.package;
        let key = format!(
            "release-{}-{}-{version}",
            self.language.slug(),
            flat(package)
        );
        once(cache, &key, |dir| match self.language {
            Language::Python => {
                let (got, spec) = (dir.join("got"), format!("{package}=={version}"));
                Tool::pip().arg("download").arg("--quiet").arg("--no-deps").arg("--no-binary").arg(package).arg("--dest").arg(&got).arg(&spec).run()?;
                unpack(&got, dir)
            }
            Language::JavaScript => {
                let got = dir.join("got");
                fs::create_dir(&got)?;
                Tool::npm().arg("pack").arg("--silent").arg(format!("{package}@{version}")).at(&got).run()?;
                unpack(&got, dir)
            }
            Language::Rust => {
                let asks = dir.join("asks");
                write(&asks.join("src/lib.rs"), "")?;
                let head = "[package]\nname = \"asks\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[workspace]\n[dependencies]\n";
                write(&asks.join("Cargo.toml"), &format!("{head}it = {{ package = \"{package}\", version = \"={version}\" }}\n"))?;
                let vendored = dir.join("vendored");
                Tool::cargo().arg("vendor").arg("--quiet").arg("--versioned-dirs").arg(&vendored).at(&asks).run()?;
                fs::rename(vendored.join(format!("{package}-{version}")), dir.join("files"))?;
                fs::remove_dir_all(&vendored)?;
                fs::remove_dir_all(&asks)?;
                Ok(())
            }
        })
        .map(|dir| dir.join("files"))
        .with_context(|| format!("{}: fetch {package} {version}", self.name))
    }

    fn prepare_python(&self, cache: &Path, prepared: &mut Prepared) -> Result<()> {
        let wanted = self.wanted("==");
        let dir = once(
            cache,
            &format!("python-{}", digest(&wanted.join(" "))),
            |dir| {
                Tool::pip()
                    .arg("install")
                    .arg("--quiet")
                    .arg("--no-warn-script-location")
                    .arg("--target")
                    .arg(dir.join("site"))
                    .args(&wanted)
                    .run()
            },
        )
        .with_context(|| format!("{}: fetch {}", self.name, wanted.join(" ")))?;
        let site = dir.join("site");
        // Relative entries last: the checkout's own packages, wherever the trial put the checkout.
        prepared.set("PYTHONPATH", format!("{}:src:.", site.display()));
        prepared.set("PYTHONDONTWRITEBYTECODE", "1");
        // What a set holds is told in the same order each time.
        prepared.set("PYTHONHASHSEED", "0");
        prepared.set("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1");
        prepared.outside.push(site);
        Ok(())
    }

    fn prepare_node(&self, cache: &Path, prepared: &mut Prepared) -> Result<()> {
        let wanted = self.wanted("@");
        let dir = once(
            cache,
            &format!("node-{}", digest(&wanted.join(" "))),
            |dir| {
                write(&dir.join("package.json"), "{\"private\": true}\n")?;
                if wanted.is_empty() {
                    return Ok(fs::create_dir(dir.join("node_modules"))?);
                }
                Tool::npm()
                    .arg("install")
                    .arg("--silent")
                    .arg("--no-audit")
                    .arg("--no-fund")
                    .arg("--ignore-scripts")
                    .args(&wanted)
                    .at(dir)
                    .run()
            },
        )
        .with_context(|| format!("{}: fetch {}", self.name, wanted.join(" ")))?;
        let modules = dir.join("node_modules");
        prepared.set("NODE_PATH", modules.display().to_string());
        prepared.outside.push(modules);
        Ok(())
    }

    fn prepare_cargo(&self, cache: &Path, prepared: &mut Prepared) -> Result<()> {
        let pins = self.wanted("@");
        let key = format!(
            "cargo-{}-{}",
            flat(&self.name),
            digest(&format!("{} {} {}", self.package, self.new, pins.join(" ")))
        );
        let dir = once(cache, &key, |dir| {
            let asks = dir.join("asks");
            copy_tree(&prepared.new, &files_in(&prepared.new)?, &asks)?;
            let _ = fs::remove_file(asks.join("Cargo.lock"));
            let manifest = asks.join("Cargo.toml");
            write(&manifest, &own_workspace(read(&manifest)?))?;
            Tool::cargo()
                .arg("generate-lockfile")
                .arg("--quiet")
                .at(&asks)
                .run()?;
            for (name, version) in &self.dependencies {
                Tool::cargo()
                    .arg("update")
                    .arg("--quiet")
                    .arg("--package")
                    .arg(name)
                    .arg("--precise")
                    .arg(version)
                    .at(&asks)
                    .run()?;
            }
            let vendor = dir.join("vendor");
            fs::create_dir(&vendor)?;
            Tool::cargo()
                .arg("vendor")
                .arg("--quiet")
                .arg("--locked")
                .arg("--versioned-dirs")
                .arg(&vendor)
                .at(&asks)
                .run()?;
            fs::rename(asks.join("Cargo.lock"), dir.join("Cargo.lock"))?;
            fs::remove_dir_all(&asks)?;
            Ok(())
        })
        .with_context(|| format!("{}: fetch what its tests build on", self.name))?;
        // A home of its own, so that a run is offline and sees neither the user's settings nor the user's registry.
        let home = dir.join("home");
        let settings = format!(
            "[net]\noffline = true\n[source.crates-io]\nreplace-with = \"vendored\"\n[source.vendored]\ndirectory = {:?}\n",
            dir.join("vendor").display().to_string()
        );
        write(&home.join("config.toml"), &settings)?;
        prepared.set("CARGO_HOME", home.display().to_string());
        prepared.set("CARGO_TERM_COLOR", "never");
        // Of two targets that do not build the same one is told first.
        prepared.set("CARGO_BUILD_JOBS", "1");
        prepared.lock = Some(read(&dir.join("Cargo.lock"))?);
        prepared.outside.push(dir);
        // What does not build yet may be the very thing to mend; its dependencies are built all the same.
        prepared.setup = Some("cargo build --tests --keep-going || true".into());
        Ok(())
    }

    fn wanted(&self, glue: &str) -> Vec<String> {
        self.dependencies
            .iter()
            .map(|(name, version)| format!("{name}{glue}{version}"))
            .collect()
    }

    fn is_test(&self, path: &str) -> bool {
        self.tests.iter().any(|glob| matches(glob, path))
    }

    fn is_source(&self, path: &str) -> bool {
        !self.is_test(path) && self.sources.iter().any(|glob| matches(glob, path))
    }

    /// Whether a released file belongs into the repository at all.
    fn belongs(&self, path: &str) -> bool {
        // What packaging adds, and what changes the meaning of a checkout, a toolchain or a git command behind our back.
        const NEVER: &[&str] = &[
            ".gitattributes",
            "**/.gitattributes",
            ".gitmodules",
            ".git/**",
            ".github/**",
            ".idea/**",
            ".python-version",
            "PKG-INFO",
            "*.egg-info/**",
            "**/__pycache__/**",
            "node_modules/**",
            "package-lock.json",
            "Cargo.lock",
            "Cargo.toml.orig",
            ".cargo-checksum.json",
            ".cargo_vcs_info.json",
            ".cargo-ok",
            ".cargo/**",
            "rust-toolchain*",
        ];
        !NEVER.iter().any(|glob| matches(glob, path))
            && !self.exclude.iter().any(|glob| matches(glob, path))
    }
}

impl Language {
    fn slug(self) -> &'static str {
        match self {
            Language::Python => "python",
            Language::JavaScript => "javascript",
            Language::Rust => "rust",
        }
    }

    fn comment(self, text: &str) -> String {
        match self {
            Language::Python => format!("# {text}\n"),
            Language::JavaScript | Language::Rust => format!("// {text}\n"),
        }
    }
}

/// A case whose releases and dependencies are in the cache. From here on nothing needs the network.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub case: Case,
    old: PathBuf,
    new: PathBuf,
    lock: Option<String>,
    env: BTreeMap<String, String>,
    outside: Vec<PathBuf>,
    setup: Option<String>,
}

/// The story in git: a bare origin whose `main` has exactly two commits.
#[derive(Debug, Clone)]
pub struct Repo {
    pub origin: PathBuf,
    /// The green commit before the push.
    pub base: String,
    /// The push. The same from run to run and machine to machine, as long as the case and cargo's lock format are.
    pub head: String,
    /// Shell command that runs the suite.
    pub test: String,
    pub env: BTreeMap<String, String>,
    /// Directories outside the repository that a run reads; a sandbox must show them.
    pub outside: Vec<PathBuf>,
    /// Shell command that prepares a work tree, where there is something to build once.
    pub setup: Option<String>,
    /// Source files of the release that fixed the bug, as far as they differ from head.
    pub true_fix: Vec<Edit>,
}

type Tree = BTreeMap<String, Vec<u8>>;

impl Prepared {
    fn set(&mut self, key: &str, value: impl Into<String>) {
        self.env.insert(key.to_string(), value.into());
    }

    /// Creates `dest/origin.git`. `dest` is created when missing, and must not hold an origin yet.
    pub fn materialize(&self, dest: &Path) -> Result<Repo> {
        fs::create_dir_all(dest)?;
        let dest = dest.canonicalize()?;
        let origin = dest.join("origin.git");
        ensure!(!origin.exists(), "{} is there already", origin.display());
        let (base, head) = self.trees()?;
        let (package, old, new) = (&self.case.package, &self.case.old, &self.case.new);
        let (first, second) = match self.case.kind {
            Kind::OldSourcesUnderNewTests => {
                (format!("{package} {new}"), format!("Rework {package}"))
            }
            Kind::TestsAheadOfSources => (
                format!("{package} {old}"),
                format!("Extend the tests of {package}"),
            ),
        };

        let git = Git {
            dir: origin.clone(),
        };
        git.run(&["init", "--quiet", "--bare", "--initial-branch=main"], 0)?;
        let base = git.commit(&base, &first, None, 0)?;
        let head = git.commit(&head, &second, Some(&base), 1)?;
        git.run(&["update-ref", "refs/heads/main", &head], 1)?;
        Ok(Repo {
            origin,
            base,
            head,
            test: self.case.test.clone(),
            env: self.env.clone(),
            outside: self.outside.clone(),
            setup: self.setup.clone(),
            true_fix: self.true_fix()?,
        })
    }

    /// The fix that the package's author released: what to write over head to make it green.
    pub fn true_fix(&self) -> Result<Vec<Edit>> {
        let (_, head) = self.trees()?;
        edits(&head, &self.tree(&self.new)?, |path| {
            self.case.is_source(path)
        })
    }

    /// A wrong answer that looks like work: it touches a file the true fix touches, applies, builds, and fixes nothing.
    pub fn wrong_plausible(&self) -> Result<Edit> {
        let (_, head) = self.trees()?;
        let fix = self.true_fix()?;
        let fixed = fix
            .iter()
            .map(|(path, _)| path)
            .find(|path| head.contains_key(*path) && is_code(path));
        let path = fixed.context("the true fix touches no code that head has")?;
        let mut text = utf8(path, &head[path])?;
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(
            &self
                .case
                .language
                .comment("Handles the reported regression."),
        );
        Ok((path.clone(), Some(text)))
    }

    /// A dishonest answer: the tests as they were in `old`, so that the failing ones are gone or ask for the bug.
    pub fn cheat(&self) -> Result<Vec<Edit>> {
        let (_, head) = self.trees()?;
        let mut before = self.tree(&self.old)?;
        before.retain(|path, _| self.case.is_test(path));
        edits(&head, &before, |path| {
            self.case.is_test(path) && is_code(path)
        })
    }

    /// What base and head hold.
    fn trees(&self) -> Result<(Tree, Tree)> {
        let (old, new) = (self.tree(&self.old)?, self.tree(&self.new)?);
        let with = |pick: &dyn Fn(&str) -> bool| -> Tree {
            let kept = new.iter().filter(|(path, _)| !pick(path));
            let taken = old.iter().filter(|(path, _)| pick(path));
            kept.chain(taken)
                .map(|(path, bytes)| (path.clone(), bytes.clone()))
                .collect()
        };
        let old_sources = with(&|path| self.case.is_source(path));
        Ok(match self.case.kind {
            Kind::OldSourcesUnderNewTests => (new.clone(), old_sources),
            Kind::TestsAheadOfSources => (
                with(&|path| self.case.is_source(path) || self.case.is_test(path)),
                old_sources,
            ),
        })
    }

    fn tree(&self, release: &Path) -> Result<Tree> {
        let mut tree = Tree::new();
        for path in files_in(release)? {
            let name = path
                .to_str()
                .with_context(|| format!("{} is not a name for git", path.display()))?;
            if self.case.belongs(name) {
                tree.insert(name.to_string(), fs::read(release.join(&path))?);
            }
        }
        if let Some(lock) = &self.lock {
            tree.insert("Cargo.lock".into(), lock.clone().into_bytes());
            let manifest = tree
                .get("Cargo.toml")
                .context("a crate without Cargo.toml")?;
            let manifest = own_workspace(utf8("Cargo.toml", manifest)?);
            tree.insert("Cargo.toml".into(), manifest.into_bytes());
        }
        Ok(tree)
    }
}

fn edits(from: &Tree, to: &Tree, pick: impl Fn(&str) -> bool) -> Result<Vec<Edit>> {
    let paths: BTreeSet<&String> = from
        .keys()
        .chain(to.keys())
        .filter(|path| pick(path))
        .collect();
    let mut edits = Vec::new();
    for path in paths {
        if from.get(path) != to.get(path) {
            let content = to.get(path).map(|bytes| utf8(path, bytes)).transpose()?;
            edits.push((path.clone(), content));
        }
    }
    Ok(edits)
}

/// A checkout below another workspace, such as ours, must not be taken for a stray member of it.
fn own_workspace(manifest: String) -> String {
    if manifest.contains("[workspace]") {
        manifest
    } else {
        format!("{manifest}\n[workspace]\n")
    }
}

fn is_code(path: &str) -> bool {
    matches!(
        Path::new(path).extension().and_then(OsStr::to_str),
        Some("py" | "js" | "rs")
    )
}

fn utf8(path: &str, bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).with_context(|| format!("{path} is not UTF-8"))
}

/// Git on one bare repository, deaf to the machine's and the user's settings, always the same author and hour.
struct Git {
    dir: PathBuf,
}

impl Git {
    fn command(&self, hour: u32) -> Command {
        let mut git = Command::new("git");
        let date = format!("2024-05-01T0{hour}:00:00Z");
        for key in [
            "GIT_WORK_TREE",
            "GIT_INDEX_FILE",
            "GIT_OBJECT_DIRECTORY",
            "GIT_ALTERNATE_OBJECT_DIRECTORIES",
            "GIT_CONFIG_PARAMETERS",
            "GIT_CONFIG_COUNT",
            "GIT_TEMPLATE_DIR",
            "GIT_DEFAULT_HASH",
        ] {
            git.env_remove(key);
        }
        git.env("GIT_DIR", &self.dir)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null");
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "Case")
                .env(format!("GIT_{who}_EMAIL"), "case@example.invalid");
            git.env(format!("GIT_{who}_DATE"), &date);
        }
        git
    }

    fn run(&self, args: &[&str], hour: u32) -> Result<String> {
        let mut git = self.command(hour);
        git.args(args);
        Tool {
            command: git,
            hint: "install git (`apt-get install git`)",
        }
        .output()
    }

    fn commit(
        &self,
        tree: &Tree,
        message: &str,
        parent: Option<&str>,
        hour: u32,
    ) -> Result<String> {
        let work = tempfile::tempdir()?;
        let index = work.path().join("index");
        let files = work.path().join("files");
        for (path, bytes) in tree {
            let path = files.join(path);
            fs::create_dir_all(path.parent().expect("a file has a parent"))?;
            fs::write(path, bytes)?;
        }
        let mut add = self.command(hour);
        // --force: a released .gitignore may name released files.
        add.env("GIT_INDEX_FILE", &index)
            .env("GIT_WORK_TREE", &files)
            .current_dir(&files);
        add.args([
            "-c",
            "core.autocrlf=false",
            "-c",
            "core.safecrlf=false",
            "-c",
            "core.bare=false",
            "add",
            "--all",
            "--force",
            ".",
        ]);
        Tool {
            command: add,
            hint: "install git",
        }
        .output()?;
        let mut write_tree = self.command(hour);
        write_tree.env("GIT_INDEX_FILE", &index).arg("write-tree");
        let tree = Tool {
            command: write_tree,
            hint: "install git",
        }
        .output()?;
        let mut args = vec!["commit-tree", tree.as_str(), "-m", message];
        if let Some(parent) = parent {
            args.extend(["-p", parent]);
        }
        self.run(&args, hour)
    }
}

/// A client of the outside world. A failure names the whole command, what it said, and how to get what is missing.
struct Tool {
    command: Command,
    hint: &'static str,
}

impl Tool {
    fn pip() -> Tool {
        let mut tool = Tool::new(
            "python3",
            "needs Python 3.9+ with pip (`apt-get install python3-pip`) and a reachable package index",
        );
        tool.command
            .args(["-m", "pip", "--disable-pip-version-check"])
            .env("PIP_ROOT_USER_ACTION", "ignore");
        tool
    }

    fn npm() -> Tool {
        Tool::new(
            "npm",
            "needs Node.js 20+ with npm (`apt-get install nodejs npm`) and a reachable registry",
        )
    }

    fn cargo() -> Tool {
        Tool::new(
            "cargo",
            "needs cargo (rustup, or `apt-get install cargo`) and a reachable registry",
        )
    }

    fn new(program: &str, hint: &'static str) -> Tool {
        Tool {
            command: Command::new(program),
            hint,
        }
    }

    fn arg(mut self, arg: impl AsRef<OsStr>) -> Tool {
        self.command.arg(arg);
        self
    }

    fn args(mut self, args: &[String]) -> Tool {
        self.command.args(args);
        self
    }

    fn at(mut self, dir: &Path) -> Tool {
        self.command.current_dir(dir);
        self
    }

    fn run(self) -> Result<()> {
        self.output().map(drop)
    }

    fn output(mut self) -> Result<String> {
        let line: Vec<_> = std::iter::once(self.command.get_program())
            .chain(self.command.get_args())
            .map(OsStr::to_string_lossy)
            .collect();
        let line = line.join(" ");
        let output = self
            .command
            .output()
            .with_context(|| format!("`{line}` did not start; it {}", self.hint))?;
        if !output.status.success() {
            let said = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            let last: Vec<&str> = said.lines().rev().take(15).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            bail!(
                "`{line}` failed ({}); it {}\n{}",
                output.status,
                self.hint,
                last.join("\n")
            );
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_string())
    }
}

/// Makes `cache/key` by `make`, unless it is there. It appears whole or not at all: a fetch that was cut short leaves
/// nothing that a later run would trust, and of two that race the first wins.
fn once(cache: &Path, key: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let done = cache.join(key);
    if done.is_dir() {
        return Ok(done);
    }
    let making = tempfile::Builder::new()
        .prefix(".making-")
        .tempdir_in(cache)?;
    make(making.path())?;
    let making = making.keep();
    if let Err(error) = fs::rename(&making, &done) {
        let _ = fs::remove_dir_all(&making);
        ensure!(done.is_dir(), "keep {}: {error}", done.display());
    }
    Ok(done)
}

/// Unpacks the one archive in `got` to `dir/files`, without the single folder that such archives begin with.
fn unpack(got: &Path, dir: &Path) -> Result<()> {
    let archives = files_in(got)?;
    let [archive] = archives.as_slice() else {
        bail!("expected one archive, got {archives:?}")
    };
    let files = dir.join("files");
    fs::create_dir(&files)?;
    Tool::new("tar", "needs tar")
        .arg("--extract")
        .arg("--gzip")
        .arg("--strip-components=1")
        .arg("--no-same-owner")
        .arg("--file")
        .arg(got.join(archive))
        .arg("--directory")
        .arg(&files)
        .run()?;
    fs::remove_dir_all(got)?;
    Ok(())
}

/// The regular files below `root`, relative to it, in order. Links and the like are not followed and not listed.
fn files_in(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut open) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(root.join(&dir))
            .with_context(|| format!("read {}", root.join(&dir).display()))?
        {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, dir.join(entry.file_name()));
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn copy_tree(from: &Path, files: &[PathBuf], to: &Path) -> Result<()> {
    for path in files {
        let target = to.join(path);
        fs::create_dir_all(target.parent().expect("a file has a parent"))?;
        fs::copy(from.join(path), target)?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::create_dir_all(path.parent().expect("a file has a parent"))?;
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// A package name as one path segment: `@scope/name` has a slash.
fn flat(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-._".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect()
}

/// FNV-1a, to name a directory after what it holds.
fn digest(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// `*` stands for anything within one segment, `**` for any number of segments (at the end: at least one).
fn matches(glob: &str, path: &str) -> bool {
    fn segments(glob: &[&str], path: &[&str]) -> bool {
        match (glob.split_first(), path.split_first()) {
            (None, None) => true,
            (Some((&"**", [])), rest) => rest.is_some(),
            (Some((&"**", more)), Some((_, rest))) => segments(more, path) || segments(glob, rest),
            (Some((one, more)), Some((name, rest))) => {
                segment(one.as_bytes(), name.as_bytes()) && segments(more, rest)
            }
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
    fn segment(glob: &[u8], name: &[u8]) -> bool {
        match (glob.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', more)), _) => {
                segment(more, name)
                    || name
                        .split_first()
                        .is_some_and(|(_, rest)| segment(glob, rest))
            }
            (Some((a, more)), Some((b, rest))) => a == b && segment(more, rest),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
    segments(
        &glob.split('/').collect::<Vec<_>>(),
        &path.split('/').collect::<Vec<_>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: &str = r#"
        name = "sample"
        language = "python"
        package = "sample"
        old = "1.0"
        new = "1.1"
        kind = "old-sources-under-new-tests"
        story = "Said no where it meant yes."
        sources = ["src/**"]
        tests = ["tests/**", "src/**/test_*.py"]
        exclude = ["tests/slow.py"]
        test = "true"
        failing = ["tests.test_sample::test_yes"]
        passing_at_base = 2
        hunks = 1
        seconds = 0.1
    "#;

    fn release(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            write(&dir.path().join(path), text).unwrap();
        }
        dir
    }

    fn prepared(case: Case, old: &Path, new: &Path) -> Prepared {
        let (old, new) = (old.to_path_buf(), new.to_path_buf());
        Prepared {
            case,
            old,
            new,
            lock: None,
            env: BTreeMap::new(),
            outside: Vec::new(),
            setup: None,
        }
    }

    fn show(repo: &Repo, at: &str) -> Option<String> {
        Git {
            dir: repo.origin.clone(),
        }
        .run(&["show", at], 0)
        .ok()
    }

    #[test]
    fn a_glob_knows_a_segment_from_a_path() {
        assert!(matches("parse.py", "parse.py") && !matches("parse.py", "src/parse.py"));
        assert!(matches("src/*.rs", "src/lib.rs") && !matches("src/*.rs", "src/nfa/mod.rs"));
        assert!(
            matches("src/**", "src/nfa/mod.rs")
                && !matches("src/**", "src")
                && !matches("src/**", "srcs/a")
        );
        assert!(matches("**/test_*.py", "test_a.py") && matches("**/test_*.py", "a/b/test_c.py"));
        assert!(matches("**/__pycache__/**", "tests/__pycache__/a.pyc") && !matches("a*c", "ab"));
    }

    #[test]
    fn a_word_the_case_file_does_not_know_is_refused() {
        assert!(Case::parse(CASE).is_ok());
        let error = Case::parse(&format!("{CASE}\nretries = 3\n")).unwrap_err();
        assert!(error.to_string().contains("retries"), "{error}");
    }

    #[test]
    fn a_push_of_old_sources_keeps_the_new_tests() {
        let old = release(&[
            ("src/a.py", "no\n"),
            ("src/gone.py", "old\n"),
            ("tests/test_sample.py", "weak\n"),
            ("PKG-INFO", "1.0"),
        ]);
        let new = release(&[
            ("src/a.py", "yes\n"),
            ("src/come.py", "new\n"),
            ("tests/test_sample.py", "strong\n"),
            ("tests/slow.py", "x"),
        ]);
        let case = prepared(Case::parse(CASE).unwrap(), old.path(), new.path());
        let dest = tempfile::tempdir().unwrap();
        let repo = case.materialize(dest.path()).unwrap();

        assert_eq!(
            show(&repo, &format!("{}:src/a.py", repo.base)).as_deref(),
            Some("yes")
        );
        assert_eq!(show(&repo, "main:src/a.py").as_deref(), Some("no"));
        assert_eq!(
            show(&repo, "main:tests/test_sample.py").as_deref(),
            Some("strong")
        );
        assert_eq!(show(&repo, "main:src/come.py"), None);
        assert_eq!(
            show(&repo, &format!("{}:tests/slow.py", repo.base)),
            None,
            "excluded"
        );
        assert_eq!(
            repo.true_fix,
            [
                ("src/a.py".into(), Some("yes\n".into())),
                ("src/come.py".into(), Some("new\n".into())),
                ("src/gone.py".into(), None)
            ]
        );
        assert_eq!(
            case.cheat().unwrap(),
            [("tests/test_sample.py".into(), Some("weak\n".into()))]
        );
        let (path, wrong) = case.wrong_plausible().unwrap();
        assert_eq!(path, "src/a.py");
        assert!(wrong.unwrap().starts_with("no\n# "));
    }

    #[test]
    fn a_push_of_tests_alone_leaves_the_sources_be() {
        let old = release(&[
            ("src/a.py", "no\n"),
            ("tests/test_sample.py", "weak\n"),
            ("setup.cfg", "1.0"),
        ]);
        let new = release(&[
            ("src/a.py", "yes\n"),
            ("tests/test_sample.py", "strong\n"),
            ("setup.cfg", "1.1"),
        ]);
        let case = Case {
            kind: Kind::TestsAheadOfSources,
            ..Case::parse(CASE).unwrap()
        };
        let case = prepared(case, old.path(), new.path());
        let dest = tempfile::tempdir().unwrap();
        let repo = case.materialize(dest.path()).unwrap();
        let changed = Git {
            dir: repo.origin.clone(),
        }
        .run(&["diff", "--name-only", &repo.base, &repo.head], 0)
        .unwrap();
        assert_eq!(changed, "tests/test_sample.py");
        assert_eq!(repo.true_fix, [("src/a.py".into(), Some("yes\n".into()))]);
    }

    #[test]
    fn the_same_case_has_the_same_commits_everywhere() {
        let old = release(&[
            ("src/a.py", "no\n"),
            ("tests/t.py", "t\n"),
            (".gitignore", "tests\n"),
            (".gitattributes", "* text=auto\n"),
        ]);
        let new = release(&[("src/a.py", "yes\r\n"), ("tests/t.py", "t\n")]);
        let case = prepared(Case::parse(CASE).unwrap(), old.path(), new.path());
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (one, two) = (
            case.materialize(one.path()).unwrap(),
            case.materialize(two.path()).unwrap(),
        );
        assert_eq!((&one.base, &one.head), (&two.base, &two.head));
        assert_ne!(one.base, one.head);
    }

    #[test]
    fn a_fetch_that_failed_leaves_nothing_to_trust() {
        let cache = tempfile::tempdir().unwrap();
        let failed = once(cache.path(), "thing", |dir| {
            write(&dir.join("half"), "x")?;
            bail!("cut short")
        });
        assert!(failed.is_err() && fs::read_dir(cache.path()).unwrap().next().is_none());
        once(cache.path(), "thing", |dir| write(&dir.join("whole"), "x")).unwrap();
        once(cache.path(), "thing", |_| panic!("made twice")).unwrap();
    }

    #[test]
    fn a_missing_tool_is_named_with_the_way_to_get_it() {
        let error = Tool::new("no-such-tool", "needs a miracle")
            .arg("fetch")
            .run()
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("`no-such-tool fetch` did not start; it needs a miracle"),
            "{error}"
        );
    }

    #[test]
    fn the_corpus_spans_three_languages_and_both_kinds() {
        let cases = all().unwrap();
        let of = |language| {
            cases
                .iter()
                .filter(|case| case.language == language)
                .count()
        };
        assert!(
            cases.len() >= 10
                && of(Language::Python) >= 4
                && of(Language::JavaScript) >= 3
                && of(Language::Rust) >= 3
        );
        assert!(
            cases
                .iter()
                .any(|case| case.kind == Kind::TestsAheadOfSources)
        );
        assert!(
            cases
                .iter()
                .any(|case| case.deciding_hunks.is_some_and(|some| some < case.hunks))
        );
        for case in &cases {
            assert!(
                case.passing_at_base >= 30 && case.failing.len() <= 22,
                "{}",
                case.name
            );
            let ids: BTreeSet<_> = case.failing.iter().chain(&case.red_before).collect();
            assert_eq!(
                ids.len(),
                case.failing.len() + case.red_before.len(),
                "{} names a test twice",
                case.name
            );
        }
    }
}
