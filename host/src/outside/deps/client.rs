//! Runs an ecosystem's own client on copied manifests, and says what its failure means.
//!
//! Touches: files, processes.
//! Change here: when a client has to see more settings of the machine, or fails in other words.
//!
//! A client needs the network and whatever tells it where its index is and how to get in. So it gets, of the files and of
//! the environment, what is about that and nothing else: no daemon's secrets, no token that publishes, no sources.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;

use super::{DepsError, Files};
use crate::event::{Ecosystem, Exit};
use crate::outside::clip::clip;
use crate::outside::process::{self, Bounds, Finished, Program, Spec, Streams};
use crate::outside::runner::{Confinement, GRACE};
use crate::outside::sandbox::{self, Cell, HOME, Mount, TREE};

/// Of a client's words, in an error.
const MOST_WORDS: usize = 2000;
const MOST_OUTPUT: usize = 1 << 20;
/// Resolving from a cold cache takes minutes where the index is slow.
const PATIENCE: Duration = Duration::from_secs(600);
/// The manifests, within the room.
const MANIFESTS: &str = "manifests";
/// What clients print to be read, within the room.
const SAID: &str = "said";

/// Runs clients as a project's commands are run, but with the network.
#[derive(Clone, Debug)]
pub struct Clients {
    confinement: Confinement,
    /// What they have fetched of indexes, so that it is fetched once; a home for each in here.
    cache: PathBuf,
    /// The project's own; also where `PATH` is another one.
    env: BTreeMap<String, String>,
}

impl Clients {
    /// `cache` is made where it is missing. `env` is what the project says its commands get.
    pub fn new(confinement: Confinement, cache: PathBuf, env: BTreeMap<String, String>) -> Clients {
        Clients {
            confinement,
            cache,
            env,
        }
    }

    /// As a client would see it.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        let own = self.env.get(name).cloned();
        own.or_else(|| std::env::var(name).ok().filter(|_| is_setting(name)))
    }

    fn identity(&self) -> Option<u32> {
        match &self.confinement {
            Confinement::Off => None,
            Confinement::Cell { sandbox, .. } => sandbox.identity(),
        }
    }
}

/// Copies of the manifests, and a place for what clients say; gone with it.
pub(super) struct Room<'c> {
    clients: &'c Clients,
    ecosystem: Ecosystem,
    dir: tempfile::TempDir,
}

