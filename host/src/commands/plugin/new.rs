//! `changebus plugin new`: a plugin that builds, passes its tests and does something useful, to start from.
//!
//! Touches: files, terminal.
//! Change here: when a fresh plugin should hold something else. What it starts as stands in `host/templates/`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use toml::{Table, Value};

use super::carried::{self, lay};
use crate::commands::ExitCode;
use crate::outside::wasm::PluginKind;

/// What cargo does not take for a package's name, or rustc for a crate's.
const TAKEN: [&str; 12] = [
    "test", "core", "std", "alloc", "crate", "self", "super", "fn", "mod", "use", "type", "sdk",
];
const LONGEST_NAME: usize = 40;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the plugin: lowercase letters, digits and dashes.
    name: String,
    /// What it is to be: strategy, scorer or escalation.
    #[arg(long, value_enum)]
    world: PluginKind,
    /// Directory to make; default: the name, in the current directory.
    #[arg(long)]
    path: Option<PathBuf>,
    /// Build against this SDK (the `sdk` directory of a checkout) instead of the one this program carries.
    #[arg(long)]
    sdk: Option<PathBuf>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    check_name(&args.name)?;
    let dir = args
        .path
        .clone()
        .unwrap_or_else(|| args.name.clone().into());
    if dir
        .read_dir()
        .is_ok_and(|mut entries| entries.next().is_some())
    {
        bail!(
            "{}: is not empty; name another directory with --path",
            dir.display()
        );
    }
    let sdk = match &args.sdk {
        Some(sdk) => named_sdk(sdk)?,
        None => {
            lay_sdk(&dir.join("sdk"))?;
            "sdk/sdk".to_owned()
        }
    };
    for (path, text) in template(args.world) {
        let text = text
            .replace("{{name}}", &args.name)
            .replace("{{about}}", about(args.world))
            .replace("{{sdk}}", &sdk)
            .replace("{{dev}}", dev_dependencies(args.world));
        lay(&dir.join(path), &text)?;
    }
    println!("{}: a {} that works; next:", dir.display(), args.world);
    println!("    cd {}", dir.display());
    println!("    cargo test               # natively");
    println!("    changebus plugin test    # in the sandbox, on the cases in cases/");
    Ok(ExitCode::Ok)
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(plain)
        && !name.ends_with('-')
        && !name.contains("--")
        && name.len() <= LONGEST_NAME;
    if !fits {
        bail!(
            "{}: name it in lowercase letters, digits and single dashes, a letter first, {LONGEST_NAME} at most",
            name.escape_debug()
        );
    }
    if TAKEN.contains(&name) || name.starts_with("changebus") {
        bail!("{name}: this name means something else to cargo or to changebus; take another");
    }
    Ok(())
}

fn named_sdk(sdk: &Path) -> anyhow::Result<String> {
    let manifest = sdk.join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest)
        .with_context(|| format!("--sdk {}: holds no Cargo.toml", sdk.display()))?;
    if !text.contains("name = \"changebus-sdk\"") {
        bail!(
            "--sdk {}: is not the package changebus-sdk; name the `sdk` directory of a checkout",
            sdk.display()
        );
    }
    Ok(std::path::absolute(sdk)?.display().to_string())
}

type Files = &'static [(&'static str, &'static str)];

