//! What a guest may ask of the host: the one service layer behind every world.
//!
//! Touches: wasm.
//! Change here: when `wit/` offers guests something new. Every import counts itself first, works on plain host
//! types, and answers the same thing when asked the same thing again.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::WasiCtx;

use super::bindings::host::changebus::host::{
    arena, budget, clock, config, history, llm, log, patching, probe, random, tools, workspace,
};
use super::bindings::host::changebus::types::errors;
use super::bindings::strategy::changebus::strategy::failure;
use super::convert::{self, Refused};
use super::limits::{HOST_OBJECTS, Meter, Stop, cut};
use super::log::LogBook;
use super::task::{Contender, Field, StrategyTask};
use super::wasi;
use crate::event::{
    Edit, Fault, FaultKind, ModelAnswer, ModelMessage, ModelRequest, Patch, ProbeReport,
    SystemBlock, ToolReport,
};
use crate::outside::reading::ReadTree;

/// Most entries that one call of `glob` or `search` brings back.
const MOST_HITS: u32 = 10_000;
/// Most bytes one call of `random` draws.
const MOST_RANDOM: u32 = 1024;
/// What an edit or a block costs the host beside its text, in bytes.
const OVERHEAD: usize = 64;

/// Everything of one call that stands outside the guest.
pub struct State {
    pub table: ResourceTable,
    pub meter: Meter,
    pub wasi: WasiCtx,
    pub book: Arc<LogBook>,
    desk: Desk,
}

/// What the guest was called for.
pub enum Desk {
    Strategy {
        task: Box<StrategyTask>,
        home: Handle,
    },
    Judge(Arc<Field>),
}

pub struct ContextHandle;
pub struct TournamentHandle;
pub struct ContenderHandle(usize);
pub struct TreeHandle(pub Arc<dyn ReadTree>);

/// A request under construction.
pub struct PromptDraft {
    request: ModelRequest,
    bytes: usize,
}

/// A patch under construction.
#[derive(Default)]
pub struct PatchDraft {
    patch: Patch,
    bytes: usize,
    /// Path of the first file whose content is not text.
    not_text: Option<String>,
}

impl PatchDraft {
    /// The patch, unless it holds something that no patch can hold.
    pub fn finished(&self) -> Result<&Patch, Fault> {
        match &self.not_text {
            None => Ok(&self.patch),
            Some(path) => Err(Fault::new(
                FaultKind::Invalid,
                "patch.not-text",
                format!(
                    "writes `{path}` with bytes that are not UTF-8; only text files can be written"
                ),
            )),
        }
    }
}

impl State {
    pub fn new(desk: Desk, meter: Meter, book: LogBook) -> State {
        let book = Arc::new(book);
        let mut table = ResourceTable::new();
        table.set_max_capacity(HOST_OBJECTS);
        State {
            table,
            meter,
            wasi: wasi::context(&book),
            book,
            desk,
        }
    }

    /// Puts the failure and the failing tree on the guest's desk; the entries stay until the call is over.
    pub fn lay_out_failure(
        &mut self,
    ) -> wasmtime::Result<(Resource<ContextHandle>, Resource<TreeHandle>)> {
        let tree = TreeHandle(Arc::clone(&self.task()?.tree));
        let context = self.table.push(ContextHandle)?;
        let tree = self.table.push(tree)?;
        Ok((
            Resource::new_borrow(context.rep()),
            Resource::new_borrow(tree.rep()),
        ))
    }

