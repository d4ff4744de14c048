//! Plugins: finding them, and calling them so that no guest can harm or hold up the host.
//!
//! Touches: wasm, clock.
//! Change here: when there is a new kind of plugin, or callers need to know more about one.
//!
//! Every call gets a guest of its own, thrown away afterwards: no call can leave anything behind for the next,
//! and the same task with the same answers from the services always ends in the same answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::event::{Advice, PluginFailure, PluginFailureKind, PluginRef, Score};
use activate::Workshop;
use bindings::escalation::EscalationPre;
use bindings::scorer::ScorerPre;
use bindings::strategy::StrategyPre;
use call::{Booth, Job};
use compile::Compiler;
use health::Unwatched;
use imports::{Desk, State};
use journal::Tape;
use keep::{Keep, RETIRED};
use lock::Lock;
use shelf::{Loaded, Shelf};
use threads::GuestThreads;
use unfit::Unfit;
use watch::Watcher;
use world::{Guest, Linkers, OfEscalation, OfScorer, OfStrategy, World};

mod account;
mod activate;
mod bindings;
mod call;
mod capability;
mod compile;
mod convert;
mod engine;
mod file;
mod health;
mod imports;
mod journal;
mod keep;
mod limits;
mod lock;
mod log;
mod manifest;
mod peek;
mod schema;
mod shelf;
mod smoke;
mod task;
mod threads;
mod unfit;
mod wasi;
mod watch;
mod world;

pub use activate::{Grants, InUse};
pub use call::{Called, Replayed};
pub use capability::{Capability, listed};
pub use compile::{VERB as COMPILE_VERB, compile_here};
pub use engine::Layout;
pub use health::{Conduct, clear, clears};
pub use journal::{Divergence, Journal, JournalError};
pub use limits::Limits;
pub use lock::lock_text;
pub use manifest::Manifest;
pub use peek::{Look, look};
pub use shelf::{ActivePlugin, Lineup, LoadProblem, PluginInfo, View};
pub use task::{
    Contender, FailureFacts, Field, LogLevel, ReadChange, Services, StrategyAnswer, StrategyTask,
};
pub use unfit::Step;

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

