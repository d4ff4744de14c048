//! Runs one program in a process group of its own, with a deadline, and leaves nothing of it behind.
//!
//! Touches: processes, files (`/proc`), clock.
//! Change here: when a program is started, stopped or listened to in another way.
//!
//! What is left when the program has ended, or is stopped, is found in four ways and killed: by the
//! process group; by a mark in the environment, which `setsid` and daemonising keep; by the write end of
//! our pipe, which a cleared environment keeps; and by descent, while the program itself still lives. A
//! process that sheds all four (new session, no parent, empty environment, closed output) gets away: only
//! a pid namespace holds it, and `sandbox.rs` runs what is not trusted in one. `PR_SET_CHILD_SUBREAPER` is
//! not used: it would hand every orphan to the whole daemon, which could tell neither whose it was nor
//! whether it may be killed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::event::Exit;

mod memory;
mod spawner;

/// Names the job in the environment of everything it starts.
const MARK: &str = "CHANGEBUS_JOB";
/// How often leftovers are looked for; a program that forks faster than it is killed ends here.
const SWEEPS: u32 = 20;
/// Between the first two looks for what is left of a namespace; the second mostly finds that it has gone.
const NAMESPACE_ENDS: Duration = Duration::from_millis(1);
/// So often the pause is twice the one before: after a second in all, what is left is left to the kernel.
const DOUBLINGS: u32 = 6;
/// A killed process that has not gone by then sits in the kernel, and waiting would not help.
const REAP: Duration = Duration::from_secs(5);
/// What may still be read after the end: more than a pipe can hold.
const LAST_WORDS: usize = 2 << 20;

/// What to run and within which bounds.
#[derive(Clone, Debug)]
pub struct Spec {
    pub program: Program,
    pub cwd: PathBuf,
    /// Set besides `PATH`, `HOME` and `LANG`, which it may override; nothing else is passed on.
    pub env: BTreeMap<String, String>,
    pub timeout: Duration,
    /// Between the request to stop and the kill.
    pub grace: Duration,
    /// Kept of each stream: a quarter from its start, the rest from its end.
    pub output_bytes: usize,
    pub streams: Streams,
    pub bounds: Bounds,
}

/// What holds together what the program starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// A process group, and what else can be told of it.
    Group,
    /// A namespace that the program builds, in which everything dies with it. It gets `input` on its standard input and
    /// nothing in its environment; the request to stop goes to what it started, past itself.
    Namespace {
        input: Vec<u8>,
        /// Whose it is, as [`owner`] gives it: what the namespace is built by may be killed before it is whole.
        owner: String,
        /// What lives in it may hold so much memory together.
        memory_bytes: u64,
    },
}

#[derive(Clone, Debug)]
pub enum Program {
    /// Program and arguments.
    Argv(Vec<OsString>),
    /// A line for `sh -c`.
    Shell(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// Both into `output`, in the order of writing.
    Together,
    /// Standard output into `output`, standard error into `errors`.
    Apart,
}

/// How it ended and what it said.
#[derive(Clone, Debug)]
pub struct Finished {
    pub exit: Exit,
    /// It was killed because it held more memory, with all it had started, than it may.
    pub outgrown: bool,
    /// Not UTF-8 as it came: replaced where it was not. Where the program could not be started: why.
    pub output: String,
    /// Empty unless the streams were kept apart.
    pub errors: String,
    /// Bytes left out of the middle of both streams.
    pub left_out: u64,
    pub seconds: f64,
}

/// Runs it to its end or its deadline. Dropping the future kills it as the deadline would, without grace.
pub async fn run(spec: &Spec) -> Finished {
    let started = Instant::now();
    match Job::start(spec).await {
        Ok(job) => job.see_through(spec, started).await,
        Err(why) => Finished::not_started(format!(
            "{} cannot be started in {}: {why}",
            spec.program.name(),
            spec.cwd.display()
        )),
    }
}

impl Finished {
    pub fn not_started(why: String) -> Finished {
        Finished {
            exit: Exit::NotStarted,
            outgrown: false,
            output: why,
            errors: String::new(),
            left_out: 0,
            seconds: 0.0,
        }
    }
}

impl Program {
    fn name(&self) -> String {
        match self {
            Program::Argv(words) => words
                .first()
                .map_or_else(String::new, |w| w.to_string_lossy().into_owned()),
            Program::Shell(_) => "sh".into(),
        }
    }

