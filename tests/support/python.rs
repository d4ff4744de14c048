//! Official Python packages as independent judges: installed once into `target/`, then run on our scripts.
//!
//! Touches: files, processes.
//! Change here: when a package is installed or a script is run differently.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::world::kept;

/// One installation at a time in this process; between processes the last rename wins, and all are alike.
static INSTALLING: Mutex<()> = Mutex::new(());

/// Directory with these packages, pinned as `name==version`, for `PYTHONPATH`. Installs them on first use.
///
/// Panics with pip's own words where they cannot be had: a judge that is missing must not look like a verdict.
pub fn python_packages(packages: &[&str]) -> PathBuf {
    let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let cache = kept("python");
    let home = cache.join(format!(
        "{}-{}",
        python_version(),
        packages.join("-").replace("==", "-")
    ));
    if !home.is_dir() {
        install(packages, &cache, &home);
    }
    home
}

fn install(packages: &[&str], cache: &Path, home: &Path) {
    std::fs::create_dir_all(cache)
        .unwrap_or_else(|e| panic!("{} cannot be made: {e}", cache.display()));
    let fresh = tempfile::tempdir_in(cache)
        .unwrap_or_else(|e| panic!("no directory in {}: {e}", cache.display()));
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--target",
    ];
    let output = output(
        Command::new("python3")
            .args(pip)
            .arg(fresh.path())
            .args(packages),
    );
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "pip cannot install {packages:?}; this test needs python3, pip and PyPI:\n{words}"
    );
    let renamed = std::fs::rename(fresh.path(), home);
    assert!(
        renamed.is_ok() || home.is_dir(),
        "{} cannot be put in place: {renamed:?}",
        home.display()
    );
}

fn python_version() -> String {
    let code = "import sys; print('%d.%d' % sys.version_info[:2])";
    let output = output(Command::new("python3").args(["-c", code]));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn output(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|e| panic!("python3 cannot be started ({e}); install it to run this test"))
}

/// Runs `tests/python/<script>` with these packages, `input` on its standard input, and gives the JSON it prints.
pub fn run_python(
    script: &str,
    packages: &[&str],
    args: &[&str],
    input: &serde_json::Value,
) -> serde_json::Value {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ours = tests.join("../adapters/python");
    let mut command = Command::new("python3");
    command
        .arg(tests.join("python").join(script))
        .args(args)
        .env(
            "PYTHONPATH",
            format!("{}:{}", python_packages(packages).display(), ours.display()),
        )
        .env("PYTHONDONTWRITEBYTECODE", "1");
    talk(script, command, input)
}

/// Gives a script its input, and what it prints back as JSON; panics with its own words where it fails.
pub fn talk(script: &str, mut command: Command, input: &serde_json::Value) -> serde_json::Value {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{script} cannot be started: {e}"));
    let mut stdin = child.stdin.take().expect("it was piped");
    stdin
        .write_all(input.to_string().as_bytes())
        .unwrap_or_else(|e| panic!("{script} does not read its input: {e}"));
    drop(stdin);
    let output = child
        .wait_with_output()
        .unwrap_or_else(|e| panic!("{script} was lost: {e}"));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script} failed:\n{words}");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{script} printed no JSON ({e}):\n{words}"))
}
