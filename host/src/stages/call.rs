//! What a plugin call leaves behind: its journal in the store, and the fact that names it.
//!
//! Touches: sqlite.
//! Change here: when a call should leave something else.

use crate::event::{CallRole, Fact, PluginCall, PluginRef};
use crate::outside::wasm::Called;

use super::{Cx, StageError, failed};

/// Keeps the journal; the fact is for the caller to state, before what the plugin answered.
pub async fn keep<T>(
    cx: &Cx,
    role: CallRole,
    plugin: &PluginRef,
    called: &Called<T>,
) -> Result<Fact, StageError> {
    let journal = match &called.journal {
        None => None,
        Some(journal) => {
            let digest = journal.digest();
            let packed = journal
                .pack()
                .map_err(|e| failed("packing a journal", &e))?;
            let kept = cx.house.store.keep_journal(&digest, packed).await;
            kept.map_err(|e| failed("keeping a journal", &e))?;
            Some(digest)
        }
    };
    let call = PluginCall {
        role,
        plugin: plugin.clone(),
        ledger: called.ledger.clone(),
        journal,
        ended: called.ended(),
    };
    Ok(Fact::PluginCalled { call })
}
