//! What the operator's file says, and the settings the program runs on.
//!
//! Touches: files (reads the one it is given), the machine (asks how much memory it has).
//! Change here: when there is something new to configure. Add it to `changebus.example.toml` too; a test
//! holds that file and these defaults against each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::event::Action;
use crate::outside::wasm::Capability;

mod apps;
mod bus;
mod deps;
mod forges;
mod http;
mod humanrail;
mod learning;
mod notices;
mod store;

pub use apps::{App, Piece, Route, pieces};
pub use bus::{Bus, BusKind, Durability};
pub use deps::{Deps, Group, Ignore};
pub use forges::{Forge, ForgeKind, Home, PullRequests};
pub use http::Http;
pub use humanrail::{Currency, Humanrail, RiskTier};
pub use learning::Learning;
pub use notices::{DigestTime, Sink, SinkKind};
pub use store::Store;

/// The whole configuration. Every table refuses keys it does not know.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub host: Host,
    pub bus: Bus,
    pub store: Store,
    pub watch: Watch,
    pub claude: Claude,
    pub plugins: Plugins,
    pub http: Http,
    pub apps: BTreeMap<String, App>,
    pub notices: BTreeMap<String, Sink>,
    pub digest: DigestTime,
    pub humanrail: Humanrail,
    pub forges: BTreeMap<String, Forge>,
    pub learning: Learning,
    pub projects: BTreeMap<String, Project>,
}

/// Where this host keeps and finds things, and how much it does at once.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Host {
    /// Event log, mirrors, workspaces, reports.
    pub state: PathBuf,
    /// Searched in this order; the first plugin of a name wins.
    pub plugins: Vec<PathBuf>,
    /// Test commands at once, over all projects; as many as there are cores.
    pub trials_at_once: usize,
    /// Disk for prepared work trees; the longest unused are given up first.
    pub warm_mib: u32,
    /// What other hosts call this one; the machine's own name where nothing is said. Letters, digits, `-` and `_`.
    pub name: String,
    /// What this host is good for; projects may ask for it.
    pub labels: Vec<String>,
    /// Who stands as committer and author of delivered commits.
    pub committer_name: String,
    pub committer_email: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Watch {
    pub interval_seconds: u64,
    /// Remotes asked at once.
    pub at_once: usize,
    /// A remote that has not answered by then counts as unreachable.
    pub timeout_seconds: u64,
}

/// The model and what it may cost.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Claude {
    pub base_url: String,
    pub model: String,
    pub api_key: Secret,
    /// Sent as `anthropic-version`.
    pub version: String,
    pub max_output_tokens: u32,
    pub timeout_seconds: u64,
    /// Further tries after an error that may pass.
    pub retries: u32,
    pub daily_budget_usd: f64,
    pub daily_budget_tokens: u64,
    pub run_budget_usd: f64,
    pub run_budget_tokens: u64,
    /// Prices for models the built-in table does not know, or to override it.
    pub prices: BTreeMap<String, Price>,
}

/// US dollars for a million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    pub input: f64,
    pub output: f64,
    pub cache_write: f64,
    pub cache_read: f64,
}

/// Where a secret comes from; never the secret itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Secret {
    /// An environment variable of the daemon.
    Env(String),
    /// A systemd credential, read from `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    File(PathBuf),
}

/// What plugins may do on this host, and how much of it. Where they lie is `host.plugins`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plugins {
    /// What any plugin may use, if its manifest asks for it.
    pub allow: BTreeSet<Capability>,
    /// Less than that, for single plugins by name.
    pub allow_for: BTreeMap<String, BTreeSet<Capability>>,
    /// A file of digests; where it is set, nothing else is loaded.
    pub lock: Option<PathBuf>,
    pub limits: PluginLimits,
    pub quarantine: Quarantine,
}

/// Limits of one call of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginLimits {
    /// All memories of a plugin together.
    pub memory_mib: u32,
    /// Time a strategy may compute; waiting for the model or for tests does not count.
    pub strategy_cpu_seconds: u32,
    /// The same for a scorer or an escalation plugin, and its time from start to answer.
    pub judge_cpu_seconds: u32,
    pub judge_seconds: u32,
    pub host_calls: u64,
    /// Everything between plugin and host, both ways.
    pub boundary_mib: u32,
    pub log_lines: u64,
}

