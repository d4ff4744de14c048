//! What the project needs on a fresh Debian 12 beyond rustup's Rust, git, apt, pip and npm.
//!
//! Touches: processes.
//! Change here: when a test needs another program. Name it with what it is for.

use std::path::Path;
use std::process::Command;

use anyhow::bail;

use crate::{guests, run};

/// Program, Debian package, what it is for.
type Program = (&'static str, &'static str, &'static str);

const BUBBLEWRAP: Program = ("bwrap", "bubblewrap", "tests run in a sandbox");

const PROGRAMS: [Program; 7] = [
    BUBBLEWRAP,
    (
        "cc",
        "build-essential",
        "libgit2 and SQLite are built from source",
    ),
    ("git", "git", "every repository"),
    (
        "python3",
        "python3",
        "the Python cases and the official SDK",
    ),
    (
        "pip3",
        "python3-pip",
        "the Python cases and the official SDK",
    ),
    ("npm", "npm", "the JavaScript cases"),
    (
        "chromium",
        "chromium",
        "the page is looked at in a real browser",
    ),
];

/// What the tests need.
pub fn install() -> anyhow::Result<()> {
    wasm_targets()?;
    programs(&PROGRAMS)
}

/// What the daemon itself needs, beyond git.
pub fn for_the_daemon() -> anyhow::Result<()> {
    programs(&[BUBBLEWRAP])
}

fn programs(wanted: &[Program]) -> anyhow::Result<()> {
    let missing: Vec<_> = wanted
        .iter()
        .filter(|(program, ..)| !on_path(program))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    for (program, package, why) in &missing {
        eprintln!("xtask: {program} is missing ({why}); installing Debian's {package}");
    }
    if !on_path("apt-get") {
        bail!(
            "install {} by hand: there is no apt-get here",
            packages(&missing)
        );
    }
    run(
        "refreshing the package lists",
        &mut as_root(&["apt-get", "update", "-q"]),
    )?;
    let install = ["apt-get", "install", "-q", "-y", "--no-install-recommends"];
    let mut command = as_root(&install);
    command.args(missing.iter().map(|(_, package, _)| package));
    run("installing Debian packages", &mut command)
}

/// Guests are built for these; rustup adds one in a second.
pub fn wasm_targets() -> anyhow::Result<()> {
    let installed = Command::new("rustup")
        .args(["target", "list", "--installed"])
        .output();
    let installed = installed.map_or_else(|_| vec![], |o| o.stdout);
    let installed = String::from_utf8_lossy(&installed);
    for target in [guests::BARE, guests::WASI] {
        if !installed.lines().any(|l| l == target) {
            run(
                &format!("adding the target {target}"),
                Command::new("rustup").args(["target", "add", target]),
            )?;
        }
    }
    Ok(())
}

fn packages(missing: &[&Program]) -> String {
    missing
        .iter()
        .map(|(_, package, _)| *package)
        .collect::<Vec<_>>()
        .join(" ")
}

fn as_root(words: &[&str]) -> Command {
    let root = is_root();
    let mut command = Command::new(if root { words[0] } else { "sudo" });
    command.args(if root { &words[1..] } else { words });
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_root() -> bool {
    // The owner of /proc/self is the user this runs as.
    use std::os::unix::fs::MetadataExt;
    Path::new("/proc/self")
        .metadata()
        .is_ok_and(|m| m.uid() == 0)
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