fn template(world: PluginKind) -> impl Iterator<Item = (&'static str, &'static str)> {
    const SHARED: Files = &[
        ("Cargo.toml", include_str!("../../../templates/Cargo.toml")),
        (
            ".cargo/config.toml",
            include_str!("../../../templates/cargo-config.toml"),
        ),
        ("README.md", include_str!("../../../templates/README.md")),
        (".gitignore", "/target\n"),
        // The versions this program was tested with; cargo drops what the plugin does not need.
        ("Cargo.lock", carried::LOCK),
    ];
    let own: Files = match world {
        PluginKind::Strategy => &[
            (
                "src/lib.rs",
                include_str!("../../../templates/strategy/lib.rs"),
            ),
            (
                "cases/mistyped/case.toml",
                include_str!("../../../templates/strategy/cases/mistyped/case.toml"),
            ),
            (
                "cases/mistyped/expected.json",
                include_str!("../../../templates/strategy/cases/mistyped/expected.json"),
            ),
            (
                "cases/mistyped/before/greet.sh",
                include_str!("../../../templates/strategy/cases/mistyped/before/greet.sh"),
            ),
            (
                "cases/mistyped/before/tests/run.sh",
                include_str!("../../../templates/strategy/cases/mistyped/before/tests/run.sh"),
            ),
            (
                "cases/mistyped/head/greet.sh",
                include_str!("../../../templates/strategy/cases/mistyped/head/greet.sh"),
            ),
            (
                "cases/mistyped/head/tests/run.sh",
                include_str!("../../../templates/strategy/cases/mistyped/head/tests/run.sh"),
            ),
        ],
        PluginKind::Scorer => &[
            (
                "src/lib.rs",
                include_str!("../../../templates/scorer/lib.rs"),
            ),
            (
                "cases/small-and-large/case.toml",
                include_str!("../../../templates/scorer/cases/small-and-large/case.toml"),
            ),
            (
                "cases/small-and-large/field.json",
                include_str!("../../../templates/scorer/cases/small-and-large/field.json"),
            ),
            (
                "cases/small-and-large/expected.json",
                include_str!("../../../templates/scorer/cases/small-and-large/expected.json"),
            ),
        ],
        PluginKind::Escalation => &[
            (
                "src/lib.rs",
                include_str!("../../../templates/escalation/lib.rs"),
            ),
            (
                "cases/small-and-large/case.toml",
                include_str!("../../../templates/escalation/cases/small-and-large/case.toml"),
            ),
            (
                "cases/small-and-large/field.json",
                include_str!("../../../templates/escalation/cases/small-and-large/field.json"),
            ),
            (
                "cases/small-and-large/expected.json",
                include_str!("../../../templates/escalation/cases/small-and-large/expected.json"),
            ),
        ],
    };
    SHARED.iter().chain(own).copied()
}

/// What the template's own tests need besides.
fn dev_dependencies(world: PluginKind) -> &'static str {
    match world {
        PluginKind::Strategy => "[dev-dependencies]\nserde_json = \"1\"\n\n",
        PluginKind::Scorer | PluginKind::Escalation => "",
    }
}

fn about(world: PluginKind) -> &'static str {
    match world {
        PluginKind::Strategy => "Puts a line back that the push mistyped.",
        PluginKind::Scorer => "Prefers the smallest change among those that fix what broke.",
        PluginKind::Escalation => "Merges what is small and clear, asks a human about the rest.",
    }
}

/// Lays the SDK down as a workspace of its own, so that its packages find what they share where they look for it.
fn lay_sdk(dir: &Path) -> anyhow::Result<()> {
    for (path, text) in carried::FILES {
        lay(&dir.join(path), text)?;
    }
    lay(&dir.join("Cargo.toml"), &sdk_workspace()?)
}

/// The workspace this program was built in, with the members that are carried.
fn sdk_workspace() -> anyhow::Result<String> {
    let whole: Table = carried::WORKSPACE
        .parse()
        .context("the carried workspace")?;
    let mut workspace = whole
        .get("workspace")
        .and_then(Value::as_table)
        .cloned()
        .unwrap_or_default();
    let members: Vec<&str> = carried::FILES
        .iter()
        .filter_map(|(path, _)| path.strip_suffix("/Cargo.toml"))
        .collect();
    if let Some(Value::Table(dependencies)) = workspace.get_mut("dependencies") {
        dependencies.retain(
            |_, dependency| match dependency.get("path").and_then(Value::as_str) {
                Some(path) => members.contains(&path),
                None => true,
            },
        );
    }
    workspace.remove("default-members");
    workspace.insert(
        "members".into(),
        members
            .into_iter()
            .map(Value::from)
            .collect::<Vec<_>>()
            .into(),
    );
    let mut alone = Table::new();
    alone.insert("workspace".into(), workspace.into());
    Ok(toml::to_string(&alone)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cargo_or_the_file_system_would_stumble_over_are_refused() {
        for good in ["put-back", "a", "fix2"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        let long = "a".repeat(41);
        for bad in [
            "",
            "-a",
            "a-",
            "a--b",
            "2fix",
            "Fix",
            "a_b",
            "a/b",
            "..",
            "test",
            "fn",
            "changebus-x",
            "\u{1b}[31m",
            &long,
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_sdk_that_is_carried_names_every_package_it_needs_and_none_besides() {
        let workspace: Table = sdk_workspace()
            .expect("it can be written")
            .parse()
            .expect("it can be read");
        let members = workspace["workspace"]["members"].to_string();
        assert!(
            members.contains("\"sdk\"") && members.contains("\"edits\""),
            "{members}"
        );
        assert!(!members.contains("host"), "{members}");
        let dependencies = workspace["workspace"]["dependencies"]
            .as_table()
            .expect("a table");
        assert!(
            dependencies.contains_key("changebus-edits") && !dependencies.contains_key("changebus")
        );
    }
}