impl PluginKind {
    pub const ALL: [PluginKind; 3] = [
        PluginKind::Strategy,
        PluginKind::Scorer,
        PluginKind::Escalation,
    ];
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

/// Which digests must be kept because an open run is pinned to them; none where that cannot be told.
pub type Held = Arc<dyn Fn() -> Option<BTreeSet<String>> + Send + Sync>;

/// What the plugins of a host are loaded from and under.
#[derive(Clone)]
pub struct Setup {
    /// Searched in this order; the first file of a name wins. One that does not exist is empty, and may come later.
    pub dirs: Vec<PathBuf>,
    /// Compiled code is kept here; created where missing.
    pub cache: PathBuf,
    /// The program that compiles, `changebus` itself. Named by what keeps it: an upgrade replaces the file that the
    /// daemon was started from.
    pub compiler: PathBuf,
    pub limits: Limits,
    pub grants: Grants,
    /// The lock file; where it is set, nothing runs that is not in it.
    pub lock: Option<PathBuf>,
    /// Configurations that a plugin has to take before it is loaded.
    pub in_use: Vec<InUse>,
    /// The state directory, for the bytes that runs are pinned to; none where no run lasts.
    pub state: Option<PathBuf>,
    /// Whether this process writes there, as only the one that holds the state directory may.
    pub records: bool,
    pub held: Held,
    pub conduct: Arc<dyn Conduct>,
}

impl Setup {
    /// Everything allowed, nothing kept.
    pub fn new(dirs: Vec<PathBuf>, cache: PathBuf, limits: Limits) -> Setup {
        Setup {
            dirs,
            cache,
            compiler: PathBuf::from("/proc/self/exe"),
            limits,
            grants: Grants::default(),
            lock: None,
            in_use: Vec::new(),
            state: None,
            records: false,
            held: Arc::new(|| Some(BTreeSet::new())),
            conduct: Arc::new(Unwatched),
        }
    }
}

/// All plugins of a host; cheap to clone. Holds the threads they run on.
#[derive(Clone)]
pub struct Plugins(Arc<House>);

struct House {
    workshop: Workshop,
    threads: GuestThreads,
    shelf: ArcSwap<Shelf>,
    /// Loaded for runs that are pinned to what is not on the shelf any more, by name and digest.
    revived: Mutex<BTreeMap<(String, String), Weak<Loaded>>>,
    keep: Option<Keep>,
    records: bool,
    held: Held,
    conduct: Arc<dyn Conduct>,
    lock: Option<PathBuf>,
    /// Until something watches.
    watcher: Mutex<Option<Watcher>>,
    strategies: Semaphore,
    judges: Semaphore,
}

impl Plugins {
    /// Loads every `*.wasm` of the directories. Blocks while it compiles what the cache does not hold yet.
    ///
    /// # Errors
    /// Only what keeps all plugins from running; see [`Plugins::problems`] for the rest.
    pub fn open(setup: Setup) -> Result<Plugins, WasmError> {
        let refused = |error: wasmtime::Error| WasmError::Engine(error.into());
        let limits = Arc::new(setup.limits);
        let strategies_at_once = limits.strategies_at_once;
        // Room for those that are being tried beside all that run.
        let guests = limits.strategies_at_once + JUDGES_AT_ONCE + watch::AT_ONCE;
        let (engine, layout) = engine::start(&setup.cache, &limits, guests)?;
        let threads = GuestThreads::start(limits.threads.max(1)).map_err(WasmError::Threads)?;
        limits::tick(&engine, threads.underway()).map_err(WasmError::Threads)?;
        let mut watcher = Watcher::new(setup.dirs, setup.lock.clone());
        let house = Arc::new(House {
            workshop: Workshop {
                linkers: Linkers::new(&engine).map_err(refused)?,
                compiler: Compiler::new(&engine, layout, setup.compiler, &setup.cache),
                engine,
                limits,
                grants: setup.grants,
                in_use: setup.in_use,
            },
            threads,
            shelf: ArcSwap::default(),
            revived: Mutex::default(),
            keep: setup.state.as_deref().map(Keep::new),
            records: setup.records,
            held: setup.held,
            conduct: setup.conduct,
            lock: setup.lock,
            watcher: Mutex::new(None),
            strategies: Semaphore::new(strategies_at_once),
            judges: Semaphore::new(JUDGES_AT_ONCE),
        });
        // Loading waits for guests to start, which a thread of an async runtime may not.
        let loaded = std::thread::scope(|scope| scope.spawn(|| watcher.load(&house)).join());
        loaded.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        *lock_of(&house.watcher) = Some(watcher);
        Ok(Plugins(house))
    }

    /// From now on, until the last clone is dropped, files that come, change or go take effect within about a
    /// second. Runs keep what they are pinned to. Watching twice is watching once.
    ///
    /// # Errors
    /// Where there is no thread for it.
    pub fn watch(&self) -> Result<(), WasmError> {
        let Some(watcher) = lock_of(&self.0.watcher).take() else {
            return Ok(());
        };
        let house = Arc::downgrade(&self.0);
        std::thread::Builder::new()
            .name("plugin-watch".to_owned())
            .spawn(move || watcher.keep_looking(house))
            .map(drop)
            .map_err(WasmError::Threads)
    }

    /// By kind, then by name.
    pub fn list(&self) -> Vec<PluginInfo> {
        let shelf = self.0.shelf.load();
        shelf.all().map(|loaded| loaded.info.clone()).collect()
    }

    /// What was found and could not be loaded.
    pub fn problems(&self) -> Vec<LoadProblem> {
        self.0.shelf.load().problems.values().cloned().collect()
    }

    /// Everything there is to show.
    pub fn view(&self) -> View {
        self.0.view(Timestamp::now())
    }

    /// The plugins of this moment, for picking several that belong together.
    pub fn lineup(&self) -> Lineup {
        Lineup(self.0.shelf.load_full())
    }

    /// Pins a plugin to the bytes that are loaded; the digest is empty where there is none of that name.
    pub fn reference(&self, kind: PluginKind, name: &str) -> PluginRef {
        self.lineup().reference(kind, name)
    }