    fn command(&self) -> io::Result<Command> {
        match self {
            Program::Argv(words) => {
                let (program, arguments) = words.split_first().ok_or_else(|| {
                    io::Error::new(io::ErrorKind::InvalidInput, "no program is named")
                })?;
                let mut command = Command::new(program);
                command.args(arguments);
                Ok(command)
            }
            Program::Shell(line) => {
                let mut command = Command::new("/bin/sh");
                command.arg("-c").arg(line);
                Ok(command)
            }
        }
    }
}

/// Kills what a dead process left running of jobs that were started at or below `dir`; how many it found.
/// Whoever calls must be the only one alive that starts jobs there.
pub fn end_orphans(dir: &Path) -> io::Result<usize> {
    let (place, own) = (std::path::absolute(dir)?, owner(dir)?);
    let is_ours = |mark: &str| started_below(mark, &place) || mark.ends_with(&format!("#{own}"));
    let mut found = BTreeSet::new();
    for _ in 0..SWEEPS {
        let orphans: Vec<Pid> = processes()
            .into_keys()
            .filter(|pid| *pid != Pid::this() && mark_of(*pid).is_some_and(|mark| is_ours(&mark)))
            .collect();
        if orphans.is_empty() {
            break;
        }
        for orphan in orphans {
            // No such process: it went by itself.
            let _ = kill(orphan, Signal::SIGKILL);
            found.insert(orphan);
        }
    }
    Ok(found.len())
}

/// Stands for a directory where its path is nobody's business.
pub fn owner(dir: &Path) -> io::Result<String> {
    let place = std::path::absolute(dir)?;
    let digest = Sha256::digest(place.as_os_str().as_encoded_bytes());
    Ok(digest.iter().take(16).map(|b| format!("{b:02x}")).collect())
}

/// Unique, and says where the job was started, so that its orphans can be told from those of others. What lives in a
/// namespace is not told about the machine outside.
fn mark(spec: &Spec) -> io::Result<String> {
    let id = uuid::Uuid::now_v7();
    match &spec.bounds {
        Bounds::Group => {
            let place = std::path::absolute(&spec.cwd)?;
            Ok(format!("{id}@{}", place.display()))
        }
        Bounds::Namespace { owner, .. } => Ok(format!("{id}#{owner}")),
    }
}

fn started_below(mark: &str, place: &Path) -> bool {
    mark.split_once('@')
        .is_some_and(|(_, cwd)| Path::new(cwd).starts_with(place))
}

/// The mark in a process's environment, if it bears one.
fn mark_of(pid: Pid) -> Option<String> {
    let environ = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mark = environ
        .split(|b| *b == 0)
        .find_map(|entry| entry.strip_prefix(MARK.as_bytes())?.strip_prefix(b"="))?;
    Some(String::from_utf8_lossy(mark).into_owned())
}

struct Job {
    child: Child,
    group: Group,
    output: Capture,
    errors: Option<Capture>,
}

impl Job {
    async fn start(spec: &Spec) -> io::Result<Job> {
        let mark = mark(spec)?;
        let (output, out_end) = Capture::open(spec.output_bytes)?;
        let (errors, err_end) = match spec.streams {
            Streams::Together => (None, out_end.try_clone()?),
            Streams::Apart => {
                let (errors, end) = Capture::open(spec.output_bytes)?;
                (Some(errors), end)
            }
        };
        let mut command = spec.program.command()?;
        command
            .current_dir(&spec.cwd)
            .env_clear()
            .env(MARK, &mark)
            .stdout(Stdio::from(out_end))
            .stderr(Stdio::from(err_end))
            .process_group(0)
            .kill_on_drop(true);
        let child = match &spec.bounds {
            Bounds::Group => {
                command.envs(basics()).envs(&spec.env).stdin(Stdio::null());
                // Whatever the caller sets, the mark stays.
                command.env(MARK, &mark).spawn()?
            }
            Bounds::Namespace { input, .. } => {
                command.stdin(Stdio::from(readable(input)?));
                spawner::spawn(command).await?
            }
        };
        let leader = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw);
        let leader = leader.ok_or_else(|| io::Error::other("the process has no id"))?;
        let pipes = std::iter::once(&output)
            .chain(&errors)
            .map(|c| c.inode)
            .collect();
        Ok(Job {
            child,
            group: Group {
                leader,
                leader_lives: true,
                is_namespace: spec.bounds != Bounds::Group,
                mark,
                pipes,
                known: BTreeMap::new(),
                since: process(leader.as_raw()).map_or(0, |p| p.started),
                over: false,
            },
            output,
            errors,
        })
    }

