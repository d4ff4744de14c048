//! What became of earlier work: figures, failures that were like this one, what people said.
//!
//! Touches: wasm.
//! Change here: when more of earlier work is told.

use std::collections::BTreeMap;

use wasmtime::component::Resource;

use super::super::bindings::host::changebus::host::history;
use super::super::limits::Stop;
use super::{Capability, Desk, Import, State, head, needs};
use crate::event::{Learned, PastFix};

const METRIC: Import = needs(Capability::History, "history.metric");
const SIMILAR: Import = needs(Capability::History, "history.similar");
const REJECTIONS: Import = needs(Capability::History, "history.rejections");

impl State {
    fn figures(&self) -> Result<&BTreeMap<String, f64>, Stop> {
        match &self.desk {
            Desk::Empty => Err(Stop::OutOfPlace),
            Desk::Strategy { task, .. } => Ok(&task.history),
            Desk::Judge(field) => Ok(&field.history),
        }
    }

    fn learned(&self) -> Result<&Learned, Stop> {
        match &self.desk {
            Desk::Empty => Err(Stop::OutOfPlace),
            Desk::Strategy { task, .. } => Ok(&task.learned),
            Desk::Judge(field) => Ok(&field.learned),
        }
    }

    /// Tells something of an earlier failure that the guest was handed.
    fn of_past<T: super::Weigh>(
        &mut self,
        episode: &Resource<PastFix>,
        tell: impl FnOnce(&PastFix) -> T,
    ) -> wasmtime::Result<T> {
        self.look(|state| Ok(tell(state.table.get(episode)?)))
    }
}

impl history::Host for State {
    fn metric(
        &mut self,
        scope: String,
        key: String,
        name: String,
    ) -> wasmtime::Result<Option<f64>> {
        self.tell(METRIC, (&scope, &key, &name), |state| {
            let figures = state.figures()?;
            Ok(figures.get(&format!("{scope}/{key}/{name}")).copied())
        })
    }

    fn similar(&mut self, limit: u32) -> wasmtime::Result<Vec<Resource<PastFix>>> {
        let similar: Vec<PastFix> = self.tell(SIMILAR, limit, |state| {
            let similar = state.learned()?.similar.iter();
            Ok(similar.take(limit as usize).cloned().collect())
        })?;
        let handed = similar.into_iter().map(|past| self.table.push(past));
        Ok(handed.collect::<Result<_, _>>()?)
    }

    fn rejections(&mut self, limit: u32) -> wasmtime::Result<Vec<String>> {
        self.tell(REJECTIONS, limit, |state| {
            let rejections = state.learned()?.rejections.iter();
            let said = rejections.map(|rejection| match &rejection.strategy {
                Some(strategy) => format!("of a fix by {strategy}: {}", rejection.reason),
                None => rejection.reason.clone(),
            });
            Ok(said.take(limit as usize).collect::<Vec<_>>())
        })
    }
}

impl history::HostEpisode for State {
    fn run(&mut self, episode: Resource<PastFix>) -> wasmtime::Result<String> {
        self.of_past(&episode, |past| past.run.0.clone())
    }

    fn likeness(&mut self, episode: Resource<PastFix>) -> wasmtime::Result<f64> {
        self.of_past(&episode, |past| past.likeness)
    }

    fn class(&mut self, episode: Resource<PastFix>) -> wasmtime::Result<String> {
        self.of_past(&episode, |past| past.class.name().to_owned())
    }

    fn failing(&mut self, episode: Resource<PastFix>) -> wasmtime::Result<Vec<String>> {
        self.of_past(&episode, |past| past.failing.clone())
    }

    fn message(&mut self, episode: Resource<PastFix>) -> wasmtime::Result<String> {
        self.of_past(&episode, |past| past.message.clone())
    }

    fn strategy(&mut self, episode: Resource<PastFix>) -> wasmtime::Result<Option<String>> {
        self.of_past(&episode, |past| {
            past.fix.as_ref().map(|fix| fix.strategy.clone())
        })
    }

    fn rationale(&mut self, episode: Resource<PastFix>) -> wasmtime::Result<String> {
        self.of_past(&episode, |past| {
            past.fix
                .as_ref()
                .map(|fix| fix.rationale.clone())
                .unwrap_or_default()
        })
    }

    fn unified_diff(
        &mut self,
        episode: Resource<PastFix>,
        max_bytes: u32,
    ) -> wasmtime::Result<String> {
        let most = self.most_bytes(max_bytes);
        self.of_past(&episode, |past| {
            past.fix
                .as_ref()
                .map(|fix| head(&fix.patch, most))
                .unwrap_or_default()
        })
    }

    fn fate(&mut self, episode: Resource<PastFix>) -> wasmtime::Result<Option<String>> {
        self.of_past(&episode, |past| {
            past.fate.map(|fate| fate.name().to_owned())
        })
    }

    fn rejections(&mut self, episode: Resource<PastFix>) -> wasmtime::Result<Vec<String>> {
        self.of_past(&episode, |past| past.rejections.clone())
    }

    fn drop(&mut self, episode: Resource<PastFix>) -> wasmtime::Result<()> {
        self.table.delete(episode)?;
        Ok(())
    }
}