impl Room<'_> {
    pub fn make<'c>(
        clients: &'c Clients,
        ecosystem: Ecosystem,
        files: &Files,
    ) -> Result<Room<'c>, DepsError> {
        let dir = tempfile::Builder::new()
            .prefix("cb-deps-")
            .tempdir()
            .map_err(|source| DepsError::Room { source })?;
        let room = Room {
            clients,
            ecosystem,
            dir,
        };
        for part in [MANIFESTS, SAID] {
            std::fs::create_dir(room.dir.path().join(part))
                .map_err(|source| DepsError::Room { source })?;
        }
        for (path, bytes) in files {
            room.write(path, bytes)?;
        }
        Ok(room)
    }

    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<(), DepsError> {
        self.put(&Path::new(MANIFESTS).join(path), bytes)
    }

    /// Where a client finds what [`Room::said`] reads.
    pub fn outlet(&self, name: &str) -> String {
        self.seat().join(SAID).join(name).display().to_string()
    }

    /// The same place, as it is seen from here.
    pub fn place(&self, name: &str) -> PathBuf {
        self.dir.path().join(SAID).join(name)
    }

    /// For a client's own use, beside the manifests.
    pub fn aid(&self, name: &str, bytes: &[u8]) -> Result<String, DepsError> {
        self.put(&Path::new(SAID).join(name), bytes)?;
        Ok(self.outlet(name))
    }

    fn put(&self, path: &Path, bytes: &[u8]) -> Result<(), DepsError> {
        let path = self.dir.path().join(path);
        let written = || {
            if let Some(above) = path.parent() {
                std::fs::create_dir_all(above)?;
            }
            std::fs::write(&path, bytes)
        };
        written().map_err(|source| DepsError::Room { source })
    }

    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        self.get(&Path::new(MANIFESTS).join(path))
    }

    pub fn said(&self, name: &str) -> String {
        let bytes = self.get(&Path::new(SAID).join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// None for what is missing, or no plain file.
    fn get(&self, path: &Path) -> Option<Vec<u8>> {
        let path = self.dir.path().join(path);
        let is_file = path.symlink_metadata().is_ok_and(|found| found.is_file());
        is_file.then(|| std::fs::read(path).ok()).flatten()
    }

    /// The file of this name below the first directory in `dir` that has one.
    pub fn find(&self, dir: &str, name: &str) -> Option<Vec<u8>> {
        let dir = Path::new(MANIFESTS).join(dir);
        let entries = std::fs::read_dir(self.dir.path().join(&dir)).ok()?;
        let mut names = entries.flatten().map(|entry| entry.file_name());
        names.find_map(|below| self.get(&dir.join(below).join(name)))
    }

    /// Where the room lies for a client.
    fn seat(&self) -> PathBuf {
        match self.clients.confinement {
            Confinement::Off => self.dir.path().to_owned(),
            Confinement::Cell { .. } => TREE.into(),
        }
    }

    /// Runs words in a directory of the manifests; the error says what their failure means.
    pub async fn run(&self, dir: &str, words: &[&str]) -> Result<String, DepsError> {
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        self.run_line(dir, &words.join(" ")).await
    }

    /// The same with a line for the shell; what it prints comes back.
    pub async fn run_line(&self, dir: &str, line: &str) -> Result<String, DepsError> {
        let cwd = self.seat().join(MANIFESTS).join(dir).display().to_string();
        let line = format!("cd {} && {line}", quoted(&cwd));
        let finished = match &self.clients.confinement {
            Confinement::Off => self.run_plainly(line).await,
            Confinement::Cell { .. } => self.run_confined(line).await?,
        };
        match finished.exit {
            Exit::Code(0) => Ok(finished.output),
            _ => Err(self.failure(&finished)),
        }
    }

    async fn run_plainly(&self, line: String) -> Finished {
        let there = |name: &str| Some((name.to_owned(), std::env::var(name).ok()?));
        let mut env = BTreeMap::from_iter(PLACES.into_iter().filter_map(there));
        env.extend(self.environment());
        process::run(&Spec {
            program: Program::Shell(line),
            cwd: self.dir.path().to_owned(),
            env,
            timeout: PATIENCE,
            grace: GRACE,
            output_bytes: MOST_OUTPUT,
            streams: Streams::Together,
            bounds: Bounds::Group,
        })
        .await
    }

    async fn run_confined(&self, line: String) -> Result<Finished, DepsError> {
        let Confinement::Cell {
            sandbox,
            read,
            limits,
            ..
        } = &self.clients.confinement
        else {
            return Ok(Finished::not_started("there is no cell".to_owned()));
        };
        let mounts = self
            .mounts(read)
            .map_err(|source| DepsError::Room { source })?;
        let mut env = self.environment();
        let own = [("HOME", HOME), ("TMPDIR", "/tmp"), ("LANG", "C.UTF-8")];
        env.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        if !env.contains_key("PATH") {
            env.extend(std::env::var("PATH").map(|path| ("PATH".to_owned(), path)));
        }
        let rustup = sandbox::rustup_home();
        env.extend(rustup.map(|home| ("RUSTUP_HOME".to_owned(), home.display().to_string())));
        let cell = Cell {
            line,
            mounts,
            env,
            network: true,
            limits: *limits,
            timeout: PATIENCE,
            grace: GRACE,
            output_bytes: MOST_OUTPUT,
        };
        Ok(sandbox.run(&cell).await.0)
    }

    /// The room, a home that keeps what was fetched, and the settings that say where the index is.
    fn mounts(&self, read: &[PathBuf]) -> std::io::Result<Vec<Mount>> {
        let home = self.clients.cache.join(client(self.ecosystem).name);
        let is_new = !home.is_dir();
        std::fs::create_dir_all(&home)?;
        let mut mounts: Vec<Mount> = read.iter().map(|path| Mount::in_place(path)).collect();
        mounts.push(Mount::write(self.dir.path(), TREE));
        mounts.push(Mount::write(&home, HOME));
        for (number, (text, to)) in settings(self.ecosystem).into_iter().enumerate() {
            let from = self.dir.path().join(format!("setting-{number}"));
            std::fs::write(&from, text)?;
            mounts.push(Mount::read(from, to));
        }
        if let Some(user) = self.clients.identity() {
            crate::outside::workspace::give(self.dir.path(), user)?;
            if is_new {
                crate::outside::workspace::give(&home, user)?;
            }
        }
        Ok(mounts)
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let text = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut env = BTreeMap::from_iter(CALM.map(text));
        env.extend(std::env::vars().filter(|(name, _)| is_setting(name)));
        env.extend(self.clients.env.clone());
        env.extend(FIRM.map(text));
        env
    }

    fn failure(&self, finished: &Finished) -> DepsError {
        let (client, words) = (client(self.ecosystem), said(&finished.output));
        match finished.exit {
            Exit::NotStarted => DepsError::NotRun {
                client: client.name,
                words,
            },
            Exit::TimedOut { .. } => DepsError::TooSlow {
                client: client.name,
                seconds: PATIENCE.as_secs(),
            },
            Exit::Code(127) => DepsError::Missing {
                client: client.name,
                how: client.how,
            },
            _ => classified(client, &finished.output, words),
        }
    }
}

#[derive(Clone, Copy)]
struct Client {
    name: &'static str,
    how: &'static str,
}

fn client(ecosystem: Ecosystem) -> Client {
    let (name, how) = match ecosystem {
        Ecosystem::Pip => (
            "pip",
            "install Python 3 with pip, so that `python3 -m pip` runs",
        ),
        Ecosystem::PipTools => ("pip-compile", "`python3 -m pip install pip-tools`"),
        Ecosystem::Uv => ("uv", "`python3 -m pip install uv`"),
        Ecosystem::Poetry => ("poetry", "`python3 -m pip install poetry`"),
        Ecosystem::Npm => ("npm", "install Node.js with npm"),
        Ecosystem::Cargo => ("cargo", "install Rust with rustup"),
    };
    Client { name, how }
}

/// Where a machine keeps settings; what these name is copied for a cell, and otherwise found where it lies.
const PLACES: [&str; 6] = [
    "CARGO_HOME",
    "NPM_CONFIG_USERCONFIG",
    "PIP_CONFIG_FILE",
    "RUSTUP_HOME",
    "UV_CONFIG_FILE",
    "npm_config_userconfig",
];

/// Defaults that a machine's own settings override.
const CALM: [(&str, &str); 8] = [
    ("CARGO_NET_RETRY", "2"),
    ("NO_COLOR", "1"),
    ("PIP_RETRIES", "1"),
    ("POETRY_REQUESTS_MAX_RETRIES", "1"),
    ("UV_HTTP_RETRIES", "1"),
    ("npm_config_fetch_retries", "1"),
    ("npm_config_fetch_retry_mintimeout", "1000"),
    ("npm_config_loglevel", "error"),
];

/// What holds whatever a project or a machine says: nobody is asked, and nothing of a package is run.
const FIRM: [(&str, &str); 11] = [
    ("CARGO_TERM_COLOR", "never"),
    ("CARGO_TERM_PROGRESS_WHEN", "never"),
    ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
    ("PIP_NO_INPUT", "1"),
    ("POETRY_NO_INTERACTION", "1"),
    ("POETRY_VIRTUALENVS_CREATE", "false"),
    ("UV_NO_BUILD", "1"),
    ("UV_NO_PROGRESS", "1"),
    ("UV_PYTHON_DOWNLOADS", "never"),
    ("VIRTUALENV_CREATOR", "none"),
    ("npm_config_ignore_scripts", "true"),
];

/// Whether a variable tells a client where its index is and how to get in. Caches and places to install to are a
/// machine's, and what publishes is nobody's business here.
fn is_setting(name: &str) -> bool {
    const STARTS: [&str; 9] = [
        "PIP_",
        "UV_",
        "POETRY_",
        "npm_config_",
        "NPM_CONFIG_",
        "CARGO_REGISTRIES_",
        "CARGO_SOURCE_",
        "CARGO_HTTP_",
        "CARGO_NET_",
    ];
    const WHOLE: [&str; 9] = [
        "ALL_PROXY",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "NO_PROXY",
        "CURL_CA_BUNDLE",
        "NODE_EXTRA_CA_CERTS",
        "REQUESTS_CA_BUNDLE",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
    ];
    const NOT: [&str; 10] = [
        "UV_PUBLISH",
        "POETRY_PYPI_TOKEN",
        "CACHE",
        "CONFIG_FILE",
        "PREFIX",
        "USERCONFIG",
        "GLOBALCONFIG",
        "TARGET",
        "ENVIRONMENT",
        "VIRTUALENVS",
    ];
    let upper = name.to_uppercase();
    (STARTS.iter().any(|start| name.starts_with(start)) || WHOLE.contains(&upper.as_str()))
        && !NOT.iter().any(|not| upper.contains(not))
}

/// A client's settings files: what they say, and where a cell shows that.
fn settings(ecosystem: Ecosystem) -> Vec<(String, PathBuf)> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let own_home = variable("HOME").unwrap_or_else(|| "/".into());
    let in_home = |path: &str| (own_home.join(path), Path::new(HOME).join(path));
    let in_place = |path: &str| (PathBuf::from(path), PathBuf::from(path));
    let named =
        |name: &str, place: &str| variable(name).map(|from| (from, Path::new(HOME).join(place)));
    let pip = || {
        let usual = [in_home(".config/pip/pip.conf"), in_home(".pip/pip.conf")];
        let system = [in_place("/etc/pip.conf"), in_place("/etc/xdg/pip/pip.conf")];
        // One that is named comes in the place of the user's own.
        let named = named("PIP_CONFIG_FILE", ".config/pip/pip.conf");
        usual.into_iter().chain(system).chain(named).collect()
    };
    let files: Vec<(PathBuf, PathBuf)> = match ecosystem {
        Ecosystem::Pip | Ecosystem::PipTools => pip(),
        Ecosystem::Uv => {
            let named = named("UV_CONFIG_FILE", ".config/uv/uv.toml");
            let usual = [in_home(".config/uv/uv.toml"), in_place("/etc/uv/uv.toml")];
            usual.into_iter().chain(named).collect()
        }
        Ecosystem::Poetry => vec![
            in_home(".config/pypoetry/config.toml"),
            in_home(".config/pypoetry/auth.toml"),
        ],
        Ecosystem::Npm => {
            let named = named("NPM_CONFIG_USERCONFIG", ".npmrc")
                .or_else(|| named("npm_config_userconfig", ".npmrc"));
            [in_home(".npmrc"), in_place("/etc/npmrc")]
                .into_iter()
                .chain(named)
                .collect()
        }
        Ecosystem::Cargo => {
            let from = variable("CARGO_HOME").unwrap_or_else(|| own_home.join(".cargo"));
            let at = |name: &str| (from.join(name), Path::new(HOME).join(".cargo").join(name));
            ["config.toml", "config", "credentials.toml"].map(at).into()
        }
    };
    let mut found: BTreeMap<PathBuf, String> = BTreeMap::new();
    for (from, to) in files {
        if let Ok(text) = std::fs::read_to_string(&from) {
            let is_secret = from.ends_with("credentials.toml");
            found.insert(
                to,
                if is_secret {
                    without_publishing(&text)
                } else {
                    text
                },
            );
        }
    }
    found.into_iter().map(|(to, text)| (text, to)).collect()
}

