//! A small world for a story: an origin, a daemon or `fix`, a scripted model, and the log they leave.
//!
//! Touches: files, processes, git, http, sqlite.
//! Change here: when stories need another prop. Everything in it is real but the model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use changebus::event::Event;
use scripted_claude::{Script, Server};
use serde_json::Value;

use crate::cases::{Prepared, Repo};
use crate::python::python_packages;

/// A story that takes longer than this has come to a halt.
const PATIENCE: Duration = Duration::from_secs(180);

/// The pytest every Python project of the stories runs on.
pub const PYTEST: &str = "pytest==8.4.2";

/// One origin, one state directory, one scripted model.
pub struct World {
    dir: tempfile::TempDir,
    pub model: Server,
    policy: String,
    variants: String,
    interval_seconds: u64,
    /// Half a push taken back may leave code that never ends, so a test run gets a minute.
    test_timeout_seconds: u64,
    test: String,
    sandbox: String,
    extra: String,
    tables: String,
    claude: String,
    env: BTreeMap<String, String>,
    plugins: Vec<PathBuf>,
}

impl World {
    /// A world whose model answers as the script says. The origin is an empty bare repository.
    pub async fn new(script: Script) -> World {
        let world = World::without_origin(script).await;
        world.git_in(
            world.path(),
            &[
                "init",
                "--quiet",
                "--bare",
                "--initial-branch=main",
                "origin.git",
            ],
        );
        world.git_in(
            world.path(),
            &["init", "--quiet", "--initial-branch=main", "clone"],
        );
        world.git(&[
            "remote",
            "add",
            "origin",
            &world.origin().display().to_string(),
        ]);
        world
    }

    /// A world around a real case: its origin, its test command, its environment. It has no clone.
    pub async fn around(case: &Prepared, script: Script) -> (World, Repo) {
        let mut world = World::without_origin(script).await;
        let repo = case
            .materialize(world.path())
            .unwrap_or_else(|e| panic!("{}: {e:#}", case.case.name));
        world.test = repo.test.clone();
        if let Some(setup) = &repo.setup {
            world.project(&format!("setup = {setup:?}"));
        }
        world.env = repo.env.clone();
        (world, repo)
    }

