//! The made-up task every new plugin is tried on: one failing test, an empty tree, services that refuse everything.
//!
//! Touches: nothing.
//! Change here: when a task carries something new.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::task::{Contender, FailureFacts, Field, LogLevel, ReadChange, Services, StrategyTask};
use crate::event::{
    Commit, Fault, FaultKind, ModelAnswer, ModelRequest, Oid, Patch, ProbeReport, TestFailure,
    ToolReport,
};
use crate::outside::reading::{Hit, ReadTree, SearchOptions};

const NOBODY: &str = "0000000000000000000000000000000000000000";

pub fn task(wall_limit: Duration) -> StrategyTask {
    let test = "tests::adds".to_owned();
    StrategyTask {
        failure: FailureFacts {
            project: "smoke".to_owned(),
            base: NOBODY.to_owned(),
            head: NOBODY.to_owned(),
            failing: vec![test.clone()],
            failures: vec![TestFailure {
                id: test,
                message: "expected 4, got 5".to_owned(),
                detail: String::new(),
                file: None,
                line: None,
            }],
            suite_output: "1 failed\n".to_owned(),
            commits: vec![Commit {
                id: Oid(NOBODY.to_owned()),
                author: "Nobody <nobody@localhost>".to_owned(),
                message: "Change something".to_owned(),
            }],
            changed_paths: Vec::new(),
            attributes: BTreeMap::new(),
            change: Arc::new(Nothing),
        },
        tree: Arc::new(Nothing),
        before: Arc::new(Nothing),
        config: serde_json::json!({}),
        services: Arc::new(Nothing),
        history: Arc::default(),
        learned: Arc::default(),
        wall_limit,
    }
}

/// Two contenders, one with nothing to say for itself.
pub fn field() -> Field {
    let contender = |id: &str, metrics: &[(&str, f64)]| Contender {
        id: id.to_owned(),
        strategy: "smoke".to_owned(),
        metrics: metrics
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect(),
        ..Contender::default()
    };
    let good = [
        ("tests.to-fix", 1.0),
        ("tests.fixed", 1.0),
        ("tests.total", 1.0),
        ("tests.passed", 1.0),
        ("apply.quality", 1.0),
    ];
    Field {
        project: "smoke".to_owned(),
        base: NOBODY.to_owned(),
        head: NOBODY.to_owned(),
        contenders: vec![contender("A", &good), contender("B", &[])],
        config: serde_json::json!({}),
        ..Field::default()
    }
}

/// An empty tree, a change of nothing, and services that are not there.
pub struct Nothing;

fn no_file(path: &str) -> Fault {
    Fault::new(
        FaultKind::NotFound,
        "tree.no-file",
        format!("no file {path}"),
    )
}

fn nobody() -> Fault {
    let message = "the plugin is only tried out; nothing is answered";
    Fault::new(FaultKind::Unavailable, "smoke.unavailable", message)
}

impl ReadTree for Nothing {
    fn revision(&self) -> String {
        NOBODY.to_owned()
    }

    fn size(&self, path: &str) -> Result<u64, Fault> {
        Err(no_file(path))
    }

    fn read(&self, path: &str, _: u64, _: u32) -> Result<Vec<u8>, Fault> {
        Err(no_file(path))
    }

    fn glob(&self, _: &str, _: u32) -> Result<Vec<String>, Fault> {
        Ok(Vec::new())
    }

    fn search(
        &self,
        _: &str,
        _: SearchOptions,
        _: Option<&str>,
        _: u32,
    ) -> Result<Vec<Hit>, Fault> {
        Ok(Vec::new())
    }
}

impl ReadChange for Nothing {
    fn diff(&self, _: Option<&str>, _: u32, _: u32) -> String {
        String::new()
    }

    fn protected(&self, _: &str) -> Option<String> {
        None
    }
}

impl Services for Nothing {
    fn complete(&self, _: ModelRequest) -> BoxFuture<'_, Result<ModelAnswer, Fault>> {
        async { Err(nobody()) }.boxed()
    }

    fn probe(&self, _: Patch) -> BoxFuture<'_, Result<ProbeReport, Fault>> {
        async { Err(nobody()) }.boxed()
    }

    fn run_tool(&self, _: String, _: Patch) -> BoxFuture<'_, Result<ToolReport, Fault>> {
        async { Err(nobody()) }.boxed()
    }

    fn tools(&self) -> Vec<String> {
        Vec::new()
    }

    fn now_ms(&self) -> u64 {
        0
    }

    fn random(&self, len: u32) -> Vec<u8> {
        vec![0; len as usize]
    }

    fn remaining(&self, _: &str) -> Option<u64> {
        Some(0)
    }

    fn log(&self, _: LogLevel, _: &str, _: &[(String, String)]) {}
}