/// Cargo's settings, to be laid into a fresh home of its own.
pub(super) fn cargo_settings() -> Vec<(String, String)> {
    let named = |(text, to): (String, PathBuf)| Some((to.file_name()?.to_str()?.to_owned(), text));
    settings(Ecosystem::Cargo)
        .into_iter()
        .filter_map(named)
        .collect()
}

/// What uv's settings files of this machine say.
pub(super) fn uv_settings() -> Vec<String> {
    let settings = settings(Ecosystem::Uv).into_iter();
    settings.map(|(text, _)| text).collect()
}

/// The token of the usual registry does nothing but publish.
fn without_publishing(credentials: &str) -> String {
    let mut table: toml::Table = toml::from_str(credentials).unwrap_or_default();
    table.remove("registry");
    table.to_string()
}

/// Signs in the words of the clients; the first group that has one decides. An index that is away makes clients say much
/// else besides, such as that there are no versions.
const AWAY: [&str; 16] = [
    "econnrefused",
    "econnreset",
    "enotfound",
    "eai_again",
    "etimedout",
    "connection refused",
    "connection reset",
    "newconnectionerror",
    "could not connect",
    "could not resolve host",
    "all attempts to connect",
    "error sending request",
    "failed to establish a new connection",
    "name resolution",
    "network is unreachable",
    "download of config.json failed",
];
/// Refusals to build, which is what was asked.
const UNBUILT: [&str; 3] = [
    "creator 'none' is not available",
    "building source distributions is disabled",
    "building source distributions for",
];
const ABSENT: [&str; 7] = [
    "e404",
    "could not be found in registry index",
    "no matching package named",
    "was not found in the package registry",
    "(from versions: none)",
    "no matching package found",
    "` in registry `",
];
const IMPOSSIBLE: [&str; 10] = [
    "eresolve",
    "etarget",
    "failed to select a version",
    "no solution found",
    "version solving failed",
    "resolutionimpossible",
    "no matching distribution found",
    "could not find a version",
    "no matching version",
    "not found.",
];

