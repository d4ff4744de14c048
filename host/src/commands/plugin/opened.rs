//! One plugin out of one file, ready to be looked at or called.
//!
//! Touches: files, wasm, clock.
//! Change here: when a command should open a plugin otherwise than the daemon does.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::source::Component;
use crate::config::Config;
use crate::outside::wasm::{Limits, PluginInfo, Plugins, Setup};

/// Opens the component with everything it asks for granted; what is in the way of it is the error.
pub async fn open(config: &Config, component: &Component) -> anyhow::Result<(Plugins, PluginInfo)> {
    let alone = Alone::lay(component)?;
    let setup = author_setup(config, vec![alone.dir.path().to_owned()]);
    let plugins = tokio::task::spawn_blocking(move || Plugins::open(setup)).await??;
    if let Some(problem) = plugins.problems().first() {
        bail!("{} {}", component.file.display(), problem.why);
    }
    let plugin = plugins.list().into_iter().next();
    Ok((plugins, plugin.context("the plugin is not there")?))
}

/// How long it takes from the file to a plugin that has answered once.
pub async fn timed(
    config: &Config,
    component: &Component,
) -> anyhow::Result<(Duration, PluginInfo)> {
    let alone = Alone::lay(component)?;
    let setup = author_setup(config, vec![]);
    let (file, shown) = (alone.file.clone(), component.file.clone());
    tokio::task::spawn_blocking(move || {
        let plugins = Plugins::open(setup)?;
        let started = Instant::now();
        match plugins.examine(&file) {
            Ok(plugin) => Ok((started.elapsed(), plugin)),
            Err(problem) => bail!("{} {}", shown.display(), problem.why),
        }
    })
    .await?
}

/// An author's own plugin runs on the author's own machine: nothing is locked, nothing is withheld.
fn author_setup(config: &Config, dirs: Vec<PathBuf>) -> Setup {
    Setup::new(dirs, config.host.state.join("cache"), Limits::default())
}

/// The component under its own name, in a directory of its own, for as long as this lives.
pub struct Alone {
    dir: tempfile::TempDir,
    pub file: PathBuf,
}

impl Alone {
    pub fn lay(component: &Component) -> anyhow::Result<Alone> {
        let bytes = std::fs::read(&component.file)
            .with_context(|| format!("{} cannot be read", component.file.display()))?;
        Alone::with(&component.name, &bytes)
    }

    pub fn with(name: &str, bytes: &[u8]) -> anyhow::Result<Alone> {
        let dir = tempfile::Builder::new()
            .prefix("changebus-plugin-")
            .tempdir()?;
        let file = dir.path().join(format!("{name}.wasm"));
        std::fs::write(&file, bytes)?;
        Ok(Alone { dir, file })
    }
}
