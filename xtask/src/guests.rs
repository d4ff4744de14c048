//! Builds every guest once and lays the components where the host and the tests look for them.
//!
//! Touches: files, processes.
//! Change here: when a plugin is bundled or a test guest is added.

use std::path::Path;

use anyhow::Context;

use crate::{cargo, prerequisites, run};

/// Package and the name its component is known by.
const BUNDLED: [(&str, &str); 9] = [
    ("minimal-fix", "minimal-fix"),
    ("robust-refactor", "robust-refactor"),
    ("revert-culprit", "revert-culprit"),
    ("autofix", "autofix"),
    ("investigator", "investigator"),
    ("pin-back", "pin-back"),
    ("scorer-weighted", "weighted"),
    ("scorer-lexicographic", "lexicographic"),
    ("escalation-default", "default"),
];
const FOR_TESTS: [&str; 4] = [
    "moody-strategy",
    "moody-scorer",
    "moody-escalation",
    "greedy-scorer",
];
/// A guest that prints needs the target that can.
const FOR_TESTS_WITH_WASI: [&str; 1] = ["printing-strategy"];

/// A plugin imports nothing but ours.
pub const BARE: &str = "wasm32-unknown-unknown";
pub const WASI: &str = "wasm32-wasip2";

pub fn build(root: &Path) -> anyhow::Result<()> {
    prerequisites::wasm_targets()?;
    let bundled = BUNDLED.iter().map(|(package, _)| *package);
    compile(root, BARE, bundled.chain(FOR_TESTS))?;
    compile(root, WASI, FOR_TESTS_WITH_WASI.into_iter())?;
    for (package, name) in BUNDLED {
        lay(
            root,
            BARE,
            package,
            &root.join("target/debug/plugins"),
            name,
        )?;
    }
    let guests = root.join("target/guests");
    for package in FOR_TESTS {
        lay(root, BARE, package, &guests, package)?;
    }
    for package in FOR_TESTS_WITH_WASI {
        lay(root, WASI, package, &guests, package)?;
    }
    Ok(())
}

fn compile<'a>(
    root: &Path,
    target: &str,
    packages: impl Iterator<Item = &'a str>,
) -> anyhow::Result<()> {
    let mut build = cargo(root);
    build.args(["build", "--profile", "guest", "--target", target]);
    for package in packages {
        build.args(["-p", package]);
    }
    run(&format!("building guests for {target}"), &mut build)
}

fn lay(root: &Path, target: &str, package: &str, to: &Path, name: &str) -> anyhow::Result<()> {
    let built = root.join(format!(
        "target/{target}/guest/{}.wasm",
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
