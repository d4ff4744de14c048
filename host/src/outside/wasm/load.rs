//! From a directory of files to plugins that are known to fit.
//!
//! Touches: wasm, files.
//! Change here: when a file can be unfit for another reason, or a world comes or goes.
//!
//! A file is looked at before it is compiled, since compiling is what costs, and instantiated once after it,
//! since only that checks every type. It gets as far as its world allows and no file keeps another from loading.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmparser::{Encoding, Parser, Payload};
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};
use wasmtime::{Engine, Store};

use super::account::Account;
use super::bindings::escalation::{Escalation, EscalationPre};
use super::bindings::host::changebus::types::errors;
use super::bindings::scorer::{Scorer, ScorerPre};
use super::bindings::strategy::{Strategy, StrategyPre};
use super::imports::{Desk, State};
use super::journal::Tape;
use super::limits::{self, Limits, Stop};
use super::log::LogBook;
use super::threads::GuestThreads;
use super::{LoadProblem, PluginInfo, PluginKind, wasi};
use crate::event::PluginRef;

/// Largest file that is read. Python guests, the largest known, have 18 MiB.
const LARGEST: u64 = 64 << 20;
/// The track of `wit/` that this host offers: `0.1.x` fits, `0.2.x` does not.
const TRACK: &str = "0.1";

const WASI: [&str; 13] = [
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
];
const STRATEGY: [&str; 13] = [
    "changebus:host/log",
    "changebus:host/config",
    "changebus:host/budget",
    "changebus:host/llm",
    "changebus:host/workspace",
    "changebus:host/patching",
    "changebus:host/probe",
    "changebus:host/tools",
    "changebus:host/clock",
    "changebus:host/random",
    "changebus:host/history",
    "changebus:strategy/failure",
    "changebus:types/errors",
];
const JUDGE: [&str; 5] = [
    "changebus:host/log",
    "changebus:host/config",
    "changebus:host/history",
    "changebus:host/arena",
    "changebus:types/errors",
];

/// Why a file is no plugin, and what to do about it.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("cannot be read: {0}")]
    Unreadable(std::io::Error),
    #[error("is larger than {} MiB", LARGEST >> 20)]
    TooLarge,
    #[error("is not a WebAssembly component, or is damaged ({0}); build it again")]
    Malformed(wasmparser::BinaryReaderError),
    #[error(
        "is a core module, not a component; build it for wasm32-unknown-unknown with \
         `linker = \"wasm-component-ld\"`, or for wasm32-wasip2"
    )]
    CoreModule,
    #[error(
        "holds machine code, which cannot be checked; put the .wasm file here, the host compiles it itself"
    )]
    Precompiled,
    #[error(
        "exports none of `changebus:strategy/fix`, `changebus:scorer/judge`, `changebus:escalation/gate` \
         (it exports {0}); build it against one of the worlds in wit/"
    )]
    NoWorld(String),
    #[error("is a plugin of two kinds, {0} and {1}; build one file for each")]
    TwoWorlds(PluginKind, PluginKind),
    #[error("was built for `{0}`, this host offers {TRACK}; build it against this host's SDK")]
    OtherTrack(String),
    #[error("imports `{import}`, which plugins of kind {kind} are not given; build it without")]
    NotGiven { import: String, kind: PluginKind },
    #[error("does not compile: {0}")]
    NotCompiled(String),
    #[error("does not fit this host's interfaces ({0}); build it against this host's SDK")]
    Mismatch(String),
    #[error("cannot be started: it {0}")]
    Stopped(Stop),
}

/// A plugin ready to be called any number of times.
pub struct Loaded<P> {
    pub info: PluginInfo,
    pub pre: P,
}

/// All plugins by kind and name.
#[derive(Default)]
pub struct Shelf {
    pub strategies: BTreeMap<String, Loaded<StrategyPre<State>>>,
    pub scorers: BTreeMap<String, Loaded<ScorerPre<State>>>,
    pub escalations: BTreeMap<String, Loaded<EscalationPre<State>>>,
    pub problems: Vec<LoadProblem>,
}

