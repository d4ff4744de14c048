//! Named places at which a test may kill the daemon, as a power cut or `kill -9` would.
//!
//! Touches: processes (only in builds with the `failpoints` feature).
//! Change here: never; reach a new point where a new effect begins or ends, and list it in `docs/failpoints.md`.

/// Reads `FAILPOINTS`, for the life of the process. Builds without the feature ignore the variable.
pub fn arm() {
    #[cfg(feature = "failpoints")]
    // The points disarm when this is dropped, and the process has no moment after which they should.
    std::mem::forget(fail::FailScenario::setup());
}

/// With the feature on and `FAILPOINTS=<name>=return`, the process dies here without a word.
pub fn reach(name: &str) {
    fail::fail_point!(name, |_: Option<String>| die());
    let _ = name;
}

#[cfg(feature = "failpoints")]
fn die() {
    use nix::sys::signal::{Signal, kill};
    // SIGKILL cannot be caught: nothing is flushed and no destructor runs.
    let _ = kill(nix::unistd::Pid::this(), Signal::SIGKILL);
    std::process::abort();
}