    /// Takes a file through the whole activation, and leaves everything as it is. Blocks.
    ///
    /// # Errors
    /// The step at which it is refused, and why.
    pub fn examine(&self, path: &Path) -> Result<PluginInfo, LoadProblem> {
        let house = &self.0;
        let lock = Lock::read(house.lock.as_deref());
        let tried = std::thread::scope(|scope| {
            let work = || house.workshop.activate(&house.threads, path, &lock);
            scope.spawn(work).join()
        });
        let tried = tried.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        tried
            .map(|activated| activated.loaded.info)
            .map_err(|unfit| LoadProblem {
                path: path.to_owned(),
                step: unfit.step(),
                why: unfit.to_string(),
            })
    }

    /// Whether exactly these bytes can still be called: they are loaded, or kept.
    pub fn has(&self, plugin: &PluginRef) -> bool {
        let shelf = self.0.shelf.load();
        let loaded = shelf.plugins.get(&plugin.name);
        let keep = self.0.keep.as_ref();
        loaded.is_some_and(|loaded| loaded.info.digest == plugin.digest)
            || keep.is_some_and(|keep| keep.bytes(&plugin.digest).is_some())
    }

    /// Has a strategy work on a failure. Dropping the future stops it.
    pub async fn run_strategy(
        &self,
        plugin: &PluginRef,
        task: StrategyTask,
    ) -> Called<StrategyAnswer> {
        let house = &self.0;
        let (pre, granted) = match house.strategy(plugin).await {
            Ok(found) => found,
            Err(missing) => return Called::never(missing),
        };
        let job = Job {
            wall: task.wall_limit,
            cpu: house.workshop.limits.strategy_cpu,
            services: Some(Arc::clone(&task.services)),
            granted,
            tape: Tape::record(PluginKind::Strategy, plugin),
            desk: Desk::Strategy {
                task: Box::new(task),
                home: Handle::current(),
            },
        };
        let (booth, turns) = (house.booth(), &house.strategies);
        let (called, _) = booth.call::<OfStrategy>(plugin, pre, turns, job).await;
        house.note(plugin, called)
    }

    /// Has a scorer mark the field. A contender it leaves out is missing in the answer.
    pub async fn run_scorer(
        &self,
        plugin: &PluginRef,
        field: Field,
    ) -> Called<BTreeMap<String, Score>> {
        let house = &self.0;
        let (pre, granted) = match house.scorer(plugin).await {
            Ok(found) => found,
            Err(missing) => return Called::never(missing),
        };
        let field = Arc::new(field);
        let job = house.judging(PluginKind::Scorer, plugin, &field, granted);
        let (booth, turns) = (house.booth(), &house.judges);
        let (called, _) = booth.call::<OfScorer>(plugin, pre, turns, job).await;
        let check = |scored| convert::check_scores(scored, &field);
        house.note(plugin, called.checked(plugin, check))
    }

    /// Asks an escalation plugin what should become of the field.
    pub async fn run_escalation(&self, plugin: &PluginRef, field: Field) -> Called<Advice> {
        let house = &self.0;
        let (pre, granted) = match house.escalation(plugin).await {
            Ok(found) => found,
            Err(missing) => return Called::never(missing),
        };
        let field = Arc::new(field);
        let job = house.judging(PluginKind::Escalation, plugin, &field, granted);
        let (booth, turns) = (house.booth(), &house.judges);
        let (called, _) = booth.call::<OfEscalation>(plugin, pre, turns, job).await;
        let check = |advice| convert::check_advice(advice, &field);
        house.note(plugin, called.checked(plugin, check))
    }

    /// Runs a plugin again on nothing but the journal of an earlier call, by these bytes or other ones.
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
        let cpu = house.workshop.limits.strategy_cpu;
        let job = Job {
            desk: Desk::Empty,
            services: None,
            granted: Arc::default(),
            cpu,
            wall: cpu * 2,
            tape: Tape::play(read.lines),
        };
        let (now, divergence) = match read.head.kind {
            PluginKind::Strategy => {
                let (pre, _) = house.strategy(plugin).await?;
                house.replay::<OfStrategy>(plugin, pre, job).await
            }
            PluginKind::Scorer => {
                let (pre, _) = house.scorer(plugin).await?;
                house.replay::<OfScorer>(plugin, pre, job).await
            }
            PluginKind::Escalation => {
                let (pre, _) = house.escalation(plugin).await?;
                house.replay::<OfEscalation>(plugin, pre, job).await
            }
        };
        Ok(Replayed {
            divergence,
            then: read.ended,
            now,
        })
    }
}