impl Shelf {
    pub fn info(&self, kind: PluginKind, name: &str) -> Option<&PluginInfo> {
        match kind {
            PluginKind::Strategy => self.strategies.get(name).map(|loaded| &loaded.info),
            PluginKind::Scorer => self.scorers.get(name).map(|loaded| &loaded.info),
            PluginKind::Escalation => self.escalations.get(name).map(|loaded| &loaded.info),
        }
    }

    pub fn infos(&self) -> impl Iterator<Item = &PluginInfo> {
        let strategies = self.strategies.values().map(|loaded| &loaded.info);
        let scorers = self.scorers.values().map(|loaded| &loaded.info);
        let escalations = self.escalations.values().map(|loaded| &loaded.info);
        strategies.chain(scorers).chain(escalations)
    }

    pub fn problem(&self, name: &str) -> Option<&LoadProblem> {
        self.problems
            .iter()
            .find(|problem| problem.path.file_stem() == Some(OsStr::new(name)))
    }
}

/// Turns files into plugins.
pub struct Loader<'a> {
    engine: &'a Engine,
    limits: &'a Limits,
    threads: &'a GuestThreads,
    strategy: Linker<State>,
    scorer: Linker<State>,
    escalation: Linker<State>,
}

impl<'a> Loader<'a> {
    pub fn new(
        engine: &'a Engine,
        limits: &'a Limits,
        threads: &'a GuestThreads,
    ) -> wasmtime::Result<Loader<'a>> {
        let mut loader = Loader {
            engine,
            limits,
            threads,
            strategy: Linker::new(engine),
            scorer: Linker::new(engine),
            escalation: Linker::new(engine),
        };
        Strategy::add_to_linker::<_, HasSelf<_>>(&mut loader.strategy, |state| state)?;
        Scorer::add_to_linker::<_, HasSelf<_>>(&mut loader.scorer, |state| state)?;
        Escalation::add_to_linker::<_, HasSelf<_>>(&mut loader.escalation, |state| state)?;
        errors::add_to_linker::<_, HasSelf<_>>(&mut loader.scorer, |state| state)?;
        errors::add_to_linker::<_, HasSelf<_>>(&mut loader.escalation, |state| state)?;
        wasi::link(&mut loader.strategy)?;
        wasi::link(&mut loader.scorer)?;
        wasi::link(&mut loader.escalation)?;
        Ok(loader)
    }

    /// Loads every `*.wasm`, in the order of the directories. Blocks, for seconds where nothing is cached.
    ///
    /// The first file of a name wins, fit or not: where an operator's own file is broken, another of the same
    /// name must not step in unasked.
    pub fn load(&self, dirs: &[PathBuf]) -> Shelf {
        let mut shelf = Shelf::default();
        for dir in dirs {
            match wasm_files(dir) {
                Ok(files) => files
                    .iter()
                    .for_each(|file| self.load_file(file, &mut shelf)),
                Err(error) => shelf.problems.push(problem(dir, &Unfit::Unreadable(error))),
            }
        }
        shelf
    }

    fn load_file(&self, path: &Path, shelf: &mut Shelf) {
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if shelf.problem(&name).is_none()
            && let Err(unfit) = self.shelve(&name, path, shelf)
        {
            shelf.problems.push(problem(path, &unfit));
        }
    }

    fn shelve(&self, name: &str, path: &Path, shelf: &mut Shelf) -> Result<(), Unfit> {
        let bytes = read(path)?;
        let (kind, imports) = look_at(&bytes)?;
        if shelf.info(kind, name).is_some() {
            return Ok(());
        }
        let info = PluginInfo {
            name: name.to_owned(),
            kind,
            digest: hex(&Sha256::digest(&bytes)),
            path: path.to_owned(),
            size: bytes.len() as u64,
            imports,
        };
        let component = Component::from_binary(self.engine, &bytes)
            .map_err(|e| Unfit::NotCompiled(format!("{e:#}")))?;
        match kind {
            PluginKind::Strategy => {
                let pre = StrategyPre::new(fit(&self.strategy, &component)?)
                    .map_err(|error| mismatch(&error))?;
                let (tried, mut store) = (pre.clone(), self.store(name));
                self.try_out(async move { tried.instantiate_async(&mut store).await.map(drop) })?;
                shelf
                    .strategies
                    .insert(name.to_owned(), Loaded { info, pre });
            }
            PluginKind::Scorer => {
                let pre = ScorerPre::new(fit(&self.scorer, &component)?)
                    .map_err(|error| mismatch(&error))?;
                let (tried, mut store) = (pre.clone(), self.store(name));
                self.try_out(async move { tried.instantiate_async(&mut store).await.map(drop) })?;
                shelf.scorers.insert(name.to_owned(), Loaded { info, pre });
            }
            PluginKind::Escalation => {
                let pre = EscalationPre::new(fit(&self.escalation, &component)?)
                    .map_err(|error| mismatch(&error))?;
                let (tried, mut store) = (pre.clone(), self.store(name));
                self.try_out(async move { tried.instantiate_async(&mut store).await.map(drop) })?;
                shelf
                    .escalations
                    .insert(name.to_owned(), Loaded { info, pre });
            }
        }
        Ok(())
    }

    fn store(&self, name: &str) -> Store<State> {
        let plugin = PluginRef {
            name: name.to_owned(),
            digest: String::new(),
        };
        let tape = Tape::record(PluginKind::Strategy, &plugin);
        let limits = Arc::new(self.limits.clone());
        let account = Account::open(limits, self.limits.judge_cpu, tape);
        let book = LogBook::new(name, None, account.clone());
        limits::store(
            self.engine,
            State::new(Desk::Empty, account, Arc::default(), book),
        )
    }

    fn try_out(
        &self,
        start: impl Future<Output = wasmtime::Result<()>> + Send + 'static,
    ) -> Result<(), Unfit> {
        match self.threads.run_here(self.limits.judge_wall, start) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error
                .downcast_ref::<Stop>()
                .map_or_else(|| mismatch(&error), |s| Unfit::Stopped(*s))),
            Err(stop) => Err(Unfit::Stopped(stop)),
        }
    }
}

