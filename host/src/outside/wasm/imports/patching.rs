//! Patches under construction.
//!
//! Touches: wasm.
//! Change here: when a strategy can say what it changes in another way.

use wasmtime::component::Resource;

use super::super::bindings::host::changebus::host::patching;
use super::super::limits::Stop;
use super::{OVERHEAD, State, head};
use crate::event::{Edit, Fault, FaultKind, Patch};

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
    /// Adds an edit to a patch, unless the patch or all of them grow too large.
    fn edit(
        &mut self,
        handle: &Resource<PatchDraft>,
        edit: Edit,
        bytes: usize,
    ) -> wasmtime::Result<()> {
        self.account.call()?;
        let most = self.account.limits().patch_bytes;
        self.account.hold(bytes + OVERHEAD)?;
        let draft = self.table.get_mut(handle)?;
        draft.bytes += bytes + OVERHEAD;
        if draft.bytes > most {
            return Err(Stop::Patch(most).into());
        }
        draft.patch.edits.push(edit);
        Ok(())
    }
}

impl patching::Host for State {}

impl patching::HostPatch for State {
    fn new(&mut self) -> wasmtime::Result<Resource<PatchDraft>> {
        self.account.call()?;
        Ok(self.table.push(PatchDraft::default())?)
    }

    fn replace(
        &mut self,
        patch: Resource<PatchDraft>,
        path: String,
        search: String,
        replacement: String,
    ) -> wasmtime::Result<()> {
        let bytes = path.len() + search.len() + replacement.len();
        let edit = Edit::Replace {
            path,
            search,
            replacement,
        };
        self.edit(&patch, edit, bytes)
    }

    fn write(
        &mut self,
        patch: Resource<PatchDraft>,
        path: String,
        content: Vec<u8>,
    ) -> wasmtime::Result<()> {
        let bytes = path.len() + content.len();
        match String::from_utf8(content) {
            Ok(content) => self.edit(&patch, Edit::Write { path, content }, bytes),
            Err(_) => {
                self.account.call()?;
                self.table
                    .get_mut(&patch)?
                    .not_text
                    .get_or_insert(head(&path, 200));
                Ok(())
            }
        }
    }

    fn delete(&mut self, patch: Resource<PatchDraft>, path: String) -> wasmtime::Result<()> {
        let bytes = path.len();
        self.edit(&patch, Edit::Delete { path }, bytes)
    }

    fn unified_diff(&mut self, patch: Resource<PatchDraft>, text: String) -> wasmtime::Result<()> {
        let bytes = text.len();
        self.edit(&patch, Edit::UnifiedDiff { text }, bytes)
    }

    fn drop(&mut self, patch: Resource<PatchDraft>) -> wasmtime::Result<()> {
        let draft = self.table.delete(patch)?;
        self.account.release(draft.bytes);
        Ok(())
    }
}
