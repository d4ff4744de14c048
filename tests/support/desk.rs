//! What the plugins under test work on: a small failure in a small tree, and services that answer as told.
//!
//! Touches: nothing.
//! Change here: when a task carries something new.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use changebus::event::{
    Commit, FailureClass, Fault, FaultKind, FixFate, Learned, ModelAnswer, ModelRequest, Oid,
    PastFix, PastPatch, Patch, ProbeReport, Rejection, RunId, TestFailure, ToolReport, Usage,
};
use changebus::outside::reading::{Hit, ReadTree, SearchOptions};
use changebus::outside::wasm::{
    Contender, FailureFacts, Field, LogLevel, ReadChange, Services, StrategyTask,
};
use serde_json::{Value, json};
use tokio::sync::Barrier;

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A tree of text files held in memory.
pub struct Leaves {
    revision: &'static str,
    files: BTreeMap<&'static str, &'static str>,
}

impl Leaves {
    fn file(&self, path: &str) -> Result<&'static str, Fault> {
        let missing = || {
            Fault::new(
                FaultKind::NotFound,
                "tree.no-file",
                format!("no file {path}"),
            )
        };
        self.files.get(path).copied().ok_or_else(missing)
    }
}

impl ReadTree for Leaves {
    fn revision(&self) -> String {
        self.revision.to_owned()
    }

    fn size(&self, path: &str) -> Result<u64, Fault> {
        Ok(self.file(path)?.len() as u64)
    }

    fn read(&self, path: &str, offset: u64, max: u32) -> Result<Vec<u8>, Fault> {
        let bytes = self.file(path)?.bytes();
        Ok(bytes.skip(offset as usize).take(max as usize).collect())
    }

    fn glob(&self, pattern: &str, limit: u32) -> Result<Vec<String>, Fault> {
        let end = pattern.trim_start_matches('*');
        let found = self.files.keys().filter(|path| path.ends_with(end));
        Ok(found
            .take(limit as usize)
            .map(|path| (*path).to_owned())
            .collect())
    }

    fn search(
        &self,
        pattern: &str,
        options: SearchOptions,
        _: Option<&str>,
        _: u32,
    ) -> Result<Vec<Hit>, Fault> {
        assert_eq!(
            options,
            SearchOptions {
                regex: false,
                ignore_case: true,
                word: false
            }
        );
        let pattern = pattern.to_lowercase();
        let found = self
            .files
            .iter()
            .filter(|(_, text)| text.to_lowercase().contains(&pattern));
        Ok(found
            .map(|(path, text)| Hit {
                path: (*path).to_owned(),
                line: 1,
                text: (*text).to_owned(),
            })
            .collect())
    }
}

struct Move;

impl ReadChange for Move {
    fn diff(&self, path: Option<&str>, context_lines: u32, max_bytes: u32) -> String {
        format!("{path:?} {context_lines} {max_bytes}")
    }

    fn protected(&self, path: &str) -> Option<String> {
        path.starts_with("tests/")
            .then(|| "it is a test".to_owned())
    }
}

/// How the model and the probe answer.
#[derive(Clone, Default)]
pub enum Reply {
    #[default]
    Well,
    Fault(Fault),
    Never,
    /// Well, once so many are asking at the same time.
    Together(Arc<Barrier>),
    Panic,
}

/// Level, message and fields of a log line.
pub type Line = (LogLevel, String, Vec<(String, String)>);

/// Services that keep everything they are asked and told.
#[derive(Default)]
pub struct Books {
    pub reply: Reply,
    pub asked: Mutex<Vec<ModelRequest>>,
    pub probed: Mutex<Vec<Patch>>,
    pub lines: Mutex<Vec<Line>>,
}

impl Books {
    pub fn that(reply: Reply) -> Arc<Books> {
        Arc::new(Books {
            reply,
            ..Books::default()
        })
    }

    pub fn lines(&self) -> Vec<Line> {
        self.lines
            .lock()
            .expect("no test panics while it logs")
            .clone()
    }

    async fn answer<T>(&self, well: T) -> Result<T, Fault> {
        match &self.reply {
            Reply::Well => Ok(well),
            Reply::Fault(fault) => Err(fault.clone()),
            Reply::Together(all) => {
                all.wait().await;
                Ok(well)
            }
            Reply::Never => std::future::pending().await,
            Reply::Panic => panic!("the books are lost"),
        }
    }
}