    async fn see_through(mut self, spec: &Spec, started: Instant) -> Finished {
        let ended = self.watched(spec, started + spec.timeout).await;
        let exit = match ended {
            Ended::Itself(status) => exit_of(status),
            Ended::Outgrown => Exit::Signal(Signal::SIGKILL as i32),
            Ended::Late => {
                self.group.remember();
                self.group.ask_to_stop();
                self.watched(spec, Instant::now() + spec.grace).await;
                Exit::TimedOut {
                    after_seconds: spec.timeout.as_secs_f64().ceil() as u64,
                }
            }
        };
        self.clear_away().await;
        Finished {
            exit,
            outgrown: matches!(ended, Ended::Outgrown),
            left_out: self.output.kept.left_out
                + self.errors.as_ref().map_or(0, |e| e.kept.left_out),
            output: self.output.kept.text(),
            errors: self
                .errors
                .as_ref()
                .map_or_else(String::new, |e| e.kept.text()),
            seconds: started.elapsed().as_secs_f64(),
        }
    }

    async fn watched(&mut self, spec: &Spec, deadline: Instant) -> Ended {
        let leader = self.group.leader;
        let too_large = async {
            match &spec.bounds {
                Bounds::Namespace { memory_bytes, .. } => {
                    memory::exceeded(leader, *memory_bytes).await;
                }
                Bounds::Group => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = self.attend(deadline) => ended,
            () = too_large => Ended::Outgrown,
        }
    }

    /// Listens until the program itself has ended, whoever else holds its pipes, or until the deadline.
    async fn attend(&mut self, deadline: Instant) -> Ended {
        loop {
            tokio::select! {
                status = self.child.wait() => {
                    self.group.leader_lives = false;
                    return status.map_or(Ended::Late, Ended::Itself);
                }
                () = self.output.fill() => {}
                () = fill(&mut self.errors) => {}
                () = tokio::time::sleep_until(deadline) => return Ended::Late,
            }
        }
    }

    async fn clear_away(&mut self) {
        let mut group = self.group.clone();
        self.group.over = true;
        // Joined even if reading /proc panicked: the guard in the moved clone kills again when it drops.
        let _ = tokio::task::spawn_blocking(move || group.kill_all()).await;
        let _ = tokio::time::timeout(REAP, self.child.wait()).await;
        self.output.drain();
        if let Some(errors) = &mut self.errors {
            errors.drain();
        }
    }
}

/// What a program came to.
enum Ended {
    Itself(ExitStatus),
    Late,
    Outgrown,
}

async fn fill(capture: &mut Option<Capture>) {
    match capture {
        Some(capture) => capture.fill().await,
        None => std::future::pending().await,
    }
}

/// A file with these bytes and no name; the memory goes with its last reader.
fn readable(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"input", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::NotStarted,
    }
}