/// When a plugin that keeps failing is left out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quarantine {
    /// Faults in a row that bench it.
    pub strikes: u32,
    /// The first bench; each further one is twice as long.
    pub bench_seconds: u64,
    /// Benches after which the next one is for good.
    pub benches: u32,
}

/// One watched repository and branch.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// URL or path of the repository, as git takes it.
    pub repo: String,
    #[serde(default = "default_branch")]
    pub branch: String,
    /// Runs once in every fresh workspace, before the tests.
    #[serde(default)]
    pub setup: Option<String>,
    /// Runs the tests; writes JUnit XML to `$CHANGEBUS_REPORT` if it can.
    pub test: String,
    #[serde(default)]
    pub report: ReportFormat,
    #[serde(default = "default_setup_timeout")]
    pub setup_timeout_seconds: u64,
    #[serde(default = "default_test_timeout")]
    pub test_timeout_seconds: u64,
    /// Set for `setup` and `test`; the daemon's own environment is not passed on.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Commands a strategy may have run on a tree of its own, such as a formatter: name to command.
    #[serde(default)]
    pub tools: BTreeMap<String, String>,
    /// Pushes that touch nothing else are ignored (globs).
    #[serde(default)]
    pub ignore_paths: Vec<String>,
    #[serde(default)]
    pub sandbox: Sandbox,
    /// Hosts that may work on it, by name; all where none is named. Only one: then it needs to ask nobody.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// What a host has to be good for to work on it.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Where its pull requests are, if it is on a forge.
    #[serde(default)]
    pub forge: Option<Home>,
    #[serde(default)]
    pub deps: Deps,
    #[serde(default)]
    pub policy: Policy,
    /// In this order; ties go to the first.
    #[serde(default = "default_variants")]
    pub variants: Vec<Variant>,
}

/// What confines the setup, the tests and the tools of a project.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sandbox {
    /// Runs them with the daemon's own rights instead. It stands in every event, and nothing is merged on it.
    pub off: bool,
    /// Further directories and files that may be read, where they lie.
    pub read: Vec<PathBuf>,
    /// Whether `setup` may use the network; tests and tools never may.
    pub setup_network: bool,
    /// Private memory of one process.
    pub memory_mib: u32,
    /// Memory of all processes of one command together, and of its `/tmp`. Where nothing is said no more than half of what
    /// the machine has.
    pub total_memory_mib: u32,
    pub processes: u32,
    /// The largest file that may be written.
    pub file_mib: u32,
    /// All that one command may write, into its tree and its home.
    pub disk_mib: u32,
    /// Size of `/tmp`.
    pub tmp_mib: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReportFormat {
    /// What the command wrote to `$CHANGEBUS_REPORT`, else what it printed, if either is a report of a kind we know;
    /// else the exit code.
    #[default]
    Auto,
    Junit,
    GoTest,
    Tap,
    Libtest,
    ExitCode,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    pub name: String,
    /// Name of the strategy plugin.
    pub strategy: String,
    #[serde(default = "empty_object")]
    pub config: serde_json::Value,
}

/// What may become of a fix, and what it takes.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// The most ChangeBus may do by itself.
    pub deliver: Ceiling,
    pub merge_threshold: f64,
    pub min_confidence: f64,
    pub scorer: String,
    pub scorer_config: serde_json::Value,
    pub escalation: String,
    pub escalation_config: serde_json::Value,
    /// Further runs of what failed, at a red head, and at its base besides the first one, before a failure is taken for
    /// real. With n of them, a test that fails by chance is taken for broken less than once in 4^(n+1) times, however
    /// often it fails.
    pub reruns: u32,
    /// Time for all of these reruns together. What it does not suffice for goes to a human.
    pub rerun_seconds: u64,
    /// Wait before the tests are run again where the machine was in trouble (no disk, no memory, setup, time), doubled
    /// each time; three runs that end so are enough.
    pub trouble_wait_seconds: u64,
    /// Further runs of the winner's trial.
    pub repeats: u32,
    /// Times a strategy may try a patch on the tests before it hands one in.
    pub probes: u32,
    /// Wall clock for one strategy, model calls and probes included.
    pub strategy_timeout_seconds: u64,
    /// Share of the failing tests that strategies are not shown, where there are at least four.
    pub hold_out: f64,
    /// Tests, test configuration, CI: a candidate that touches them goes to a human (globs, added to the
    /// built-in ones).
    pub test_paths: Vec<String>,
    /// A candidate may not touch these at all (globs).
    pub protected_paths: Vec<String>,
    /// A candidate that touches these is security-related (globs, added to the built-in ones).
    pub security_paths: Vec<String>,
    /// Attempts to get a merge in before a human is asked, where others keep pushing.
    pub merge_attempts: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ceiling {
    Human,
    PullRequest,
    #[default]
    Merge,
}