fn classified(client: Client, output: &str, words: String) -> DepsError {
    let lower = output.to_lowercase();
    let says = |signs: &[&str]| signs.iter().any(|sign| lower.contains(sign));
    if lower.contains("no module named") {
        return DepsError::Missing {
            client: client.name,
            how: client.how,
        };
    }
    let client = client.name;
    if says(&UNBUILT) {
        DepsError::Unbuilt { client, words }
    } else if says(&AWAY) {
        DepsError::Away { client, words }
    } else if says(&ABSENT) {
        DepsError::Absent { client, words }
    } else if says(&IMPOSSIBLE) {
        DepsError::Impossible { client, words }
    } else {
        DepsError::Failed { client, words }
    }
}

/// A client's words without passwords, and without the traces of its own code.
pub(super) fn said(output: &str) -> String {
    static PASSWORD: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"://[^/\s@]+@").expect("the pattern is fixed"));
    let starts = [
        "File \"",
        "at ",
        "Traceback ",
        "^",
        "During handling",
        "The above exception",
    ];
    let mut lines = Vec::new();
    let mut is_code = false;
    for line in output.lines() {
        let bare = line.trim_start_matches("npm error").trim_start();
        let is_trace = starts.iter().any(|start| bare.starts_with(start));
        // Python shows the line of the file it names.
        let follows = std::mem::replace(&mut is_code, bare.starts_with(starts[0]));
        let is_shown = follows && line.starts_with("    ");
        if !(bare.is_empty() || is_trace || is_shown) {
            lines.push(line);
        }
    }
    let text = PASSWORD.replace_all(&lines.join("\n"), "://").into_owned();
    clip(text.trim(), MOST_WORDS)
}

