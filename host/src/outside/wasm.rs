//! Plugins: finding them, and calling them so that no guest can harm or hold up the host.
//!
//! Touches: wasm.
//! Change here: when there is a new kind of plugin, or callers need to know more about one.
//!
//! Every call gets a guest of its own, thrown away afterwards: no call can leave anything behind for the next,
//! and the same task with the same answers from the services always ends in the same answer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use wasmtime::Store;

use crate::event::{Advice, PluginFailure, PluginFailureKind, PluginRef, Score};
use imports::{Desk, State};
use limits::{Meter, Stop};
use load::{Loaded, Loader, Shelf};
use log::LogBook;
use threads::GuestThreads;

mod bindings;
mod convert;
mod engine;
mod imports;
mod limits;
mod load;
mod log;
mod task;
mod threads;
mod wasi;

pub use limits::Limits;
pub use task::{
    Contender, FailureFacts, Field, LogLevel, ReadChange, Services, StrategyAnswer, StrategyTask,
};

/// Guests that may stand in memory at once, waiting ones included. Further calls wait for their turn, and
/// their time does not run yet. Judges never wait behind strategies.
pub const STRATEGIES_AT_ONCE: usize = 56;
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

/// What a plugin is for; each kind has a world of its own in `wit/`.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    clap::ValueEnum,
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
    limits: Limits,
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
        let engine = engine::start(cache, &limits, STRATEGIES_AT_ONCE + JUDGES_AT_ONCE)?;
        let threads = GuestThreads::start(limits.threads.max(1)).map_err(WasmError::Threads)?;
        limits::tick(&engine, threads.underway()).map_err(WasmError::Threads)?;
        let loader = Loader::new(&engine, &limits, &threads)
            .map_err(|error| WasmError::Engine(error.into()))?;
        // Loading waits for guests to start, which a thread of an async runtime may not.
        let shelf = std::thread::scope(|scope| scope.spawn(|| loader.load(dirs)).join());
        let shelf = shelf.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        drop(loader);
        let (strategies, judges) = (
            Semaphore::new(STRATEGIES_AT_ONCE),
            Semaphore::new(JUDGES_AT_ONCE),
        );
        Ok(Plugins(Arc::new(House {
            engine,
            limits,
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
    ) -> Result<StrategyAnswer, PluginFailure> {
        let house = &self.0;
        let pre = house
            .pinned(PluginKind::Strategy, plugin, &house.shelf.strategies)?
            .pre
            .clone();
        let wall = task.wall_limit;
        let book = LogBook::new(
            &plugin.name,
            Some(Arc::clone(&task.services)),
            &house.limits,
        );
        let desk = Desk::Strategy {
            task: Box::new(task),
            home: Handle::current(),
        };
        let mut store = house.store(desk, book, house.limits.strategy_cpu);
        let call = async move {
            let answer = async {
                let guest = pre.instantiate_async(&mut store).await?;
                let (failure, tree) = store.data_mut().lay_out_failure()?;
                guest
                    .changebus_strategy_fix()
                    .call_run(&mut store, failure, tree)
                    .await
            };
            let answer = answer.await;
            (answer, store)
        };
        let (outcome, mut store) = house.call(plugin, &house.strategies, wall, call).await?;
        let answer = convert::strategy_answer(outcome, &mut store.data_mut().table);
        answer.map_err(|why| nonsense(plugin, &why))
    }

    /// Has a scorer mark the field. A contender it leaves out is missing in the answer.
    pub async fn run_scorer(
        &self,
        plugin: &PluginRef,
        field: Field,
    ) -> Result<BTreeMap<String, Score>, PluginFailure> {
        let house = &self.0;
        let pre = house
            .pinned(PluginKind::Scorer, plugin, &house.shelf.scorers)?
            .pre
            .clone();
        let field = Arc::new(field);
        let mut store = house.judge_store(plugin, &field);
        let call = async move {
            let answer = async {
                let guest = pre.instantiate_async(&mut store).await?;
                let tournament = store.data_mut().lay_out_tournament()?;
                guest
                    .changebus_scorer_judge()
                    .call_score(&mut store, tournament)
                    .await
            };
            let answer = answer.await;
            (answer, store)
        };
        let (scored, _) = house
            .call(plugin, &house.judges, house.limits.judge_wall, call)
            .await?;
        convert::scores(scored, &field).map_err(|why| nonsense(plugin, &why))
    }

    /// Asks an escalation plugin what should become of the field.
    pub async fn run_escalation(
        &self,
        plugin: &PluginRef,
        field: Field,
    ) -> Result<Advice, PluginFailure> {
        let house = &self.0;
        let pre = house
            .pinned(PluginKind::Escalation, plugin, &house.shelf.escalations)?
            .pre
            .clone();
        let field = Arc::new(field);
        let mut store = house.judge_store(plugin, &field);
        let call = async move {
            let answer = async {
                let guest = pre.instantiate_async(&mut store).await?;
                let tournament = store.data_mut().lay_out_tournament()?;
                guest
                    .changebus_escalation_gate()
                    .call_decide(&mut store, tournament)
                    .await
            };
            let answer = answer.await;
            (answer, store)
        };
        let (decision, _) = house
            .call(plugin, &house.judges, house.limits.judge_wall, call)
            .await?;
        convert::advice(decision, &field).map_err(|why| nonsense(plugin, &why))
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

    fn store(&self, desk: Desk, book: LogBook, cpu: Duration) -> Store<State> {
        limits::store(
            &self.engine,
            State::new(desk, Meter::new(self.limits.clone(), cpu), book),
        )
    }

    fn judge_store(&self, plugin: &PluginRef, field: &Arc<Field>) -> Store<State> {
        let book = LogBook::new(&plugin.name, None, &self.limits);
        self.store(Desk::Judge(Arc::clone(field)), book, self.limits.judge_cpu)
    }

    /// Runs a call when it is its turn, and names what went wrong with it.
    async fn call<T: Send + 'static>(
        &self,
        plugin: &PluginRef,
        turns: &Semaphore,
        wall: Duration,
        call: impl Future<Output = (wasmtime::Result<Result<T, String>>, Store<State>)> + Send + 'static,
    ) -> Result<(T, Store<State>), PluginFailure> {
        let name = &plugin.name;
        // Never closed; if it were, the host would be leaving.
        let _turn = turns
            .acquire()
            .await
            .map_err(|_| Stop::HostLeaves.failure(name))?;
        let (answer, store) = self
            .threads
            .run(wall, call)
            .await
            .map_err(|stop| stop.failure(name))?;
        match answer {
            Ok(Ok(answer)) => Ok((answer, store)),
            Ok(Err(why)) => Err(limits::failure(
                name,
                PluginFailureKind::Returned,
                &format!("gave up: {why}"),
            )),
            Err(error) => Err(limits::explain(name, &error, store.data())),
        }
    }
}

fn nonsense(plugin: &PluginRef, why: &str) -> PluginFailure {
    limits::failure(&plugin.name, PluginFailureKind::Nonsense, why)
}
