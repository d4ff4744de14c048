//! The bundled plugins as components in the real engine: they do there what they do natively on the bench.
//!
//! Touches: wasm, files.
//! Change here: when a bundled plugin comes or goes.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use changebus::event::{
    Action, Edit, Fault, FaultKind, ModelAnswer, ModelRequest, Patch, ProbeReport, TestFailure,
    ToolReport, Usage,
};
use changebus::outside::reading::{Hit, ReadTree, SearchOptions};
use changebus::outside::wasm::{
    Contender, FailureFacts, Field, Limits, LogLevel, PluginKind, Plugins, ReadChange, Services,
    StrategyAnswer, StrategyTask,
};
use changebus_sdk::testing::{Bench, TestTree};
use changebus_sdk::{Failure, SearchOpts, Tree};
use changebus_tests::guests::{cache, load, plugin_dir};
use futures::future::BoxFuture;
use serde_json::{Value, json};

static PLUGINS: LazyLock<Plugins> =
    LazyLock::new(|| load(&[plugin_dir()], &cache(), Limits::default()));

const TEST: &str = "tests/test_sum.py::test_add";
const OLD: &str = "def add(a, b):\n    return a + b\n\ndef sub(a, b):\n    return a - b\n";
const NEW: &str = "def add(a, b):\n    return a - b\n\ndef sub(a, b):\n    return a - b - 0\n";

fn bench() -> Bench {
    Bench::new().base("sum.py", OLD).head("sum.py", NEW).both(
        "tests/test_sum.py",
        "from sum import add\n\ndef test_add():\n    assert add(1, 2) == 3\n",
    )
}

struct Twin(TestTree);

fn fault(fault: changebus_sdk::Fault) -> Fault {
    let kind = match fault.kind {
        changebus_sdk::FaultKind::NotFound => FaultKind::NotFound,
        _ => FaultKind::Invalid,
    };
    Fault::new(kind, &fault.code, fault.message)
}

impl ReadTree for Twin {
    fn revision(&self) -> String {
        self.0.revision()
    }
    fn size(&self, path: &str) -> Result<u64, Fault> {
        self.0.size(path).map_err(fault)
    }
    fn read(&self, path: &str, offset: u64, max: u32) -> Result<Vec<u8>, Fault> {
        self.0.read(path, offset, max).map_err(fault)
    }
    fn glob(&self, pattern: &str, limit: u32) -> Result<Vec<String>, Fault> {
        self.0.glob(pattern, limit).map_err(fault)
    }
    fn search(
        &self,
        pattern: &str,
        o: SearchOptions,
        glob: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Hit>, Fault> {
        let opts = SearchOpts {
            regex: o.regex,
            ignore_case: o.ignore_case,
            word: o.word,
        };
        let hits = self.0.search(pattern, opts, glob, limit).map_err(fault)?;
        Ok(hits
            .into_iter()
            .map(|h| Hit {
                path: h.path,
                line: h.line,
                text: h.text,
            })
            .collect())
    }
}

struct Change(String);

impl ReadChange for Change {
    fn diff(&self, _: Option<&str>, _: u32, _: u32) -> String {
        self.0.clone()
    }
    fn protected(&self, path: &str) -> Option<String> {
        path.starts_with("tests/")
            .then(|| "it is a test".to_owned())
    }
}

#[derive(Default)]
struct Desk {
    answers: Mutex<Vec<String>>,
    asked: Mutex<Vec<ModelRequest>>,
    probed: Mutex<Vec<Patch>>,
    logged: Mutex<Vec<String>>,
}

fn sum_after(patch: &Patch) -> String {
    let mut text = NEW.to_owned();
    for edit in &patch.edits {
        match edit {
            Edit::Replace {
                search,
                replacement,
                ..
            } => {
                text = changebus_edits::apply_one(&text, search, replacement)
                    .expect("it applies")
                    .0;
            }
            Edit::Write { content, .. } => text = content.clone(),
            other => panic!("{other:?}"),
        }
    }
    text
}

impl Services for Desk {
    fn complete(&self, request: ModelRequest) -> BoxFuture<'_, Result<ModelAnswer, Fault>> {
        self.asked.lock().unwrap().push(request);
        let text = self.answers.lock().unwrap().remove(0);
        Box::pin(async move {
            Ok(ModelAnswer {
                text,
                model: "m".into(),
                stop_reason: "end_turn".into(),
                usage: Usage::default(),
                request_id: None,
                notes: vec![],
            })
        })
    }
    fn probe(&self, patch: Patch) -> BoxFuture<'_, Result<ProbeReport, Fault>> {
        let good = sum_after(&patch).starts_with("def add(a, b):\n    return a + b\n");
        self.probed.lock().unwrap().push(patch);
        Box::pin(async move {
            Ok(ProbeReport {
                still_failing: if good { vec![] } else { vec![TEST.into()] },
                broken: vec![],
                failures: vec![],
                output: String::new(),
                passed: 1,
                failed: 0,
                seconds: 0.1,
            })
        })
    }
    fn run_tool(&self, name: String, _: Patch) -> BoxFuture<'_, Result<ToolReport, Fault>> {
        panic!("none of these plugins runs tools, not even `{name}`")
    }
    fn tools(&self) -> Vec<String> {
        vec![]
    }
    fn now_ms(&self) -> u64 {
        0
    }
    fn random(&self, len: u32) -> Vec<u8> {
        vec![7; len as usize]
    }
    fn remaining(&self, _: &str) -> Option<u64> {
        Some(20)
    }
    fn log(&self, _: LogLevel, message: &str, _: &[(String, String)]) {
        self.logged.lock().unwrap().push(message.to_owned());
    }
}

