//! Plugins: finding them, and calling them so that no guest can harm or hold up the host.
//!
//! Touches: wasm.
//! Change here: when there is a new kind of plugin, or callers need to know more about one.
//!
//! Every call gets a guest of its own, thrown away afterwards: no call can leave anything behind for the next,
//! and the same task with the same answers from the services always ends in the same answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::event::{Advice, PluginFailure, PluginFailureKind, PluginRef, Score};
use call::{Booth, Job, OfEscalation, OfScorer, OfStrategy, World};
use imports::Desk;
use journal::Tape;
use load::{Loaded, Loader, Shelf};
use threads::GuestThreads;

mod account;
mod bindings;
mod call;
mod capability;
mod convert;
mod engine;
mod imports;
mod journal;
mod limits;
mod load;
mod log;
mod task;
mod threads;
mod wasi;

pub use call::{Called, Replayed};
pub use capability::Capability;
pub use journal::{Divergence, Journal, JournalError};
pub use limits::Limits;
pub use task::{
    Contender, FailureFacts, Field, LogLevel, ReadChange, Services, StrategyAnswer, StrategyTask,
};

/// Judges never wait behind strategies. Calls that wait for their turn do not use up their time.
const JUDGES_AT_ONCE: usize = 8;

/// Why there can be no plugins at all. A file that does not fit is a [`LoadProblem`] instead.
#[derive(Debug, thiserror::Error)]
pub enum WasmError {
    #[error("the cache for compiled plugins cannot be kept in {}: make it a directory this host may write", path.display())]
    Cache {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the WebAssembly engine does not start on this machine")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no threads for plugins: raise the limit on threads (ulimit -u)")]
    Threads(#[source] std::io::Error),
}

/// Why a call cannot be had again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Missing(#[from] PluginFailure),
}

/// What a plugin is for; each kind has a world of its own in `wit/`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum PluginKind {
    Strategy,
    Scorer,
    Escalation,
}

impl std::fmt::Display for PluginKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            PluginKind::Strategy => "strategy",
            PluginKind::Scorer => "scorer",
            PluginKind::Escalation => "escalation",
        })
    }
}

/// A plugin that is loaded.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PluginInfo {
    /// The file's name without `.wasm`.
    pub name: String,
    pub kind: PluginKind,
    /// SHA-256 of the file, hex.
    pub digest: String,
    pub path: PathBuf,
    /// Bytes of the file.
    pub size: u64,
    /// Interfaces it asks of the host, such as `changebus:host/llm@0.1.0`; what it does not use is not here.
    pub imports: Vec<String>,
}

/// A file that is not loaded, or a directory that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LoadProblem {
    pub path: PathBuf,
    /// A lowercase fragment that reads on from the path, with what to do about it.
    pub why: String,
}

/// All loaded plugins; cheap to clone. Holds the threads they run on.
#[derive(Clone)]
pub struct Plugins(Arc<House>);

struct House {
    engine: wasmtime::Engine,
    limits: Arc<Limits>,
    threads: GuestThreads,
    shelf: Shelf,
    strategies: Semaphore,
    judges: Semaphore,
}

impl Plugins {
    /// Loads every `*.wasm` of the directories; the first file of a name wins, and a directory that does not
    /// exist is empty. Blocks while it compiles what `cache` does not hold yet (created where missing).
    ///
    /// # Errors
    /// Only what keeps all plugins from running; see [`Plugins::problems`] for the rest.
    pub fn load(dirs: &[PathBuf], cache: &Path, limits: Limits) -> Result<Plugins, WasmError> {
        let engine = engine::start(cache, &limits, limits.strategies_at_once + JUDGES_AT_ONCE)?;
        let threads = GuestThreads::start(limits.threads.max(1)).map_err(WasmError::Threads)?;
        limits::tick(&engine, threads.underway()).map_err(WasmError::Threads)?;
        let loader = Loader::new(&engine, &limits, &threads)
            .map_err(|error| WasmError::Engine(error.into()))?;
        // Loading waits for guests to start, which a thread of an async runtime may not.
        let shelf = std::thread::scope(|scope| scope.spawn(|| loader.load(dirs)).join());
        let shelf = shelf.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        drop(loader);
        let (strategies, judges) = (
            Semaphore::new(limits.strategies_at_once),
            Semaphore::new(JUDGES_AT_ONCE),
        );
        Ok(Plugins(Arc::new(House {
            engine,
            limits: Arc::new(limits),
            threads,
            shelf,
            strategies,
            judges,
        })))
    }

