//! Every reason for which a file is no plugin, as a sentence that reads on from its path and says what to do.
//!
//! Touches: wasm.
//! Change here: when a file can be unfit for another reason.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::PluginKind;
use super::capability::Capability;
use super::file::LARGEST;
use super::limits::Stop;
use super::manifest::ManifestError;
use super::peek::TRACK;

/// How far a file came on its way to being a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Found, and read as a whole.
    Read,
    /// Told apart from what is no component of ours.
    Kind,
    Lock,
    Manifest,
    Imports,
    /// The configurations in use, against what the plugin takes.
    Config,
    Compile,
    Link,
    Start,
    /// Called once, on a made-up task.
    Smoke,
    /// Its bytes put by for runs that will be pinned to them.
    Keep,
}

/// Why a file is no plugin, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    #[error("cannot be read: {0}; give the daemon's user the right to read it")]
    Unreadable(std::io::Error),
    #[error("changed while it was read; it is looked at again once it is whole")]
    Unsettled,
    #[error("is a link to {}, outside of its directory; copy the file here instead", .0.display())]
    LinkOut(PathBuf),
    #[error("is not a regular file; put the .wasm file itself here")]
    NotRegular,
    #[error(
        "is larger than {} MiB; build it with `--profile release` and without debug information",
        LARGEST >> 20
    )]
    TooLarge,
    #[error("is empty; copy it again")]
    Empty,
    #[error("is not a WebAssembly component: it does not begin like one; build it again")]
    NotWasm,
    #[error("is torn: it ends before its last section does; copy it again")]
    Torn,
    #[error("is a damaged WebAssembly component ({0}); copy it again, or build it again")]
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
    #[error(
        "was built {sdk}against changebus {theirs} (`{name}`), this host offers {TRACK}; {cure}",
        sdk = sdk.as_ref().map(|sdk| format!("with SDK {sdk} ")).unwrap_or_default(),
    )]
    OtherTrack {
        name: String,
        theirs: String,
        sdk: Option<String>,
        cure: &'static str,
    },
    #[error(
        "is not in the lock file {} (its digest is sha256:{digest}); add it there if it may run",
        lock.display()
    )]
    NotLocked { lock: PathBuf, digest: String },
    #[error(
        "has digest sha256:{digest}, but the lock file {} wants sha256:{wanted}; put that file back, or change the lock",
        lock.display()
    )]
    OtherDigest {
        lock: PathBuf,
        digest: String,
        wanted: String,
    },
    #[error(
        "may not run: the lock file {} {why}; nothing is loaded until it can be read",
        lock.display()
    )]
    NoLock { lock: PathBuf, why: String },
    #[error("{0}")]
    Manifest(ManifestError),
    #[error(
        "says it is a {says}, but exports what a {is} exports; build it with the macro of its kind"
    )]
    OtherKind { says: String, is: PluginKind },
    #[error("imports `{import}`, which plugins of kind {kind} are not given; build it without")]
    NotGiven { import: String, kind: PluginKind },
    #[error(
        "imports `{import}` without asking for it; write `asks = [{}, ...]` in its export macro, or do without",
        capability.name()
    )]
    NotAsked {
        import: String,
        capability: Capability,
    },
    #[error(
        "does not take the configuration of {place}: {why}; change it there, or use a plugin that takes it"
    )]
    ConfigRefused { place: String, why: String },
    #[error("does not compile: {0}; build it again")]
    NotCompiled(String),
    #[error(
        "takes more than {0} to compile; build it with `--profile release`, of smaller functions and without \
         components within components"
    )]
    CostsTooMuch(String),
    #[error(
        "cannot be compiled: {} does not start ({error}); put the file in again once it does",
        program.display()
    )]
    NoCompiler {
        program: PathBuf,
        error: std::io::Error,
    },
    #[error("does not fit this host's interfaces ({0}); build it against this host's SDK")]
    Mismatch(String),
    #[error("cannot be started: it {0}")]
    Stopped(Stop),
    #[error(
        "failed when it was tried on a made-up task: it {0}; it must answer or return an error"
    )]
    Smoke(String),
    #[error(
        "cannot be kept in {} ({error}), so no run could go on with it after a restart; make \
         room there, and put the file in again",
        dir.display()
    )]
    NotKept { dir: PathBuf, error: std::io::Error },
}

impl Unfit {
    pub fn step(&self) -> Step {
        match self {
            Unfit::Unreadable(_)
            | Unfit::Unsettled
            | Unfit::LinkOut(_)
            | Unfit::NotRegular
            | Unfit::TooLarge => Step::Read,
            Unfit::Empty
            | Unfit::NotWasm
            | Unfit::Torn
            | Unfit::Malformed(_)
            | Unfit::CoreModule
            | Unfit::Precompiled
            | Unfit::NoWorld(_)
            | Unfit::TwoWorlds(..)
            | Unfit::OtherTrack { .. } => Step::Kind,
            Unfit::NotLocked { .. } | Unfit::OtherDigest { .. } | Unfit::NoLock { .. } => {
                Step::Lock
            }
            Unfit::Manifest(_) | Unfit::OtherKind { .. } => Step::Manifest,
            Unfit::NotGiven { .. } | Unfit::NotAsked { .. } => Step::Imports,
            Unfit::ConfigRefused { .. } => Step::Config,
            Unfit::NotCompiled(_) | Unfit::CostsTooMuch(_) | Unfit::NoCompiler { .. } => {
                Step::Compile
            }
            Unfit::Mismatch(_) => Step::Link,
            Unfit::Stopped(_) => Step::Start,
            Unfit::Smoke(_) => Step::Smoke,
            Unfit::NotKept { .. } => Step::Keep,
        }
    }
}