fn task(config: Value, desk: &Arc<Desk>) -> StrategyTask {
    let bench = bench();
    StrategyTask {
        failure: FailureFacts {
            project: "shop".into(),
            base: "b".repeat(40),
            head: "a".repeat(40),
            failing: vec![TEST.into()],
            failures: vec![TestFailure {
                id: TEST.into(),
                message: "assert -1 == 3".into(),
                detail: "  File \"/tmp/ws/sum.py\", line 2, in add\n".into(),
                file: Some("tests/test_sum.py".into()),
                line: Some(3),
            }],
            suite_output: String::new(),
            commits: vec![],
            changed_paths: vec!["sum.py".into()],
            attributes: BTreeMap::new(),
            change: Arc::new(Change(bench.diff(Some("sum.py"), 3, 10_000))),
        },
        tree: Arc::new(Twin(bench.tree().clone())),
        before: Arc::new(Twin(bench.before())),
        config,
        services: Arc::clone(desk) as Arc<dyn Services>,
        history: Arc::default(),
        learned: Arc::default(),
        wall_limit: Duration::from_secs(60),
    }
}

async fn run(name: &str, config: Value, desk: &Arc<Desk>) -> StrategyAnswer {
    let plugin = PLUGINS.reference(PluginKind::Strategy, name);
    PLUGINS
        .run_strategy(&plugin, task(config, desk))
        .await
        .answer
        .expect("an answer")
}

#[tokio::test]
async fn the_culprit_is_taken_back_and_the_rest_of_the_push_stays() {
    let desk = Arc::new(Desk::default());
    let StrategyAnswer::Propose {
        patch, rationale, ..
    } = run("revert-culprit", json!({}), &desk).await
    else {
        panic!("declined");
    };
    let text = sum_after(&patch);
    assert_eq!(text, NEW.replacen("a - b", "a + b", 1));
    assert!(rationale.contains("`sum.py` line 2"), "{rationale}");
}

#[tokio::test]
async fn both_model_strategies_send_the_same_shared_blocks() {
    let answer = "The sign.\n\nsum.py\n<<<<<<< SEARCH\ndef add(a, b):\n    return a - b\n=======\ndef add(a, b):\n    return a + b\n>>>>>>> REPLACE\n";
    let mut systems = vec![];
    for name in ["minimal-fix", "robust-refactor"] {
        let desk = Arc::new(Desk::default());
        *desk.answers.lock().unwrap() = vec!["no edits".into(), answer.into()];
        let config = json!({"effort": "low", "temperature": 0.2});
        let StrategyAnswer::Propose {
            patch, rationale, ..
        } = run(name, config, &desk).await
        else {
            panic!("declined");
        };
        assert_eq!(
            (sum_after(&patch), rationale),
            (NEW.replacen("a - b", "a + b", 1), "The sign.".into())
        );
        let asked = desk.asked.lock().unwrap();
        assert_eq!((asked.len(), desk.probed.lock().unwrap().len()), (2, 1));
        assert_eq!(
            (asked[0].effort.as_deref(), asked[0].temperature),
            (Some("low"), Some(0.2))
        );
        assert_ne!(asked[0].messages, vec![]);
        systems.push(asked[0].system.clone());
    }
    assert_eq!(systems[0], systems[1]);
}