/// What a plugin may use, for the length of a call.
type Granted = Arc<BTreeSet<Capability>>;

impl House {
    /// Where bytes are kept, if this process is the one that keeps them.
    fn records(&self) -> Option<&Keep> {
        self.keep.as_ref().filter(|_| self.records)
    }

    /// Everything that somebody may still want to call.
    fn held(&self) -> Option<BTreeSet<String>> {
        let mut held = (self.held)()?;
        let shelf = self.shelf.load();
        held.extend(shelf.plugins.values().map(|one| one.info.digest.clone()));
        let revived = lock_of(&self.revived);
        let alive = revived.iter().filter(|(_, one)| one.strong_count() > 0);
        held.extend(alive.map(|((_, digest), _)| digest.clone()));
        Some(held)
    }

    fn view(&self, now: Timestamp) -> View {
        let shelf = self.shelf.load();
        let active = |loaded: &Arc<Loaded>| ActivePlugin {
            info: loaded.info.clone(),
            since: loaded.since,
            health: self.conduct.health(&loaded.info.digest, now),
        };
        View {
            active: shelf.all().map(active).collect(),
            problems: shelf.problems.values().cloned().collect(),
        }
    }

    /// The very plugin that is asked for: from the shelf, or from the kept bytes where another took its place.
    async fn pinned(
        self: &Arc<Self>,
        kind: PluginKind,
        plugin: &PluginRef,
    ) -> Result<Arc<Loaded>, PluginFailure> {
        let no = |kind, why: &str| limits::failure(&plugin.name, kind, why);
        let health = self.conduct.health(&plugin.digest, Timestamp::now());
        if let Some(why) = health::unfit(&plugin.name, &health) {
            return Err(no(PluginFailureKind::Benched, &why));
        }
        let shelf = self.shelf.load_full();
        if let Some(loaded) = shelf.find(kind, &plugin.name)
            && loaded.info.digest == plugin.digest
        {
            return Ok(Arc::clone(loaded));
        }
        let missing = |why: &str| no(PluginFailureKind::Missing, why);
        if plugin.digest.is_empty() {
            return Err(missing(&why_missing(&shelf, kind, &plugin.name)));
        }
        match self.revive(plugin).await {
            Some(Ok(loaded)) => Ok(loaded),
            Some(Err(unfit)) => Err(missing(&format!(
                "is pinned to bytes that are kept, but {unfit}"
            ))),
            None => Err(missing(&why_not_these(&shelf, plugin))),
        }
    }

    /// Loads what a run is pinned to from the kept bytes; none where they are not kept.
    async fn revive(self: &Arc<Self>, plugin: &PluginRef) -> Option<Result<Arc<Loaded>, Unfit>> {
        let key = (plugin.name.clone(), plugin.digest.clone());
        if let Some(loaded) = lock_of(&self.revived).get(&key).and_then(Weak::upgrade) {
            return Some(Ok(loaded));
        }
        let house = Arc::clone(self);
        let work = tokio::task::spawn_blocking(move || {
            let keep = house.keep.as_ref()?;
            let (name, digest) = &key;
            let bytes = keep.bytes(digest)?;
            let loaded = house.workshop.revive(name, &keep.place(digest), &bytes);
            Some(loaded.map(|loaded| {
                let loaded = Arc::new(loaded);
                let mut revived = lock_of(&house.revived);
                revived.retain(|_, one| one.strong_count() > 0);
                revived.insert(key, Arc::downgrade(&loaded));
                loaded
            }))
        });
        match work.await {
            Ok(loaded) => loaded,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => None,
        }
    }

