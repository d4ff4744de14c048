//! What a guest may ask of the host: the one service layer that every world and every import goes through.
//!
//! Touches: wasm, clock.
//! Change here: when something shall hold for every import. What a single interface offers stands beneath.
//!
//! An import is counted, answered from the journal in a replay, else checked against the grants, answered, and
//! journaled: see [`State::tell`] for facts and [`State::ask`] for what takes time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::WasiCtx;

use super::account::Account;
use super::capability::Capability;
use super::convert::Refused;
use super::limits::{HOST_OBJECTS, Stop, cut};
use super::log::LogBook;
use super::task::{Contender, Field, StrategyTask};
use super::wasi;
use crate::event::{Fault, FaultKind};

mod arena;
mod failure;
mod history;
mod llm;
mod patching;
mod plain;
mod probe;
mod workspace;

pub use arena::{ContenderHandle, TournamentHandle};
pub use failure::ContextHandle;
pub use llm::PromptDraft;
pub use patching::PatchDraft;
pub use workspace::TreeHandle;

/// What an edit or a block costs the host beside its text, in bytes.
const OVERHEAD: usize = 64;

/// Everything of one call that stands outside the guest.
pub struct State {
    pub table: ResourceTable,
    pub account: Account,
    pub wasi: WasiCtx,
    pub book: Arc<LogBook>,
    granted: Arc<BTreeSet<Capability>>,
    desk: Desk,
}

/// What the guest was called for.
pub enum Desk {
    /// Nothing: it is only looked at, or the journal has every answer.
    Empty,
    Strategy {
        task: Box<StrategyTask>,
        home: Handle,
    },
    Judge(Arc<Field>),
}

/// An import by its name in the journal, and the right it takes.
#[derive(Clone, Copy)]
struct Import {
    name: &'static str,
    needs: Option<Capability>,
}

const fn free(name: &'static str) -> Import {
    Import { name, needs: None }
}

const fn needs(capability: Capability, name: &'static str) -> Import {
    Import {
        name,
        needs: Some(capability),
    }
}

impl State {
    pub fn new(
        desk: Desk,
        account: Account,
        granted: Arc<BTreeSet<Capability>>,
        book: LogBook,
    ) -> State {
        let book = Arc::new(book);
        let mut table = ResourceTable::new();
        table.set_max_capacity(HOST_OBJECTS);
        State {
            table,
            account,
            wasi: wasi::context(&book),
            book,
            granted,
            desk,
        }
    }

    /// Answers with a fact, at once.
    fn tell<A: Serialize, T: Serialize + DeserializeOwned>(
        &mut self,
        import: Import,
        asked: A,
        answer: impl FnOnce(&State) -> wasmtime::Result<T>,
    ) -> wasmtime::Result<T> {
        self.account.call()?;
        if let Some(kept) = self.account.replay::<_, T>(import.name, &asked)? {
            // Facts have no faults; a journal that holds one was not written by this host.
            return Ok(kept.map_err(|_| Stop::Diverged)?);
        }
        if let Some(capability) = self.missing(import) {
            return Err(Stop::NotGranted(capability).into());
        }
        let answer = answer(self)?;
        self.account.keep(import.name, &asked, Ok(&answer))?;
        Ok(answer)
    }

    /// Answers with what takes time, or with the fault in its place.
    async fn ask<A: Serialize, T: Serialize + DeserializeOwned, F>(
        &mut self,
        import: Import,
        asked: A,
        start: impl FnOnce(&State) -> Result<F, Stop>,
    ) -> Result<T, Refused>
    where
        F: Future<Output = Result<Result<T, Fault>, Stop>>,
    {
        self.account.call()?;
        if let Some(kept) = self.account.replay::<_, T>(import.name, &asked)? {
            return Ok(kept?);
        }
        let answer = match self.missing(import) {
            Some(capability) => Err(not_granted(capability)),
            None => {
                let answer = start(self)?;
                self.account.waits(true);
                let answer = answer.await;
                self.account.waits(false);
                answer?
            }
        };
        self.account.keep(import.name, &asked, answer.as_ref())?;
        Ok(answer?)
    }

    /// Counts a call that only looks at what was answered before, and what it hands out.
    fn look<T: Weigh>(
        &mut self,
        look: impl FnOnce(&State) -> wasmtime::Result<T>,
    ) -> wasmtime::Result<T> {
        self.account.call()?;
        let seen = look(self)?;
        self.account.give(seen.weight())?;
        Ok(seen)
    }

    fn missing(&self, import: Import) -> Option<Capability> {
        import
            .needs
            .filter(|capability| !self.granted.contains(capability))
    }

    fn task(&self) -> Result<&StrategyTask, Stop> {
        match &self.desk {
            Desk::Strategy { task, .. } => Ok(task),
            _ => Err(Stop::OutOfPlace),
        }
    }

    fn home(&self) -> Result<&Handle, Stop> {
        match &self.desk {
            Desk::Strategy { home, .. } => Ok(home),
            _ => Err(Stop::OutOfPlace),
        }
    }

    fn field(&self) -> Result<&Field, Stop> {
        match &self.desk {
            Desk::Judge(field) => Ok(field),
            _ => Err(Stop::OutOfPlace),
        }
    }

    fn most_bytes(&self, asked: u32) -> u32 {
        asked.min(u32::try_from(self.account.limits().crossing_bytes).unwrap_or(u32::MAX))
    }
}

fn not_granted(capability: Capability) -> Fault {
    Fault::new(
        FaultKind::Denied,
        capability.grant_code(),
        Stop::NotGranted(capability).to_string(),
    )
}

/// Bytes of an answer, roughly.
trait Weigh {
    fn weight(&self) -> usize;
}

impl Weigh for String {
    fn weight(&self) -> usize {
        self.len()
    }
}

impl Weigh for Vec<String> {
    fn weight(&self) -> usize {
        self.iter().map(String::len).sum()
    }
}

impl Weigh for Option<String> {
    fn weight(&self) -> usize {
        self.as_ref().map_or(0, String::len)
    }
}

/// Numbers weigh nothing.
macro_rules! light {
    ($($number:ty),*) => { $(impl Weigh for $number { fn weight(&self) -> usize { 0 } })* };
}
light!(bool, f64, Option<u64>, Option<f64>, Option<i32>);

/// Waits for a service on the runtime it belongs to; gives it up when the guest is given up.
async fn at_home<T: Send + 'static>(
    home: Handle,
    ask: impl Future<Output = T> + Send + 'static,
) -> Result<T, Stop> {
    let mut asked = JoinSet::new();
    asked.spawn_on(ask, &home);
    match asked.join_next().await {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        _ => Err(Stop::HostLeaves),
    }
}

/// Runs what may block beside the guests' threads, and tells the guest where it does not come back.
async fn aside<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<Result<T, Fault>, Stop> {
    let work = tokio::task::spawn_blocking(work);
    match tokio::time::timeout(patience, work).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Ok(Err(_)) => Err(Stop::HostLeaves),
        Err(_) => Ok(Err(Fault::new(
            FaultKind::Timeout,
            "host.timeout",
            format!("the host did not answer within {} s", patience.as_secs()),
        ))),
    }
}

fn page(all: &[String], offset: u32, limit: u32) -> Vec<String> {
    all.iter()
        .skip(offset as usize)
        .take(limit as usize)
        .cloned()
        .collect()
}

/// The end of a text, at most `max` bytes, whole characters only.
fn tail(text: &str, max: u32) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(max as usize))..]
}

fn head(text: &str, max: u32) -> String {
    cut(text, max as usize).to_owned()
}