    pub fn lay_out_tournament(&mut self) -> wasmtime::Result<Resource<TournamentHandle>> {
        let tournament = self.table.push(TournamentHandle)?;
        Ok(Resource::new_borrow(tournament.rep()))
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

    fn contender(&self, handle: &Resource<ContenderHandle>) -> wasmtime::Result<&Contender> {
        let index = self.table.get(handle)?.0;
        Ok(self
            .field()?
            .contenders
            .get(index)
            .ok_or(Stop::OutOfPlace)?)
    }

    fn contender_by_id(&self, id: &str) -> Result<Option<&Contender>, Stop> {
        Ok(self
            .field()?
            .contenders
            .iter()
            .find(|contender| contender.id == id))
    }

    fn most_bytes(&self, asked: u32) -> u32 {
        asked.min(u32::try_from(self.meter.limits().crossing_bytes).unwrap_or(u32::MAX))
    }

    fn tree(&self, handle: &Resource<TreeHandle>) -> wasmtime::Result<Arc<dyn ReadTree>> {
        Ok(Arc::clone(&self.table.get(handle)?.0))
    }

    /// Adds an edit to a patch, unless the patch or all of them grow too large.
    fn edit(
        &mut self,
        handle: &Resource<PatchDraft>,
        edit: Edit,
        bytes: usize,
    ) -> wasmtime::Result<()> {
        let most = self.meter.limits().patch_bytes;
        self.meter.hold(bytes + OVERHEAD)?;
        let draft = self.table.get_mut(handle)?;
        draft.bytes += bytes + OVERHEAD;
        if draft.bytes > most {
            return Err(Stop::Patch(most).into());
        }
        draft.patch.edits.push(edit);
        Ok(())
    }

    fn extend(
        &mut self,
        handle: &Resource<PromptDraft>,
        bytes: usize,
    ) -> wasmtime::Result<&mut ModelRequest> {
        self.meter.hold(bytes + OVERHEAD)?;
        let draft = self.table.get_mut(handle)?;
        draft.bytes += bytes + OVERHEAD;
        Ok(&mut draft.request)
    }
}

/// Waits for a service on the runtime it belongs to; gives it up when the guest is given up.
async fn at_home<T: Send + 'static>(
    home: &Handle,
    ask: impl Future<Output = T> + Send + 'static,
) -> Result<T, Stop> {
    let mut asked = JoinSet::new();
    asked.spawn_on(ask, home);
    match asked.join_next().await {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        _ => Err(Stop::HostLeaves),
    }
}

/// Runs what may block beside the guests' threads.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Stop> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => Ok(answer),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Stop::HostLeaves),
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
        self.meter.call()?;
        self.book.write(convert::level(level), &message, &fields);
        Ok(())
    }
}

impl config::Host for State {
    fn get_json(&mut self) -> wasmtime::Result<String> {
        self.meter.call()?;
        let config = match &self.desk {
            Desk::Strategy { task, .. } => &task.config,
            Desk::Judge(field) => &field.config,
        };
        Ok(if config.is_null() {
            "{}".to_owned()
        } else {
            config.to_string()
        })
    }
}

impl budget::Host for State {
    fn remaining(&mut self, meter: String) -> wasmtime::Result<Option<u64>> {
        self.meter.call()?;
        Ok(self.task()?.services.remaining(&meter))
    }
}

impl history::Host for State {
    fn metric(
        &mut self,
        scope: String,
        key: String,
        name: String,
    ) -> wasmtime::Result<Option<f64>> {
        self.meter.call()?;
        let history = match &self.desk {
            Desk::Strategy { task, .. } => &task.history,
            Desk::Judge(field) => &field.history,
        };
        Ok(history.get(&format!("{scope}/{key}/{name}")).copied())
    }
}

impl llm::Host for State {}

impl llm::HostPrompt for State {
    fn new(&mut self, max_output_tokens: u32) -> wasmtime::Result<Resource<PromptDraft>> {
        self.meter.call()?;
        let request = ModelRequest {
            model: None,
            max_output_tokens,
            system: Vec::new(),
            messages: Vec::new(),
            effort: None,
            temperature: None,
        };
        Ok(self.table.push(PromptDraft { request, bytes: 0 })?)
    }

    fn system(
        &mut self,
        prompt: Resource<PromptDraft>,
        text: String,
        shared: bool,
    ) -> wasmtime::Result<()> {
        self.meter.call()?;
        self.extend(&prompt, text.len())?
            .system
            .push(SystemBlock { text, shared });
        Ok(())
    }

    fn message(
        &mut self,
        prompt: Resource<PromptDraft>,
        role: llm::Role,
        text: String,
    ) -> wasmtime::Result<()> {
        self.meter.call()?;
        let role = convert::role(role);
        self.extend(&prompt, text.len())?
            .messages
            .push(ModelMessage { role, text });
        Ok(())
    }

    fn set_option(
        &mut self,
        prompt: Resource<PromptDraft>,
        key: String,
        value_json: String,
    ) -> Result<(), Refused> {
        self.meter.call()?;
        Ok(set_option(
            &mut self.table.get_mut(&prompt)?.request,
            &key,
            &value_json,
        )?)
    }

