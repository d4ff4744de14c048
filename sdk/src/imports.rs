//! What a plugin may ask of the host, as traits: components and the test twin stand behind the same ones.
//!
//! Touches: nothing.
//! Change here: when the WIT offers a new import. Give it to `guest.rs` and to `testing.rs` in the same change.
//!
//! Plugins take these as `&impl Trait`, not `&dyn Trait`: what a plugin does not call then vanishes from the
//! component, and its list of imports is an honest list of what it can do.

use serde::de::DeserializeOwned;

use crate::types::{
    Commit, Completion, Episode, Fault, FaultKind, Hit, Level, Patch, Prompt, Report, SearchOpts,
    ToolReport,
};

/// Longest file [`Tree::read_text`] reads, in bytes.
const MAX_TEXT: u64 = 1 << 20;
const CHUNK: u32 = 256 << 10;

/// What every kind of plugin may use.
pub trait Services {
    fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]);

    /// This entry's `config` table as a JSON object, `{}` where there is none.
    fn config_json(&self) -> String;

    /// What became of earlier work; None where it is not known. Scopes: `strategy`, `project`, `class`, `class-anywhere`,
    /// `strategy-on-class`.
    fn history(&self, scope: &str, key: &str, metric: &str) -> Option<f64>;

    /// Earlier failures of this project that resemble this one, most alike first, and what was made of them.
    fn similar(&self, limit: u32) -> Vec<Episode>;

    /// What people said lately of fixes of this project that they did not want, newest first.
    fn rejections(&self, limit: u32) -> Vec<String>;

    /// The `config` table as a type; the error names the key, ready to be returned.
    fn config<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_str(&self.config_json()).map_err(|e| format!("config: {e}"))
    }
}

/// What a strategy may use besides.
pub trait Host: Services {
    /// What is left of a meter; None where it is unknown or unlimited. Meters: `llm.calls`,
    /// `llm.output-tokens`, `llm.usd-micros`, `probe.runs`.
    fn remaining(&self, meter: &str) -> Option<u64>;

    /// Asks the model. The money is spent when this returns `Ok`; refusal and truncation are faults.
    fn complete(&self, prompt: &Prompt) -> Result<Completion, Fault>;

    /// Tries a patch on the tests, in a workspace of its own. Costs one of `probe.runs`.
    fn probe(&self, patch: &Patch) -> Result<Report, Fault>;

    /// Names of the commands the operator lets strategies have run on this project, sorted.
    fn tools(&self) -> Vec<String>;

    /// Has such a command run on the failing tree with the patch applied. Costs one of `probe.runs`.
    fn run_tool(&self, name: &str, patch: &Patch) -> Result<ToolReport, Fault>;

    /// Milliseconds since 1970 in UTC; stands still while the plugin computes.
    fn now_ms(&self) -> u64;

    /// At most 1024 bytes, the same ones in a replay.
    fn random(&self, len: u32) -> Vec<u8>;
}

/// A read-only tree pinned to one commit.
pub trait Tree {
    fn revision(&self) -> String;
    fn size(&self, path: &str) -> Result<u64, Fault>;
    fn read(&self, path: &str, offset: u64, max_bytes: u32) -> Result<Vec<u8>, Fault>;
    /// Paths that match a glob such as `src/**/*.py`, sorted.
    fn glob(&self, pattern: &str, limit: u32) -> Result<Vec<String>, Fault>;
    /// Lines that match, in path order; `path_glob` narrows the files.
    fn search(
        &self,
        pattern: &str,
        opts: SearchOpts,
        path_glob: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Hit>, Fault>;

    /// A whole text file of at most 1 MiB; `file.too-large` or `file.not-text` otherwise.
    fn read_text(&self, path: &str) -> Result<String, Fault> {
        let size = self.size(path)?;
        if size > MAX_TEXT {
            let message = format!("{path} has {size} bytes");
            return Err(Fault::new(FaultKind::Invalid, "file.too-large", message));
        }
        let mut bytes = vec![];
        while (bytes.len() as u64) < size {
            let more = self.read(path, bytes.len() as u64, CHUNK)?;
            if more.is_empty() {
                break;
            }
            bytes.extend(more);
        }
        let not_text = || {
            Fault::new(
                FaultKind::Invalid,
                "file.not-text",
                format!("{path} is not text"),
            )
        };
        let text = String::from_utf8(bytes).map_err(|_| not_text())?;
        if text.contains('\0') {
            Err(not_text())
        } else {
            Ok(text)
        }
    }

    fn has(&self, path: &str) -> bool {
        self.size(path).is_ok()
    }
}

/// What broke, and the change that broke it.
pub trait Failure {
    type Before: Tree;