/// One word for the shell.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_sees_where_its_index_is_and_no_more() {
        let seen = [
            "PIP_INDEX_URL",
            "UV_INDEX_PRIVATE_PASSWORD",
            "POETRY_HTTP_BASIC_PRIVATE_PASSWORD",
            "npm_config_registry",
            "CARGO_REGISTRIES_OURS_TOKEN",
            "https_proxy",
            "SSL_CERT_FILE",
        ];
        let hidden = [
            "CARGO_REGISTRY_TOKEN",
            "UV_PUBLISH_TOKEN",
            "POETRY_PYPI_TOKEN_PYPI",
            "ANTHROPIC_API_KEY",
            "GITHUB_TOKEN",
            "PIP_TARGET",
            "UV_CACHE_DIR",
            "npm_config_cache",
        ];
        for name in seen {
            assert!(is_setting(name), "{name}");
        }
        for name in hidden {
            assert!(!is_setting(name), "{name}");
        }
    }

    #[test]
    fn the_token_that_publishes_is_left_out_and_those_of_other_registries_stay() {
        let kept = without_publishing(
            "[registry]\ntoken = \"publishes\"\n[registries.ours]\ntoken = \"reads\"\n",
        );
        assert!(
            !kept.contains("publishes") && kept.contains("reads"),
            "{kept}"
        );
    }

    #[test]
    fn what_a_client_says_is_told_without_passwords_and_traces() {
        let output = "Traceback (most recent call last):\n  File \"x.py\", line 1\n    run()\nnpm error     at main (x.js:1)\nERROR: https://me:secret@index/simple\n";
        assert_eq!(said(output), "ERROR: https://index/simple");
    }

    #[test]
    fn an_index_that_is_away_is_not_taken_for_a_package_that_is_not_there() {
        let words =
            "WARNING: Retrying after NewConnectionError\nERROR: no version (from versions: none)";
        let error = classified(client(Ecosystem::PipTools), words, said(words));
        assert!(matches!(error, DepsError::Away { .. }), "{error}");
    }

    #[test]
    fn a_word_stays_one_word_for_the_shell() {
        assert_eq!(quoted("a b'; rm -rf /"), r"'a b'\''; rm -rf /'");
    }
}
