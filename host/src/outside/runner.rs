//! Runs a project's setup and tests, or one of its tools, in a workspace, and says what came of it.
//!
//! Touches: files, processes, clock.
//! Change here: when a run of the tests gets another environment, or there is another reason not to
//! believe it. Every tree of a run (head, base, candidate, merge result) goes through here, so that their
//! reports can be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;

use super::clip::tail;
use super::footprint::{Changed, Footprint, Untaken};
use super::git::blocking;
use super::process::{Bounds, Finished, Program, Spec, Streams, run};
use super::reports::{self, Scrub, Tests};
use super::sandbox::{self, Cell, HOME, Limits, Mount, REPORT, Sandbox, TREE};
use super::workspace::Workspace;
use crate::config::{self, Project, ReportFormat};
use crate::event::{Exit, Layer, Oid, Outcome, ReportSource, SETUP_FAILED, TestReport};

/// Of the output, for people.
const MOST_OUTPUT: usize = 16 << 10;
/// Of the output, to be read as a report.
const MOST_CAPTURED: usize = 16 << 20;
const MOST_FILES: usize = 10_000;
/// A dialect is told by the content; the name satisfies runners that ask for one.
const REPORT_NAME: &str = "report.xml";
/// Between a request to stop and the kill.
pub const GRACE: Duration = Duration::from_secs(5);
/// Longer than any filesystem's clock stands still.
const TICK: Duration = Duration::from_millis(20);

/// What a project says about running its tests.
#[derive(Clone, Debug)]
pub struct SuiteSpec {
    pub setup: Option<String>,
    pub test: String,
    pub report: ReportFormat,
    pub env: BTreeMap<String, String>,
    pub setup_timeout: Duration,
    pub test_timeout: Duration,
    pub confinement: Confinement,
}

/// What stands between the commands and the machine.
#[derive(Clone, Debug)]
pub enum Confinement {
    /// Nothing: they run with the rights of whoever runs this.
    Off,
    Cell {
        sandbox: Arc<Sandbox>,
        /// Shown besides, where they lie.
        read: Vec<PathBuf>,
        setup_network: bool,
        limits: Limits,
        /// All that one command may write.
        disk_bytes: u64,
    },
}

