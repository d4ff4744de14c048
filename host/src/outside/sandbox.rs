//! Runs a command in a cell: without network, without secrets, without a way to anything but its own tree.
//!
//! Touches: files, processes.
//! Change here: when a cell should show more of the machine, or less. `docs/sandbox.md` tells what holds and why.
//!
//! ```text
//! daemon --plan--> changebus sandbox-enter --execs--> bwrap --> changebus sandbox-exec --execs--> sh -c LINE
//!                  mounts, identity                   namespaces     limits, Landlock, seccomp
//! ```
//!
//! There is no half of it: a command whose cell could not be built has not run.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::geteuid;

use super::process::{self, Bounds, Finished, Program, Spec, Streams};
use crate::event::{Exit, Layer};

mod enter;
mod inside;
mod plan;
mod proof;
mod syscalls;

pub use enter::{EXEC_VERB, enter};
pub use inside::exec;
pub use plan::{From, HOME, Limits, Mount, OBJECTS, REPORT, REPOSITORY, TREE};

use plan::{Inner, Plan};

/// The verb of the command line for the step from outside.
pub const ENTER_VERB: &str = "sandbox-enter";
/// Between the ranges that people, services and containers get their numbers from.
const IDENTITY: u32 = 65_521;

/// Why no test can be run here.
#[derive(Debug, thiserror::Error)]
pub enum NoSandbox {
    #[error("bubblewrap is not installed: no `bwrap` in PATH; install Debian's package bubblewrap")]
    NoBubblewrap,
    #[error(
        "a sandbox cannot be built here: {why}; see docs/sandbox.md, or give single projects `sandbox.off = true`"
    )]
    NotBuilt { why: String },
}

/// What builds cells on this machine.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// This same program.
    program: PathBuf,
    bwrap: PathBuf,
    identity: Option<u32>,
    /// Whose cells these are.
    owner: String,
    system: System,
}

/// What every cell shows of the machine.
#[derive(Clone, Debug, Default)]
struct System {
    mounts: Vec<Mount>,
    links: BTreeMap<PathBuf, PathBuf>,
}

/// One command and what it may have.
#[derive(Clone, Debug)]
pub struct Cell {
    pub line: String,
    /// Beyond the system's own. What lies further down comes later.
    pub mounts: Vec<Mount>,
    /// All of its environment.
    pub env: BTreeMap<String, String>,
    pub network: bool,
    pub limits: Limits,
    pub timeout: Duration,
    pub grace: Duration,
    pub output_bytes: usize,
}

