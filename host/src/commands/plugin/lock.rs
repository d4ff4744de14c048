//! `changebus plugin lock` and `clear`: what an operator says about plugins besides the configuration.
//!
//! Touches: files, terminal.
//! Change here: when an operator should be able to say something else.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use toml::{Table, Value};

use super::list;
use crate::commands::ExitCode;
use crate::config::Config;
use crate::outside::wasm;

#[derive(Debug, clap::Args)]
pub struct LockArgs {
    /// Write it there instead of showing it; `plugins.lock` in the configuration names the file.
    #[arg(long)]
    write: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct ClearArgs {
    /// A plugin's name, or the digest of its file.
    plugin: String,
}

/// A lock of everything that would be active if nothing were locked.
pub async fn lock(config: &Config, args: &LockArgs) -> anyhow::Result<ExitCode> {
    let mut open = config.clone();
    open.plugins.lock = None;
    let text = wasm::lock_text(&list::view(&open).await?)?;
    match &args.write {
        Some(path) => {
            replace(path, text.as_bytes())?;
            println!("{}: written", path.display());
            if config.plugins.lock.as_ref() != Some(path) {
                println!("it is in force once `plugins.lock` in the configuration names it");
            }
        }
        None => print!("{text}"),
    }
    Ok(ExitCode::Ok)
}

/// Adds a plugin to the lock file, or changes its digest there.
pub fn admit(path: &Path, name: &str, digest: &str) -> anyhow::Result<()> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            return Err(error).with_context(|| format!("{} cannot be read", path.display()));
        }
    };
    let mut whole: Table = text
        .parse()
        .with_context(|| format!("{} cannot be read", path.display()))?;
    let plugins = whole
        .entry("plugins")
        .or_insert_with(|| Table::new().into());
    let Some(plugins) = plugins.as_table_mut() else {
        bail!("{}: `plugins` is no table", path.display());
    };
    plugins.insert(name.to_owned(), Value::from(format!("sha256:{digest}")));
    replace(path, toml::to_string(&whole)?.as_bytes())
}

pub async fn clear(config: &Config, args: &ClearArgs) -> anyhow::Result<ExitCode> {
    let digest = match is_digest(&args.plugin) {
        true => args.plugin.clone(),
        false => {
            let view = list::view(config).await?;
            let known = view.active.iter().find(|p| p.info.name == args.plugin);
            let all = || {
                view.active
                    .iter()
                    .map(|p| p.info.name.as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            known
                .with_context(|| format!("{}: is not active ({})", args.plugin, all()))?
                .info
                .digest
                .clone()
        }
    };
    wasm::clear(&config.host.state, &digest)
        .with_context(|| format!("noting it in {}", config.host.state.display()))?;
    println!(
        "{}: may be called again; what it did up to now is forgotten",
        args.plugin
    );
    Ok(ExitCode::Ok)
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Puts a file in its place as a whole, so that whoever watches never sees half of it.
pub fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let about = || format!("writing {}", path.display());
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let mut fresh = tempfile::Builder::new()
        .prefix(".changebus-")
        .permissions(std::fs::Permissions::from_mode(0o644))
        .tempfile_in(dir)
        .with_context(about)?;
    fresh.write_all(bytes).with_context(about)?;
    fresh.as_file().sync_all().with_context(about)?;
    fresh.persist(path).with_context(about)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_added_to_the_lock_and_the_others_stay() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("plugins.lock");
        let (old, new) = ("ab".repeat(32), "cd".repeat(32));
        admit(&path, "first", &old).expect("a lock is made");
        admit(&path, "second", &old).expect("it grows");
        admit(&path, "first", &new).expect("it changes");
        let text = std::fs::read_to_string(&path).expect("it is there");
        assert_eq!(
            text,
            format!("[plugins]\nfirst = \"sha256:{new}\"\nsecond = \"sha256:{old}\"\n")
        );
    }

    #[test]
    fn a_lock_that_is_none_is_not_overwritten() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("plugins.lock");
        std::fs::write(&path, "plugins = 3\n").expect("it can be written");
        let refused = admit(&path, "first", &"ab".repeat(32)).expect_err("it is refused");
        assert!(refused.to_string().contains("is no table"), "{refused}");
        assert_eq!(
            std::fs::read_to_string(&path).expect("it is there"),
            "plugins = 3\n"
        );
    }
}
