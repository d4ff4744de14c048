//! Where the compiled test guests lie.
//!
//! Touches: files.
//! Change here: when guests are built or kept otherwise.

use std::path::{Path, PathBuf};

use changebus::outside::wasm::{Limits, Plugins, Setup};
use serde_json::{Value, json};

use crate::world::{program, target};

/// The directory of the built guests: `CHANGEBUS_GUESTS`, or `target/guests` of this workspace.
///
/// # Panics
/// Where they are not built yet.
pub fn guest_dir() -> PathBuf {
    let dir = match std::env::var_os("CHANGEBUS_GUESTS") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/guests")),
    };
    let there = dir.join("moody-strategy.wasm").is_file();
    assert!(
        there,
        "no test guests in {}: build them with `cargo xtask guests`",
        dir.display()
    );
    dir
}

/// The directory of the built bundled plugins, beside the host's binary.
///
/// # Panics
/// Where they are not built yet.
pub fn plugin_dir() -> PathBuf {
    let dir = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../target/debug/plugins"
    ));
    let there = dir.join("minimal-fix.wasm").is_file();
    assert!(
        there,
        "no plugins in {}: build them with `cargo xtask guests`",
        dir.display()
    );
    dir
}

/// Where the stories keep compiled plugins: compiling them takes longer than a story, and comes to the same code
/// in every one.
///
/// # Panics
/// Where it cannot be made.
pub fn cache() -> PathBuf {
    let cache = target().join("plugin-cache");
    std::fs::create_dir_all(&cache).expect("a directory in target can be made");
    cache
}

/// Plugins of these directories, everything allowed and nothing kept; compiled by the built `changebus`.
pub fn setup(dirs: &[PathBuf], cache: &Path, limits: Limits) -> Setup {
    Setup {
        compiler: program(),
        ..Setup::new(dirs.to_owned(), cache.to_owned(), limits)
    }
}

/// The same, loaded.
///
/// # Panics
/// Where no plugin could run on this machine.
pub fn load(dirs: &[PathBuf], cache: &Path, limits: Limits) -> Plugins {
    Plugins::open(setup(dirs, cache, limits)).expect("the engine starts")
}

/// The bytes of a built test guest.
///
/// # Panics
/// Where it is not built.
pub fn guest(name: &str) -> Vec<u8> {
    let path = guest_dir().join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A manifest as the export macros write it, asking for these capabilities.
pub fn manifest(kind: &str, version: &str, asks: &[&str]) -> Value {
    json!({
        "manifest": 1,
        "kind": kind,
        "name": "stamped",
        "version": version,
        "sdk": "0.1.0",
        "interface": "0.1.0",
        "about": "a guest of the tests",
        "asks": asks,
    })
}

/// The same component with this manifest around it: it stands above whatever manifest lies within, and takes the
/// place of one that was stamped before.
///
/// # Panics
/// Where `component` is none.
pub fn stamp(component: &[u8], manifest: &Value) -> Vec<u8> {
    let (header, mut rest) = component.split_at(8);
    let mut stamped = header.to_vec();
    while let Some((&id, after)) = rest.split_first() {
        let (length, content) = take_number(after);
        let (content, next) = content.split_at(length);
        if !(id == 0 && is_manifest(content)) {
            stamped.extend(&rest[..rest.len() - next.len()]);
        }
        rest = next;
    }
    let mut section = vec![];
    put_number(&mut section, SECTION.len());
    section.extend(SECTION);
    section.extend(manifest.to_string().bytes());
    stamped.push(0);
    put_number(&mut stamped, section.len());
    stamped.extend(section);
    stamped
}

const SECTION: &[u8] = b"changebus:manifest";

fn is_manifest(custom: &[u8]) -> bool {
    let (length, name) = take_number(custom);
    name.get(..length) == Some(SECTION)
}

/// An unsigned LEB128 number, and what follows it.
fn take_number(bytes: &[u8]) -> (usize, &[u8]) {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0);
    let (digits, rest) = bytes.split_at(end.expect("the number ends") + 1);
    let number = digits
        .iter()
        .rev()
        .fold(0, |number, digit| number << 7 | usize::from(digit & 0x7f));
    (number, rest)
}

fn put_number(to: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}