    fn project(&self) -> String;
    /// The last commit before the change.
    fn base(&self) -> String;
    /// The failing commit.
    fn head(&self) -> String;
    /// Ids of the tests that fail because of the change, sorted; some may be held out for the trial.
    fn failing_tests(&self) -> Vec<String>;
    /// A failing test's one-line complaint.
    fn message(&self, test: &str) -> Option<String>;
    /// A failing test's traceback or output.
    fn detail(&self, test: &str, max_bytes: u32) -> Option<String>;
    /// Where a test stands, path and line (0: not known).
    fn location(&self, test: &str) -> Option<(String, u32)>;
    /// The end of what the test command printed.
    fn suite_output(&self, max_bytes: u32) -> String;
    /// Newest first.
    fn commits(&self, limit: u32) -> Vec<Commit>;
    /// Sorted.
    fn changed_paths(&self) -> Vec<String>;
    /// The change as a unified diff, of one path or of all.
    fn diff(&self, path: Option<&str>, context_lines: u32, max_bytes: u32) -> String;
    /// The tree before the change.
    fn before(&self) -> Self::Before;
    /// Why a patch may not touch this path, if so.
    fn protected(&self, path: &str) -> Option<String>;
    /// `language`, `test-command`, `attempt`.
    fn attribute(&self, key: &str) -> Option<String>;
}

/// A candidate once its tests ran.
pub trait Contender {
    /// The variant's name.
    fn id(&self) -> String;
    fn strategy(&self) -> String;
    fn rationale(&self) -> String;
    /// The strategy's own, 0 to 1; self-praise, not evidence.
    fn confidence(&self) -> f32;
    fn unified_diff(&self, max_bytes: u32) -> String;
    fn paths(&self) -> Vec<String>;
    /// `tests.to-fix`, `tests.fixed`, `tests.regressed`, `tests.missing`, `tests.passed`, `tests.total`,
    /// `diff.files`, `diff.insertions`, `diff.deletions`, `apply.quality` (0 to 1), `cost.usd`.
    fn metric(&self, name: &str) -> Option<f64>;
    /// The host's gates that this contender breaks, as sentences.
    fn broken_gates(&self) -> Vec<String>;
    /// Tests that fail with it.
    fn failing(&self) -> Vec<String>;
}

/// What the host knows about a tournament once the tests ran.
pub trait Tournament {
    type Contender: Contender;

    fn project(&self) -> String;
    fn base(&self) -> String;
    fn head(&self) -> String;
    /// `merge-threshold`, `min-confidence`.
    fn attribute(&self, key: &str) -> Option<String>;
    /// In the order of the configuration; best first once they are scored.
    fn contenders(&self) -> Vec<Self::Contender>;
    /// The scorer's total, 0 to 100; None before scoring.
    fn score(&self, contender: &str) -> Option<f64>;
    /// The host's evidence, 0 to 1; None before scoring.
    fn confidence(&self, contender: &str) -> Option<f64>;
    /// Why a contender counts as security-related; empty where it does not.
    fn security(&self, contender: &str) -> Vec<String>;
    /// Why the choice between the best contenders is not clear; empty where it is.
    fn ambiguity(&self) -> Vec<String>;
}
