//! Who is tried: variants of the configuration, or named on the command line, with other bytes of a plugin if need be.
//!
//! Touches: files.
//! Change here: when a contestant should be named in another way.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::Args;
use super::suite::Case;
use crate::commands::plugin::source;
use crate::config::{Config, Project, Variant, default_variants};
use crate::outside::wasm::PluginKind;
use crate::rules::learn::evaluation::{Contestant, Entrant};
use crate::stages::House;

/// What the contestant is called that all others make up.
const TOURNAMENT: &str = "tournament";

/// One contestant: a variant alone, or several that hold a tournament.
#[derive(Clone, Debug)]
pub struct Entered {
    pub name: String,
    pub variants: Vec<Variant>,
}

impl Entered {
    /// For a directory.
    pub fn slug(&self) -> String {
        let plain = |c: char| if c.is_alphanumeric() { c } else { '-' };
        self.name.chars().map(plain).collect()
    }

    pub fn told(&self, house: &House) -> Contestant {
        let entrant = |variant: &Variant| Entrant {
            variant: variant.name.clone(),
            strategy: variant.strategy.clone(),
            digest: house
                .plugins
                .reference(PluginKind::Strategy, &variant.strategy)
                .digest,
            config: variant.config.clone(),
        };
        Contestant {
            name: self.name.clone(),
            entries: self.variants.iter().map(entrant).collect(),
        }
    }
}

/// `plugins` is where copies of the files go that are named.
pub fn of(config: &Config, args: &Args, plugins: &Path) -> anyhow::Result<Vec<Entered>> {
    let runs = args.runs.as_ref().filter(|_| args.variant.is_empty());
    let of_project = args.project.as_ref().or(runs.filter(|name| *name != "all"));
    let variants = match (of_project, args.variant.as_slice()) {
        (Some(name), _) => {
            let project = config.projects.get(name);
            let project = project.with_context(|| {
                format!("--project {name}: there is no such project in the configuration")
            })?;
            project.variants.clone()
        }
        (None, []) => default_variants(),
        (None, named) => named
            .iter()
            .map(|spec| variant(spec, &config.host.state, plugins))
            .collect::<anyhow::Result<Vec<_>>>()?,
    };
    let mut field: Vec<Entered> = vec![];
    for variant in &variants {
        let name = variant.name.clone();
        if name == TOURNAMENT || field.iter().any(|e| e.name == name) {
            bail!("--variant {name}: every contestant needs a name of its own");
        }
        field.push(Entered {
            name,
            variants: vec![variant.clone()],
        });
    }
    if args.tournament {
        field.push(Entered {
            name: TOURNAMENT.to_owned(),
            variants,
        });
    }
    Ok(field)
}

/// `NAME=PLUGIN[@FILE-OR-DIGEST][{config}]`.
fn variant(spec: &str, state: &Path, plugins: &Path) -> anyhow::Result<Variant> {
    let unclear = || {
        format!(
            "--variant {spec}: write it as NAME=PLUGIN, NAME=PLUGIN@FILE or NAME=PLUGIN{{key = value}}"
        )
    };
    let (name, rest) = spec.split_once('=').with_context(unclear)?;
    let (plugin, config) = match rest.find('{') {
        Some(at) => (&rest[..at], table(&rest[at..]).with_context(unclear)?),
        None => (rest, serde_json::json!({})),
    };
    let (plugin, bytes) = match plugin.split_once('@') {
        Some((plugin, bytes)) => (plugin.trim(), Some(bytes.trim())),
        None => (plugin.trim(), None),
    };
    let name = name.trim();
    if name.is_empty() || plugin.is_empty() {
        bail!(unclear());
    }
    let strategy = match bytes {
        None => plugin.to_owned(),
        Some(bytes) => {
            let file = file(bytes, state).with_context(|| format!("--variant {spec}"))?;
            copied(&file, &format!("{plugin}-{name}"), plugins)?
        }
    };
    Ok(Variant {
        name: name.to_owned(),
        strategy,
        config,
    })
}