fn basics() -> BTreeMap<&'static str, OsString> {
    let own =
        |name: &str, otherwise: &str| std::env::var_os(name).unwrap_or_else(|| otherwise.into());
    BTreeMap::from([
        ("PATH", own("PATH", "/usr/local/bin:/usr/bin:/bin")),
        ("HOME", own("HOME", "/")),
        ("LANG", "C.UTF-8".into()),
    ])
}

/// Everything one job started, as far as it can be told from the rest of the machine.
#[derive(Clone)]
struct Group {
    leader: Pid,
    /// False once it is reaped: its number may then belong to a stranger.
    leader_lives: bool,
    is_namespace: bool,
    mark: String,
    pipes: BTreeSet<u64>,
    /// Members seen while the leader lived, by the moment they started.
    known: BTreeMap<Pid, u64>,
    /// When the leader started; nobody older is ours, and most processes of a machine are older.
    since: u64,
    over: bool,
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.over {
            self.kill_all();
        }
    }
}

impl Group {
    fn signal(&self, signal: Signal) {
        // No such group: everybody has gone already.
        let _ = killpg(self.leader, signal);
    }

    /// The leader of a namespace would take everything with it at once.
    fn ask_to_stop(&self) {
        if !self.is_namespace {
            return self.signal(Signal::SIGTERM);
        }
        for member in self.known.keys().filter(|pid| **pid != self.leader) {
            // No such process: it went by itself.
            let _ = kill(*member, Signal::SIGTERM);
        }
    }

    /// Before anybody is asked to stop: who outlives its parent can no longer be told by descent.
    fn remember(&mut self) {
        let processes = processes();
        let members = descendants(self.leader, &processes);
        self.known = members
            .iter()
            .filter_map(|pid| Some((*pid, processes.get(pid)?.started)))
            .collect();
    }

    fn kill_all(&mut self) {
        for sweep in 0..SWEEPS {
            let strays = self.strays();
            self.signal(Signal::SIGKILL);
            for stray in &strays {
                // No such process: it went by itself.
                let _ = kill(*stray, Signal::SIGKILL);
            }
            if strays.is_empty() {
                break;
            }
            self.leader_lives = false;
            if self.is_namespace {
                // Its first process goes when the last one in it has gone, which takes the kernel a moment.
                std::thread::sleep(NAMESPACE_ENDS * (1 << sweep.min(DOUBLINGS)));
            }
        }
        self.over = true;
    }

    /// Living processes of this job that are not known to be dying. Empty where there is no `/proc`.
    fn strays(&self) -> Vec<Pid> {
        let processes = processes();
        let descendants = if self.leader_lives {
            descendants(self.leader, &processes)
        } else {
            BTreeSet::new()
        };
        let ours = |pid: Pid, process: &Process| {
            process.started >= self.since
                && (descendants.contains(&pid)
                    || self.known.get(&pid) == Some(&process.started)
                    || mark_of(pid).as_ref() == Some(&self.mark)
                    || self.holds_pipe(pid))
        };
        processes
            .iter()
            .filter(|(pid, p)| **pid != Pid::this() && ours(**pid, p))
            .map(|(pid, _)| *pid)
            .collect()
    }

    /// Only write ends count: a program another thread is about to start briefly holds our read ends.
    fn holds_pipe(&self, pid: Pid) -> bool {
        let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
            return false;
        };
        files.flatten().any(|file| {
            let link = std::fs::read_link(file.path()).unwrap_or_default();
            let open_for_writing = || {
                file.path()
                    .symlink_metadata()
                    .is_ok_and(|m| m.mode() & 0o200 != 0)
            };
            pipe_inode(&link).is_some_and(|inode| self.pipes.contains(&inode)) && open_for_writing()
        })
    }
}

