//! Keeps compiled plugins of an interface version for good, so that later hosts are held to running them.
//!
//! Touches: files, processes.
//! Change here: when another kind of plugin has to be kept. What was kept for a version is never made again.

use std::path::Path;

use anyhow::{Context, bail};

use crate::guests;

/// Files of the build directories, and what each stands for.
const KEPT: [(&str, &str, &str); 4] = [
    (
        "target/guests",
        "moody-strategy",
        "a strategy that asks the host for nearly everything, made with wit-bindgen alone",
    ),
    (
        "target/debug/plugins",
        "lexicographic",
        "a scorer, made with the SDK",
    ),
    (
        "target/guests",
        "moody-escalation",
        "escalation rules, made with wit-bindgen alone",
    ),
    (
        "target/guests",
        "printing-strategy",
        "a strategy for wasm32-wasip2",
    ),
];

pub fn keep(root: &Path) -> anyhow::Result<()> {
    let version = interface_version(root)?;
    let place = root.join("tests/golden").join(&version);
    if place.exists() {
        bail!(
            "{} is there already. Plugins of a released interface are never built again: give the packages in wit/ \
             their next version first",
            place.display()
        );
    }
    guests::build(root)?;
    std::fs::create_dir_all(&place).with_context(|| format!("making {}", place.display()))?;
    for (from, name, _) in KEPT {
        let from = root.join(from).join(format!("{name}.wasm"));
        let to = place.join(format!("{name}.wasm"));
        std::fs::copy(&from, &to).with_context(|| format!("copying {}", from.display()))?;
    }
    let readme = place.join("README.md");
    std::fs::write(&readme, about(&version))
        .with_context(|| format!("writing {}", readme.display()))
}

/// The packages move together; the host's own stands for all.
fn interface_version(root: &Path) -> anyhow::Result<String> {
    let path = root.join("wit/deps/host/host.wit");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let version = text.lines().find_map(|line| {
        line.strip_prefix("package changebus:host@")?
            .strip_suffix(';')
    });
    Ok(version
        .with_context(|| format!("{} names no version", path.display()))?
        .to_owned())
}

fn about(version: &str) -> String {
    let rows: String = KEPT
        .iter()
        .map(|(_, name, what)| format!("| `{name}.wasm` | {what} |\n"))
        .collect();
    format!(
        "# Plugins of interface {version}, frozen\n\n\
         Compiled once, with `cargo xtask golden`, and never again: they stand for the plugins that people have built\n\
         for this version and will not rebuild. `tests/it/golden.rs` runs them on every host. Where one of them fails,\n\
         the host is wrong, not the file.\n\n\
         | file | what it is |\n|---|---|\n{rows}"
    )
}
