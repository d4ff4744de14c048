//! A scorer on wasmtime with nothing around it: no limits, no ledger, no journal, no thread of its own.
//!
//! Touches: wasm, files.
//! Change here: when the scorer's world changes. It answers the guest what the host answers, and no more.

use std::path::Path;

use ::changebus::outside::wasm::{Contender, Field};
use wasmtime::component::{Component, HasSelf, Linker, Resource, ResourceTable};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

use changebus::host::{arena, config, history, log};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "changebus:scorer/scorer",
        imports: { default: trappable },
        with: {
            "changebus:host/arena.tournament": super::Whole,
            "changebus:host/arena.contender": super::One,
            "changebus:host/history.episode": super::NoPast,
        },
    });
}
use bindings::{Scorer, ScorerPre, changebus};

pub struct Whole;
pub struct One(usize);
/// Nothing was ever like what is scored here.
pub enum NoPast {}

/// The component, compiled, on an engine of its own.
pub struct Bare {
    engine: Engine,
    pre: ScorerPre<State>,
}

struct State {
    table: ResourceTable,
    field: Field,
}

impl Bare {
    pub fn new(path: &Path) -> Bare {
        let mut settings = Config::new();
        let mut pool = PoolingAllocationConfig::new();
        pool.linear_memory_keep_resident(64 << 10)
            .table_keep_resident(64 << 10);
        settings.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&settings).expect("the engine starts");
        let mut linker = Linker::<State>::new(&engine);
        Scorer::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state).expect("it links");
        let component = Component::from_file(&engine, path).expect("it compiles");
        let pre = linker.instantiate_pre(&component).and_then(ScorerPre::new);
        let pre = pre.expect("it fits");
        Bare { engine, pre }
    }

    /// How many contenders it scored.
    pub fn score(&self, field: Field) -> usize {
        let table = ResourceTable::new();
        let mut store = Store::new(&self.engine, State { table, field });
        let guest = self.pre.instantiate(&mut store).expect("it starts");
        let whole = store.data_mut().table.push(Whole).expect("there is room");
        let judge = guest.changebus_scorer_judge();
        let scored = judge.call_score(&mut store, whole).expect("it ends");
        scored.expect("it scores").len()
    }
}

impl State {
    fn one(&self, one: &Resource<One>) -> wasmtime::Result<&Contender> {
        Ok(&self.field.contenders[self.table.get(one)?.0])
    }

    fn by_id(&self, id: &str) -> Option<&Contender> {
        self.field.contenders.iter().find(|one| one.id == id)
    }
}

fn head(text: &str, most: u32) -> String {
    text[..text.floor_char_boundary(most as usize)].to_owned()
}

