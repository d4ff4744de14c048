//! The one way from a file to a plugin, whoever brings the file: start, swap, inspection, installation.
//!
//! Touches: wasm, clock.
//! Change here: when a file must hold for something more before it is trusted.
//!
//! A file is looked at before it is compiled, since compiling is what costs, and called once after it, since only
//! that shows whether it works. It gets as far as its world allows, and no file keeps another from loading.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use wasmtime::Engine;

use super::PluginKind;
use super::account::Account;
use super::capability::Capability;
use super::compile::Compiler;
use super::file::{self, stem};
use super::imports::{Desk, State};
use super::journal::Tape;
use super::limits::{self, Limits, Stop};
use super::lock::Lock;
use super::log::LogBook;
use super::peek::{self, Peek};
use super::shelf::{Loaded, PluginInfo};
use super::threads::GuestThreads;
use super::unfit::Unfit;
use super::world::{Linkers, Tried};
use super::{schema, smoke};
use crate::outside::clip::one_line;

/// What the first call of a plugin may take.
const SMOKE_CPU: Duration = Duration::from_secs(1);
const SMOKE_WALL: Duration = Duration::from_secs(2);
/// Times it may be late.
const TRIES: usize = 3;

/// What plugins may use at all, and what some may use less of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    pub allow: BTreeSet<Capability>,
    /// By a plugin's name.
    pub allow_for: BTreeMap<String, BTreeSet<Capability>>,
}

impl Default for Grants {
    fn default() -> Grants {
        Grants {
            allow: Capability::ALL.into(),
            allow_for: BTreeMap::new(),
        }
    }
}

impl Grants {
    fn allows(&self, plugin: &str, capability: Capability) -> bool {
        let narrower = self.allow_for.get(plugin);
        self.allow.contains(&capability) && narrower.is_none_or(|some| some.contains(&capability))
    }
}

/// A configuration that a plugin has to take because somebody uses it.
#[derive(Clone, Debug, PartialEq)]
pub struct InUse {
    /// Where it stands: `projects.shop.variants.A`.
    pub place: String,
    pub kind: PluginKind,
    pub plugin: String,
    pub config: serde_json::Value,
}

/// Turns files into plugins.
pub struct Workshop {
    pub engine: Engine,
    pub limits: Arc<Limits>,
    pub grants: Grants,
    pub in_use: Vec<InUse>,
    pub linkers: Linkers,
    pub compiler: Compiler,
}

/// A plugin that holds, and the bytes it came from.
pub struct Activated {
    pub loaded: Loaded,
    pub bytes: Vec<u8>,
}

impl Workshop {
    /// The whole way. Blocks, for seconds where the file was never compiled before.
    pub fn activate(
        &self,
        threads: &GuestThreads,
        path: &Path,
        lock: &Lock,
    ) -> Result<Activated, Unfit> {
        if file::calls_itself_compiled(path) {
            return Err(Unfit::Precompiled);
        }
        let bytes = file::read(path)?;
        let name = stem(path);
        let mut peek = peek::peek(&bytes)?;
        let digest = digest(&bytes);
        lock.allow(&name, &digest)?;
        let info = self.describe(&name, path, digest, &bytes, &mut peek)?;
        self.config_fits(&info)?;
        let loaded = self.assemble(info, &bytes)?;
        self.try_out(threads, &loaded)?;
        Ok(Activated { loaded, bytes })
    }

    /// For bytes that went the whole way once: a run is pinned to them.
    pub fn revive(&self, name: &str, path: &Path, bytes: &[u8]) -> Result<Loaded, Unfit> {
        let mut peek = peek::peek(bytes)?;
        let info = self.describe(name, path, digest(bytes), bytes, &mut peek)?;
        self.assemble(info, bytes)
    }

    fn describe(
        &self,
        name: &str,
        path: &Path,
        digest: String,
        bytes: &[u8],
        peek: &mut Peek,
    ) -> Result<PluginInfo, Unfit> {
        let manifest = peek.manifest()?;
        let nothing = BTreeSet::new();
        let asks = manifest
            .as_ref()
            .map_or(&nothing, |manifest| &manifest.asks);
        let uses = peek.uses(asks)?;
        let (granted, withheld) = uses
            .into_iter()
            .partition(|capability| self.grants.allows(name, *capability));
        Ok(PluginInfo {
            name: name.to_owned(),
            kind: peek.kind,
            digest,
            path: PathBuf::from(path),
            size: bytes.len() as u64,
            interface: peek.interface.clone(),
            imports: peek.imports.clone(),
            manifest,
            granted,
            withheld,
        })
    }

