//! From what an author names, a component or the crate it is built from, to the component's file.
//!
//! Touches: files, processes.
//! Change here: when a plugin is built in another way.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::Deserialize;

/// Imports nothing but what the host offers.
const TARGET: &str = "wasm32-unknown-unknown";

/// A component on disk, and the name it goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    pub file: PathBuf,
    pub name: String,
    /// The crate it was built from.
    pub krate: Option<PathBuf>,
}

/// The file itself, or what cargo makes of the crate; cargo talks to standard error.
pub fn component(named: &Path) -> anyhow::Result<Component> {
    if named.is_dir() {
        return build(named);
    }
    let name = named.file_stem().unwrap_or_default();
    Ok(Component {
        name: name.to_string_lossy().into_owned(),
        file: named.to_owned(),
        krate: None,
    })
}

/// A line of cargo's `--message-format=json`.
#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact {
        manifest_path: PathBuf,
        target: Target,
        filenames: Vec<PathBuf>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Target {
    crate_types: Vec<String>,
}

fn build(dir: &Path) -> anyhow::Result<Component> {
    let manifest = dir.join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).with_context(|| {
        format!(
            "{}: is no plugin's crate, it has no Cargo.toml; name a crate or a .wasm file",
            dir.display()
        )
    })?;
    let name =
        package(&text).with_context(|| format!("{}: names no package", manifest.display()))?;
    let target = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .output();
    let libdir =
        target.context("rustc cannot be started; building a plugin takes a Rust toolchain")?;
    if !Path::new(String::from_utf8_lossy(&libdir.stdout).trim()).is_dir() {
        bail!("the toolchain cannot build for {TARGET} yet: run `rustup target add {TARGET}`");
    }
    // In the crate's directory, where cargo looks for its settings.
    let built = Command::new("cargo")
        .args([
            "build",
            "--release",
            "--target",
            TARGET,
            "--message-format=json-render-diagnostics",
        ])
        .current_dir(dir)
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be started; building a plugin takes a Rust toolchain")?;
    if !built.status.success() {
        bail!("{}: does not build; cargo says above why", dir.display());
    }
    let manifest = manifest.canonicalize().unwrap_or(manifest);
    let file = made(&String::from_utf8_lossy(&built.stdout), &manifest).with_context(|| {
        format!("{}: cargo makes no component of it; give it `crate-type = [\"cdylib\", \"rlib\"]` under [lib]", manifest.display())
    })?;
    Ok(Component {
        file,
        name,
        krate: Some(dir.to_owned()),
    })
}

fn package(manifest: &str) -> Option<String> {
    let table: toml::Table = manifest.parse().ok()?;
    Some(table.get("package")?.get("name")?.as_str()?.to_owned())
}

/// The component among all that cargo says it made.
fn made(messages: &str, manifest: &Path) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .find_map(|message| match message {
            Message::CompilerArtifact {
                manifest_path,
                target,
                filenames,
            } if manifest_path == manifest && target.crate_types.iter().any(|t| t == "cdylib") => {
                filenames
                    .into_iter()
                    .find(|f| f.extension().is_some_and(|e| e == "wasm"))
            }
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_component_is_found_among_all_that_cargo_made() {
        let artifact = |manifest: &str, kind: &str, file: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"{manifest}","target":{{"crate_types":["{kind}"]}},"filenames":["{file}.d","{file}"]}}"#
            )
        };
        let said = [
            r#"{"reason":"build-script-executed"}"#.to_owned(),
            artifact("/sdk/Cargo.toml", "cdylib", "/t/sdk.wasm"),
            artifact("/p/Cargo.toml", "bin", "/t/p"),
            artifact("/p/Cargo.toml", "cdylib", "/t/put_back.wasm"),
        ];
        let said = said.join("\n");
        assert_eq!(
            made(&said, Path::new("/p/Cargo.toml")),
            Some("/t/put_back.wasm".into())
        );
        assert_eq!(made(&said, Path::new("/q/Cargo.toml")), None);
    }

    #[test]
    fn a_file_goes_by_its_own_name() {
        let component =
            component(Path::new("plugins/put-back.wasm")).expect("a file is a component");
        assert_eq!(component.name, "put-back");
    }
}
