//! One call of a plugin, from the guest's start to its closed account.
//!
//! Touches: wasm, clock.
//! Change here: when a kind of plugin is called otherwise, or a call leaves something new behind.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::account::Account;
use super::capability::Capability;
use super::imports::{Desk, State};
use super::journal::{Divergence, Journal, Tape};
use super::limits::{self, Limits, Stop};
use super::log::LogBook;
use super::task::Services;
use super::threads::GuestThreads;
use super::world::{Broken, World};
use crate::event::{Ended, FaultOf, Ledger, PluginFailure, PluginFailureKind, PluginRef};

/// How a call ended, and what it took.
pub struct Called<T> {
    pub answer: Result<T, PluginFailure>,
    /// Whose fault a failure is.
    pub fault_of: FaultOf,
    pub ledger: Ledger,
    /// None where the plugin was not called at all.
    pub journal: Option<Journal>,
}

impl<T> Called<T> {
    /// A call that never began.
    pub fn never(failure: PluginFailure) -> Called<T> {
        Called {
            answer: Err(failure),
            fault_of: FaultOf::Host,
            ledger: Ledger::default(),
            journal: None,
        }
    }

    pub fn ended(&self) -> Ended {
        match &self.answer {
            Ok(_) => Ended::Answered,
            Err(failure) => Ended::Failed {
                kind: failure.kind,
                why: failure.why.clone(),
                fault_of: self.fault_of,
            },
        }
    }

    /// Checks an answer against what the guest was called for.
    pub fn checked<U>(
        self,
        plugin: &PluginRef,
        check: impl FnOnce(T) -> Result<U, String>,
    ) -> Called<U> {
        let nonsense =
            |why: String| limits::failure(&plugin.name, PluginFailureKind::Nonsense, &why);
        Called {
            answer: self.answer.and_then(|a| check(a).map_err(nonsense)),
            fault_of: self.fault_of,
            ledger: self.ledger,
            journal: self.journal,
        }
    }
}

/// How a call came out that was answered from its journal.
#[derive(Debug)]
pub struct Replayed {
    /// The first import that differs; none where all were the same.
    pub divergence: Option<Divergence>,
    /// The answers as JSON, or the failures.
    pub then: Result<String, PluginFailure>,
    pub now: Result<String, PluginFailure>,
}

impl Replayed {
    /// Bit for bit. What the clock stopped then need not stop now; its journal has to hold as far as it goes.
    pub fn is_same(&self) -> bool {
        match &self.then {
            Err(then) if then.kind == PluginFailureKind::TimedOut => {
                let at_its_end = |d: &Divergence| d.then == "it had ended";
                self.divergence.as_ref().is_none_or(at_its_end)
            }
            then => self.divergence.is_none() && *then == self.now,
        }
    }
}

/// What a call is given.
pub struct Job {
    pub desk: Desk,
    /// Where log lines go; the host's own log where there are none.
    pub services: Option<Arc<dyn Services>>,
    pub granted: Arc<BTreeSet<Capability>>,
    pub cpu: Duration,
    /// From the guest's turn to its answer.
    pub wall: Duration,
    pub tape: Tape,
}

/// The machinery all calls share.
pub struct Booth<'a> {
    pub engine: &'a wasmtime::Engine,
    pub threads: &'a GuestThreads,
    pub limits: &'a Arc<Limits>,
}

impl Booth<'_> {
    /// Calls a plugin when it is its turn.
    pub async fn call<W: World>(
        &self,
        plugin: &PluginRef,
        pre: W::Pre,
        turns: &Semaphore,
        job: Job,
    ) -> (Called<W::Answer>, Option<Divergence>) {
        // Never closed; if it were, the host would be leaving.
        let Ok(_turn) = turns.acquire().await else {
            let left = Stop::HostLeaves.failure(&plugin.name);
            return (Called::never(left), None);
        };
        let account = Account::open(Arc::clone(self.limits), job.cpu, job.tape);
        let book = LogBook::new(&plugin.name, job.services, account.clone());
        let state = State::new(job.desk, account.clone(), job.granted, book);
        let mut store = limits::store(self.engine, state);
        let name = plugin.name.clone();
        // Boxed: it is large, and whoever waits for it would carry its place along.
        let call = Box::pin(async move {
            let answer = match W::start(pre, &mut store).await {
                Ok(guest) => W::call(guest, &mut store).await,
                Err(error) => Err(error),
            };
            ended(&name, answer, store.data())
        });
        let answer = match self.threads.run(job.wall, call).await {
            Ok(answer) => answer,
            Err(stop) => Err((account.stopped(&plugin.name, stop), account.fault_of(stop))),
        };
        let divergence = account.divergence();
        let (ledger, journal) = account.close(answer.as_ref().map_err(|(failure, _)| failure));
        let fault_of = match &answer {
            Err((_, fault_of)) => *fault_of,
            Ok(_) => FaultOf::Plugin,
        };
        let called = Called {
            answer: answer.map_err(|(failure, _)| failure),
            fault_of,
            ledger,
            journal,
        };
        (called, divergence)
    }
}

/// Names what went wrong with a call that came back.
fn ended<T>(
    plugin: &str,
    answer: wasmtime::Result<Result<T, Broken>>,
    state: &State,
) -> Result<T, (PluginFailure, FaultOf)> {
    let failure = match answer {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(Broken::GaveUp(why))) => {
            let told = format!("gave up: {why}");
            limits::failure(plugin, PluginFailureKind::Returned, &told)
        }
        Ok(Err(Broken::Nonsense(why))) => {
            limits::failure(plugin, PluginFailureKind::Nonsense, &why)
        }
        Err(error) => limits::explain(plugin, &error, state),
    };
    Err((failure, FaultOf::Plugin))
}
