//! Builds every guest once and lays the components where the host and the tests look for them.
//!
//! Touches: files, processes.
//! Change here: when a plugin is bundled or a test guest is added.

use std::path::Path;

use anyhow::Context;

use crate::{cargo, prerequisites, run};

/// Package and the name its component is known by.
const BUNDLED: [(&str, &str); 5] = [
    ("minimal-fix", "minimal-fix"),
    ("robust-refactor", "robust-refactor"),
    ("revert-culprit", "revert-culprit"),
    ("scorer-weighted", "weighted"),
    ("escalation-default", "default"),
];
const FOR_TESTS: [&str; 5] = [
    "moody-strategy",
    "moody-scorer",
    "moody-escalation",
    "greedy-scorer",
    "printing-strategy",
];
const TARGET: &str = "wasm32-unknown-unknown";

pub fn build(root: &Path) -> anyhow::Result<()> {
    prerequisites::wasm_target()?;
    let mut build = cargo(root);
    build.args(["build", "--profile", "guest", "--target", TARGET]);
    for package in BUNDLED.iter().map(|(package, _)| package).chain(&FOR_TESTS) {
        build.args(["-p", package]);
    }
    run("building the guests", &mut build)?;
    for (package, name) in BUNDLED {
        lay(root, package, &root.join("target/debug/plugins"), name)?;
    }
    for package in FOR_TESTS {
        lay(root, package, &root.join("target/guests"), package)?;
    }
    Ok(())
}

fn lay(root: &Path, package: &str, to: &Path, name: &str) -> anyhow::Result<()> {
    let built = root.join(format!(
        "target/{TARGET}/guest/{}.wasm",
        package.replace('-', "_")
    ));
    std::fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    let (fresh, place) = (
        to.join(format!(".{name}.new")),
        to.join(format!("{name}.wasm")),
    );
    std::fs::copy(&built, &fresh).with_context(|| format!("copying {}", built.display()))?;
    // Renamed into place: a daemon that is reading the directory never sees half a file.
    std::fs::rename(&fresh, &place).with_context(|| format!("placing {}", place.display()))
}
