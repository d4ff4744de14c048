//! Puts the sources of the SDK into the program, so that `changebus plugin new` always lays down the one that fits.
//!
//! Touches: files.
//! Change here: when the SDK stands on another directory of the workspace.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Directories of the workspace that a plugin's build needs.
const PARTS: [&str; 3] = ["sdk", "edits", "wit"];
const KINDS: [&str; 4] = ["rs", "toml", "wit", "md"];
/// Not part of a build.
const LEFT_OUT: [&str; 2] = ["target", "tests"];

fn main() -> std::io::Result<()> {
    let here = PathBuf::from(env("CARGO_MANIFEST_DIR"));
    let root = here.parent().unwrap_or(&here);
    let mut files = vec![];
    for part in PARTS {
        println!("cargo::rerun-if-changed={}", root.join(part).display());
        collect(&root.join(part), &mut files)?;
    }
    files.sort();
    let mut code = String::from(
        "/// Path below the workspace, and content.\npub const FILES: &[(&str, &str)] = &[\n",
    );
    for file in &files {
        let name = file.strip_prefix(root).unwrap_or(file);
        writeln!(code, "({:?}, include_str!({file:?})),", name).map_err(std::io::Error::other)?;
    }
    code.push_str("];\n");
    for (name, file) in [("WORKSPACE", "Cargo.toml"), ("LOCK", "Cargo.lock")] {
        let file = root.join(file);
        println!("cargo::rerun-if-changed={}", file.display());
        writeln!(code, "pub const {name}: &str = include_str!({file:?});")
            .map_err(std::io::Error::other)?;
    }
    std::fs::write(Path::new(&env("OUT_DIR")).join("sdk.rs"), code)
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let kind = path
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() && !LEFT_OUT.contains(&name.as_str()) {
            collect(&path, files)?;
        } else if path.is_file() && KINDS.contains(&kind.as_str()) {
            files.push(path);
        }
    }
    Ok(())
}