fn fit(linker: &Linker<State>, component: &Component) -> Result<InstancePre<State>, Unfit> {
    linker
        .instantiate_pre(component)
        .map_err(|error| mismatch(&error))
}

fn mismatch(error: &wasmtime::Error) -> Unfit {
    Unfit::Mismatch(format!("{error:#}"))
}

fn problem(path: &Path, unfit: &Unfit) -> LoadProblem {
    LoadProblem {
        path: path.to_owned(),
        why: unfit.to_string(),
    }
}

/// The `*.wasm` files of a directory, sorted; none where there is no such directory.
fn wasm_files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    files.retain(|path| path.extension() == Some(OsStr::new("wasm")) && !path.is_dir());
    files.sort();
    Ok(files)
}

/// The whole file, read once: what is looked at, digested and compiled are the same bytes.
fn read(path: &Path) -> Result<Vec<u8>, Unfit> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(Unfit::Unreadable)?;
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(Unfit::Unreadable)?;
    if bytes.len() as u64 > LARGEST {
        Err(Unfit::TooLarge)
    } else {
        Ok(bytes)
    }
}

/// Kind and imports of a component, without compiling it.
fn look_at(bytes: &[u8]) -> Result<(PluginKind, Vec<String>), Unfit> {
    if Engine::detect_precompiled(bytes).is_some() {
        return Err(Unfit::Precompiled);
    }
    let (imports, exports) = names(bytes)?;
    let kind = kind(&exports)?;
    imports.iter().try_for_each(|import| given(import, kind))?;
    Ok((kind, imports))
}