impl Ceiling {
    /// The most that may be done.
    pub fn action(self) -> Action {
        match self {
            Ceiling::Human => Action::Human,
            Ceiling::PullRequest => Action::PullRequest,
            Ceiling::Merge => Action::Merge,
        }
    }
}

fn default_branch() -> String {
    "main".into()
}
fn default_setup_timeout() -> u64 {
    900
}
fn default_test_timeout() -> u64 {
    900
}
fn empty_object() -> serde_json::Value {
    serde_json::json!({})
}

/// The published three: the smallest fix, the sturdy one, and the one that asks no model.
pub fn default_variants() -> Vec<Variant> {
    let variant = |name: &str, strategy: &str, config| Variant {
        name: name.into(),
        strategy: strategy.into(),
        config,
    };
    vec![
        variant(
            "A",
            "minimal-fix",
            serde_json::json!({"effort": "low", "temperature": 0.2}),
        ),
        variant(
            "B",
            "robust-refactor",
            serde_json::json!({"effort": "high", "temperature": 0.7}),
        ),
        variant("C", "revert-culprit", empty_object()),
    ]
}

impl Default for Host {
    fn default() -> Self {
        Host {
            state: "/var/lib/changebus".into(),
            plugins: vec![
                "/usr/lib/changebus/plugins".into(),
                "/etc/changebus/plugins".into(),
            ],
            trials_at_once: std::thread::available_parallelism().map_or(1, usize::from),
            warm_mib: 20_480,
            name: String::new(),
            labels: vec![],
            committer_name: "ChangeBus".into(),
            committer_email: "changebus@localhost".into(),
        }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Watch {
            interval_seconds: 30,
            at_once: 8,
            timeout_seconds: 20,
        }
    }
}

impl Default for Claude {
    fn default() -> Self {
        Claude {
            base_url: "https://api.anthropic.com".into(),
            model: "claude-sonnet-5-5".into(),
            api_key: Secret::Env("ANTHROPIC_API_KEY".into()),
            version: "2026-10-21".into(),
            max_output_tokens: 16_000,
            timeout_seconds: 600,
            retries: 2,
            daily_budget_usd: 20.0,
            daily_budget_tokens: 20_000_000,
            run_budget_usd: 2.0,
            run_budget_tokens: 2_000_000,
            prices: BTreeMap::new(),
        }
    }
}

impl Default for Plugins {
    fn default() -> Self {
        Plugins {
            allow: Capability::ALL.into(),
            allow_for: BTreeMap::new(),
            lock: None,
            limits: PluginLimits::default(),
            quarantine: Quarantine::default(),
        }
    }
}

impl Default for PluginLimits {
    fn default() -> Self {
        PluginLimits {
            memory_mib: 256,
            strategy_cpu_seconds: 60,
            judge_cpu_seconds: 5,
            judge_seconds: 10,
            host_calls: 200_000,
            boundary_mib: 64,
            log_lines: 1_000,
        }
    }
}

impl Default for Quarantine {
    fn default() -> Self {
        Quarantine {
            strikes: 2,
            bench_seconds: 60,
            benches: 3,
        }
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Sandbox {
            off: false,
            read: vec![],
            setup_network: true,
            memory_mib: 8192,
            total_memory_mib: half_of_the_memory().min(8192),
            processes: 2048,
            file_mib: 4096,
            disk_mib: 16_384,
            tmp_mib: 2048,
        }
    }
}

/// In MiB, and in large steps: what a machine says it has differs a little from start to start.
fn half_of_the_memory() -> u32 {
    const STEP: u64 = 256;
    let bytes = nix::sys::sysinfo::sysinfo().map_or(u64::MAX, |found| found.ram_total());
    let steps = ((bytes / 2) >> 20) / STEP;
    u32::try_from(steps.max(1) * STEP).unwrap_or(u32::MAX)
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            deliver: Ceiling::Merge,
            merge_threshold: 75.0,
            min_confidence: 0.7,
            scorer: "weighted".into(),
            scorer_config: empty_object(),
            escalation: "default".into(),
            escalation_config: empty_object(),
            reruns: 7,
            rerun_seconds: 3600,
            trouble_wait_seconds: 60,
            repeats: 1,
            probes: 20,
            strategy_timeout_seconds: 1200,
            hold_out: 0.25,
            test_paths: vec![],
            protected_paths: vec![],
            security_paths: vec![],
            merge_attempts: 3,
        }
    }
}