    async fn send(
        &mut self,
        prompt: Resource<PromptDraft>,
    ) -> Result<Resource<ModelAnswer>, Refused> {
        self.meter.call()?;
        let request = self.table.get(&prompt)?.request.clone();
        let services = Arc::clone(&self.task()?.services);
        let answer = at_home(
            self.home()?,
            async move { services.complete(request).await },
        )
        .await??;
        Ok(self.table.push(answer)?)
    }

    fn drop(&mut self, prompt: Resource<PromptDraft>) -> wasmtime::Result<()> {
        let draft = self.table.delete(prompt)?;
        self.meter.release(draft.bytes);
        Ok(())
    }
}

fn set_option(request: &mut ModelRequest, key: &str, value_json: &str) -> Result<(), Fault> {
    match key {
        "model" => request.model = Some(text_option(key, value_json)?),
        "effort" => request.effort = Some(text_option(key, value_json)?),
        "temperature" => request.temperature = Some(option_value(key, value_json, "a number")?),
        _ => {
            let message = format!(
                "there is no option `{}`; there are `model`, `effort`, `temperature`",
                cut(key, 100)
            );
            return Err(Fault::new(
                FaultKind::Invalid,
                "llm.unknown-option",
                message,
            ));
        }
    }
    Ok(())
}

fn text_option(key: &str, value_json: &str) -> Result<String, Fault> {
    let text: String = option_value(key, value_json, "a text in quotes")?;
    Ok(cut(&text, 200).to_owned())
}

fn option_value<T: serde::de::DeserializeOwned>(
    key: &str,
    value_json: &str,
    wanted: &str,
) -> Result<T, Fault> {
    serde_json::from_str(value_json).map_err(|_| {
        let message = format!(
            "option `{key}` takes {wanted} as JSON, not `{}`",
            cut(value_json, 100)
        );
        Fault::new(FaultKind::Invalid, "llm.bad-option", message)
    })
}

impl llm::HostCompletion for State {
    fn text(&mut self, completion: Resource<ModelAnswer>) -> wasmtime::Result<String> {
        self.meter.call()?;
        Ok(self.table.get(&completion)?.text.clone())
    }

    fn stop_reason(&mut self, completion: Resource<ModelAnswer>) -> wasmtime::Result<String> {
        self.meter.call()?;
        Ok(self.table.get(&completion)?.stop_reason.clone())
    }

    fn model(&mut self, completion: Resource<ModelAnswer>) -> wasmtime::Result<String> {
        self.meter.call()?;
        Ok(self.table.get(&completion)?.model.clone())
    }

    fn usage(
        &mut self,
        completion: Resource<ModelAnswer>,
        meter: String,
    ) -> wasmtime::Result<Option<u64>> {
        self.meter.call()?;
        let usage = &self.table.get(&completion)?.usage;
        Ok(match meter.as_str() {
            "input-tokens" => Some(usage.input_tokens),
            "output-tokens" => Some(usage.output_tokens),
            "cache-read-tokens" => Some(usage.cache_read_tokens),
            "cache-write-tokens" => Some(usage.cache_write_tokens),
            "usd-micros" => Some((usage.cost_usd * 1e6).round() as u64),
            _ => None,
        })
    }

    fn drop(&mut self, completion: Resource<ModelAnswer>) -> wasmtime::Result<()> {
        self.table.delete(completion)?;
        Ok(())
    }
}

impl workspace::Host for State {}

impl workspace::HostTree for State {
    fn revision(&mut self, tree: Resource<TreeHandle>) -> wasmtime::Result<String> {
        self.meter.call()?;
        Ok(self.tree(&tree)?.revision())
    }

    async fn size(&mut self, tree: Resource<TreeHandle>, path: String) -> Result<u64, Refused> {
        self.meter.call()?;
        let tree = self.tree(&tree)?;
        Ok(aside(move || tree.size(&path)).await??)
    }

    async fn read(
        &mut self,
        tree: Resource<TreeHandle>,
        path: String,
        offset: u64,
        max_bytes: u32,
    ) -> Result<Vec<u8>, Refused> {
        self.meter.call()?;
        let (tree, most) = (self.tree(&tree)?, self.most_bytes(max_bytes));
        Ok(aside(move || tree.read(&path, offset, most)).await??)
    }