    async fn strategy(
        self: &Arc<Self>,
        plugin: &PluginRef,
    ) -> Result<(StrategyPre<State>, Granted), PluginFailure> {
        let loaded = self.pinned(PluginKind::Strategy, plugin).await?;
        match &loaded.guest {
            Guest::Strategy(pre) => Ok((pre.clone(), granted(&loaded))),
            _ => Err(other_kind(plugin, &loaded)),
        }
    }

    async fn scorer(
        self: &Arc<Self>,
        plugin: &PluginRef,
    ) -> Result<(ScorerPre<State>, Granted), PluginFailure> {
        let loaded = self.pinned(PluginKind::Scorer, plugin).await?;
        match &loaded.guest {
            Guest::Scorer(pre) => Ok((pre.clone(), granted(&loaded))),
            _ => Err(other_kind(plugin, &loaded)),
        }
    }

    async fn escalation(
        self: &Arc<Self>,
        plugin: &PluginRef,
    ) -> Result<(EscalationPre<State>, Granted), PluginFailure> {
        let loaded = self.pinned(PluginKind::Escalation, plugin).await?;
        match &loaded.guest {
            Guest::Escalation(pre) => Ok((pre.clone(), granted(&loaded))),
            _ => Err(other_kind(plugin, &loaded)),
        }
    }

    fn booth(&self) -> Booth<'_> {
        Booth {
            engine: &self.workshop.engine,
            threads: &self.threads,
            limits: &self.workshop.limits,
        }
    }

    fn judging(
        &self,
        kind: PluginKind,
        plugin: &PluginRef,
        field: &Arc<Field>,
        granted: Granted,
    ) -> Job {
        let limits = &self.workshop.limits;
        Job {
            desk: Desk::Judge(Arc::clone(field)),
            services: None,
            granted,
            cpu: limits.judge_cpu,
            wall: limits.judge_wall,
            tape: Tape::record(kind, plugin),
        }
    }

    /// Lets a call count for or against its plugin.
    fn note<T>(&self, plugin: &PluginRef, called: Called<T>) -> Called<T> {
        let now = Timestamp::now();
        self.conduct.ended(&plugin.digest, now, &called.ended());
        called
    }

    /// The answer as the journal writes it.
    async fn replay<W: World>(
        &self,
        plugin: &PluginRef,
        pre: W::Pre,
        job: Job,
    ) -> (Result<String, PluginFailure>, Option<Divergence>) {
        let (booth, turns) = (self.booth(), &self.strategies);
        let (called, divergence) = booth.call::<W>(plugin, pre, turns, job).await;
        let written =
            |answer: W::Answer| serde_json::to_string(&answer).expect("plain data has a JSON form");
        (called.answer.map(written), divergence)
    }
}

fn granted(loaded: &Loaded) -> Granted {
    Arc::new(loaded.info.granted.clone())
}

fn other_kind(plugin: &PluginRef, loaded: &Loaded) -> PluginFailure {
    let why = format!("is of kind {}, which was not asked for", loaded.info.kind);
    limits::failure(&plugin.name, PluginFailureKind::Missing, &why)
}

fn why_missing(shelf: &Shelf, kind: PluginKind, name: &str) -> String {
    if let Some(problem) = shelf.problem(name) {
        return format!("is not loaded: {problem}");
    }
    if shelf.find(kind, name).is_some() {
        return "was not there when the tournament opened; start a new run".to_owned();
    }
    let there = shelf.of_kind(kind).map(|loaded| loaded.info.name.as_str());
    let there: Vec<&str> = there.collect();
    format!(
        "is in no plugin directory (plugins of kind {kind}: {})",
        there.join(", ")
    )
}

fn why_not_these(shelf: &Shelf, plugin: &PluginRef) -> String {
    let digest = &plugin.digest;
    match shelf.plugins.get(&plugin.name) {
        Some(loaded) => format!(
            "is pinned to the file with digest {digest}, but {} has {} and the old bytes are not kept (the newest \
             {RETIRED} of a name are); put that file back, or start a new run",
            loaded.info.path.display(),
            loaded.info.digest,
        ),
        None => format!(
            "is pinned to the file with digest {digest}, which is neither in a plugin directory nor kept; put that \
             file back, or start a new run"
        ),
    }
}

/// What these hold is whole whatever happened to the thread that held them.
fn lock_of<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
