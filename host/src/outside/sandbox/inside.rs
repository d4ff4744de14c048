//! The last step into a cell, from within: takes from itself what bubblewrap leaves, then becomes the command.
//!
//! Touches: files, processes.
//! Change here: when a layer inside the namespaces is added or must hold otherwise.

use std::convert::Infallible;
use std::ffi::CString;
use std::io::Write;
use std::os::fd::{BorrowedFd, RawFd};
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{close, execv};

use super::plan::{Inner, Limits};
use super::syscalls;
use crate::event::Layer;

/// Rights are named as of this version of Landlock; an older kernel holds those it knows.
const LANDLOCK: ABI = ABI::V6;
const SHELL: &std::ffi::CStr = c"/bin/sh";

/// Why the command was not started.
#[derive(Debug, thiserror::Error)]
pub enum NotInside {
    #[error("the plan cannot be read: {0}")]
    Plan(#[from] serde_json::Error),
    #[error("the limits cannot be set: {0}")]
    Limits(nix::Error),
    #[error("Landlock cannot be set up: {0}")]
    Landlock(#[from] RulesetError),
    #[error("the system calls cannot be filtered: {0}")]
    Seccomp(#[from] seccompiler::Error),
    #[error("the command line holds a zero byte")]
    Zero(#[from] std::ffi::NulError),
    #[error("nothing can be said: {0}")]
    Mute(#[from] std::io::Error),
    #[error("bubblewrap has ended")]
    Orphaned,
    #[error("whether bubblewrap lives cannot be seen: {0}")]
    Outside(nix::Error),
    #[error("/bin/sh cannot be started: {0}")]
    Shell(nix::Error),
}

/// Never returns where all went well: the process is the command then. `outside` is bubblewrap's outer process.
///
/// # Errors
/// Where a layer cannot be put up; nothing has run then.
pub fn exec(plan: &str, outside: RawFd) -> Result<Infallible, NotInside> {
    if is_dead(outside)? {
        return Err(NotInside::Orphaned);
    }
    let inner: Inner = serde_json::from_str(plan)?;
    let line = CString::new(inner.line.as_str())?;
    let mut layers = vec![Layer::Namespaces];
    limit(&inner.limits).map_err(NotInside::Limits)?;
    layers.push(Layer::Limits);
    if landlock(&inner.writable)? {
        layers.push(Layer::Landlock);
    }
    for filter in syscalls::filters()? {
        seccompiler::apply_filter(&filter)?;
    }
    layers.push(Layer::Seccomp);
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", said(&inner.nonce, &layers))?;
    out.flush()?;
    execv(SHELL, &[c"sh", c"-c", &line]).map_err(NotInside::Shell)
}

/// Whether bubblewrap's outer process is gone. Once the first process inside is there, which started this one, it ends
/// with the outer one; but where that ended before, nothing would ever end what runs here.
fn is_dead(outside: RawFd) -> Result<bool, NotInside> {
    // SAFETY: the step before opened it for this one and named it on the command line; it stays open for as long as it
    // is looked at.
    #[allow(unsafe_code)]
    let process = unsafe { BorrowedFd::borrow_raw(outside) };
    let mut asked = [PollFd::new(process, PollFlags::POLLIN)];
    let dead = poll(&mut asked, PollTimeout::ZERO).map_err(NotInside::Outside)?;
    // The command has no use for it.
    close(outside).map_err(NotInside::Outside)?;
    Ok(dead > 0)
}

/// The line that [`super::heard`] understands.
fn said(nonce: &str, layers: &[Layer]) -> String {
    let names: Vec<&str> = layers.iter().map(|layer| layer.name()).collect();
    format!("{nonce} {}", names.join(" "))
}

/// Nothing takes these back. `RLIMIT_AS` would count address space that is reserved and never used.
fn limit(limits: &Limits) -> nix::Result<()> {
    // Never more than the daemon itself has.
    let set = |resource, most: u64| {
        let most = most.min(getrlimit(resource)?.1);
        setrlimit(resource, most, most)
    };
    set(Resource::RLIMIT_CORE, 0)?;
    set(Resource::RLIMIT_DATA, limits.memory_bytes)?;
    set(Resource::RLIMIT_NPROC, limits.processes)?;
    set(Resource::RLIMIT_FSIZE, limits.file_bytes)?;
    set(Resource::RLIMIT_MEMLOCK, 64 << 20)?;
    set(Resource::RLIMIT_MSGQUEUE, 1 << 20)
}

/// A second fence behind the mounts; whether this kernel knows it.
fn landlock(writable: &[PathBuf]) -> Result<bool, RulesetError> {
    let all = AccessFs::from_all(LANDLOCK);
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?
        .add_rules(path_beneath_rules(["/"], AccessFs::from_read(LANDLOCK)))?
        .add_rules(path_beneath_rules(writable, all))?
        .restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}