#[tokio::test]
async fn judges_score_and_decide() {
    let metrics = |inserted: f64| {
        let all = [
            ("tests.to-fix", 1.0),
            ("tests.fixed", 1.0),
            ("diff.files", 1.0),
            ("diff.insertions", inserted),
            ("apply.quality", 1.0),
        ];
        all.iter().map(|(k, v)| (k.to_string(), *v)).collect()
    };
    let mut field = Field {
        config: json!({}),
        contenders: vec![
            Contender {
                id: "A".into(),
                metrics: metrics(1.0),
                ..Contender::default()
            },
            Contender {
                id: "B".into(),
                metrics: metrics(90.0),
                ..Contender::default()
            },
        ],
        ..Field::default()
    };
    let scorer = PLUGINS.reference(PluginKind::Scorer, "weighted");
    let scores = PLUGINS
        .run_scorer(&scorer, field.clone())
        .await
        .answer
        .expect("scores");
    assert_eq!(scores["A"].total, 100.0);
    assert!(scores["B"].total < 80.0);
    field.contenders[0].score = Some(100.0);
    field.contenders[0].evidence = Some(0.9);
    let gate = PLUGINS.reference(PluginKind::Escalation, "default");
    let advice = PLUGINS
        .run_escalation(&gate, field)
        .await
        .answer
        .expect("advice");
    assert_eq!(
        (advice.action, advice.contender.as_deref()),
        (Action::Merge, Some("A"))
    );
}

#[tokio::test]
async fn an_investigation_looks_around_and_hands_in_what_is_green() {
    let answers = [
        "HYPOTHESIS: the sign\nREAD sum.py 1-2",
        "SEARCH add IN tests/*.py",
        "Both signs.\nPROBE\nsum.py\n<<<<<<< SEARCH\n    return a - b - 0\n=======\n    return a + b\n>>>>>>> REPLACE\n",
        "The sign was turned.\nPROBE\nsum.py\n<<<<<<< SEARCH\ndef add(a, b):\n    return a - b\n=======\ndef add(a, b):\n    return a + b\n>>>>>>> REPLACE\n",
    ];
    let desk = Arc::new(Desk {
        answers: Mutex::new(answers.map(str::to_owned).to_vec()),
        ..Desk::default()
    });
    let answer = run("investigator", json!({"turns": 9}), &desk).await;
    let StrategyAnswer::Propose {
        patch, rationale, ..
    } = answer
    else {
        panic!("{answer:?}");
    };
    assert!(sum_after(&patch).starts_with("def add(a, b):\n    return a + b\n"));
    assert_eq!(rationale, "The sign was turned.");
    let asked = desk.asked.lock().unwrap();
    assert_eq!((asked.len(), desk.probed.lock().unwrap().len()), (4, 2));
    assert!(
        asked
            .iter()
            .all(|request| request.system == asked[0].system)
    );
}

#[tokio::test]
async fn without_tools_autofix_says_what_is_missing() {
    let answer = run("autofix", json!({}), &Arc::default()).await;
    let StrategyAnswer::Decline(why) = answer else {
        panic!("{answer:?}");
    };
    assert!(why.starts_with("this project has no tools"), "{why}");
}

#[tokio::test]
async fn what_a_plugin_imports_is_what_it_needs() {
    let imports = |name: &str| {
        PLUGINS
            .list()
            .into_iter()
            .find(|p| p.name == name)
            .expect("it is loaded")
            .imports
    };
    let needs = |name: &str, what: &str| imports(name).iter().any(|i| i.contains(what));
    for name in ["revert-culprit", "autofix"] {
        assert!(!needs(name, "/llm@"), "{name}");
    }
    for name in ["minimal-fix", "robust-refactor", "investigator"] {
        assert!(needs(name, "/llm@") && !needs(name, "/tools@"), "{name}");
    }
    assert!(needs("autofix", "/tools@") && needs("autofix", "/probe@"));
    assert!(
        PLUGINS
            .list()
            .iter()
            .all(|p| p.imports.iter().all(|i| i.starts_with("changebus:")))
    );
}

#[tokio::test]
async fn a_broken_configuration_is_told() {
    let plugin = PLUGINS.reference(PluginKind::Strategy, "minimal-fix");
    let failure = PLUGINS
        .run_strategy(&plugin, task(json!({"efort": 1}), &Arc::default()))
        .await
        .answer
        .expect_err("it says err");
    assert!(failure.why.contains("efort"), "{failure:?}");
}