impl Sandbox {
    /// `program` is `changebus` itself, and `state` the directory of whoever asks: what a crash leaves of its cells can be
    /// told by that. Looks only; [`Sandbox::prove`] tells whether it works.
    ///
    /// # Errors
    /// Where there is no bubblewrap.
    pub fn find(program: PathBuf, state: &Path) -> Result<Sandbox, NoSandbox> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let bwrap = std::env::split_paths(&path)
            .map(|dir| dir.join("bwrap"))
            .find(|bwrap| bwrap.is_file())
            .ok_or(NoSandbox::NoBubblewrap)?;
        Ok(Sandbox {
            program,
            bwrap,
            identity: geteuid().is_root().then_some(IDENTITY),
            owner: process::owner(state).map_err(|error| NoSandbox::NotBuilt {
                why: format!("{}: {error}", state.display()),
            })?,
            system: System::look(&path),
        })
    }

    /// The user that commands run as, where it is not the daemon's own: what they may write must be given to it.
    pub fn identity(&self) -> Option<u32> {
        self.identity
    }

    /// Runs the command to its end or its deadline; nothing it started is left then. With it, the layers that held.
    /// Where the cell could not be built nothing has run: [`Exit::NotStarted`], and the output says why.
    pub async fn run(&self, cell: &Cell) -> (Finished, BTreeSet<Layer>) {
        let nonce = uuid::Uuid::now_v7().to_string();
        let plan = self.plan(cell, &nonce);
        let input = plan.and_then(|plan| Ok(serde_json::to_vec(&plan)?));
        let input = match input {
            Ok(input) => input,
            Err(error) => return (Finished::not_started(error.to_string()), BTreeSet::new()),
        };
        let spec = Spec {
            program: Program::Argv(vec![self.program.clone().into(), ENTER_VERB.into()]),
            cwd: "/".into(),
            env: BTreeMap::new(),
            timeout: cell.timeout,
            grace: cell.grace,
            output_bytes: cell.output_bytes,
            streams: Streams::Together,
            bounds: Bounds::Namespace {
                input,
                owner: self.owner.clone(),
                memory_bytes: cell.limits.total_memory_bytes,
            },
        };
        let mut finished = process::run(&spec).await;
        match heard(&finished.output, &nonce) {
            Some((mut layers, rest)) => {
                finished.output = rest.to_owned();
                layers.extend(self.identity.map(|_| Layer::Identity));
                (finished, layers)
            }
            None => (unbuilt(finished), BTreeSet::new()),
        }
    }

    fn plan(&self, cell: &Cell, nonce: &str) -> io::Result<Plan> {
        let mut mounts = self.system.mounts.clone();
        // The helper starts somewhere else.
        let own: io::Result<Vec<Mount>> = cell.mounts.iter().map(Mount::absolute).collect();
        mounts.extend(own?);
        let mut texts = texts();
        if cell.network {
            // Often a link to what another service writes.
            let real = std::fs::canonicalize("/etc/resolv.conf");
            mounts.extend(real.map(|path| Mount::read(path, "/etc/resolv.conf")));
        } else {
            texts.insert("/etc/resolv.conf".into(), String::new());
        }
        let own = cell.mounts.iter().filter(|mount| mount.writable);
        let writable = own.map(|mount| mount.to.clone());
        let always = ["/tmp", "/dev", "/proc"].map(PathBuf::from);
        Ok(Plan {
            bwrap: self.bwrap.clone(),
            parent: nix::unistd::getpid().as_raw(),
            identity: self.identity,
            mounts,
            texts,
            links: self.system.links.clone(),
            env: cell.env.clone(),
            network: cell.network,
            inner: Inner {
                nonce: nonce.to_owned(),
                line: cell.line.clone(),
                writable: writable.chain(always).collect(),
                limits: cell.limits,
            },
            tmp_bytes: cell.limits.tmp_bytes,
        })
    }
}

/// What the step inside said before it became the command, and everything after it.
fn heard<'a>(output: &'a str, nonce: &str) -> Option<(BTreeSet<Layer>, &'a str)> {
    let (line, rest) = output.split_once('\n')?;
    let names: Vec<&str> = line.strip_prefix(nonce)?.split_whitespace().collect();
    let layers = [
        Layer::Namespaces,
        Layer::Limits,
        Layer::Landlock,
        Layer::Seccomp,
    ];
    let held = layers
        .into_iter()
        .filter(|layer| names.contains(&layer.name()));
    Some((held.collect(), rest))
}

/// A deadline stays one: the machine may have been too busy to get that far.
fn unbuilt(finished: Finished) -> Finished {
    match finished.exit {
        Exit::TimedOut { .. } => finished,
        _ => Finished {
            exit: Exit::NotStarted,
            output: format!(
                "the sandbox could not be built, so nothing was run: {}",
                finished.output.trim()
            ),
            ..finished
        },
    }
}

fn texts() -> BTreeMap<PathBuf, String> {
    let text = |path: &str, text: &str| (PathBuf::from(path), text.to_owned());
    BTreeMap::from([
        text(
            "/etc/passwd",
            &format!(
                "root:x:0:0:root:/root:/bin/sh\ntrial:x:1000:1000:trial:{HOME}:/bin/sh\n\
                 nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
            ),
        ),
        text("/etc/group", "root:x:0:\ntrial:x:1000:\nnogroup:x:65534:\n"),
        text(
            "/etc/hosts",
            "127.0.0.1 localhost trial\n::1 localhost trial\n",
        ),
        text(
            "/etc/nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\n",
        ),
    ])
}

/// Directories every Linux program expects. What is a link here is one inside.
const ROOTS: [&str; 7] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
];
/// Of `/etc` no more than what makes programs run: no keys, no passwords, no other service's settings.
const SETTINGS: [&str; 17] = [
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "fonts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "magic",
    "maven",
    "mime.types",
    "perl",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
];
/// Managers of languages keep nothing in their directories but the languages. `.cargo` and `.local` are not among
/// them: those hold keys.
const MANAGERS: [&str; 12] = [
    ".asdf", ".bun", ".deno", ".goenv", ".jenv", ".nodenv", ".nvm", ".pyenv", ".rbenv", ".rustup",
    ".sdkman", ".volta",
];