    /// By kind, then by name.
    pub fn list(&self) -> Vec<PluginInfo> {
        self.0.shelf.infos().cloned().collect()
    }

    /// What was found and could not be loaded.
    pub fn problems(&self) -> &[LoadProblem] {
        &self.0.shelf.problems
    }

    /// Pins a plugin to the bytes that are loaded; the digest is empty where there is none of that name.
    pub fn reference(&self, kind: PluginKind, name: &str) -> PluginRef {
        let info = self.0.shelf.info(kind, name);
        PluginRef {
            name: name.to_owned(),
            digest: info.map(|info| info.digest.clone()).unwrap_or_default(),
        }
    }

    /// Has a strategy work on a failure. Dropping the future stops it.
    pub async fn run_strategy(
        &self,
        plugin: &PluginRef,
        task: StrategyTask,
    ) -> Called<StrategyAnswer> {
        let house = &self.0;
        let pre = match house.pinned(PluginKind::Strategy, plugin, &house.shelf.strategies) {
            Ok(loaded) => loaded.pre.clone(),
            Err(missing) => return Called::never(missing),
        };
        let job = Job {
            wall: task.wall_limit,
            cpu: house.limits.strategy_cpu,
            services: Some(Arc::clone(&task.services)),
            granted: house.granted(),
            tape: Tape::record(PluginKind::Strategy, plugin),
            desk: Desk::Strategy {
                task: Box::new(task),
                home: Handle::current(),
            },
        };
        let turns = &house.strategies;
        house
            .booth()
            .call::<OfStrategy>(plugin, pre, turns, job)
            .await
            .0
    }

    /// Has a scorer mark the field. A contender it leaves out is missing in the answer.
    pub async fn run_scorer(
        &self,
        plugin: &PluginRef,
        field: Field,
    ) -> Called<BTreeMap<String, Score>> {
        let house = &self.0;
        let pre = match house.pinned(PluginKind::Scorer, plugin, &house.shelf.scorers) {
            Ok(loaded) => loaded.pre.clone(),
            Err(missing) => return Called::never(missing),
        };
        let field = Arc::new(field);
        let job = house.judging(PluginKind::Scorer, plugin, &field);
        let called = house
            .booth()
            .call::<OfScorer>(plugin, pre, &house.judges, job)
            .await;
        let check = |scored| convert::check_scores(scored, &field);
        called.0.checked(plugin, check)
    }

    /// Asks an escalation plugin what should become of the field.
    pub async fn run_escalation(&self, plugin: &PluginRef, field: Field) -> Called<Advice> {
        let house = &self.0;
        let pre = match house.pinned(PluginKind::Escalation, plugin, &house.shelf.escalations) {
            Ok(loaded) => loaded.pre.clone(),
            Err(missing) => return Called::never(missing),
        };
        let field = Arc::new(field);
        let job = house.judging(PluginKind::Escalation, plugin, &field);
        let called = house
            .booth()
            .call::<OfEscalation>(plugin, pre, &house.judges, job)
            .await;
        let check = |advice| convert::check_advice(advice, &field);
        called.0.checked(plugin, check)
    }

