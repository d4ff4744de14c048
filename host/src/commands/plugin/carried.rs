//! What this program carries for people who write plugins: the SDK's sources and the interface packages.
//!
//! Touches: files.
//! Change here: when it is laid down otherwise; what it holds is gathered by `build.rs`.

use std::path::Path;

use anyhow::Context;

include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// Writes a file and the directories above it.
pub fn lay(path: &Path, text: &str) -> anyhow::Result<()> {
    let dir = path.parent().unwrap_or(path);
    std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