impl Confinement {
    /// As the project says. `sandbox` is what this machine has.
    ///
    /// # Errors
    /// Where the project wants one and there is none.
    pub fn of(
        settings: &config::Sandbox,
        sandbox: Option<&Arc<Sandbox>>,
    ) -> Result<Confinement, Unconfined> {
        if settings.off {
            return Ok(Confinement::Off);
        }
        let mib = |count: u32| u64::from(count) << 20;
        Ok(Confinement::Cell {
            sandbox: sandbox.ok_or(Unconfined)?.clone(),
            read: settings.read.clone(),
            setup_network: settings.setup_network,
            disk_bytes: mib(settings.disk_mib),
            limits: Limits {
                memory_bytes: mib(settings.memory_mib),
                total_memory_bytes: mib(settings.total_memory_mib),
                processes: settings.processes.into(),
                file_bytes: mib(settings.file_mib),
                tmp_bytes: mib(settings.tmp_mib),
            },
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("there is no sandbox on this machine; `changebus check` says what is missing")]
pub struct Unconfined;

impl SuiteSpec {
    pub fn new(project: &Project, confinement: Confinement) -> SuiteSpec {
        SuiteSpec {
            setup: project.setup.clone(),
            test: project.test.clone(),
            report: project.report,
            env: project.env.clone(),
            setup_timeout: Duration::from_secs(project.setup_timeout_seconds),
            test_timeout: Duration::from_secs(project.test_timeout_seconds),
            confinement,
        }
    }
}

/// Why there is nothing to run the tests on.
#[derive(Clone, Debug, thiserror::Error)]
#[error("setup failed ({exit}): {output}")]
pub struct Unprepared {
    pub exit: Exit,
    pub output: String,
    layers: BTreeSet<Layer>,
    seconds: f64,
}

/// Runs setup, if there is one; with the network, where the project allows it and `network` does.
pub async fn prepare(
    spec: &SuiteSpec,
    workspace: &Workspace,
    network: bool,
) -> Result<(), Unprepared> {
    let started = Instant::now();
    let unprepared = |exit, output, layers| Unprepared {
        exit,
        output,
        layers,
        seconds: started.elapsed().as_secs_f64(),
    };
    let mut suite = match Suite::make(spec, workspace).await {
        Ok(suite) => suite,
        Err(why) => {
            let why = format!("no place could be made for it: {why}");
            return Err(unprepared(Exit::NotStarted, why, BTreeSet::new()));
        }
    };
    // Even where there is nothing to do, the tree has been given to whom it shall belong to.
    let Some(setup) = &spec.setup else {
        return Ok(());
    };
    let finished = suite
        .command(Step::Setup { network }, setup, spec.setup_timeout)
        .await;
    if finished.exit == Exit::Code(0) {
        return Ok(());
    }
    let output = suite.shown(&finished);
    Err(unprepared(finished.exit, output, suite.layers))
}

impl Unprepared {
    /// What it means for the tests of a tree.
    pub fn report(self, tree: &Oid, commit: Option<&Oid>) -> TestReport {
        TestReport {
            commit: commit.cloned(),
            tree: tree.clone(),
            source: ReportSource::ExitCode,
            tests: BTreeMap::new(),
            failures: vec![],
            problem: Some(format!("{SETUP_FAILED} ({})", self.exit)),
            output: self.output,
            exit: self.exit,
            sandbox: self.layers,
            partial: false,
            seconds: self.seconds,
        }
    }
}

/// Runs the tests. Never fails: what went wrong is the report's `problem`. [`prepare`] comes before it, there or on the
/// ground that the workspace stands upon.
///
/// Both commands see `PATH`, a fresh `HOME` and `TMPDIR`, `LANG`, `RUSTUP_HOME`, `CHANGEBUS_REPORT` and
/// the project's `env`, nothing else. In a cell all of these lie in the same places for every run. `$CHANGEBUS_REPORT` lies outside the working tree; a command may
/// write one file there, or make a directory of it and put several `.xml` files in.
pub async fn run_suite(spec: &SuiteSpec, workspace: &Workspace) -> TestReport {
    let started = Instant::now();
    let mut layers = BTreeSet::new();
    let said = match Suite::make(spec, workspace).await {
        Ok(mut suite) => {
            let said = suite.run().await;
            layers = std::mem::take(&mut suite.layers);
            // What was installed into the home of the run may take a while to remove.
            let _ = tokio::task::spawn_blocking(move || drop(suite.place)).await;
            said
        }
        Err(why) => Said::problem(
            Exit::NotStarted,
            format!("no place could be made for the run: {why}"),
            String::new(),
        ),
    };
    TestReport {
        commit: workspace.commit().cloned(),
        tree: workspace.tree().clone(),
        source: said.source,
        exit: said.exit,
        tests: said.tests.outcomes,
        failures: said.tests.failures,
        output: said.output,
        problem: said.problem,
        sandbox: layers,
        seconds: started.elapsed().as_secs_f64(),
        partial: false,
    }
}

/// What came of one tool.
pub struct ToolRun {
    pub exit: Exit,
    pub output: String,
    pub changed: Changed,
    pub seconds: f64,
}

/// Why a tool gave nothing to go on.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    #[error("no place could be made for the tool")]
    NoPlace(#[source] std::io::Error),
    #[error(transparent)]
    Unprepared(Unprepared),
    #[error("the tool could not be started: {0}")]
    NotStarted(String),
    #[error(transparent)]
    Untaken(#[from] Untaken),
}

/// Runs one command that may change the working tree, in the same surroundings as the tests and with as much time. `tracked` are the paths of the workspace's tree. What a command that was killed left half done does not
/// count.
pub async fn run_tool(
    spec: &SuiteSpec,
    command: &str,
    workspace: &Workspace,
    tracked: BTreeSet<String>,
) -> Result<ToolRun, ToolError> {
    let suite = Suite::make(spec, workspace).await;
    let mut suite = suite.map_err(ToolError::NoPlace)?;
    let ran = suite.tool(command, tracked).await;
    let _ = tokio::task::spawn_blocking(move || drop(suite.place)).await;
    ran
}

/// The directories of one run; they go with it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn make(workspace: &Workspace) -> std::io::Result<Place> {
        let dir = tempfile::Builder::new()
            .prefix("r")
            .rand_bytes(4)
            .tempdir_in(workspace.private())?;
        let place = Place { dir };
        for dir in [place.temporary(), place.reports()] {
            std::fs::create_dir(dir)?;
        }
        Ok(place)
    }

    fn temporary(&self) -> PathBuf {
        self.dir.path().join("tmp")
    }

    fn reports(&self) -> PathBuf {
        self.dir.path().join("report")
    }

    fn report(&self) -> PathBuf {
        self.reports().join(REPORT_NAME)
    }
}

/// Where a command finds what it is told about: as it lies on the host, or as it shows in a cell.
struct Seat {
    tree: PathBuf,
    home: PathBuf,
    temporary: PathBuf,
    report: PathBuf,
}

impl Seat {
    fn on_the_host(workspace: &Workspace, place: &Place) -> Seat {
        Seat {
            tree: workspace.dir(),
            home: workspace.home(),
            temporary: place.temporary(),
            report: place.report(),
        }
    }

    fn in_a_cell() -> Seat {
        Seat {
            tree: TREE.into(),
            home: HOME.into(),
            temporary: "/tmp".into(),
            report: Path::new(REPORT).join(REPORT_NAME),
        }
    }
}

/// What a run said, before it is put into the words of the event.
struct Said {
    source: ReportSource,
    exit: Exit,
    tests: Tests,
    output: String,
    problem: Option<String>,
}

impl Said {
    fn problem(exit: Exit, problem: String, output: String) -> Said {
        Said {
            source: ReportSource::ExitCode,
            exit,
            tests: Tests::default(),
            output,
            problem: Some(problem),
        }
    }
}

struct Suite<'a> {
    spec: &'a SuiteSpec,
    workspace: &'a Workspace,
    dir: PathBuf,
    place: Place,
    seat: Seat,
    /// Of the cells so far.
    layers: BTreeSet<Layer>,
}

/// Which command it is: only the first may have the network.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Setup { network: bool },
    Work,
}

