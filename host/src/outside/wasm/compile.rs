//! Compiles plugins, each in a process of its own, so that no file can take the daemon's memory, time or life.
//!
//! Touches: wasm, files, processes.
//! Change here: when compiling should be bounded otherwise.
//!
//! What a component costs to compile cannot be told from its size: a quarter of a megabyte of components within
//! components took 12 GiB, a single function of 7 MiB takes minutes, and a kilobyte of components that each hold ten
//! instances of the next takes whatever there is. So bytes that were never compiled before go to `changebus compile-plugin`, which gives
//! itself limits, reads them from its standard input, and leaves the code in the cache that both share. The daemon
//! only ever takes from there what has been compiled within the limits.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::alarm;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::engine::{self, Layout};
use super::unfit::Unfit;
use crate::outside::clip::one_line;

/// The verb of the command line that compiles one plugin, and its options.
pub const VERB: &str = "compile-plugin";

/// What compiling one file may take. The largest guests known, Python's with 18 MiB, take half of the memory and some
/// twenty seconds.
const MEMORY: u64 = 1 << 30;
const COMPUTING: Duration = Duration::from_secs(120);
const WALL: Duration = Duration::from_secs(300);
/// Compiling is rarely urgent, and the tests of a run need processors too.
const THREADS: &str = "4";

/// Kept of what a compiler says, in bytes.
const WORDS: u64 = 16 << 10;
/// More notes than this of what has been compiled, and all are made anew.
const NOTES: usize = 4096;

/// Turns the bytes of a component into code for one engine.
pub struct Compiler {
    engine: Engine,
    layout: Layout,
    /// `changebus` itself.
    program: PathBuf,
    cache: PathBuf,
    /// One empty file for each file that has been compiled within the limits, by what decides over the code.
    notes: PathBuf,
}

impl Compiler {
    /// Needs the cache's directory to be there.
    pub fn new(engine: &Engine, layout: Layout, program: PathBuf, cache: &Path) -> Compiler {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let notes = cache
            .join("compiled")
            .join(format!("{:016x}", hasher.finish()));
        prune(&notes);
        Compiler {
            engine: engine.clone(),
            layout,
            program,
            cache: cache.to_owned(),
            notes,
        }
    }

    /// Blocks, for seconds where these bytes were never compiled before.
    pub fn compile(&self, bytes: &[u8], digest: &str) -> Result<Component, Unfit> {
        let note = self.notes.join(digest);
        if !note.exists() {
            self.apart(bytes)?;
            let noted =
                std::fs::create_dir_all(&self.notes).and_then(|()| std::fs::write(&note, b""));
            if let Err(error) = noted {
                // It is compiled anew at the next start, which costs time and nothing else.
                tracing::warn!("{}: cannot be written: {error}", note.display());
            }
        }
        Component::from_binary(&self.engine, bytes)
            .map_err(|error| Unfit::NotCompiled(format!("{error:#}")))
    }

    fn apart(&self, bytes: &[u8]) -> Result<(), Unfit> {
        let refused = |error| Unfit::NoCompiler {
            program: self.program.clone(),
            error,
        };
        let mut child = std::process::Command::new(&self.program)
            .arg(VERB)
            .arg("--cache")
            .arg(&self.cache)
            .arg("--layout")
            .arg(self.layout.to_string())
            .env_clear()
            .env("RAYON_NUM_THREADS", THREADS)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(refused)?;
        if let Some(mut input) = child.stdin.take() {
            // One that is gone already says why by how it ended.
            drop(input.write_all(bytes));
        }
        let mut said = Vec::new();
        if let Some(errors) = child.stderr.take() {
            drop(errors.take(WORDS).read_to_end(&mut said));
        }
        let status = child.wait().map_err(refused)?;
        verdict(status, &String::from_utf8_lossy(&said))
    }
}

/// What the end of a compiler means for the file.
fn verdict(status: ExitStatus, said: &str) -> Result<(), Unfit> {
    let signal = status.signal().and_then(|n| Signal::try_from(n).ok());
    let out_of_memory = said.contains("memory allocation of");
    let said = one_line(said.trim());
    Err(match signal {
        _ if status.success() => return Ok(()),
        None => Unfit::NotCompiled(said),
        Some(Signal::SIGXCPU) => {
            Unfit::CostsTooMuch(format!("{} s of computing", COMPUTING.as_secs()))
        }
        Some(Signal::SIGALRM) => Unfit::CostsTooMuch(format!("{} s", WALL.as_secs())),
        Some(Signal::SIGABRT) if out_of_memory => {
            Unfit::CostsTooMuch(format!("{} GiB of memory", MEMORY >> 30))
        }
        Some(signal) => Unfit::NotCompiled(format!("the compiler got a {signal}; {said}")),
    })
}

fn prune(notes: &Path) {
    let many = std::fs::read_dir(notes).is_ok_and(|all| all.count() > NOTES);
    if many && let Err(error) = std::fs::remove_dir_all(notes) {
        tracing::warn!("{}: cannot be removed: {error}", notes.display());
    }
}

/// The other side: compiles what comes from `input`, in a process that is good for nothing else any more.
///
/// # Errors
/// Why these bytes do not compile. What breaks a limit ends the process instead.
pub fn compile_here(cache: &Path, layout: Layout, mut input: impl Read) -> Result<(), String> {
    confine().map_err(|error| format!("the limits cannot be set: {error}"))?;
    let mut bytes = Vec::new();
    let read = input.read_to_end(&mut bytes);
    read.map_err(|error| format!("nothing can be read from the standard input: {error}"))?;
    let engine = engine::that_compiles(cache, layout).map_err(|error| error.to_string())?;
    let compiled = Component::from_binary(&engine, &bytes);
    compiled
        .map(drop)
        .map_err(|error| one_line(&format!("{error:#}")))
}

/// Limits that nothing takes back. `RLIMIT_AS` would count address space that is reserved and never used.
fn confine() -> nix::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    setrlimit(Resource::RLIMIT_DATA, MEMORY, MEMORY)?;
    let computing = COMPUTING.as_secs();
    setrlimit(Resource::RLIMIT_CPU, computing, computing + 5)?;
    alarm::set(u32::try_from(WALL.as_secs()).unwrap_or(u32::MAX));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: i32, said: &str) -> String {
        let verdict = verdict(ExitStatus::from_raw(status), said);
        verdict.map_err(|unfit| unfit.to_string()).expect_err(said)
    }

    #[test]
    fn every_end_of_a_compiler_says_what_it_means_for_the_file() {
        assert!(verdict(ExitStatus::from_raw(0), "").is_ok());
        let why = told(1 << 8, "unknown opcode\n");
        assert_eq!(why, "does not compile: unknown opcode; build it again");
        let why = told(
            Signal::SIGABRT as i32,
            "memory allocation of 4096 bytes failed\n",
        );
        assert!(why.starts_with("takes more than 1 GiB of memory"), "{why}");
        let why = told(Signal::SIGXCPU as i32, "");
        assert!(
            why.starts_with("takes more than 120 s of computing"),
            "{why}"
        );
        let why = told(Signal::SIGALRM as i32, "");
        assert!(why.starts_with("takes more than 300 s to"), "{why}");
        let why = told(
            Signal::SIGSEGV as i32,
            "thread 'main' has overflowed its stack",
        );
        assert!(why.contains("SIGSEGV; thread 'main'"), "{why}");
    }
}
