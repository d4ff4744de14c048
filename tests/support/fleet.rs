//! Several hosts, one NATS server, some projects whose tests take a moment: the world of stories about a fleet.
//!
//! Touches: files, processes, git, http, sqlite, network (loopback).
//! Change here: when stories about several hosts need another prop. Everything in it is real but the model.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use changebus::event::{Event, Fact};
use changebus::outside::store::Store;
use scripted_claude::{Reply, Script, Server};

use crate::nats::Nats;
use crate::world::{Daemon, git, program, put};

const PATIENCE: Duration = Duration::from_secs(60);

/// What every project holds while all is well, and what breaks it.
pub const GOOD: &str = "discount=less\n";
pub const BAD: &str = "discount=more\n";
/// Two tests in TAP; the second fails when the discount makes things dearer.
const TESTS: &str = "\
. ./shop.conf
echo 1..2
echo 'ok 1 - the shop opens'
if [ \"$discount\" = less ]; then echo 'ok 2 - a discount makes things cheaper'
else echo 'not ok 2 - a discount makes things cheaper'; exit 1; fi
";
/// What the model says.
const FIX: &str = "\
A discount makes things cheaper.

shop.conf
<<<<<<< SEARCH
discount=more
=======
discount=less
>>>>>>> REPLACE
";

pub struct Fleet {
    dir: tempfile::TempDir,
    pub model: Server,
    pub nats: Nats,
    pub projects: Vec<String>,
    pub hosts: Vec<String>,
    pub lease_seconds: u64,
    pub interval_seconds: u64,
    /// Seconds a run of the tests takes.
    pub test_seconds: f64,
    /// TOML lines of every `[projects.NAME]`.
    pub project_lines: String,
    /// TOML lines of every `[projects.NAME.policy]`.
    pub policy_lines: String,
    /// TOML lines of `[bus]`.
    pub bus_lines: String,
    /// Further tables of every host, and of the first one.
    pub tables: String,
    pub first_host_lines: String,
}

impl Fleet {
    pub async fn new(hosts: &[&str], projects: usize) -> Fleet {
        Fleet::with_nats(hosts, projects, "").await
    }

    /// With a server that has these lines in its configuration.
    pub async fn with_nats(hosts: &[&str], projects: usize, lines: &str) -> Fleet {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let nats = Nats::start(&dir.path().join("nats"), lines);
        let fleet = Fleet {
            model: Server::start(Script::from_fn(|_| Reply::text(FIX)))
                .await
                .expect("the scripted model can listen on loopback"),
            nats,
            projects: (1..=projects).map(|n| format!("p{n}")).collect(),
            hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
            lease_seconds: 3,
            interval_seconds: 1,
            test_seconds: 0.0,
            project_lines: String::new(),
            policy_lines: String::new(),
            bus_lines: String::new(),
            tables: String::new(),
            first_host_lines: String::new(),
            dir,
        };
        for project in &fleet.projects {
            fleet.found(project);
        }
        fleet
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn state(&self, host: &str) -> PathBuf {
        self.path().join(host)
    }

    pub fn origin(&self, project: &str) -> PathBuf {
        self.path().join("origins").join(format!("{project}.git"))
    }

    fn clone_of(&self, project: &str) -> PathBuf {
        self.path().join("clones").join(project)
    }

    fn found(&self, project: &str) {
        let (origin, clone) = (self.origin(project), self.clone_of(project));
        for dir in [&origin, &clone] {
            std::fs::create_dir_all(dir).expect("a directory can be made");
        }
        self.git(
            &origin,
            &["init", "--quiet", "--bare", "--initial-branch=main"],
        );
        self.git(&clone, &["init", "--quiet", "--initial-branch=main"]);
        let remote = origin.display().to_string();
        self.git(&clone, &["remote", "add", "origin", &remote]);
        std::fs::write(clone.join("test.sh"), TESTS).expect("a file can be written");
        self.push(project, "Open the shop", GOOD);
    }

    pub fn git(&self, dir: &Path, args: &[&str]) -> String {
        let output = git(dir, args);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {args:?}: {words}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Commits this shop on top of whatever the branch holds and pushes it; the new tip.
    pub fn push(&self, project: &str, message: &str, shop: &str) -> String {
        let clone = self.clone_of(project);
        loop {
            if git(&clone, &["fetch", "--quiet", "origin", "main"])
                .status
                .success()
            {
                self.git(&clone, &["reset", "--quiet", "--hard", "FETCH_HEAD"]);
            }
            std::fs::write(clone.join("shop.conf"), shop).expect("a file can be written");
            std::fs::write(clone.join("CHANGES"), message).expect("a file can be written");
            self.git(&clone, &["add", "--all"]);
            self.git(
                &clone,
                &["commit", "--quiet", "--allow-empty", "-m", message],
            );
            // A merge may land in between.
            if git(&clone, &["push", "--quiet", "origin", "HEAD:main"])
                .status
                .success()
            {
                return self.git(&clone, &["rev-parse", "HEAD"]);
            }
        }
    }

    pub fn tip(&self, project: &str) -> String {
        self.git(&self.origin(project), &["rev-parse", "main"])
    }

    pub fn at_tip(&self, project: &str, path: &str) -> String {
        self.git(&self.origin(project), &["show", &format!("main:{path}")])
    }

    /// A host's configuration; written anew each time.
    pub fn config(&self, host: &str) -> PathBuf {
        let state = self.state(host);
        std::fs::create_dir_all(&state).expect("the state directory can be made");
        let cache = state.join("cache");
        if !cache.exists() {
            std::os::unix::fs::symlink(crate::guests::cache(), &cache)
                .expect("a link can be made in the state directory");
        }
        let key = self.path().join("key");
        put(&key, "scripted-key-of-a-story");
        let plugins = [crate::guests::plugin_dir(), crate::guests::guest_dir()];
        let test = match self.test_seconds {
            0.0 => "sh test.sh".to_owned(),
            seconds => format!("sleep {seconds}; sh test.sh"),
        };
        let projects: String = self
            .projects
            .iter()
            .map(|name| {
                format!(
                    "[projects.{name}]\nrepo = {:?}\ntest = {test:?}\nreport = \"tap\"\n{}\n\
                     [projects.{name}.policy]\nreruns = 1\nmin_confidence = 0.0\n{}\n\
                     [[projects.{name}.variants]]\nname = \"A\"\nstrategy = \"minimal-fix\"\nconfig = {{ probe = false }}\n",
                    self.origin(name),
                    self.project_lines,
                    self.policy_lines
                )
            })
            .collect();
        let text = format!(
            "[host]\nname = {host:?}\nstate = {state:?}\nplugins = {plugins:?}\n\
             [watch]\ninterval_seconds = {}\n\
             [bus]\nkind = \"nats\"\nservers = [{:?}]\nlease_seconds = {}\nmonitor = {:?}\n{}\n\
             [claude]\nbase_url = {:?}\napi_key = {{ file = {key:?} }}\n{}{}{projects}",
            self.interval_seconds,
            self.nats.url(),
            self.lease_seconds,
            self.nats.monitor(),
            self.bus_lines,
            self.model.base_url(),
            self.tables,
            if self.hosts.first().is_some_and(|first| first == host) {
                &self.first_host_lines
            } else {
                ""
            },
        );
        let path = self.path().join(format!("{host}.toml"));
        put(&path, &text);
        path
    }

    /// `changebus <args>` as on this host.
    pub fn changebus(&self, host: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.arg("--config").arg(self.config(host)).args(args);
        command
            .env_remove("FAILPOINTS")
            .env_remove("ANTHROPIC_API_KEY")
            .stdin(Stdio::null());
        command
    }

    /// The daemon of a host; ended when it is dropped.
    pub fn daemon(&self, host: &str) -> Daemon {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path().join(format!("{host}.log")));
        let child = self
            .changebus(host, &["run"])
            .stdout(Stdio::null())
            .stderr(log.expect("the daemon's log can be written"))
            .spawn();
        Daemon(child.expect("changebus can be started"))
    }

    /// What a host's log holds so far.
    pub async fn events(&self, host: &str) -> Vec<Event> {
        let path = self.state(host).join("events.sqlite");
        let Ok(store) = Store::open_read_only(&path) else {
            return vec![];
        };
        let events = store.events_after(0, 1_000_000, &Default::default()).await;
        events.unwrap_or_default()
    }

    /// Waits until a host's log satisfies the story, or fails with what there is.
    pub async fn until(
        &self,
        host: &str,
        what: &str,
        satisfied: impl Fn(&[Event]) -> bool,
    ) -> Vec<Event> {
        let started = Instant::now();
        loop {
            let events = self.events(host).await;
            if satisfied(&events) {
                return events;
            }
            if started.elapsed() > PATIENCE {
                let told = |e: &Event| {
                    format!("{} {:?} {}", e.fact.subject(&e.project), e.origin, e.epoch)
                };
                let facts: Vec<_> = events.iter().map(told).collect();
                let logs: Vec<_> = self.hosts.iter().map(|host| self.log(host)).collect();
                panic!(
                    "{what} did not come about on {host}.\nevents: {facts:#?}\n{}",
                    logs.join("\n")
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn log(&self, host: &str) -> String {
        let log = std::fs::read_to_string(self.path().join(format!("{host}.log")));
        format!("--- {host}\n{}", log.unwrap_or_default())
    }
}

impl Drop for Fleet {
    /// What a failed story left is the only trace of it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dir.disable_cleanup(true);
            eprintln!(
                "what is left of the story lies in {}",
                self.dir.path().display()
            );
        }
    }
}

/// Whether the watcher knows the tips of all these projects.
pub fn all_adopted(events: &[Event], projects: &[String]) -> bool {
    let adopted = |project: &String| {
        let of_it = |e: &Event| e.project == *project && matches!(e.fact, Fact::Watched { .. });
        events.iter().any(of_it)
    };
    projects.iter().all(adopted)
}