impl<'a> Suite<'a> {
    async fn make(spec: &'a SuiteSpec, workspace: &'a Workspace) -> std::io::Result<Suite<'a>> {
        let place = Place::make(workspace)?;
        let dir = workspace.dir();
        let seat = match &spec.confinement {
            Confinement::Off => Seat::on_the_host(workspace, &place),
            Confinement::Cell { sandbox, .. } => {
                let settled = workspace.settle(sandbox.identity(), place.reports());
                settled.await?;
                Seat::in_a_cell()
            }
        };
        Ok(Suite {
            spec,
            workspace,
            dir,
            place,
            seat,
            layers: BTreeSet::new(),
        })
    }

    async fn tool(
        &mut self,
        command: &str,
        tracked: BTreeSet<String>,
    ) -> Result<ToolRun, ToolError> {
        let dir = self.dir.clone();
        let before = blocking(move || Footprint::take(&dir, tracked)).await?;
        tokio::time::sleep(TICK).await;
        let timeout = self.spec.test_timeout;
        let finished = self.command(Step::Work, command, timeout).await;
        let mut output = self.shown(&finished);
        let changed = match &finished.exit {
            Exit::Code(_) => blocking(move || before.changes()).await?,
            Exit::NotStarted => return Err(ToolError::NotStarted(output)),
            exit @ (Exit::Signal(_) | Exit::TimedOut { .. }) => {
                output.push_str(&format!("\n[the tool was {exit}]\n"));
                Changed::new()
            }
        };
        Ok(ToolRun {
            exit: finished.exit.clone(),
            output,
            changed,
            seconds: finished.seconds,
        })
    }

    async fn run(&mut self) -> Said {
        let spec = self.spec;
        let timeout = spec.test_timeout;
        let finished = self.command(Step::Work, &spec.test, timeout).await;
        let path = self.place.report();
        let written = tokio::task::spawn_blocking(move || written(&path)).await;
        let written = written.unwrap_or_else(|_| Written::Unreadable("reading it failed".into()));
        self.judge(&finished, written)
    }

    async fn command(&mut self, step: Step, line: &str, timeout: Duration) -> Finished {
        let spec = self.spec;
        match &spec.confinement {
            Confinement::Off => {
                run(&Spec {
                    program: Program::Shell(line.to_owned()),
                    cwd: self.dir.clone(),
                    env: self.environment(),
                    timeout,
                    grace: GRACE,
                    output_bytes: MOST_CAPTURED,
                    streams: Streams::Together,
                    bounds: Bounds::Group,
                })
                .await
            }
            Confinement::Cell {
                sandbox,
                read,
                setup_network,
                limits,
                disk_bytes,
            } => {
                let cell = Cell {
                    line: line.to_owned(),
                    mounts: self.mounts(read),
                    env: self.environment(),
                    network: *setup_network && step == (Step::Setup { network: true }),
                    limits: *limits,
                    timeout,
                    grace: GRACE,
                    output_bytes: MOST_CAPTURED,
                };
                let places = [
                    self.dir.clone(),
                    self.workspace.home(),
                    self.place.reports(),
                ];
                let started = Instant::now();
                // What wins is the end of the command, or the end of the disk it may have; the other is dropped.
                tokio::select! {
                    (mut finished, layers) = sandbox.run(&cell) => {
                        self.layers.extend(layers);
                        if let Some(why) = outgrown(&finished, limits) {
                            finished.output.push_str(&format!("\n[{why}]\n"));
                        }
                        finished
                    }
                    () = quota::exceeded(places, *disk_bytes) => Finished {
                        seconds: started.elapsed().as_secs_f64(),
                        ..Finished::not_started(format!(
                            "it was stopped: it wrote more than {} MiB (sandbox.disk_mib)",
                            disk_bytes >> 20
                        ))
                    },
                }
            }
        }
    }

    fn mounts(&self, read: &[PathBuf]) -> Vec<Mount> {
        let own = Mount::write(self.place.reports(), REPORT);
        let further = read.iter().map(|path| Mount::in_place(path));
        further
            .chain(self.workspace.mounts())
            .chain([own])
            .collect()
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let text = |path: &Path| path.display().to_string();
        let mut env = BTreeMap::from([
            ("HOME".to_owned(), text(&self.seat.home)),
            ("TMPDIR".to_owned(), text(&self.seat.temporary)),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ]);
        env.extend(std::env::var("PATH").map(|path| ("PATH".to_owned(), path)));
        env.extend(sandbox::rustup_home().map(|home| ("RUSTUP_HOME".to_owned(), text(&home))));
        env.extend(self.spec.env.clone());
        env.insert("CHANGEBUS_REPORT".to_owned(), text(&self.seat.report));
        env
    }

    fn scrub(&self) -> Scrub {
        let scrub = Scrub::root(&self.seat.tree);
        match &self.spec.confinement {
            Confinement::Off => scrub.and(self.place.dir.path(), "<run>"),
            Confinement::Cell { .. } => scrub,
        }
    }

    fn shown(&self, finished: &Finished) -> String {
        tail(&self.scrub().clean(&finished.output), MOST_OUTPUT).to_owned()
    }

    fn judge(&self, finished: &Finished, written: Written) -> Said {
        let (source, read) = self.read(finished, written);
        let (tests, unreadable) = match read {
            Ok(tests) => (tests, None),
            Err(why) => (Tests::default(), Some(why)),
        };
        let problem = self
            .stopped(finished)
            .or(unreadable)
            .or_else(|| contradiction(source, &finished.exit, &tests));
        Said {
            source,
            exit: finished.exit.clone(),
            tests,
            output: self.shown(finished),
            problem,
        }
    }

    fn stopped(&self, finished: &Finished) -> Option<String> {
        if let Confinement::Cell { limits, .. } = &self.spec.confinement
            && let Some(why) = outgrown(finished, limits)
        {
            return Some(why);
        }
        match &finished.exit {
            Exit::Code(_) => None,
            Exit::NotStarted => Some(finished.output.clone()),
            exit @ (Exit::Signal(_) | Exit::TimedOut { .. }) => {
                Some(format!("the test command was {exit}"))
            }
        }
    }

    /// Which report there is, and what it says or why it cannot be read.
    fn read(&self, finished: &Finished, written: Written) -> (ReportSource, Result<Tests, String>) {
        let wanted = match self.spec.report {
            ReportFormat::Auto => None,
            ReportFormat::Junit => Some(ReportSource::Junit),
            ReportFormat::GoTest => Some(ReportSource::GoTest),
            ReportFormat::Tap => Some(ReportSource::Tap),
            ReportFormat::Libtest => Some(ReportSource::Libtest),
            ReportFormat::ExitCode => return (ReportSource::ExitCode, Ok(Tests::default())),
        };
        match written {
            Written::Files(files) => {
                // What somebody wrote as a report and is none of those we know is told as a broken one.
                let source = wanted.unwrap_or_else(|| told(&files).unwrap_or(ReportSource::Junit));
                (source, self.read_files(source, &files))
            }
            Written::Unreadable(why) => (
                wanted.unwrap_or(ReportSource::Junit),
                Err(format!("the report cannot be read: {why}")),
            ),
            Written::Nothing => {
                // Output that begins like XML is no report: that is written, not printed.
                let printed = || reports::told(&finished.output);
                let source = wanted.or_else(|| printed().filter(|s| *s != ReportSource::Junit));
                let source = source.unwrap_or(ReportSource::ExitCode);
                (source, self.read_output(source, finished))
            }
        }
    }

    fn read_files(&self, source: ReportSource, files: &[Vec<u8>]) -> Result<Tests, String> {
        let mut tests = Tests::default();
        for file in files {
            let read = reports::read(source, file, &self.scrub());
            tests.absorb(read.map_err(|error| error.to_string())?);
        }
        Ok(tests)
    }

    fn read_output(&self, source: ReportSource, finished: &Finished) -> Result<Tests, String> {
        match source {
            ReportSource::ExitCode => Ok(Tests::default()),
            ReportSource::Junit => Err(format!(
                "the command wrote no report to $CHANGEBUS_REPORT ({})",
                finished.exit
            )),
            _ if finished.left_out > 0 => Err(format!(
                "the output is too long to be read as a report: {} bytes were left out; write the report to \
                 $CHANGEBUS_REPORT",
                finished.left_out
            )),
            source => reports::read(source, finished.output.as_bytes(), &self.scrub())
                .map_err(|error| error.to_string()),
        }
    }
}