    async fn without_origin(script: Script) -> World {
        let (test, env) = pytest();
        let world = World {
            dir: tempfile::tempdir().expect("a temporary directory can be made"),
            model: Server::start(script)
                .await
                .expect("the scripted model can listen on loopback"),
            policy: String::new(),
            variants: String::new(),
            interval_seconds: 1,
            test_timeout_seconds: 60,
            test,
            sandbox: format!(
                "read = {}",
                toml::Value::try_from(shown()).expect("paths can be written as TOML")
            ),
            extra: String::new(),
            tables: String::new(),
            claude: String::new(),
            env,
            plugins: vec![crate::guests::plugin_dir(), crate::guests::guest_dir()],
        };
        world.share_compiled_plugins();
        world
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    fn share_compiled_plugins(&self) {
        std::fs::create_dir_all(self.state()).expect("the state directory can be made");
        std::os::unix::fs::symlink(crate::guests::cache(), self.state().join("cache"))
            .expect("a link can be made in the state directory");
    }

    pub fn origin(&self) -> PathBuf {
        self.path().join("origin.git")
    }

    pub fn checkout(&self) -> PathBuf {
        self.path().join("clone")
    }

    /// TOML lines of `[projects.app.policy]`.
    pub fn policy(&mut self, lines: &str) -> &mut World {
        self.policy = lines.to_owned();
        self
    }

    /// `name = strategy` pairs instead of the default three; config as a TOML inline table.
    pub fn variants(&mut self, variants: &[(&str, &str, &str)]) -> &mut World {
        let one = |(name, strategy, config): &(&str, &str, &str)| {
            format!(
                "[[projects.app.variants]]\nname = \"{name}\"\nstrategy = \"{strategy}\"\nconfig = {config}\n\n"
            )
        };
        self.variants = variants.iter().map(one).collect();
        self
    }

    /// Other directories of plugins than the bundled ones and the test guests.
    pub fn plugins(&mut self, dirs: &[PathBuf]) -> &mut World {
        self.plugins = dirs.to_vec();
        self
    }

    /// Further TOML lines of `[projects.app]`.
    pub fn project(&mut self, lines: &str) -> &mut World {
        self.extra = lines.to_owned();
        self
    }

    /// Further tables of the configuration, such as `[plugins.limits]`.
    pub fn tables(&mut self, lines: &str) -> &mut World {
        self.tables = lines.to_owned();
        self
    }

    /// Another test command than pytest.
    /// The tables as they are, but for this.
    pub fn replace_in_tables(&mut self, old: &str, new: &str) -> &mut World {
        assert!(self.tables.contains(old), "{old} is not in {}", self.tables);
        self.tables = self.tables.replace(old, new);
        self
    }

    /// Between two looks at the origin that nobody asked for.
    pub fn looks_every(&mut self, seconds: u64) -> &mut World {
        self.interval_seconds = seconds;
        self
    }

    pub fn test(&mut self, command: &str) -> &mut World {
        self.test = command.to_owned();
        self
    }

    /// For stories in which a run has to know of an earlier one, or of the story: in a cell nothing does.
    pub fn without_a_sandbox(&mut self) -> &mut World {
        self.sandbox = "off = true".to_owned();
        self
    }

    /// Runs this before the tests, whatever comes of it.
    pub fn before_the_tests(&mut self, line: &str) -> &mut World {
        self.test = format!("{line}; {}", self.test);
        self
    }

    /// Setups install with the settings that this machine has for its package indexes, as an operator would write them into
    /// the project.
    pub fn with_the_machines_indexes(&mut self) -> &mut World {
        // Of cargo's own variables most are about the build of these stories, its home among them.
        let about_indexes = [
            "PIP_",
            "NPM_CONFIG_",
            "npm_config_",
            "CARGO_REGISTRIES_",
            "CARGO_SOURCE_",
            "CARGO_HTTP_",
            "CARGO_NET_",
            "SSL_CERT_",
        ];
        let mut read = shown();
        for (name, value) in std::env::vars() {
            if about_indexes.iter().any(|prefix| name.starts_with(prefix)) {
                if Path::new(&value).is_absolute() && Path::new(&value).exists() {
                    read.push(PathBuf::from(&value));
                }
                self.env.insert(name, value);
            }
        }
        let npmrc = PathBuf::from(std::env::var("HOME").unwrap_or_default()).join(".npmrc");
        if let Ok(text) = std::fs::read_to_string(npmrc) {
            let copy = self.path().join("npmrc");
            put(&copy, &text);
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            std::fs::set_permissions(&copy, open).expect("its mode can be set");
            self.env
                .insert("NPM_CONFIG_USERCONFIG".into(), copy.display().to_string());
            read.push(copy);
        }
        let read = toml::Value::try_from(read).expect("paths can be written as TOML");
        self.sandbox = format!("read = {read}");
        self
    }

    /// What the project's commands run with beside all else.
    pub fn env(&mut self, name: &str, value: &str) -> &mut World {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// For stories in which something never ends.
    pub fn test_timeout(&mut self, seconds: u64) -> &mut World {
        self.test_timeout_seconds = seconds;
        self
    }

    /// Further TOML lines of `[claude]`.
    pub fn claude(&mut self, lines: &str) -> &mut World {
        self.claude = lines.to_owned();
        self
    }

    /// Writes these files in the clone, commits and pushes them; `None` deletes. The commit's id.
    pub fn push(&self, message: &str, files: &[(&str, Option<&str>)]) -> String {
        self.commit(message, files);
        self.git(&["push", "--quiet", "--force", "origin", "HEAD:main"]);
        self.git(&["rev-parse", "HEAD"])
    }

    pub fn commit(&self, message: &str, files: &[(&str, Option<&str>)]) {
        for (path, text) in files {
            let path = self.checkout().join(path);
            match text {
                Some(text) => {
                    std::fs::create_dir_all(path.parent().expect("a file has a directory"))
                        .expect("it can be made");
                    std::fs::write(&path, text).expect("a file of the clone can be written");
                }
                None => std::fs::remove_file(&path).expect("a file of the clone can be removed"),
            }
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
    }

    /// Git in the clone; its trimmed output.
    pub fn git(&self, args: &[&str]) -> String {
        self.git_in(&self.checkout(), args)
    }

    pub fn git_in(&self, dir: &Path, args: &[&str]) -> String {
        let output = git(dir, args);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {args:?}: {words}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The origin's main branch.
    pub fn tip(&self) -> String {
        self.git_in(&self.origin(), &["rev-parse", "main"])
    }

    /// A file at the origin's tip.
    pub fn at_tip(&self, path: &str) -> String {
        self.git_in(&self.origin(), &["show", &format!("main:{path}")])
    }

    pub fn config(&self) -> PathBuf {
        let path = self.path().join("changebus.toml");
        let text = |s: &str| toml::Value::String(s.to_owned()).to_string();
        let toml = |s: &Path| text(&s.display().to_string());
        let env = toml::Value::try_from(&self.env).expect("an environment can be written as TOML");
        put(&self.path().join("key"), "scripted-key-of-a-story");
        let text = format!(
            "[host]\nstate = {}\nplugins = {}\n\n[watch]\ninterval_seconds = {}\n\n\
             [claude]\nbase_url = \"{}\"\napi_key = {{ file = {} }}\n{}\n\n\
             [projects.app]\nrepo = {}\ntest_timeout_seconds = {}\ntest = {}\nenv = {}\nsandbox.{}\n{}\n\n[projects.app.policy]\n{}\n\n{}\n\n{}",
            toml(&self.state()),
            toml::Value::try_from(&self.plugins).expect("paths can be written as TOML"),
            self.interval_seconds,
            self.model.base_url(),
            toml(&self.path().join("key")),
            self.claude,
            toml(&self.origin()),
            self.test_timeout_seconds,
            text(&self.test),
            env,
            self.sandbox,
            self.extra,
            self.policy_with_few_reruns(),
            self.variants,
            self.tables,
        );
        put(&path, &text);
        path
    }

    /// Stories about something else than triage need not run what failed sixteen times.
    fn policy_with_few_reruns(&self) -> String {
        let own = self.policy.lines().any(|line| line.starts_with("reruns"));
        let few = if own { "" } else { "reruns = 1\n" };
        format!("{few}{}", self.policy)
    }

    /// `changebus <args>` with this world's configuration.
    pub fn changebus(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.arg("--config").arg(self.config()).args(args);
        command
            .env_remove("FAILPOINTS")
            .env_remove("ANTHROPIC_API_KEY")
            .stdin(Stdio::null());
        command
    }

    /// `fix --json` on the origin; the printed object and the exit code.
    pub fn fix(&self, args: &[&str]) -> (Value, i32) {
        let origin = self.origin().display().to_string();
        let mut all = vec!["fix", origin.as_str(), "--project", "app", "--json"];
        all.extend(args);
        let output = self
            .changebus(&all)
            .output()
            .expect("changebus can be started");
        let words = String::from_utf8_lossy(&output.stderr);
        let story = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("no JSON ({e}): {words}"));
        (story, output.status.code().unwrap_or(-1))
    }

    /// The daemon; ended when it is dropped.
    pub fn daemon(&self) -> Daemon {
        self.daemon_with(&[])
    }

    /// The daemon with further environment variables, such as FAILPOINTS.
    pub fn daemon_with(&self, env: &[(&str, &str)]) -> Daemon {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path().join("daemon.log"));
        let log = log.expect("the daemon's log can be written");
        let child = self
            .changebus(&["run"])
            .envs(env.iter().copied())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Daemon(child.expect("changebus can be started"))
    }

    pub fn database(&self) -> PathBuf {
        self.state().join("events.sqlite")
    }

    /// Living processes of this world, as [`processes_of`] has them.
    pub fn processes(&self) -> Vec<String> {
        processes_of(self.path())
    }

    /// Every event of the log so far, oldest first.
    pub async fn events(&self) -> Vec<Event> {
        let Ok(store) = changebus::outside::store::Store::open_read_only(&self.database()) else {
            return vec![];
        };
        store
            .events_after(0, 100_000, &Default::default())
            .await
            .unwrap_or_default()
    }

    /// Waits until the log satisfies the story, or fails with what there is.
    pub async fn until(&self, what: &str, satisfied: impl Fn(&[Event]) -> bool) -> Vec<Event> {
        let started = Instant::now();
        loop {
            let events = self.events().await;
            if satisfied(&events) {
                return events;
            }
            if started.elapsed() > PATIENCE {
                let log =
                    std::fs::read_to_string(self.path().join("daemon.log")).unwrap_or_default();
                let facts: Vec<_> = events.iter().map(|e| e.fact.subject(&e.project)).collect();
                panic!("{what} did not come about.\nevents: {facts:#?}\ndaemon: {log}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A running `changebus run`.
pub struct Daemon(pub Child);

impl Daemon {
    /// Waits for it to die by itself, as at a failpoint.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "the daemon did not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGTERM, as a service manager sends it; how it ended.
    pub fn stop(&mut self) -> std::process::ExitStatus {
        let pid = i32::try_from(self.0.id()).expect("process ids are small");
        let sent = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGTERM,
        );
        sent.expect("the daemon still runs");
        self.wait()
    }

    /// Stops it where it stands, and lets it go on.
    pub fn pause(&self, paused: bool) {
        pause(self.0.id(), paused);
    }

    /// SIGKILL, as `kill -9` does.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// SIGSTOP or SIGCONT.
pub fn pause(pid: u32, paused: bool) {
    use nix::sys::signal::{Signal, kill};
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("process ids are small"));
    let signal = if paused {
        Signal::SIGSTOP
    } else {
        Signal::SIGCONT
    };
    // It may have died meanwhile.
    let _ = kill(pid, signal);
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Living processes that name this directory in their arguments, environment, mounts or working directory, one line
/// each. This process is not among them.
pub fn processes_of(dir: &Path) -> Vec<String> {
    let own = std::process::id().to_string();
    let entries = std::fs::read_dir("/proc").expect("the stories run where there is a /proc");
    let pids = entries
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|name| name.bytes().all(|b| b.is_ascii_digit()) && *name != own);
    pids.filter_map(|pid| process_of(dir, &pid)).collect()
}

fn process_of(dir: &Path, pid: &str) -> Option<String> {
    let here = dir.to_str().expect("temporary paths are text");
    let text = |name: &str| {
        let bytes = std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
    let (arguments, environment) = (text("cmdline"), text("environ"));
    // In a cell nothing of a process names this place but its mounts.
    let ours = arguments.contains(here)
        || environment.contains(here)
        || text("mountinfo").contains(here)
        || cwd.to_string_lossy().contains(here);
    ours.then(|| format!("{pid} {arguments} in {}", cwd.display()))
}

/// Writes a file that a daemon may be reading in this moment: it reads the old one or the new one.
pub fn put(path: &Path, text: &str) {
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return;
    }
    let fresh = path.with_extension("fresh");
    let written = std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, path));
    written.unwrap_or_else(|e| panic!("{} cannot be written: {e}", path.display()));
}

/// Git with nobody's configuration and a fixed identity.
pub fn git(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("git");
    command
        .current_dir(dir)
        .args(args)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    for role in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{role}_NAME"), "Ada")
            .env(format!("GIT_{role}_EMAIL"), "ada@example.org");
    }
    command.output().expect("git can be started")
}

fn pytest() -> (String, BTreeMap<String, String>) {
    let test = "python3 -m pytest -q -p no:cacheprovider --junitxml=$CHANGEBUS_REPORT";
    let packages = python_packages(&[PYTEST]).display().to_string();
    let env = [
        ("PYTHONPATH".to_owned(), packages),
        ("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned()),
    ];
    (test.to_owned(), BTreeMap::from(env))
}

/// The built `changebus`, beside this test binary's directory.
pub fn program() -> PathBuf {
    let path = target().join("changebus");
    assert!(
        path.is_file(),
        "{} is not built: run `cargo xtask test`, which builds it first",
        path.display()
    );
    path
}

/// What the projects of the stories read beside their own trees: packages of the registries, fetched once.
pub fn shown() -> Vec<PathBuf> {
    let places = ["python", "cases"].map(kept);
    places.into_iter().filter(|place| place.is_dir()).collect()
}

/// Where things of that kind are kept between runs of the stories. Named without a detour: a cell shows it, and not
/// what the detour leads over.
pub fn kept(kind: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("the stories lie in the workspace")
        .join("target")
        .join(kind)
}

/// The build directory of this profile.
pub fn target() -> PathBuf {
    let exe = std::env::current_exe().expect("a test knows its own path");
    exe.ancestors()
        .nth(2)
        .expect("tests run from target/<profile>/deps")
        .to_owned()
}