    /// Runs a plugin again on nothing but the journal of an earlier call, by this component or another one.
    ///
    /// # Errors
    /// Where the journal cannot be read, or there is no such plugin.
    pub async fn replay(
        &self,
        plugin: &PluginRef,
        journal: &Journal,
    ) -> Result<Replayed, ReplayError> {
        let house = &self.0;
        let read = journal.read()?;
        let job = Job {
            desk: Desk::Empty,
            services: None,
            granted: Arc::default(),
            cpu: house.limits.strategy_cpu,
            wall: house.limits.strategy_cpu * 2,
            tape: Tape::play(read.lines),
        };
        let (now, divergence) = match read.head.kind {
            PluginKind::Strategy => {
                let pre = &house
                    .pinned(read.head.kind, plugin, &house.shelf.strategies)?
                    .pre;
                house.replay::<OfStrategy>(plugin, pre.clone(), job).await
            }
            PluginKind::Scorer => {
                let pre = &house
                    .pinned(read.head.kind, plugin, &house.shelf.scorers)?
                    .pre;
                house.replay::<OfScorer>(plugin, pre.clone(), job).await
            }
            PluginKind::Escalation => {
                let pre = &house
                    .pinned(read.head.kind, plugin, &house.shelf.escalations)?
                    .pre;
                house.replay::<OfEscalation>(plugin, pre.clone(), job).await
            }
        };
        Ok(Replayed {
            divergence,
            then: read.ended,
            now,
        })
    }
}

impl House {
    /// The loaded plugin, if it is the very one that is asked for.
    fn pinned<'a, P>(
        &self,
        kind: PluginKind,
        plugin: &PluginRef,
        shelf: &'a BTreeMap<String, Loaded<P>>,
    ) -> Result<&'a Loaded<P>, PluginFailure> {
        let missing = |why: String| limits::failure(&plugin.name, PluginFailureKind::Missing, &why);
        let Some(loaded) = shelf.get(&plugin.name) else {
            return Err(missing(self.why_missing(kind, &plugin.name, shelf.keys())));
        };
        if plugin.digest.is_empty() {
            return Err(missing(
                "was not there when the tournament opened; start a new run".to_owned(),
            ));
        }
        if plugin.digest != loaded.info.digest {
            return Err(missing(format!(
                "is pinned to the file with digest {}, but {} has {}; put that file back, or start a new run",
                plugin.digest,
                loaded.info.path.display(),
                loaded.info.digest,
            )));
        }
        Ok(loaded)
    }

    fn why_missing<'a>(
        &self,
        kind: PluginKind,
        name: &str,
        there: impl Iterator<Item = &'a String>,
    ) -> String {
        match self.shelf.problem(name) {
            Some(problem) => format!("is not loaded: {} {}", problem.path.display(), problem.why),
            None => {
                let there: Vec<&str> = there.map(String::as_str).collect();
                format!(
                    "is in no plugin directory (plugins of kind {kind}: {})",
                    there.join(", ")
                )
            }
        }
    }

    fn booth(&self) -> Booth<'_> {
        Booth {
            engine: &self.engine,
            threads: &self.threads,
            limits: &self.limits,
        }
    }

    fn granted(&self) -> Arc<BTreeSet<Capability>> {
        Arc::new(Capability::ALL.into_iter().collect())
    }

    fn judging(&self, kind: PluginKind, plugin: &PluginRef, field: &Arc<Field>) -> Job {
        Job {
            desk: Desk::Judge(Arc::clone(field)),
            services: None,
            granted: self.granted(),
            cpu: self.limits.judge_cpu,
            wall: self.limits.judge_wall,
            tape: Tape::record(kind, plugin),
        }
    }

    /// The answer as the journal writes it.
    async fn replay<W: World>(
        &self,
        plugin: &PluginRef,
        pre: W::Pre,
        job: Job,
    ) -> (Result<String, PluginFailure>, Option<Divergence>) {
        let (called, divergence) = self
            .booth()
            .call::<W>(plugin, pre, &self.strategies, job)
            .await;
        let written =
            |answer: W::Answer| serde_json::to_string(&answer).expect("plain data has a JSON form");
        (called.answer.map(written), divergence)
    }
}
