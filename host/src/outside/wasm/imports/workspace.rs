//! The trees a strategy may read.
//!
//! Touches: wasm.
//! Change here: when a tree can be read in another way. Nothing here may answer differently for the same commit.

use std::sync::Arc;

use wasmtime::component::Resource;

use super::super::bindings::host::changebus::host::workspace;
use super::super::convert::{self, Refused};
use super::super::journal::bytes::Bytes;
use super::super::limits::Stop;
use super::{Capability, Import, State, aside, needs};
use crate::event::Fault;
use crate::outside::reading::ReadTree;

/// Most entries that one call of `glob` or `search` brings back.
const MOST_HITS: u32 = 10_000;

/// Which of the two trees of a task a handle is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TreeHandle {
    Head,
    Before,
}

const fn reading(name: &'static str) -> Import {
    needs(Capability::Workspace, name)
}

impl State {
    fn tree(&self, which: TreeHandle) -> Result<Arc<dyn ReadTree>, Stop> {
        let task = self.task()?;
        Ok(Arc::clone(match which {
            TreeHandle::Head => &task.tree,
            TreeHandle::Before => &task.before,
        }))
    }

    /// Reads a tree beside the guests' threads.
    async fn read_tree<A, T>(
        &mut self,
        import: Import,
        which: TreeHandle,
        asked: A,
        read: impl FnOnce(&dyn ReadTree) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Refused>
    where
        A: serde::Serialize,
        T: serde::Serialize + serde::de::DeserializeOwned + Send + 'static,
    {
        self.ask(import, (which, asked), |state| {
            let tree = state.tree(which)?;
            let patience = state.account.limits().read_wall;
            Ok(aside(patience, move || read(&*tree)))
        })
        .await
    }
}

impl workspace::Host for State {}

impl workspace::HostTree for State {
    fn revision(&mut self, tree: Resource<TreeHandle>) -> wasmtime::Result<String> {
        let which = *self.table.get(&tree)?;
        self.tell(reading("workspace.tree.revision"), which, |state| {
            Ok(state.tree(which)?.revision())
        })
    }

    async fn size(&mut self, tree: Resource<TreeHandle>, path: String) -> Result<u64, Refused> {
        let which = *self.table.get(&tree)?;
        let asked = path.clone();
        self.read_tree(reading("workspace.tree.size"), which, asked, move |tree| {
            tree.size(&path)
        })
        .await
    }

    async fn read(
        &mut self,
        tree: Resource<TreeHandle>,
        path: String,
        offset: u64,
        max_bytes: u32,
    ) -> Result<Vec<u8>, Refused> {
        let which = *self.table.get(&tree)?;
        let asked = (path.clone(), offset, max_bytes);
        let most = self.most_bytes(max_bytes);
        let read = self
            .read_tree(reading("workspace.tree.read"), which, asked, move |tree| {
                tree.read(&path, offset, most).map(Bytes)
            })
            .await?;
        Ok(read.0)
    }

    async fn glob(
        &mut self,
        tree: Resource<TreeHandle>,
        pattern: String,
        limit: u32,
    ) -> Result<Vec<String>, Refused> {
        let which = *self.table.get(&tree)?;
        let asked = (pattern.clone(), limit);
        self.read_tree(reading("workspace.tree.glob"), which, asked, move |tree| {
            tree.glob(&pattern, limit.min(MOST_HITS))
        })
        .await
    }

    async fn search(
        &mut self,
        tree: Resource<TreeHandle>,
        pattern: String,
        options: workspace::SearchOpts,
        path_glob: Option<String>,
        limit: u32,
    ) -> Result<Vec<workspace::Hit>, Refused> {
        let which = *self.table.get(&tree)?;
        let options = convert::search_options(options);
        let asked = (pattern.clone(), options, path_glob.clone(), limit);
        let search = move |tree: &dyn ReadTree| {
            tree.search(
                &pattern,
                options,
                path_glob.as_deref(),
                limit.min(MOST_HITS),
            )
        };
        let hits = self
            .read_tree(reading("workspace.tree.search"), which, asked, search)
            .await?;
        Ok(hits.into_iter().map(convert::hit).collect())
    }

    fn drop(&mut self, tree: Resource<TreeHandle>) -> wasmtime::Result<()> {
        self.table.delete(tree)?;
        Ok(())
    }
}
