//! One file a stage: gather with `outside`, hand plain data to `rules`, return facts. A stage never calls
//! another stage and never appends; what it has to state before it is finished goes through [`Recorder`].
//!
//! Touches: clock.
//! Change here: when every stage needs something more to work with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::config::{Config, Project};
use crate::event::{Fact, Oid};
use crate::fleet::Fleet;
use crate::outside::claude::Claude;
use crate::outside::deps::Clients;
use crate::outside::forge::Forge;
use crate::outside::git::Mirror;
use crate::outside::lease::Leases;
use crate::outside::runner::{Confinement, SuiteSpec};
use crate::outside::sandbox::Sandbox;
use crate::outside::store::Store;
use crate::outside::warm::Warm;
use crate::outside::wasm::Plugins;
use crate::rules::blind::Blind;
use crate::rules::paths::PathClasses;
use crate::rules::redact::Redactor;
use crate::rules::run::Terms;

pub mod bisect;
pub mod call;
pub mod decide;
pub mod deliver;
pub mod deps;
pub mod learn;
pub mod report;
pub mod restore;
pub mod score;
pub mod suite;
pub mod test;
pub mod tip;
pub mod tournament;
pub mod triage;
pub mod watch;

/// Patches beyond this are not kept with the facts, in bytes.
const PATCH_KEPT: usize = 1 << 20;

/// What all runs of this host share.
pub struct House {
    pub settings: Config,
    /// For reading; the pipeline alone appends.
    pub store: Store,
    /// Other hosts, if there are any.
    pub fleet: Fleet,
    pub plugins: Plugins,
    pub claude: Claude,
    /// By name, as configured.
    pub forges: BTreeMap<String, Forge>,
    pub redactor: Redactor,
    pub leases: Leases,
    /// One permit for each test command that may run at once.
    pub trials: Semaphore,
    /// What this machine has; none where every project does without.
    pub sandbox: Option<Arc<Sandbox>>,
    /// Work trees of trials; emptied at start.
    pub workspaces: PathBuf,
    /// Prepared work trees.
    pub warm: Arc<Warm>,
    pub reports: PathBuf,
    pub mirrors: PathBuf,
    /// Only one model call is weighed against the budgets at a time.
    pub budget: tokio::sync::Mutex<()>,
}

/// What one stage of one run works with; cheap to clone.
#[derive(Clone)]
pub struct Cx {
    pub house: Arc<House>,
    pub name: Arc<str>,
    pub project: Arc<Project>,
    pub mirror: Mirror,
    pub classes: Arc<PathClasses>,
    pub recorder: Recorder,
    pub terms: Terms,
    /// What no report of this run names.
    pub blind: Arc<Blind>,
    /// Trees of this run that hold no line a strategy wrote: setup may fetch what they need.
    pub vouched: BTreeSet<Oid>,
    /// `fix` on a checked-out repository: the push also updates its work tree.
    pub update_checkout: bool,
}

impl Cx {
    /// Outside any run: nothing is hidden, and nobody takes what is recorded.
    pub async fn seeing(
        house: &Arc<House>,
        name: &str,
        project: &Arc<Project>,
    ) -> Result<Cx, StageError> {
        let (recorder, _) = Recorder::new();
        Ok(Cx {
            house: house.clone(),
            name: name.into(),
            project: project.clone(),
            mirror: watch::mirror(house, name, project).await?,
            classes: Arc::new(PathClasses::of(&project.policy)),
            recorder,
            terms: Terms::default(),
            blind: Arc::default(),
            vouched: BTreeSet::new(),
            update_checkout: false,
        })
    }

    /// # Errors
    /// Where the project wants a sandbox and this machine has none.
    pub fn suite(&self) -> Result<SuiteSpec, StageError> {
        let confinement = Confinement::of(&self.project.sandbox, self.house.sandbox.as_ref());
        let confinement = confinement.map_err(|e| failed("running the tests", &e))?;
        Ok(SuiteSpec::new(&self.project, confinement))
    }

    /// What looks dependencies up and locks them, confined as the project's setup is.
    ///
    /// # Errors
    /// Where the project wants a sandbox and this machine has none.
    pub fn clients(&self) -> Result<Clients, StageError> {
        deps::clients(&self.house, &self.project)
    }

    pub async fn trial_permit(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.house
            .trials
            .acquire()
            .await
            .expect("the semaphore is never closed")
    }
}

/// Why a stage could not do its work; becomes the fact `StageFailed`.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct StageError {
    pub why: String,
}

impl StageError {
    pub fn new(why: impl Into<String>) -> StageError {
        StageError { why: why.into() }
    }
}

/// The error and everything beneath it in one line.
pub fn failed(doing: &str, error: &dyn std::error::Error) -> StageError {
    let mut why = format!("{doing}: {error}");
    let mut source = error.source();
    while let Some(deeper) = source {
        why.push_str(&format!(": {deeper}"));
        source = deeper.source();
    }
    StageError { why }
}

/// A fact on its way to the pipeline; `kept` tells when it became durable.
pub struct Note {
    pub fact: Fact,
    pub kept: oneshot::Sender<Timestamp>,
}

/// Hands facts to the pipeline from within a stage, for what must be durable before the stage goes on.
#[derive(Clone)]
pub struct Recorder(mpsc::Sender<Note>);

impl Recorder {
    pub fn new() -> (Recorder, mpsc::Receiver<Note>) {
        let (sender, receiver) = mpsc::channel(16);
        (Recorder(sender), receiver)
    }

    /// Returns the fact's time once it is durable; an error means the pipeline has stopped.
    pub async fn record(&self, fact: Fact) -> Result<Timestamp, StageError> {
        let (kept, done) = oneshot::channel();
        let stopped = |_| StageError::new("the run was stopped");
        self.0
            .send(Note { fact, kept })
            .await
            .map_err(|_| StageError::new("the run was stopped"))?;
        done.await.map_err(stopped)
    }
}
