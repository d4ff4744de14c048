//! The small interfaces: log, config, budget, clock, chance.
//!
//! Touches: wasm.
//! Change here: when one of them offers something new.

use super::super::bindings::host::changebus::host::{budget, clock, config, log, random};
use super::super::bindings::host::changebus::types::errors;
use super::super::convert::{self, Refused};
use super::super::journal::bytes::Bytes;
use super::super::limits::Stop;
use super::{Capability, Desk, State, free, needs};

/// Most bytes one call of `random` draws.
const MOST_RANDOM: u32 = 1024;

impl errors::Host for State {
    fn convert_fault(&mut self, refused: Refused) -> wasmtime::Result<errors::Fault> {
        convert::fault(refused)
    }
}

impl log::Host for State {
    fn emit(
        &mut self,
        level: log::Level,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        self.account.call()?;
        self.book.write(convert::level(level), &message, &fields);
        Ok(())
    }
}

impl config::Host for State {
    fn get_json(&mut self) -> wasmtime::Result<String> {
        self.tell(free("config.get-json"), (), |state| {
            let config = match &state.desk {
                Desk::Empty => return Err(Stop::OutOfPlace.into()),
                Desk::Strategy { task, .. } => &task.config,
                Desk::Judge(field) => &field.config,
            };
            Ok(match config.is_null() {
                true => "{}".to_owned(),
                false => config.to_string(),
            })
        })
    }
}

impl budget::Host for State {
    fn remaining(&mut self, meter: String) -> wasmtime::Result<Option<u64>> {
        self.tell(free("budget.remaining"), &meter, |state| {
            Ok(state.task()?.services.remaining(&meter))
        })
    }
}

impl clock::Host for State {
    fn now_ms(&mut self) -> wasmtime::Result<u64> {
        let import = needs(Capability::Clock, "clock.now-ms");
        self.tell(import, (), |state| Ok(state.task()?.services.now_ms()))
    }
}

impl random::Host for State {
    fn bytes(&mut self, len: u32) -> wasmtime::Result<Vec<u8>> {
        let import = needs(Capability::Random, "random.bytes");
        let drawn = self.tell(import, len, |state| {
            let services = &state.task()?.services;
            Ok(Bytes(services.random(len.min(MOST_RANDOM))))
        })?;
        Ok(drawn.0)
    }
}
