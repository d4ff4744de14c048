//! One plugin out of one file, ready to be called.
//!
//! Touches: files, wasm.
//! Change here: when a command should open a plugin otherwise than the daemon does.

use anyhow::{Context, bail};

use super::source::Component;
use crate::config::Config;
use crate::outside::wasm::{Limits, PluginInfo, Plugins};

/// Opens the component as the daemon would; what is in the way of it is the error.
pub async fn open(config: &Config, component: &Component) -> anyhow::Result<(Plugins, PluginInfo)> {
    let alone = tempfile::Builder::new()
        .prefix("changebus-plugin-")
        .tempdir()?;
    let place = alone.path().join(format!("{}.wasm", component.name));
    std::fs::copy(&component.file, &place)
        .with_context(|| format!("reading {}", component.file.display()))?;
    let (dirs, cache) = (
        vec![alone.path().to_owned()],
        config.host.state.join("cache"),
    );
    let plugins =
        tokio::task::spawn_blocking(move || Plugins::load(&dirs, &cache, Limits::default()))
            .await??;
    if let Some(problem) = plugins.problems().first() {
        bail!("{} {}", component.file.display(), problem.why);
    }
    let plugin = plugins
        .list()
        .into_iter()
        .next()
        .context("the plugin is not there")?;
    Ok((plugins, plugin))
}