fn pipe_inode(link: &Path) -> Option<u64> {
    link.to_str()?
        .strip_prefix("pipe:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

struct Process {
    parent: Pid,
    /// Clock ticks since the machine started; with the id, it names a process for good.
    started: u64,
}

/// Every living process.
fn processes() -> BTreeMap<Pid, Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| Some((Pid::from_raw(pid), process(pid)?)))
        .collect()
}

/// None for a process that has gone, or is dead and only waits to be reaped.
fn process(pid: i32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything, brackets and blanks too. After it: state (field
    // 3), parent (4), and the start as field 22.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    Some(Process {
        parent: Pid::from_raw(fields.get(1)?.parse().ok()?),
        started: fields.get(19)?.parse().ok()?,
    })
}

fn descendants(root: Pid, processes: &BTreeMap<Pid, Process>) -> BTreeSet<Pid> {
    let mut found = BTreeSet::from([root]);
    loop {
        let children: Vec<Pid> = processes
            .iter()
            .filter(|(_, p)| found.contains(&p.parent))
            .map(|(pid, _)| *pid)
            .collect();
        let before = found.len();
        found.extend(children);
        if found.len() == before {
            return found;
        }
    }
}

/// The reading end of a pipe and what is kept of it.
struct Capture {
    pipe: pipe::Receiver,
    inode: u64,
    open: bool,
    kept: HeadAndTail,
}

impl Capture {
    fn open(bytes: usize) -> io::Result<(Capture, io::PipeWriter)> {
        let (reader, writer) = io::pipe()?;
        let inode = nix::sys::stat::fstat(reader.as_fd())?.st_ino;
        let pipe = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
        Ok((
            Capture {
                pipe,
                inode,
                open: true,
                kept: HeadAndTail::new(bytes),
            },
            writer,
        ))
    }

    /// Takes what is there; never returns once the pipe is closed.
    async fn fill(&mut self) {
        if !self.open || self.pipe.readable().await.is_err() {
            return std::future::pending().await;
        }
        self.take();
    }

    /// Reads one buffer; false when there is nothing to read now.
    fn take(&mut self) -> bool {
        let mut buffer = [0; 64 << 10];
        match self.pipe.try_read(&mut buffer) {
            Ok(0) => self.open = false,
            Ok(length) => self.kept.push(&buffer[..length]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return false,
            Err(_) => self.open = false,
        }
        self.open
    }

    /// What the program wrote lies in the pipe when it has ended, so nobody has to be waited for.
    fn drain(&mut self) {
        let limit = self.kept.seen + LAST_WORDS as u64;
        while self.kept.seen < limit && self.take() {}
    }
}

/// The start and the end of a stream, within a fixed number of bytes.
struct HeadAndTail {
    head: Vec<u8>,
    head_limit: usize,
    tail: VecDeque<u8>,
    tail_limit: usize,
    left_out: u64,
    seen: u64,
}

impl HeadAndTail {
    fn new(bytes: usize) -> HeadAndTail {
        let head_limit = bytes / 4;
        HeadAndTail {
            head: vec![],
            head_limit,
            tail: VecDeque::new(),
            tail_limit: bytes - head_limit,
            left_out: 0,
            seen: 0,
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.seen += bytes.len() as u64;
        let (head, tail) = bytes.split_at(bytes.len().min(self.head_limit - self.head.len()));
        self.head.extend_from_slice(head);
        self.tail.extend(tail);
        let excess = self.tail.len().saturating_sub(self.tail_limit);
        self.tail.drain(..excess);
        self.left_out += excess as u64;
    }

    fn text(&self) -> String {
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        if self.left_out == 0 {
            return String::from_utf8_lossy(&[self.head.as_slice(), &tail].concat()).into_owned();
        }
        let (head, tail) = (
            String::from_utf8_lossy(&self.head),
            String::from_utf8_lossy(&tail),
        );
        format!("{head}\n[{} bytes left out]\n{tail}", self.left_out)
    }
}

#[cfg(test)]
mod tests;
