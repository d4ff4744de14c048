//! Official JavaScript packages, installed once into `target/`, and our scripts that use them.
//!
//! Touches: files, processes.
//! Change here: when a package is installed or a script is run differently.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::python::talk;
use crate::world::kept;

/// As with the Python packages: one at a time in this process, and between processes the last rename wins.
static INSTALLING: Mutex<()> = Mutex::new(());

/// Directory whose `node_modules` holds these packages, pinned as `name@version`. Installs them on first use.
///
/// Panics with npm's own words where they cannot be had.
fn javascript_packages(packages: &[&str]) -> PathBuf {
    let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let cache = kept("javascript");
    let home = cache.join(packages.join("-").replace(['/', '@'], "-"));
    if home.is_dir() {
        return home;
    }
    std::fs::create_dir_all(&cache)
        .unwrap_or_else(|e| panic!("{} cannot be made: {e}", cache.display()));
    let fresh = tempfile::tempdir_in(&cache)
        .unwrap_or_else(|e| panic!("no directory in {}: {e}", cache.display()));
    let mut npm = Command::new("npm");
    npm.args([
        "install",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--prefix",
    ]);
    let output = npm
        .arg(fresh.path())
        .args(packages)
        .output()
        .unwrap_or_else(|e| panic!("npm cannot be started ({e}); install Debian's npm"));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "npm cannot install {packages:?}; this test needs npm and its registry:\n{words}"
    );
    let renamed = std::fs::rename(fresh.path(), &home);
    assert!(
        renamed.is_ok() || home.is_dir(),
        "{} cannot be put in place: {renamed:?}",
        home.display()
    );
    home
}

/// Where a file of these packages lies.
pub fn file_of_a_package(packages: &[&str], file: &str) -> PathBuf {
    javascript_packages(packages)
        .join("node_modules")
        .join(file)
}

/// Runs `tests/javascript/<script>` beside our adapter and these packages, and gives the JSON it prints.
pub fn run_javascript(script: &str, packages: &[&str], args: &[&str]) -> serde_json::Value {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    // A module looks for packages where it lies itself.
    let modules = javascript_packages(packages).join("node_modules");
    std::os::unix::fs::symlink(modules, dir.path().join("node_modules"))
        .expect("a link can be made");
    for file in [
        tests.join("javascript").join(script),
        tests.join("../adapters/javascript/changebus.mjs"),
    ] {
        let name = file.file_name().expect("it is a file");
        std::fs::copy(&file, dir.path().join(name))
            .unwrap_or_else(|e| panic!("{} cannot be copied: {e}", file.display()));
    }
    let mut command = Command::new("node");
    command.arg(dir.path().join(script)).args(args);
    talk(script, command, &serde_json::Value::Null)
}