impl System {
    fn look(path: &std::ffi::OsStr) -> System {
        let mut system = System::default();
        for root in ROOTS.map(Path::new) {
            match root.read_link() {
                Ok(target) => {
                    system.links.insert(root.to_owned(), target);
                }
                Err(_) if root.is_dir() => system.mounts.push(Mount::in_place(root)),
                Err(_) => {}
            }
        }
        system.links.insert("/var/tmp".into(), "/tmp".into());
        let settings = SETTINGS.iter().map(|name| Path::new("/etc").join(name));
        let settings = settings.chain(java_settings());
        let there = settings.filter(|path| path.exists());
        system
            .mounts
            .extend(there.map(|path| Mount::in_place(&path)));
        for dir in std::env::split_paths(path) {
            system.show(&tools_of(&dir));
        }
        if let Some(toolchains) = rustup_home() {
            system.show(&toolchains);
        }
        system
    }

    /// Unless it shows already.
    fn show(&mut self, dir: &Path) {
        let shown = |mount: &Mount| dir.starts_with(&mount.to);
        let is_own = dir.is_absolute() && dir.parent().is_some() && dir.is_dir();
        if is_own && !self.mounts.iter().any(shown) && !self.links.contains_key(dir) {
            self.mounts.push(Mount::in_place(dir));
        }
    }
}

/// Where `cargo` finds its toolchains; the `HOME` of a command is never the daemon's.
pub fn rustup_home() -> Option<PathBuf> {
    let of_home = || Some(Path::new(&std::env::var_os("HOME")?).join(".rustup"));
    let home = std::env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(of_home)?;
    home.is_dir().then_some(home)
}

fn java_settings() -> impl Iterator<Item = PathBuf> {
    let etc = std::fs::read_dir("/etc").into_iter().flatten().flatten();
    etc.filter(|entry| entry.file_name().to_string_lossy().starts_with("java"))
        .map(|entry| entry.path())
}

/// What programs in a directory of `PATH` need of what lies beside it: the whole installation where it is plainly
/// one, otherwise the directory alone.
fn tools_of(dir: &Path) -> PathBuf {
    let manager = dir.ancestors().find(|above| {
        let name = above.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| MANAGERS.contains(&name))
    });
    if let Some(manager) = manager {
        return manager.to_owned();
    }
    let above = dir.parent().unwrap_or(dir);
    let name = above.file_name().and_then(|name| name.to_str());
    let is_installation = dir.ends_with("bin")
        && above.components().count() > 2
        && name.is_some_and(|name| !name.starts_with('.'))
        && std::env::var_os("HOME").is_none_or(|home| Path::new(&home) != above);
    if is_installation { above } else { dir }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_path_only_what_is_plainly_an_installation_shows_whole() {
        let cases = [
            ("/usr/local/bin", "/usr/local"),
            ("/opt/node-v22/bin", "/opt/node-v22"),
            ("/opt/bin", "/opt/bin"),
            ("/home/op/.cargo/bin", "/home/op/.cargo/bin"),
            ("/home/op/.local/bin", "/home/op/.local/bin"),
            ("/home/op/.pyenv/shims", "/home/op/.pyenv"),
            ("/home/op/.nvm/versions/node/v22/bin", "/home/op/.nvm"),
            ("/snap/bin", "/snap/bin"),
        ];
        for (dir, shown) in cases {
            assert_eq!(tools_of(Path::new(dir)), Path::new(shown), "{dir}");
        }
    }

    #[test]
    fn what_the_step_inside_said_is_told_from_what_the_command_says() {
        let said = "n1 namespaces limits seccomp\nhello\n";
        let layers = BTreeSet::from([Layer::Namespaces, Layer::Limits, Layer::Seccomp]);
        assert_eq!(heard(said, "n1"), Some((layers, "hello\n")));
        assert_eq!(heard("bwrap: No permissions\n", "n1"), None);
        assert_eq!(heard("hello\nn1 namespaces\n", "n1"), None);
        assert_eq!(heard("", "n1"), None);
    }
}