fn table(text: &str) -> anyhow::Result<serde_json::Value> {
    let table: toml::Table = toml::from_str(&format!("config = {text}"))?;
    Ok(serde_json::to_value(&table["config"])?)
}

/// A component, the crate of one, or the beginning of the digest of one that ran on this host.
fn file(named: &str, state: &Path) -> anyhow::Result<PathBuf> {
    if Path::new(named).exists() {
        return Ok(source::component(Path::new(named))?.file);
    }
    let kept = state.join("plugins");
    let entries = kept.read_dir().into_iter().flatten().flatten();
    let is_meant = |path: &PathBuf| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        named.len() >= 8 && name.starts_with(named)
    };
    let mut found = entries.map(|entry| entry.path()).filter(is_meant);
    match (found.next(), found.next()) {
        (Some(file), None) => Ok(file),
        (Some(_), Some(_)) => bail!("{named}: several plugins that ran here begin so"),
        (None, _) => bail!(
            "{named}: is no file, and no digest of a plugin that ran here (at least 8 digits of one)"
        ),
    }
}

/// Under a name of its own, so that two versions of a plugin can stand side by side.
fn copied(file: &Path, name: &str, plugins: &Path) -> anyhow::Result<String> {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = name.chars().map(plain).collect();
    std::fs::copy(file, plugins.join(format!("{name}.wasm")))
        .with_context(|| format!("reading {}", file.display()))?;
    Ok(name)
}

/// The case's project with everybody in it, so that every plugin meets its configuration when it is loaded.
pub fn entered_in(case: &Case, field: &[Entered]) -> Project {
    let alone = field.iter().filter(|e| e.name != TOURNAMENT);
    Project {
        variants: alone.flat_map(|e| e.variants.clone()).collect(),
        ..case.told.project.clone()
    }
}

pub fn are_there(house: &House, field: &[Entered]) -> anyhow::Result<()> {
    for variant in field.iter().flat_map(|e| &e.variants) {
        let plugin = house
            .plugins
            .reference(PluginKind::Strategy, &variant.strategy);
        if plugin.digest.is_empty() {
            bail!(
                "variant {}: there is no strategy {}, or it is not loaded; `changebus plugin list` says why",
                variant.name,
                variant.strategy
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(spec: &str) -> anyhow::Result<Variant> {
        let dir = tempfile::tempdir().expect("a directory");
        variant(spec, dir.path(), dir.path())
    }

    #[test]
    fn a_contestant_is_named_with_its_plugin_and_its_configuration() {
        let plain = read("A=minimal-fix").expect("a variant");
        assert_eq!((&plain.name[..], &plain.strategy[..]), ("A", "minimal-fix"));
        assert_eq!(plain.config, serde_json::json!({}));
        let low = read("low=minimal-fix{effort = \"low\", probe = false}").expect("a variant");
        assert_eq!(low.strategy, "minimal-fix");
        assert_eq!(
            low.config,
            serde_json::json!({"effort": "low", "probe": false})
        );
    }

    #[test]
    fn other_bytes_of_a_plugin_stand_beside_it_under_a_name_of_their_own() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("new.wasm");
        std::fs::write(&file, "bytes").expect("it can be written");
        let spec = format!("new=minimal-fix@{}{{effort = \"low\"}}", file.display());
        let made = variant(&spec, dir.path(), dir.path()).expect("a variant");
        assert_eq!(made.strategy, "minimal-fix-new");
        assert!(dir.path().join("minimal-fix-new.wasm").is_file());
    }

    #[test]
    fn what_cannot_be_understood_is_told_with_the_way_to_write_it() {
        for spec in ["A", "=x", "A=", "A=x{effort}", "A=x@nowhere.wasm"] {
            let why = format!("{:#}", read(spec).expect_err("it is unclear"));
            assert!(why.contains(&format!("--variant {spec}")), "{why}");
        }
    }
}
