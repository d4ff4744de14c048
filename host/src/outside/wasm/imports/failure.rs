//! What broke, as a strategy may know it.
//!
//! Touches: wasm.
//! Change here: when a strategy may learn something new about a failure.

use std::sync::Arc;

use wasmtime::component::Resource;

use super::super::bindings::strategy::changebus::strategy::failure;
use super::super::convert::Refused;
use super::super::limits::Stop;
use super::{State, TreeHandle, aside, free, head, page, tail};
use crate::event::TestFailure;
use crate::outside::wasm::FailureFacts;

pub struct ContextHandle;

impl State {
    /// The failure and the failing tree, for the guest to have.
    pub fn lay_out_failure(
        &mut self,
    ) -> wasmtime::Result<(Resource<ContextHandle>, Resource<TreeHandle>)> {
        let context = self.table.push(ContextHandle)?;
        let tree = self.table.push(TreeHandle::Head)?;
        Ok((context, tree))
    }

    fn failure(&self) -> Result<&FailureFacts, Stop> {
        Ok(&self.task()?.failure)
    }

    fn failing_test(&self, id: &str) -> Result<Option<&TestFailure>, Stop> {
        let failures = &self.failure()?.failures;
        Ok(failures.iter().find(|failure| failure.id == id))
    }
}

impl failure::Host for State {}

impl failure::HostContext for State {
    fn project(&mut self, _: Resource<ContextHandle>) -> wasmtime::Result<String> {
        self.tell(free("failure.project"), (), |state| {
            Ok(state.failure()?.project.clone())
        })
    }

    fn base(&mut self, _: Resource<ContextHandle>) -> wasmtime::Result<String> {
        self.tell(free("failure.base"), (), |state| {
            Ok(state.failure()?.base.clone())
        })
    }

    fn head(&mut self, _: Resource<ContextHandle>) -> wasmtime::Result<String> {
        self.tell(free("failure.head"), (), |state| {
            Ok(state.failure()?.head.clone())
        })
    }

    fn failing_tests(
        &mut self,
        _: Resource<ContextHandle>,
        offset: u32,
        limit: u32,
    ) -> wasmtime::Result<Vec<String>> {
        self.tell(free("failure.failing-tests"), (offset, limit), |state| {
            Ok(page(&state.failure()?.failing, offset, limit))
        })
    }

    fn message(
        &mut self,
        _: Resource<ContextHandle>,
        test_id: String,
    ) -> wasmtime::Result<Option<String>> {
        self.tell(free("failure.message"), &test_id, |state| {
            let found = state.failing_test(&test_id)?;
            Ok(found.map(|failure| failure.message.clone()))
        })
    }

    fn detail(
        &mut self,
        _: Resource<ContextHandle>,
        test_id: String,
        max_bytes: u32,
    ) -> wasmtime::Result<Option<String>> {
        self.tell(free("failure.detail"), (&test_id, max_bytes), |state| {
            let found = state.failing_test(&test_id)?;
            Ok(found.map(|failure| head(&failure.detail, max_bytes)))
        })
    }

    fn location(
        &mut self,
        _: Resource<ContextHandle>,
        test_id: String,
    ) -> wasmtime::Result<Option<(String, u32)>> {
        self.tell(free("failure.location"), &test_id, |state| {
            let found = state.failing_test(&test_id)?;
            Ok(found.and_then(|failure| Some((failure.file.clone()?, failure.line.unwrap_or(0)))))
        })
    }

    fn suite_output(
        &mut self,
        _: Resource<ContextHandle>,
        max_bytes: u32,
    ) -> wasmtime::Result<String> {
        self.tell(free("failure.suite-output"), max_bytes, |state| {
            Ok(tail(&state.failure()?.suite_output, max_bytes).to_owned())
        })
    }

    fn commits(
        &mut self,
        _: Resource<ContextHandle>,
        limit: u32,
    ) -> wasmtime::Result<Vec<(String, String, String)>> {
        self.tell(free("failure.commits"), limit, |state| {
            let commits = state.failure()?.commits.iter().take(limit as usize);
            let plain = commits.map(|c| (c.id.0.clone(), c.author.clone(), c.message.clone()));
            Ok(plain.collect())
        })
    }

    fn changed_paths(&mut self, _: Resource<ContextHandle>) -> wasmtime::Result<Vec<String>> {
        self.tell(free("failure.changed-paths"), (), |state| {
            Ok(state.failure()?.changed_paths.clone())
        })
    }

    async fn diff(
        &mut self,
        _: Resource<ContextHandle>,
        path: Option<String>,
        context_lines: u32,
        max_bytes: u32,
    ) -> wasmtime::Result<String> {
        let asked = (path.clone(), context_lines, max_bytes);
        let most = self.most_bytes(max_bytes);
        let patience = self.account.limits().read_wall;
        let diff = self.ask(free("failure.diff"), asked, |state| {
            let change = Arc::clone(&state.failure()?.change);
            let diff = move || Ok(change.diff(path.as_deref(), context_lines, most));
            Ok(aside(patience, diff))
        });
        match diff.await {
            Ok(diff) => Ok(diff),
            // It has no fault to tell the guest by; the only one there is, is that it took too long.
            Err(Refused::Fault(_)) => Err(Stop::Wall(patience).into()),
            Err(Refused::Stop(error)) => Err(error),
        }
    }

    fn before(&mut self, _: Resource<ContextHandle>) -> wasmtime::Result<Resource<TreeHandle>> {
        self.account.call()?;
        Ok(self.table.push(TreeHandle::Before)?)
    }

    fn protected(
        &mut self,
        _: Resource<ContextHandle>,
        path: String,
    ) -> wasmtime::Result<Option<String>> {
        self.tell(free("failure.protected"), &path, |state| {
            Ok(state.failure()?.change.protected(&path))
        })
    }

    fn attribute(
        &mut self,
        _: Resource<ContextHandle>,
        key: String,
    ) -> wasmtime::Result<Option<String>> {
        self.tell(free("failure.attribute"), &key, |state| {
            Ok(state.failure()?.attributes.get(&key).cloned())
        })
    }

    fn drop(&mut self, context: Resource<ContextHandle>) -> wasmtime::Result<()> {
        self.table.delete(context)?;
        Ok(())
    }
}