    async fn glob(
        &mut self,
        tree: Resource<TreeHandle>,
        pattern: String,
        limit: u32,
    ) -> Result<Vec<String>, Refused> {
        self.meter.call()?;
        let tree = self.tree(&tree)?;
        Ok(aside(move || tree.glob(&pattern, limit.min(MOST_HITS))).await??)
    }

    async fn search(
        &mut self,
        tree: Resource<TreeHandle>,
        pattern: String,
        options: workspace::SearchOpts,
        path_glob: Option<String>,
        limit: u32,
    ) -> Result<Vec<workspace::Hit>, Refused> {
        self.meter.call()?;
        let tree = self.tree(&tree)?;
        let options = convert::search_options(options);
        let search = move || {
            tree.search(
                &pattern,
                options,
                path_glob.as_deref(),
                limit.min(MOST_HITS),
            )
        };
        Ok(aside(search)
            .await??
            .into_iter()
            .map(convert::hit)
            .collect())
    }

    fn drop(&mut self, tree: Resource<TreeHandle>) -> wasmtime::Result<()> {
        self.table.delete(tree)?;
        Ok(())
    }
}

impl patching::Host for State {}

impl patching::HostPatch for State {
    fn new(&mut self) -> wasmtime::Result<Resource<PatchDraft>> {
        self.meter.call()?;
        Ok(self.table.push(PatchDraft::default())?)
    }

    fn replace(
        &mut self,
        patch: Resource<PatchDraft>,
        path: String,
        search: String,
        replacement: String,
    ) -> wasmtime::Result<()> {
        self.meter.call()?;
        let bytes = path.len() + search.len() + replacement.len();
        self.edit(
            &patch,
            Edit::Replace {
                path,
                search,
                replacement,
            },
            bytes,
        )
    }

    fn write(
        &mut self,
        patch: Resource<PatchDraft>,
        path: String,
        content: Vec<u8>,
    ) -> wasmtime::Result<()> {
        self.meter.call()?;
        let bytes = path.len() + content.len();
        match String::from_utf8(content) {
            Ok(content) => self.edit(&patch, Edit::Write { path, content }, bytes),
            Err(_) => {
                self.table
                    .get_mut(&patch)?
                    .not_text
                    .get_or_insert(head(&path, 200));
                Ok(())
            }
        }
    }

    fn delete(&mut self, patch: Resource<PatchDraft>, path: String) -> wasmtime::Result<()> {
        self.meter.call()?;
        let bytes = path.len();
        self.edit(&patch, Edit::Delete { path }, bytes)
    }

    fn unified_diff(&mut self, patch: Resource<PatchDraft>, text: String) -> wasmtime::Result<()> {
        self.meter.call()?;
        let bytes = text.len();
        self.edit(&patch, Edit::UnifiedDiff { text }, bytes)
    }

    fn drop(&mut self, patch: Resource<PatchDraft>) -> wasmtime::Result<()> {
        let draft = self.table.delete(patch)?;
        self.meter.release(draft.bytes);
        Ok(())
    }
}

impl probe::Host for State {
    async fn run(&mut self, patch: Resource<PatchDraft>) -> Result<Resource<ProbeReport>, Refused> {
        self.meter.call()?;
        let patch = self.table.get(&patch)?.finished()?.clone();
        let services = Arc::clone(&self.task()?.services);
        let report = at_home(self.home()?, async move { services.probe(patch).await }).await??;
        Ok(self.table.push(report)?)
    }
}

impl probe::HostReport for State {
    fn fixed(&mut self, report: Resource<ProbeReport>) -> wasmtime::Result<bool> {
        self.meter.call()?;
        Ok(self.table.get(&report)?.still_failing.is_empty())
    }

    fn still_failing(
        &mut self,
        report: Resource<ProbeReport>,
        offset: u32,
        limit: u32,
    ) -> wasmtime::Result<Vec<String>> {
        self.meter.call()?;
        Ok(page(&self.table.get(&report)?.still_failing, offset, limit))
    }

