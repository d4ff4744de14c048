//! Trying a patch on the tests, and having the project's tools run on it.
//!
//! Touches: wasm.
//! Change here: when there is something new to be tried, or a report tells something new.

use std::sync::Arc;

use wasmtime::component::Resource;

use super::super::bindings::host::changebus::host::{probe, tools};
use super::super::convert::Refused;
use super::{Capability, PatchDraft, State, at_home, free, needs, page, tail};
use crate::event::{ProbeReport, ToolReport};

impl probe::Host for State {
    async fn run(&mut self, patch: Resource<PatchDraft>) -> Result<Resource<ProbeReport>, Refused> {
        let patch = self.table.get(&patch)?.finished()?.clone();
        let import = needs(Capability::Probe, "probe.run");
        let report: Result<ProbeReport, Refused> = self
            .ask(import, patch.clone(), |state| {
                let services = Arc::clone(&state.task()?.services);
                let account = state.account.clone();
                let tried = at_home(
                    state.home()?.clone(),
                    async move { services.probe(patch).await },
                );
                Ok(async move {
                    let report = tried.await?;
                    account.had_something_tried(&report);
                    Ok(report)
                })
            })
            .await;
        Ok(self.table.push(report?)?)
    }
}

impl probe::HostReport for State {
    fn fixed(&mut self, report: Resource<ProbeReport>) -> wasmtime::Result<bool> {
        self.look(|state| Ok(state.table.get(&report)?.still_failing.is_empty()))
    }

    fn still_failing(
        &mut self,
        report: Resource<ProbeReport>,
        offset: u32,
        limit: u32,
    ) -> wasmtime::Result<Vec<String>> {
        self.look(|state| {
            Ok(page(
                &state.table.get(&report)?.still_failing,
                offset,
                limit,
            ))
        })
    }

    fn broken(
        &mut self,
        report: Resource<ProbeReport>,
        offset: u32,
        limit: u32,
    ) -> wasmtime::Result<Vec<String>> {
        self.look(|state| Ok(page(&state.table.get(&report)?.broken, offset, limit)))
    }

    fn message(
        &mut self,
        report: Resource<ProbeReport>,
        test_id: String,
    ) -> wasmtime::Result<Option<String>> {
        self.look(|state| {
            let failures = &state.table.get(&report)?.failures;
            let found = failures.iter().find(|failure| failure.id == test_id);
            Ok(found.map(|failure| failure.message.clone()))
        })
    }

    fn output(
        &mut self,
        report: Resource<ProbeReport>,
        max_bytes: u32,
    ) -> wasmtime::Result<String> {
        self.look(|state| Ok(tail(&state.table.get(&report)?.output, max_bytes).to_owned()))
    }

    fn metric(
        &mut self,
        report: Resource<ProbeReport>,
        name: String,
    ) -> wasmtime::Result<Option<f64>> {
        self.look(|state| {
            let report = state.table.get(&report)?;
            Ok(match name.as_str() {
                "tests.passed" => Some(f64::from(report.passed)),
                "tests.failed" => Some(f64::from(report.failed)),
                "seconds" => Some(report.seconds),
                _ => None,
            })
        })
    }

    fn drop(&mut self, report: Resource<ProbeReport>) -> wasmtime::Result<()> {
        self.table.delete(report)?;
        Ok(())
    }
}

impl tools::Host for State {
    fn names(&mut self) -> wasmtime::Result<Vec<String>> {
        self.tell(free("tools.names"), (), |state| {
            // Names are no secret, but without the right to run them there is nothing to choose from.
            Ok(match state.granted.contains(&Capability::Tools) {
                true => state.task()?.services.tools(),
                false => Vec::new(),
            })
        })
    }

    async fn run(
        &mut self,
        name: String,
        patch: Resource<PatchDraft>,
    ) -> Result<Resource<ToolReport>, Refused> {
        let patch = self.table.get(&patch)?.finished()?.clone();
        let import = needs(Capability::Tools, "tools.run");
        let report: Result<ToolReport, Refused> = self
            .ask(import, (name.clone(), patch.clone()), |state| {
                let services = Arc::clone(&state.task()?.services);
                let account = state.account.clone();
                let ran = at_home(state.home()?.clone(), async move {
                    services.run_tool(name, patch).await
                });
                Ok(async move {
                    let report = ran.await?;
                    account.had_something_tried(&report);
                    Ok(report)
                })
            })
            .await;
        Ok(self.table.push(report?)?)
    }
}

impl tools::HostToolReport for State {
    fn exit_code(&mut self, report: Resource<ToolReport>) -> wasmtime::Result<Option<i32>> {
        self.look(|state| Ok(state.table.get(&report)?.exit_code))
    }

    fn output(&mut self, report: Resource<ToolReport>, max_bytes: u32) -> wasmtime::Result<String> {
        self.look(|state| Ok(tail(&state.table.get(&report)?.output, max_bytes).to_owned()))
    }

    fn changed_paths(&mut self, report: Resource<ToolReport>) -> wasmtime::Result<Vec<String>> {
        self.look(|state| Ok(state.table.get(&report)?.changed.clone()))
    }

    fn diff(&mut self, report: Resource<ToolReport>) -> wasmtime::Result<String> {
        self.look(|state| Ok(state.table.get(&report)?.diff.clone()))
    }

    fn drop(&mut self, report: Resource<ToolReport>) -> wasmtime::Result<()> {
        self.table.delete(report)?;
        Ok(())
    }
}
