//! Where the compiled test guests lie.
//!
//! Touches: files.
//! Change here: when guests are built or kept otherwise.

use std::path::PathBuf;

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