    fn broken(
        &mut self,
        report: Resource<ProbeReport>,
        offset: u32,
        limit: u32,
    ) -> wasmtime::Result<Vec<String>> {
        self.meter.call()?;
        Ok(page(&self.table.get(&report)?.broken, offset, limit))
    }

    fn message(
        &mut self,
        report: Resource<ProbeReport>,
        test_id: String,
    ) -> wasmtime::Result<Option<String>> {
        self.meter.call()?;
        let failures = &self.table.get(&report)?.failures;
        Ok(failures
            .iter()
            .find(|failure| failure.id == test_id)
            .map(|failure| failure.message.clone()))
    }

    fn output(
        &mut self,
        report: Resource<ProbeReport>,
        max_bytes: u32,
    ) -> wasmtime::Result<String> {
        self.meter.call()?;
        Ok(tail(&self.table.get(&report)?.output, max_bytes).to_owned())
    }

    fn metric(
        &mut self,
        report: Resource<ProbeReport>,
        name: String,
    ) -> wasmtime::Result<Option<f64>> {
        self.meter.call()?;
        let report = self.table.get(&report)?;
        Ok(match name.as_str() {
            "tests.passed" => Some(f64::from(report.passed)),
            "tests.failed" => Some(f64::from(report.failed)),
            "seconds" => Some(report.seconds),
            _ => None,
        })
    }

    fn drop(&mut self, report: Resource<ProbeReport>) -> wasmtime::Result<()> {
        self.table.delete(report)?;
        Ok(())
    }
}

impl tools::Host for State {
    fn names(&mut self) -> wasmtime::Result<Vec<String>> {
        self.meter.call()?;
        Ok(self.task()?.services.tools())
    }

    async fn run(
        &mut self,
        name: String,
        patch: Resource<PatchDraft>,
    ) -> Result<Resource<ToolReport>, Refused> {
        self.meter.call()?;
        let patch = self.table.get(&patch)?.finished()?.clone();
        let services = Arc::clone(&self.task()?.services);
        let ran = async move { services.run_tool(name, patch).await };
        let report = at_home(self.home()?, ran).await??;
        Ok(self.table.push(report)?)
    }
}

impl tools::HostToolReport for State {
    fn exit_code(&mut self, report: Resource<ToolReport>) -> wasmtime::Result<Option<i32>> {
        self.meter.call()?;
        Ok(self.table.get(&report)?.exit_code)
    }

    fn output(&mut self, report: Resource<ToolReport>, max_bytes: u32) -> wasmtime::Result<String> {
        self.meter.call()?;
        Ok(tail(&self.table.get(&report)?.output, max_bytes).to_owned())
    }

    fn changed_paths(&mut self, report: Resource<ToolReport>) -> wasmtime::Result<Vec<String>> {
        self.meter.call()?;
        Ok(self.table.get(&report)?.changed.clone())
    }

    fn diff(&mut self, report: Resource<ToolReport>) -> wasmtime::Result<String> {
        self.meter.call()?;
        Ok(self.table.get(&report)?.diff.clone())
    }

    fn drop(&mut self, report: Resource<ToolReport>) -> wasmtime::Result<()> {
        self.table.delete(report)?;
        Ok(())
    }
}

impl clock::Host for State {
    fn now_ms(&mut self) -> wasmtime::Result<u64> {
        self.meter.call()?;
        Ok(self.task()?.services.now_ms())
    }
}

impl random::Host for State {
    fn bytes(&mut self, len: u32) -> wasmtime::Result<Vec<u8>> {
        self.meter.call()?;
        Ok(self.task()?.services.random(len.min(MOST_RANDOM)))
    }
}

impl failure::Host for State {}

impl failure::HostContext for State {
    fn project(&mut self, _: Resource<ContextHandle>) -> wasmtime::Result<String> {
        self.meter.call()?;
        Ok(self.task()?.failure.project.clone())
    }

    fn base(&mut self, _: Resource<ContextHandle>) -> wasmtime::Result<String> {
        self.meter.call()?;
        Ok(self.task()?.failure.base.clone())
    }

    fn head(&mut self, _: Resource<ContextHandle>) -> wasmtime::Result<String> {
        self.meter.call()?;
        Ok(self.task()?.failure.head.clone())
    }