/// What is wrong with a configuration, with the file, the key and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}: cannot be read ({source}); name the file with --config")]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: {message}")]
    Malformed { path: PathBuf, message: String },
    #[error("{path}: {key} = {value}: {hint}")]
    Invalid {
        path: PathBuf,
        key: String,
        value: String,
        hint: String,
    },
    #[error("the secret from {from} cannot be had: {why}")]
    NoSecret { from: String, why: String },
}

impl Config {
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Config::parse(&text, path)
    }

    /// `path` only names the text in messages.
    pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
        let config: Config = toml::from_str(text).map_err(|e| ConfigError::Malformed {
            path: path.to_owned(),
            message: e.to_string(),
        })?;
        config.validate(path)?;
        Ok(config)
    }

    fn validate(&self, path: &Path) -> Result<(), ConfigError> {
        let invalid = |key: String, value: String, hint: &str| ConfigError::Invalid {
            path: path.to_owned(),
            key,
            value,
            hint: hint.to_owned(),
        };
        if self.host.trials_at_once == 0 {
            return Err(invalid(
                "host.trials_at_once".into(),
                "0".into(),
                "at least 1 test command must be able to run",
            ));
        }
        if self.watch.interval_seconds == 0 || self.watch.at_once == 0 {
            return Err(invalid(
                "watch".into(),
                "0".into(),
                "interval_seconds and at_once must be at least 1",
            ));
        }
        if !self.host.name.is_empty() && !is_plain_name(&self.host.name) {
            let hint = "use lower-case letters, digits and dashes: other hosts know this one by it";
            return Err(invalid("host.name".into(), self.host.name.clone(), hint));
        }
        self.bus.validate(&invalid)?;
        self.store.validate(&invalid)?;
        self.plugins.validate(&invalid)?;
        for (name, project) in &self.projects {
            if !is_plain_name(name) {
                let hint = "use lower-case letters, digits and dashes: the name stands in subjects, paths and branches";
                return Err(invalid(format!("projects.{name}"), name.clone(), hint));
            }
            project.validate(name, &invalid)?;
        }
        apps::validate(self, &invalid)?;
        http::validate(self, &invalid)?;
        notices::validate(self, &invalid)?;
        humanrail::validate(self, &invalid)?;
        forges::validate(self, &invalid)?;
        learning::validate(self, &invalid)
    }
}

impl Plugins {
    fn validate(
        &self,
        invalid: &impl Fn(String, String, &str) -> ConfigError,
    ) -> Result<(), ConfigError> {
        for (name, some) in &self.allow_for {
            if let Some(more) = some.difference(&self.allow).next() {
                return Err(invalid(
                    format!("plugins.allow_for.{name}"),
                    more.to_string(),
                    "a plugin cannot be allowed more than plugins.allow; add it there, or leave it out here",
                ));
            }
        }
        let limits = &self.limits;
        let counts = [
            ("limits.memory_mib", u64::from(limits.memory_mib)),
            (
                "limits.strategy_cpu_seconds",
                u64::from(limits.strategy_cpu_seconds),
            ),
            (
                "limits.judge_cpu_seconds",
                u64::from(limits.judge_cpu_seconds),
            ),
            ("limits.judge_seconds", u64::from(limits.judge_seconds)),
            ("limits.host_calls", limits.host_calls),
            ("limits.boundary_mib", u64::from(limits.boundary_mib)),
            ("quarantine.strikes", u64::from(self.quarantine.strikes)),
        ];
        if let Some((key, _)) = counts.iter().find(|(_, value)| *value == 0) {
            return Err(invalid(
                format!("plugins.{key}"),
                "0".into(),
                "must be at least 1",
            ));
        }
        // A memory of wasm cannot be larger.
        if limits.memory_mib > 4096 {
            return Err(invalid(
                "plugins.limits.memory_mib".into(),
                limits.memory_mib.to_string(),
                "must be at most 4096",
            ));
        }
        Ok(())
    }
}