impl log::Host for State {
    fn emit(&mut self, _: log::Level, _: String, _: Vec<(String, String)>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl config::Host for State {
    fn get_json(&mut self) -> wasmtime::Result<String> {
        Ok(self.field.config.to_string())
    }
}

impl history::Host for State {
    fn metric(
        &mut self,
        scope: String,
        key: String,
        name: String,
    ) -> wasmtime::Result<Option<f64>> {
        Ok(self
            .field
            .history
            .get(&format!("{scope}/{key}/{name}"))
            .copied())
    }
    fn similar(&mut self, _: u32) -> wasmtime::Result<Vec<Resource<NoPast>>> {
        Ok(vec![])
    }
    fn rejections(&mut self, _: u32) -> wasmtime::Result<Vec<String>> {
        Ok(vec![])
    }
}

impl history::HostEpisode for State {
    fn run(&mut self, past: Resource<NoPast>) -> wasmtime::Result<String> {
        match *self.table.get(&past)? {}
    }
    fn likeness(&mut self, past: Resource<NoPast>) -> wasmtime::Result<f64> {
        match *self.table.get(&past)? {}
    }
    fn class(&mut self, past: Resource<NoPast>) -> wasmtime::Result<String> {
        match *self.table.get(&past)? {}
    }
    fn failing(&mut self, past: Resource<NoPast>) -> wasmtime::Result<Vec<String>> {
        match *self.table.get(&past)? {}
    }
    fn message(&mut self, past: Resource<NoPast>) -> wasmtime::Result<String> {
        match *self.table.get(&past)? {}
    }
    fn strategy(&mut self, past: Resource<NoPast>) -> wasmtime::Result<Option<String>> {
        match *self.table.get(&past)? {}
    }
    fn rationale(&mut self, past: Resource<NoPast>) -> wasmtime::Result<String> {
        match *self.table.get(&past)? {}
    }
    fn unified_diff(&mut self, past: Resource<NoPast>, _: u32) -> wasmtime::Result<String> {
        match *self.table.get(&past)? {}
    }
    fn fate(&mut self, past: Resource<NoPast>) -> wasmtime::Result<Option<String>> {
        match *self.table.get(&past)? {}
    }
    fn rejections(&mut self, past: Resource<NoPast>) -> wasmtime::Result<Vec<String>> {
        match *self.table.get(&past)? {}
    }
    fn drop(&mut self, past: Resource<NoPast>) -> wasmtime::Result<()> {
        self.table.delete(past)?;
        Ok(())
    }
}

impl arena::Host for State {}

impl arena::HostContender for State {
    fn id(&mut self, one: Resource<One>) -> wasmtime::Result<String> {
        Ok(self.one(&one)?.id.clone())
    }
    fn strategy(&mut self, one: Resource<One>) -> wasmtime::Result<String> {
        Ok(self.one(&one)?.strategy.clone())
    }
    fn rationale(&mut self, one: Resource<One>) -> wasmtime::Result<String> {
        Ok(self.one(&one)?.rationale.clone())
    }
    fn confidence(&mut self, one: Resource<One>) -> wasmtime::Result<f32> {
        Ok(self.one(&one)?.confidence as f32)
    }
    fn unified_diff(&mut self, one: Resource<One>, most: u32) -> wasmtime::Result<String> {
        Ok(head(&self.one(&one)?.patch, most))
    }
    fn paths(&mut self, one: Resource<One>) -> wasmtime::Result<Vec<String>> {
        Ok(self.one(&one)?.paths.clone())
    }
    fn metric(&mut self, one: Resource<One>, name: String) -> wasmtime::Result<Option<f64>> {
        Ok(self.one(&one)?.metrics.get(&name).copied())
    }
    fn broken_gates(&mut self, one: Resource<One>) -> wasmtime::Result<Vec<String>> {
        Ok(self.one(&one)?.broken_gates.clone())
    }
    fn failing(
        &mut self,
        one: Resource<One>,
        from: u32,
        most: u32,
    ) -> wasmtime::Result<Vec<String>> {
        let failing = self.one(&one)?.failing.iter();
        Ok(failing
            .skip(from as usize)
            .take(most as usize)
            .cloned()
            .collect())
    }
    fn drop(&mut self, one: Resource<One>) -> wasmtime::Result<()> {
        self.table.delete(one)?;
        Ok(())
    }
}

impl arena::HostTournament for State {
    fn project(&mut self, _: Resource<Whole>) -> wasmtime::Result<String> {
        Ok(self.field.project.clone())
    }
    fn base(&mut self, _: Resource<Whole>) -> wasmtime::Result<String> {
        Ok(self.field.base.clone())
    }
    fn head(&mut self, _: Resource<Whole>) -> wasmtime::Result<String> {
        Ok(self.field.head.clone())
    }
    fn attribute(&mut self, _: Resource<Whole>, key: String) -> wasmtime::Result<Option<String>> {
        Ok(self.field.attributes.get(&key).cloned())
    }
    fn contenders(&mut self, _: Resource<Whole>) -> wasmtime::Result<Vec<Resource<One>>> {
        (0..self.field.contenders.len())
            .map(|one| Ok(self.table.push(One(one))?))
            .collect()
    }
    fn score(&mut self, _: Resource<Whole>, id: String) -> wasmtime::Result<Option<f64>> {
        Ok(self.by_id(&id).and_then(|one| one.score))
    }
    fn confidence(&mut self, _: Resource<Whole>, id: String) -> wasmtime::Result<Option<f64>> {
        Ok(self.by_id(&id).and_then(|one| one.evidence))
    }
    fn security(&mut self, _: Resource<Whole>, id: String) -> wasmtime::Result<Vec<String>> {
        Ok(self
            .by_id(&id)
            .map(|one| one.security.clone())
            .unwrap_or_default())
    }
    fn ambiguity(&mut self, _: Resource<Whole>) -> wasmtime::Result<Vec<String>> {
        Ok(self.field.ambiguity.clone())
    }
    fn drop(&mut self, whole: Resource<Whole>) -> wasmtime::Result<()> {
        self.table.delete(whole)?;
        Ok(())
    }
}
