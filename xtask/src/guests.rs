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
    let bytes = std::fs::read(&built).with_context(|| format!("reading {}", built.display()))?;
    std::fs::write(&fresh, with_manifest(bytes))
        .with_context(|| format!("copying {}", built.display()))?;
    // Renamed into place: a daemon that is reading the directory never sees half a file.
    std::fs::rename(&fresh, &place).with_context(|| format!("placing {}", place.display()))
}

/// INTERIM, until the SDK's export macros write the manifest: one that asks for whatever the guest imports.
fn with_manifest(mut component: Vec<u8>) -> Vec<u8> {
    const SECTION: &str = "changebus:manifest";
    let names = |name: &str| {
        component
            .windows(name.len())
            .any(|at| at == name.as_bytes())
    };
    if names(SECTION) {
        return component;
    }
    let kind = [
        ("changebus:strategy/fix@", "strategy"),
        ("changebus:scorer/judge@", "scorer"),
        ("changebus:escalation/gate@", "escalation"),
    ];
    let kind = kind.iter().find(|(export, _)| names(export));
    let asks = [
        "llm",
        "probe",
        "tools",
        "workspace",
        "history",
        "clock",
        "random",
    ];
    let asks: Vec<String> = asks
        .iter()
        .filter(|ask| names(&format!("changebus:host/{ask}@")))
        .map(|ask| format!("\"{ask}\""))
        .collect();
    let manifest = format!(
        "{{\"manifest\":1,\"kind\":\"{}\",\"asks\":[{}]}}",
        kind.map_or("", |(_, kind)| kind),
        asks.join(",")
    );
    let mut section = vec![SECTION.len() as u8];
    section.extend(SECTION.bytes());
    section.extend(manifest.bytes());
    component.push(0);
    // The length in two digits of LEB128.
    component.push(section.len() as u8 | 0x80);
    component.push((section.len() >> 7) as u8);
    component.extend(section);
    component
}