/// What the first of several files is that holds anything.
fn told(files: &[Vec<u8>]) -> Option<ReportSource> {
    let first = files.iter().find(|file| !file.is_empty())?;
    reports::told(&String::from_utf8_lossy(first))
}

fn outgrown(finished: &Finished, limits: &Limits) -> Option<String> {
    let most = limits.total_memory_bytes >> 20;
    finished.outgrown.then(|| {
        format!(
            "the command and its children used more than {most} MiB of memory together (sandbox.total_memory_mib)"
        )
    })
}

/// Where exit code and report do not tell the same story.
fn contradiction(source: ReportSource, exit: &Exit, tests: &Tests) -> Option<String> {
    if source == ReportSource::ExitCode {
        return None;
    }
    let bad = tests.outcomes.values().filter(|o| o.is_bad()).count();
    let all = tests.outcomes.len();
    if all == 0 {
        return Some(format!("no test ran ({exit})"));
    }
    if tests.outcomes.values().all(|o| *o == Outcome::Skipped) {
        return Some(format!("no test ran: all {all} were skipped"));
    }
    if let Some(problem) = &tests.problem {
        return Some(problem.clone());
    }
    match (exit, bad) {
        (Exit::Code(0), 0) => None,
        (Exit::Code(0), bad) => Some(format!(
            "the report names {bad} failing tests, but the command says success ({exit})"
        )),
        (_, 0) => Some(format!(
            "the command says failure ({exit}), but the report names no failing test"
        )),
        _ => None,
    }
}

