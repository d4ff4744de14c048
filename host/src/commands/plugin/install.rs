//! `changebus plugin install`: a plugin into a plugin directory, once it is known that it would be loaded.
//!
//! Touches: files, wasm, terminal.
//! Change here: when something else should hold before a plugin is installed.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;

use super::inspect::{examine, name_of, plain};
use super::opened::Alone;
use super::{list, lock, source};
use crate::commands::ExitCode;
use crate::config::Config;
use crate::outside::wasm::{self, Capability, PluginInfo, listed};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A component, or the plugin's crate, which is built first.
    #[arg(default_value = ".")]
    plugin: PathBuf,
    /// Plugin directory; default: the first of `host.plugins` that can be written.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Name to install it under; default: the crate's, or the file's without `.wasm`.
    #[arg(long)]
    name: Option<String>,
    /// What a component of a toolchain without manifests asks for, such as `llm,workspace`.
    #[arg(long, value_delimiter = ',')]
    asks: Option<Vec<Capability>>,
    /// Take the place of another plugin of this name.
    #[arg(long)]
    replace: bool,
}

pub async fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let component = source::component(&args.plugin)?;
    let name = args.name.clone().unwrap_or_else(|| component.name.clone());
    check_name(&name)?;
    let mut bytes = std::fs::read(&component.file)
        .with_context(|| format!("{} cannot be read", component.file.display()))?;
    if let Some(asks) = &args.asks {
        bytes =
            asking(&bytes, &name, asks).with_context(|| component.file.display().to_string())?;
    }
    let alone = Alone::with(&name, &bytes)?;
    // Whether it is locked is decided by installing it.
    let mut open = config.clone();
    open.plugins.lock = None;
    let plugin = match examine(&open, alone.file.clone()).await? {
        Ok(plugin) => plugin,
        Err(problem) => {
            let step = name_of(&problem.step);
            println!(
                "{} is not installed: it {} [{step}]",
                component.file.display(),
                plain(&problem.why)
            );
            return Ok(ExitCode::Findings);
        }
    };
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => writable(&config.host.plugins)?,
    };
    let place = dir.join(format!("{name}.wasm"));
    if !args.replace {
        same_plugin(&open, &plugin, &place).await?;
    }
    std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    lock::replace(&place, &bytes)?;
    if let Some(path) = &config.plugins.lock {
        lock::admit(path, &name, &plugin.digest)?;
    }
    println!("{}", told(&plugin, &place));
    Ok(ExitCode::Ok)
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        bail!(
            "{}: name it in letters, digits, dashes and underscores; --name gives another",
            name.escape_debug()
        );
    }
    Ok(())
}

/// The component with a manifest of its kind around it.
fn asking(bytes: &[u8], name: &str, asks: &[Capability]) -> anyhow::Result<Vec<u8>> {
    let looked = wasm::look(bytes).map_err(anyhow::Error::msg)?;
    if looked.has_manifest {
        bail!("says itself what it asks for; --asks is for components without a manifest");
    }
    let manifest = json!({
        "manifest": 1,
        "kind": looked.kind,
        "name": name,
        "interface": looked.interface,
        "asks": asks,
    });
    Ok(with_section(
        bytes,
        "changebus:manifest",
        manifest.to_string().as_bytes(),
    ))
}

/// A custom section at the end of a component.
fn with_section(component: &[u8], name: &str, content: &[u8]) -> Vec<u8> {
    let mut section = number(name.len());
    section.extend(name.bytes());
    section.extend(content);
    let mut bytes = component.to_vec();
    bytes.push(0);
    bytes.extend(number(section.len()));
    bytes.extend(section);
    bytes
}

/// Unsigned, in LEB128.
fn number(mut value: usize) -> Vec<u8> {
    let mut digits = vec![];
    while value >= 0x80 {
        digits.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    digits.push(value as u8);
    digits
}

/// One that is there already, rather than one that would have to be made.
fn writable(dirs: &[PathBuf]) -> anyhow::Result<PathBuf> {
    let there = |dir: &&PathBuf| dir.is_dir() && tempfile::tempfile_in(dir).is_ok();
    let made = |dir: &&PathBuf| !dir.exists() && std::fs::create_dir_all(dir).is_ok();
    let found = dirs.iter().find(there).or_else(|| dirs.iter().find(made));
    found.cloned().with_context(|| {
        let all = dirs
            .iter()
            .map(|d| d.display().to_string())
            .collect::<Vec<_>>()
            .join(", ");
        format!("no plugin directory can be written ({all}); name one with --dir")
    })
}

/// A newer build of the same package may take its place; anything else of that name must be asked for.
async fn same_plugin(config: &Config, plugin: &PluginInfo, place: &Path) -> anyhow::Result<()> {
    let view = list::view(config).await?;
    let active = view
        .active
        .iter()
        .map(|active| &active.info)
        .find(|p| p.name == plugin.name);
    if let Some(there) = active.filter(|there| !same_package(there, plugin)) {
        bail!(
            "{} is another plugin of this name; install it under another --name, or with --replace",
            there.path.display()
        );
    }
    if place.exists() {
        let there = examine(config, place.to_owned()).await?;
        if !there.is_ok_and(|there| same_package(&there, plugin)) {
            bail!(
                "{} is there and is not that plugin; look at it, or install with --replace",
                place.display()
            );
        }
    }
    Ok(())
}

fn same_package(a: &PluginInfo, b: &PluginInfo) -> bool {
    let package = |info: &PluginInfo| info.manifest.as_ref().map(|m| m.name.clone());
    a.digest == b.digest || (package(a).is_some() && package(a) == package(b))
}

fn told(plugin: &PluginInfo, place: &Path) -> String {
    let granted = listed(&plugin.granted);
    let withheld = match plugin.withheld.is_empty() {
        true => String::new(),
        false => format!(
            ", but not {}, which is not allowed",
            listed(&plugin.withheld)
        ),
    };
    format!(
        "{}: installed, {} {}; it may use {granted}{withheld}",
        place.display(),
        plugin.kind,
        plain(&plugin.name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_that_is_added_is_found_again() {
        let empty = b"\0asm\x0d\0\x01\0";
        for content in [vec![], vec![b'x'; 300]] {
            let bytes = with_section(empty, "changebus:manifest", &content);
            let found = wasmparser::Parser::new(0)
                .parse_all(&bytes)
                .find_map(|payload| match payload.expect("it is whole") {
                    wasmparser::Payload::CustomSection(section) => {
                        Some((section.name().to_owned(), section.data().to_vec()))
                    }
                    _ => None,
                });
            assert_eq!(found, Some(("changebus:manifest".to_owned(), content)));
        }
    }

    #[test]
    fn a_name_that_leaves_the_directory_is_refused() {
        for bad in ["", "..", "a/b", "a.b", "\u{1b}[0m"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(check_name("put-back_2").is_ok());
    }
}