    fn config_fits(&self, info: &PluginInfo) -> Result<(), Unfit> {
        let schema = info.manifest.as_ref().and_then(|m| m.config.as_ref());
        let Some(schema) = schema else {
            return Ok(());
        };
        let concerned = |one: &&InUse| one.kind == info.kind && one.plugin == info.name;
        for one in self.in_use.iter().filter(concerned) {
            if let Some(why) = schema::complaints(schema, &one.config) {
                return Err(Unfit::ConfigRefused {
                    place: one.place.clone(),
                    why,
                });
            }
        }
        Ok(())
    }

    fn assemble(&self, info: PluginInfo, bytes: &[u8]) -> Result<Loaded, Unfit> {
        let component = self.compiler.compile(bytes, &info.digest)?;
        let guest = self
            .linkers
            .link(info.kind, &component)
            .map_err(|error| Unfit::Mismatch(format!("{error:#}")))?;
        Ok(Loaded {
            since: Timestamp::now(),
            guest,
            info,
        })
    }

    fn try_out(&self, threads: &GuestThreads, loaded: &Loaded) -> Result<(), Unfit> {
        // A machine that is busy with something else says nothing about the plugin.
        let late = Unfit::Smoke(Stop::Wall(SMOKE_WALL).to_string());
        for _ in 0..TRIES {
            match self.call_once(threads, loaded) {
                Err(Stop::Wall(_)) => {}
                Err(stop) => return Err(Unfit::Smoke(stop.to_string())),
                Ok(tried) => return tried,
            }
        }
        Err(late)
    }

    fn call_once(
        &self,
        threads: &GuestThreads,
        loaded: &Loaded,
    ) -> Result<Result<(), Unfit>, Stop> {
        let (name, guest) = (loaded.info.name.clone(), loaded.guest.clone());
        let (kind, limits, engine) = (
            loaded.info.kind,
            Arc::clone(&self.limits),
            self.engine.clone(),
        );
        let granted = Arc::new(loaded.info.granted.clone());
        threads.run_here(SMOKE_WALL, async move {
            let field = Arc::new(smoke::field());
            let desk = match kind {
                PluginKind::Strategy => Desk::Strategy {
                    task: Box::new(smoke::task(SMOKE_WALL)),
                    home: Handle::current(),
                },
                PluginKind::Scorer | PluginKind::Escalation => Desk::Judge(Arc::clone(&field)),
            };
            let account = Account::open(limits, SMOKE_CPU, Tape::Off);
            let book = LogBook::new(&name, Some(Arc::new(smoke::Nothing)), account.clone());
            let state = State::new(desk, account, granted, book);
            let mut store = limits::store(&engine, state);
            let tried = guest.try_out(&mut store, &field).await;
            judge(&name, tried, store.data())
        })
    }
}

fn judge(name: &str, tried: Tried, state: &State) -> Result<(), Unfit> {
    match tried {
        Tried::Well => Ok(()),
        Tried::NotStarted(error) => Err(match error.downcast_ref::<Stop>() {
            Some(stop) => Unfit::Stopped(*stop),
            None => Unfit::Mismatch(format!("{error:#}")),
        }),
        Tried::Trapped(error) => {
            let why = limits::explain(name, &error, state).why;
            let opening = format!("plugin `{name}` ");
            let told = why.strip_prefix(&opening).unwrap_or(&why);
            Err(Unfit::Smoke(one_line(told)))
        }
        Tried::Nonsense(why) => Err(Unfit::Smoke(one_line(&why))),
    }
}

/// SHA-256, hex.
pub fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrower_grant_takes_away_and_never_adds() {
        let grants = Grants {
            allow: BTreeSet::from([Capability::Workspace, Capability::Llm]),
            allow_for: BTreeMap::from([(
                "third-party".to_owned(),
                BTreeSet::from([Capability::Workspace, Capability::Probe]),
            )]),
        };
        assert!(grants.allows("ours", Capability::Llm));
        assert!(grants.allows("third-party", Capability::Workspace));
        assert!(!grants.allows("third-party", Capability::Llm));
        assert!(!grants.allows("third-party", Capability::Probe));
    }
}