fn names(bytes: &[u8]) -> Result<(Vec<String>, Vec<String>), Unfit> {
    let (mut imports, mut exports, mut depth) = (Vec::new(), Vec::new(), 0);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(Unfit::Malformed)? {
            Payload::Version {
                encoding: Encoding::Module,
                ..
            } if depth == 0 => return Err(Unfit::CoreModule),
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import.map_err(Unfit::Malformed)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export.map_err(Unfit::Malformed)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

fn kind(exports: &[String]) -> Result<PluginKind, Unfit> {
    let mut found = exports
        .iter()
        .filter_map(|export| Some((world_of(export)?, export)));
    let Some((kind, export)) = found.next() else {
        return Err(Unfit::NoWorld(if exports.is_empty() {
            "nothing".to_owned()
        } else {
            exports.join(", ")
        }));
    };
    match found.next() {
        Some((other, _)) => Err(Unfit::TwoWorlds(kind, other)),
        None => on_track(export).map(|()| kind),
    }
}

fn world_of(export: &str) -> Option<PluginKind> {
    match interface(export) {
        "changebus:strategy/fix" => Some(PluginKind::Strategy),
        "changebus:scorer/judge" => Some(PluginKind::Scorer),
        "changebus:escalation/gate" => Some(PluginKind::Escalation),
        _ => None,
    }
}

fn given(import: &str, kind: PluginKind) -> Result<(), Unfit> {
    let ours = match kind {
        PluginKind::Strategy => STRATEGY.as_slice(),
        PluginKind::Scorer | PluginKind::Escalation => JUDGE.as_slice(),
    };
    let name = interface(import);
    if ours.contains(&name) {
        on_track(import)
    } else if WASI.contains(&name) {
        Ok(())
    } else {
        Err(Unfit::NotGiven {
            import: import.to_owned(),
            kind,
        })
    }
}

/// `changebus:host/llm` of `changebus:host/llm@0.1.0`.
fn interface(name: &str) -> &str {
    name.split_once('@')
        .map_or(name, |(interface, _)| interface)
}

fn on_track(name: &str) -> Result<(), Unfit> {
    let version = name.split_once('@').map_or("", |(_, version)| version);
    match version
        .strip_prefix(TRACK)
        .is_some_and(|patch| patch.starts_with('.'))
    {
        true => Ok(()),
        false => Err(Unfit::OtherTrack(name.to_owned())),
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component that does nothing.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn machine_code_is_refused_whatever_its_name() {
        let code = Engine::default().precompile_component(EMPTY);
        let code = code.expect("the empty component compiles");
        assert!(matches!(look_at(&code), Err(Unfit::Precompiled)));
    }

    #[test]
    fn a_plugin_of_another_track_is_told_which_one() {
        let export = |version: &str| vec![format!("changebus:strategy/fix{version}")];
        for version in ["@0.1.0", "@0.1.7"] {
            assert_eq!(kind(&export(version)).ok(), Some(PluginKind::Strategy));
        }
        for version in ["@0.2.0", "@0.10.0", "@1.1.0", ""] {
            assert!(
                matches!(kind(&export(version)), Err(Unfit::OtherTrack(_))),
                "{version}"
            );
        }
    }

    #[test]
    fn a_file_may_not_be_two_plugins_at_once() {
        let exports = [
            "changebus:scorer/judge@0.1.0",
            "changebus:escalation/gate@0.1.0",
        ];
        let unfit = kind(&exports.map(str::to_owned)).map_err(|unfit| unfit.to_string());
        let why = "is a plugin of two kinds, scorer and escalation; build one file for each";
        assert_eq!(unfit, Err(why.to_owned()));
    }

    #[test]
    fn only_the_harmless_part_of_wasi_is_given() {
        assert!(given("wasi:cli/stderr@0.2.6", PluginKind::Scorer).is_ok());
        for import in [
            "wasi:clocks/monotonic-clock@0.2.6",
            "wasi:random/random@0.2.6",
            "wasi:sockets/tcp@0.2.6",
        ] {
            assert!(matches!(
                given(import, PluginKind::Strategy),
                Err(Unfit::NotGiven { .. })
            ));
        }
    }
}