    fn failing_tests(
        &mut self,
        _: Resource<ContextHandle>,
        offset: u32,
        limit: u32,
    ) -> wasmtime::Result<Vec<String>> {
        self.meter.call()?;
        Ok(page(&self.task()?.failure.failing, offset, limit))
    }

    fn message(
        &mut self,
        _: Resource<ContextHandle>,
        test_id: String,
    ) -> wasmtime::Result<Option<String>> {
        self.meter.call()?;
        let failures = &self.task()?.failure.failures;
        Ok(failures
            .iter()
            .find(|failure| failure.id == test_id)
            .map(|failure| failure.message.clone()))
    }

    fn detail(
        &mut self,
        _: Resource<ContextHandle>,
        test_id: String,
        max_bytes: u32,
    ) -> wasmtime::Result<Option<String>> {
        self.meter.call()?;
        let failures = &self.task()?.failure.failures;
        Ok(failures
            .iter()
            .find(|failure| failure.id == test_id)
            .map(|failure| head(&failure.detail, max_bytes)))
    }

    fn location(
        &mut self,
        _: Resource<ContextHandle>,
        test_id: String,
    ) -> wasmtime::Result<Option<(String, u32)>> {
        self.meter.call()?;
        let failures = &self.task()?.failure.failures;
        let found = failures.iter().find(|failure| failure.id == test_id);
        Ok(found.and_then(|failure| Some((failure.file.clone()?, failure.line.unwrap_or(0)))))
    }

    fn suite_output(
        &mut self,
        _: Resource<ContextHandle>,
        max_bytes: u32,
    ) -> wasmtime::Result<String> {
        self.meter.call()?;
        Ok(tail(&self.task()?.failure.suite_output, max_bytes).to_owned())
    }

    fn commits(
        &mut self,
        _: Resource<ContextHandle>,
        limit: u32,
    ) -> wasmtime::Result<Vec<(String, String, String)>> {
        self.meter.call()?;
        let commits = self.task()?.failure.commits.iter().take(limit as usize);
        Ok(commits
            .map(|commit| {
                (
                    commit.id.0.clone(),
                    commit.author.clone(),
                    commit.message.clone(),
                )
            })
            .collect())
    }

    fn changed_paths(&mut self, _: Resource<ContextHandle>) -> wasmtime::Result<Vec<String>> {
        self.meter.call()?;
        Ok(self.task()?.failure.changed_paths.clone())
    }

    async fn diff(
        &mut self,
        _: Resource<ContextHandle>,
        path: Option<String>,
        context_lines: u32,
        max_bytes: u32,
    ) -> wasmtime::Result<String> {
        self.meter.call()?;
        let change = Arc::clone(&self.task()?.failure.change);
        let most = self.most_bytes(max_bytes);
        Ok(aside(move || change.diff(path.as_deref(), context_lines, most)).await?)
    }

    fn before(&mut self, _: Resource<ContextHandle>) -> wasmtime::Result<Resource<TreeHandle>> {
        self.meter.call()?;
        let tree = TreeHandle(Arc::clone(&self.task()?.before));
        Ok(self.table.push(tree)?)
    }

    fn protected(
        &mut self,
        _: Resource<ContextHandle>,
        path: String,
    ) -> wasmtime::Result<Option<String>> {
        self.meter.call()?;
        Ok(self.task()?.failure.change.protected(&path))
    }

    fn attribute(
        &mut self,
        _: Resource<ContextHandle>,
        key: String,
    ) -> wasmtime::Result<Option<String>> {
        self.meter.call()?;
        Ok(self.task()?.failure.attributes.get(&key).cloned())
    }

    fn drop(&mut self, context: Resource<ContextHandle>) -> wasmtime::Result<()> {
        self.table.delete(context)?;
        Ok(())
    }
}

impl arena::Host for State {}

impl arena::HostContender for State {
    fn id(&mut self, contender: Resource<ContenderHandle>) -> wasmtime::Result<String> {
        self.meter.call()?;
        Ok(self.contender(&contender)?.id.clone())
    }

    fn strategy(&mut self, contender: Resource<ContenderHandle>) -> wasmtime::Result<String> {
        self.meter.call()?;
        Ok(self.contender(&contender)?.strategy.clone())
    }

    fn rationale(&mut self, contender: Resource<ContenderHandle>) -> wasmtime::Result<String> {
        self.meter.call()?;
        Ok(self.contender(&contender)?.rationale.clone())
    }

