//! The tournament, as scorers and escalation rules see it.
//!
//! Touches: wasm.
//! Change here: when a judge may learn something new about a contender.

use wasmtime::component::Resource;

use super::super::bindings::host::changebus::host::arena;
use super::super::limits::Stop;
use super::{Contender, State, free, head, page};

pub struct TournamentHandle;
pub struct ContenderHandle(usize);

impl State {
    pub fn lay_out_tournament(&mut self) -> wasmtime::Result<Resource<TournamentHandle>> {
        Ok(self.table.push(TournamentHandle)?)
    }

    /// Tells something about the contender behind a handle.
    fn of<T: serde::Serialize + serde::de::DeserializeOwned>(
        &mut self,
        name: &'static str,
        handle: &Resource<ContenderHandle>,
        asked: impl serde::Serialize,
        tell: impl FnOnce(&Contender) -> T,
    ) -> wasmtime::Result<T> {
        let index = self.table.get(handle)?.0;
        self.tell(free(name), (index, asked), |state| {
            let contender = state.field()?.contenders.get(index);
            Ok(tell(contender.ok_or(Stop::OutOfPlace)?))
        })
    }

    /// Tells something about the contender of that id, or the default where there is none.
    fn about<T: serde::Serialize + serde::de::DeserializeOwned + Default>(
        &mut self,
        name: &'static str,
        id: &str,
        tell: impl FnOnce(&Contender) -> T,
    ) -> wasmtime::Result<T> {
        self.tell(free(name), id, |state| {
            let mut contenders = state.field()?.contenders.iter();
            let found = contenders.find(|contender| contender.id == id);
            Ok(found.map(tell).unwrap_or_default())
        })
    }
}

impl arena::Host for State {}

impl arena::HostContender for State {
    fn id(&mut self, contender: Resource<ContenderHandle>) -> wasmtime::Result<String> {
        self.of("contender.id", &contender, (), |c| c.id.clone())
    }

    fn strategy(&mut self, contender: Resource<ContenderHandle>) -> wasmtime::Result<String> {
        self.of("contender.strategy", &contender, (), |c| c.strategy.clone())
    }

    fn rationale(&mut self, contender: Resource<ContenderHandle>) -> wasmtime::Result<String> {
        self.of("contender.rationale", &contender, (), |c| {
            c.rationale.clone()
        })
    }

    fn confidence(&mut self, contender: Resource<ContenderHandle>) -> wasmtime::Result<f32> {
        self.of("contender.confidence", &contender, (), |c| {
            c.confidence as f32
        })
    }

    fn unified_diff(
        &mut self,
        contender: Resource<ContenderHandle>,
        max_bytes: u32,
    ) -> wasmtime::Result<String> {
        self.of("contender.unified-diff", &contender, max_bytes, |c| {
            head(&c.patch, max_bytes)
        })
    }

    fn paths(&mut self, contender: Resource<ContenderHandle>) -> wasmtime::Result<Vec<String>> {
        self.of("contender.paths", &contender, (), |c| c.paths.clone())
    }

    fn metric(
        &mut self,
        contender: Resource<ContenderHandle>,
        name: String,
    ) -> wasmtime::Result<Option<f64>> {
        self.of("contender.metric", &contender, &name, |c| {
            c.metrics.get(&name).copied()
        })
    }

    fn broken_gates(
        &mut self,
        contender: Resource<ContenderHandle>,
    ) -> wasmtime::Result<Vec<String>> {
        self.of("contender.broken-gates", &contender, (), |c| {
            c.broken_gates.clone()
        })
    }

    fn failing(
        &mut self,
        contender: Resource<ContenderHandle>,
        offset: u32,
        limit: u32,
    ) -> wasmtime::Result<Vec<String>> {
        self.of("contender.failing", &contender, (offset, limit), |c| {
            page(&c.failing, offset, limit)
        })
    }

    fn drop(&mut self, contender: Resource<ContenderHandle>) -> wasmtime::Result<()> {
        self.table.delete(contender)?;
        Ok(())
    }
}

impl arena::HostTournament for State {
    fn project(&mut self, _: Resource<TournamentHandle>) -> wasmtime::Result<String> {
        self.tell(free("tournament.project"), (), |state| {
            Ok(state.field()?.project.clone())
        })
    }

    fn base(&mut self, _: Resource<TournamentHandle>) -> wasmtime::Result<String> {
        self.tell(free("tournament.base"), (), |state| {
            Ok(state.field()?.base.clone())
        })
    }

    fn head(&mut self, _: Resource<TournamentHandle>) -> wasmtime::Result<String> {
        self.tell(free("tournament.head"), (), |state| {
            Ok(state.field()?.head.clone())
        })
    }

    fn attribute(
        &mut self,
        _: Resource<TournamentHandle>,
        key: String,
    ) -> wasmtime::Result<Option<String>> {
        self.tell(free("tournament.attribute"), &key, |state| {
            Ok(state.field()?.attributes.get(&key).cloned())
        })
    }

    fn contenders(
        &mut self,
        _: Resource<TournamentHandle>,
    ) -> wasmtime::Result<Vec<Resource<ContenderHandle>>> {
        let all = self.tell(free("tournament.contenders"), (), |state| {
            Ok(state.field()?.contenders.len())
        })?;
        let handles = (0..all).map(|index| self.table.push(ContenderHandle(index)));
        Ok(handles.collect::<Result<_, _>>()?)
    }

    fn score(
        &mut self,
        _: Resource<TournamentHandle>,
        contender_id: String,
    ) -> wasmtime::Result<Option<f64>> {
        self.about("tournament.score", &contender_id, |c| c.score)
    }

    fn confidence(
        &mut self,
        _: Resource<TournamentHandle>,
        contender_id: String,
    ) -> wasmtime::Result<Option<f64>> {
        self.about("tournament.confidence", &contender_id, |c| c.evidence)
    }

    fn security(
        &mut self,
        _: Resource<TournamentHandle>,
        contender_id: String,
    ) -> wasmtime::Result<Vec<String>> {
        self.about("tournament.security", &contender_id, |c| c.security.clone())
    }

    fn ambiguity(&mut self, _: Resource<TournamentHandle>) -> wasmtime::Result<Vec<String>> {
        self.tell(free("tournament.ambiguity"), (), |state| {
            Ok(state.field()?.ambiguity.clone())
        })
    }

    fn drop(&mut self, tournament: Resource<TournamentHandle>) -> wasmtime::Result<()> {
        self.table.delete(tournament)?;
        Ok(())
    }
}