impl Project {
    fn validate(
        &self,
        name: &str,
        invalid: &impl Fn(String, String, &str) -> ConfigError,
    ) -> Result<(), ConfigError> {
        let key = |tail: &str| format!("projects.{name}.{tail}");
        if self.test.trim().is_empty() {
            return Err(invalid(
                key("test"),
                "\"\"".into(),
                "name the command that runs the tests",
            ));
        }
        for (tool, command) in &self.tools {
            if !is_plain_name(tool) {
                let hint = "use lower-case letters, digits and dashes for the name of a tool";
                return Err(invalid(key(&format!("tools.{tool}")), tool.clone(), hint));
            }
            if command.trim().is_empty() {
                let hint = "name the command that this tool is, or remove the key";
                return Err(invalid(key(&format!("tools.{tool}")), "\"\"".into(), hint));
            }
        }
        if let Some(path) = self.sandbox.read.iter().find(|path| !path.is_absolute()) {
            let hint = "name it from the root, such as /opt/jdk";
            let value = path.display().to_string();
            return Err(invalid(key("sandbox.read"), value, hint));
        }
        let limits = &self.sandbox;
        let counts = [
            ("sandbox.memory_mib", limits.memory_mib),
            ("sandbox.total_memory_mib", limits.total_memory_mib),
            ("sandbox.processes", limits.processes),
            ("sandbox.file_mib", limits.file_mib),
            ("sandbox.disk_mib", limits.disk_mib),
            ("sandbox.tmp_mib", limits.tmp_mib),
        ];
        if let Some((limit, _)) = counts.iter().find(|(_, value)| *value == 0) {
            return Err(invalid(key(limit), "0".into(), "must be at least 1"));
        }
        self.deps.validate(&key("deps"), invalid)?;
        let mut seen = std::collections::BTreeSet::new();
        for variant in &self.variants {
            if variant.name.is_empty() || !seen.insert(&variant.name) {
                return Err(invalid(
                    key("variants"),
                    variant.name.clone(),
                    "every variant needs a name of its own",
                ));
            }
            if !variant.config.is_object() {
                return Err(invalid(
                    key("variants"),
                    variant.config.to_string(),
                    "config must be a table",
                ));
            }
        }
        if self.variants.is_empty() {
            return Err(invalid(
                key("variants"),
                "[]".into(),
                "a tournament needs at least one variant",
            ));
        }
        let share = |what: &str, value: f64, most: f64| {
            if (0.0..=most).contains(&value) {
                Ok(())
            } else {
                Err(invalid(
                    key(what),
                    value.to_string(),
                    &format!("must be between 0 and {most}"),
                ))
            }
        };
        share("policy.merge_threshold", self.policy.merge_threshold, 100.0)?;
        share("policy.min_confidence", self.policy.min_confidence, 1.0)?;
        share("policy.hold_out", self.policy.hold_out, 0.9)?;
        let globs = [
            ("ignore_paths", &self.ignore_paths),
            ("policy.test_paths", &self.policy.test_paths),
            ("policy.protected_paths", &self.policy.protected_paths),
            ("policy.security_paths", &self.policy.security_paths),
        ];
        for (what, list) in globs {
            for glob in list {
                globset::Glob::new(glob)
                    .map_err(|e| invalid(key(what), glob.clone(), &e.to_string()))?;
            }
        }
        Ok(())
    }
}

pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && !name.starts_with('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

impl std::fmt::Display for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Secret::Env(name) => write!(f, "environment variable {name}"),
            Secret::Credential(name) => write!(f, "systemd credential {name}"),
            Secret::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

impl Secret {
    /// Reads the secret. The value is wrapped so that it cannot be printed by accident.
    pub fn read(&self) -> Result<secrecy::SecretString, ConfigError> {
        let no = |why: String| ConfigError::NoSecret {
            from: self.to_string(),
            why,
        };
        let text = match self {
            Secret::Env(name) => std::env::var(name).map_err(|_| no("it is not set".into()))?,
            Secret::Credential(name) => {
                let dir = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                    no("CREDENTIALS_DIRECTORY is not set; add LoadCredential= to the unit".into())
                })?;
                std::fs::read_to_string(Path::new(&dir).join(name))
                    .map_err(|e| no(e.to_string()))?
            }
            Secret::File(path) => std::fs::read_to_string(path).map_err(|e| no(e.to_string()))?,
        };
        let text = text.trim();
        if text.is_empty() {
            return Err(no("it is empty".into()));
        }
        Ok(text.to_owned().into())
    }
}