    fn confidence(&mut self, contender: Resource<ContenderHandle>) -> wasmtime::Result<f32> {
        self.meter.call()?;
        Ok(self.contender(&contender)?.confidence as f32)
    }

    fn unified_diff(
        &mut self,
        contender: Resource<ContenderHandle>,
        max_bytes: u32,
    ) -> wasmtime::Result<String> {
        self.meter.call()?;
        Ok(head(&self.contender(&contender)?.patch, max_bytes))
    }

    fn paths(&mut self, contender: Resource<ContenderHandle>) -> wasmtime::Result<Vec<String>> {
        self.meter.call()?;
        Ok(self.contender(&contender)?.paths.clone())
    }

    fn metric(
        &mut self,
        contender: Resource<ContenderHandle>,
        name: String,
    ) -> wasmtime::Result<Option<f64>> {
        self.meter.call()?;
        Ok(self.contender(&contender)?.metrics.get(&name).copied())
    }

    fn broken_gates(
        &mut self,
        contender: Resource<ContenderHandle>,
    ) -> wasmtime::Result<Vec<String>> {
        self.meter.call()?;
        Ok(self.contender(&contender)?.broken_gates.clone())
    }

    fn failing(
        &mut self,
        contender: Resource<ContenderHandle>,
        offset: u32,
        limit: u32,
    ) -> wasmtime::Result<Vec<String>> {
        self.meter.call()?;
        Ok(page(&self.contender(&contender)?.failing, offset, limit))
    }

    fn drop(&mut self, contender: Resource<ContenderHandle>) -> wasmtime::Result<()> {
        self.table.delete(contender)?;
        Ok(())
    }
}

impl arena::HostTournament for State {
    fn project(&mut self, _: Resource<TournamentHandle>) -> wasmtime::Result<String> {
        self.meter.call()?;
        Ok(self.field()?.project.clone())
    }

    fn base(&mut self, _: Resource<TournamentHandle>) -> wasmtime::Result<String> {
        self.meter.call()?;
        Ok(self.field()?.base.clone())
    }

    fn head(&mut self, _: Resource<TournamentHandle>) -> wasmtime::Result<String> {
        self.meter.call()?;
        Ok(self.field()?.head.clone())
    }

    fn attribute(
        &mut self,
        _: Resource<TournamentHandle>,
        key: String,
    ) -> wasmtime::Result<Option<String>> {
        self.meter.call()?;
        Ok(self.field()?.attributes.get(&key).cloned())
    }

    fn contenders(
        &mut self,
        _: Resource<TournamentHandle>,
    ) -> wasmtime::Result<Vec<Resource<ContenderHandle>>> {
        self.meter.call()?;
        let handles = 0..self.field()?.contenders.len();
        Ok(handles
            .map(|index| self.table.push(ContenderHandle(index)))
            .collect::<Result<_, _>>()?)
    }

    fn score(
        &mut self,
        _: Resource<TournamentHandle>,
        contender_id: String,
    ) -> wasmtime::Result<Option<f64>> {
        self.meter.call()?;
        Ok(self
            .contender_by_id(&contender_id)?
            .and_then(|contender| contender.score))
    }

    fn confidence(
        &mut self,
        _: Resource<TournamentHandle>,
        contender_id: String,
    ) -> wasmtime::Result<Option<f64>> {
        self.meter.call()?;
        Ok(self
            .contender_by_id(&contender_id)?
            .and_then(|contender| contender.evidence))
    }

    fn security(
        &mut self,
        _: Resource<TournamentHandle>,
        contender_id: String,
    ) -> wasmtime::Result<Vec<String>> {
        self.meter.call()?;
        Ok(self
            .contender_by_id(&contender_id)?
            .map(|contender| contender.security.clone())
            .unwrap_or_default())
    }

    fn ambiguity(&mut self, _: Resource<TournamentHandle>) -> wasmtime::Result<Vec<String>> {
        self.meter.call()?;
        Ok(self.field()?.ambiguity.clone())
    }

    fn drop(&mut self, tournament: Resource<TournamentHandle>) -> wasmtime::Result<()> {
        self.table.delete(tournament)?;
        Ok(())
    }
}