impl Services for Books {
    fn complete(&self, request: ModelRequest) -> Answer<'_, Result<ModelAnswer, Fault>> {
        self.asked
            .lock()
            .expect("no test panics while it asks")
            .push(request);
        Box::pin(self.answer(ModelAnswer {
            text: "use a plus".to_owned(),
            model: "m-1-full".to_owned(),
            stop_reason: "end_turn".to_owned(),
            usage: Usage {
                input_tokens: 11,
                output_tokens: 12,
                cache_read_tokens: 13,
                cache_write_tokens: 14,
                cost_usd: 0.0015,
            },
            request_id: None,
            notes: Vec::new(),
        }))
    }

    fn probe(&self, patch: Patch) -> Answer<'_, Result<ProbeReport, Fault>> {
        self.probed
            .lock()
            .expect("no test panics while it probes")
            .push(patch);
        Box::pin(self.answer(ProbeReport {
            still_failing: vec!["t::one".to_owned()],
            broken: vec!["t::three".to_owned()],
            failures: vec![failed("t::one")],
            output: "1 failed, 9 passed".to_owned(),
            passed: 9,
            failed: 1,
            seconds: 1.5,
        }))
    }

    fn run_tool(&self, name: String, _: Patch) -> Answer<'_, Result<ToolReport, Fault>> {
        Box::pin(self.answer(ToolReport {
            exit_code: Some(0),
            output: format!("ran {name}"),
            changed: vec!["a.txt".to_owned()],
            diff: "--- a/a.txt\n+++ b/a.txt\n".to_owned(),
            seconds: 0.5,
        }))
    }

    fn tools(&self) -> Vec<String> {
        vec!["format".to_owned()]
    }

    fn now_ms(&self) -> u64 {
        1_767_225_600_000
    }

    fn random(&self, len: u32) -> Vec<u8> {
        (0..len).map(|n| n as u8).collect()
    }

    fn remaining(&self, meter: &str) -> Option<u64> {
        (meter == "llm.calls").then_some(7)
    }

    fn log(&self, level: LogLevel, message: &str, fields: &[(String, String)]) {
        let line = (level, message.to_owned(), fields.to_vec());
        self.lines
            .lock()
            .expect("no test panics while it logs")
            .push(line);
    }
}

/// One failure like this one, which nobody mended to the end, and two opinions.
fn learned() -> Learned {
    let said = |strategy: Option<&str>, reason: &str| Rejection {
        run: RunId("shop-1".to_owned()),
        strategy: strategy.map(str::to_owned),
        reason: reason.to_owned(),
    };
    Learned {
        similar: vec![PastFix {
            run: RunId("shop-1".to_owned()),
            likeness: 0.75,
            class: FailureClass::Assertion,
            failing: vec!["t::one".to_owned()],
            message: "expected 3, got 2".to_owned(),
            fix: Some(PastPatch {
                strategy: "moody".to_owned(),
                rationale: "one was lost".to_owned(),
                patch: "-a\n+b\n".to_owned(),
            }),
            fate: Some(FixFate::Reverted),
            rejections: vec!["too wide".to_owned()],
        }],
        rejections: vec![said(Some("moody"), "too wide"), said(None, "not now")],
        ..Learned::default()
    }
}

fn failed(id: &str) -> TestFailure {
    TestFailure {
        id: id.to_owned(),
        message: "expected 3, got 1".to_owned(),
        detail: "assert left == right".to_owned(),
        file: Some("src/lib.rs".to_owned()),
        line: Some(42),
    }
}

/// A task for `moody-strategy` in the given mood, with an hour to spare.
pub fn task(mood: Value, books: &Arc<Books>) -> StrategyTask {
    let tree = |revision| {
        Arc::new(Leaves {
            revision,
            files: BTreeMap::from([("a.txt", "Hello"), ("b.rs", "x")]),
        })
    };
    StrategyTask {
        failure: FailureFacts {
            project: "shop".to_owned(),
            base: "ba5e".to_owned(),
            head: "4ead".to_owned(),
            failing: vec!["t::one".to_owned(), "t::two".to_owned()],
            failures: vec![failed("t::one")],
            suite_output: "running... 2 failed".to_owned(),
            commits: vec![commit("4ead", "newest"), commit("3ead", "older")],
            changed_paths: vec!["a.txt".to_owned()],
            attributes: BTreeMap::from([("language".to_owned(), "rust".to_owned())]),
            change: Arc::new(Move),
        },
        tree: tree("4ead"),
        before: tree("ba5e"),
        config: mood,
        services: Arc::clone(books) as Arc<dyn Services>,
        history: Arc::new(BTreeMap::from([("strategy/moody/merged".to_owned(), 4.0)])),
        learned: Arc::new(learned()),
        wall_limit: Duration::from_secs(3600),
    }
}

fn commit(id: &str, message: &str) -> Commit {
    Commit {
        id: Oid(id.to_owned()),
        author: "Ada <ada@example.org>".to_owned(),
        message: message.to_owned(),
    }
}

/// A field of two for the moody judges: A fixes 9 tests, B 5 and breaks a gate.
pub fn field(mood: &str) -> Field {
    let contender = |id: &str, fixed: f64, gates: &[&str]| Contender {
        id: id.to_owned(),
        strategy: "moody".to_owned(),
        rationale: "the sign was wrong".to_owned(),
        confidence: 0.5,
        patch: "--- a/x\n+++ b/x\n".to_owned(),
        paths: vec!["x".to_owned()],
        metrics: BTreeMap::from([("tests.fixed".to_owned(), fixed)]),
        broken_gates: gates.iter().map(|gate| (*gate).to_owned()).collect(),
        failing: vec!["t::one".to_owned(), "t::two".to_owned()],
        score: (id == "A").then_some(90.0),
        evidence: (id == "A").then_some(0.8),
        security: if id == "A" {
            vec!["it touches a lock file".to_owned()]
        } else {
            Vec::new()
        },
    };
    Field {
        project: "shop".to_owned(),
        base: "ba5e".to_owned(),
        head: "4ead".to_owned(),
        attributes: BTreeMap::from([("merge-threshold".to_owned(), "75".to_owned())]),
        contenders: vec![
            contender("A", 9.0, &[]),
            contender("B", 5.0, &["it breaks t::three"]),
        ],
        ambiguity: vec!["they behave differently".to_owned()],
        config: json!({ "do": mood }),
        history: Arc::new(BTreeMap::from([("strategy/moody/merged".to_owned(), 4.0)])),
        learned: Arc::new(learned()),
    }
}