/// What lies at `$CHANGEBUS_REPORT`.
enum Written {
    Nothing,
    Files(Vec<Vec<u8>>),
    Unreadable(String),
}

fn written(path: &Path) -> Written {
    let read = match path.symlink_metadata() {
        Err(_) => return Written::Nothing,
        Ok(found) if found.is_dir() => read_directory(path),
        Ok(_) => read_file(path).map(|file| vec![file]),
    };
    match read {
        Ok(files) if files.iter().all(|file| file.is_empty()) => Written::Nothing,
        Ok(files) => Written::Files(files),
        Err(why) => Written::Unreadable(why.to_string()),
    }
}

fn read_directory(dir: &Path) -> std::io::Result<Vec<Vec<u8>>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir)?.take(MOST_FILES) {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "xml") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut left = reports::MOST_BYTES;
    paths
        .iter()
        .map(|path| read_at_most(path, &mut left))
        .collect()
}

fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    read_at_most(path, &mut { reports::MOST_BYTES })
}

/// A test may have put a pipe there, which would never end, or a link to what it must not read.
fn read_at_most(path: &Path, left: &mut u64) -> std::io::Result<Vec<u8>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    if found.len() > *left {
        return Err(std::io::Error::other(format!(
            "it is larger than {} bytes",
            reports::MOST_BYTES
        )));
    }
    let mut bytes = Vec::new();
    *left -= file.take(*left).read_to_end(&mut bytes)? as u64;
    Ok(bytes)
}

mod quota;

#[cfg(test)]
mod tests;
