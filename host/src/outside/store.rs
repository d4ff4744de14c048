//! Keeps every event, durably and in order, and answers questions about them.
//!
//! Touches: sqlite, files, clock.
//! Change here: when somebody has a new question for the log. A question that needs a table of its own
//! gets a migration (`host/migrations/`) and a line in `store/derived.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::event::{
    ALL_PROJECTS, Asked, Attempt, Change, Dependencies, Event, Fact, FixFate, Heard, InHand,
    KeptReport, Oid, RunId, RunResult, RunStatus, Sighting, Task, TestReport, Usage,
};

mod bodies;
mod chain;
mod derived;
mod examine;
mod file;
mod memory;
mod post;
mod readers;
mod record;
mod reports;
mod results;
mod reviews;
mod tenure;
mod writer;

pub use examine::{Examined, Flaw};
pub use file::holder;
pub use memory::Flake;
pub use post::Dead;
use readers::Readers;
use record::Draft;
pub use results::Fix;
pub use reviews::{Offered, Waiting};
pub use tenure::Tenures;
use writer::{Work, Writer};

/// How often a store opened for reading looks whether another process has written.
const POLL: Duration = Duration::from_millis(150);
/// Bodies that are removed in one go, and the pause after it: others want to write too.
const REMOVED_AT_ONCE: usize = 16;
const PAUSE: Duration = Duration::from_millis(20);

/// The event log of one host. Clones share one writer thread and one set of readers.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    /// Before the writer: the last connection to close tidies the write-ahead log away, and a reader cannot.
    readers: Arc<Readers>,
    writer: Option<Writer>,
    newest: Arc<watch::Sender<i64>>,
    tenures: Tenures,
}

/// What is wrong with the log, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "{} is held by another changebus process{holder}: stop that one, or give this one a state \
         directory of its own", .lock.display()
    )]
    Held { lock: PathBuf, holder: String },
    #[error(
        "there is no event log at {}: check host.state, or start the daemon once to create it", .path.display()
    )]
    Missing { path: PathBuf },
    #[error("cannot {doing} {}: check that this user may and that the disk has room", .path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "{} was written by a newer changebus (schema {found}, this one knows {known}): install that \
         version again, or restore a backup from before it", .path.display()
    )]
    Newer {
        path: PathBuf,
        found: i64,
        known: i64,
    },
    #[error(
        "{} has schema {found}, and reading it needs {known}: start the daemon of this version once, it \
         brings the log up to date", .path.display()
    )]
    Outdated {
        path: PathBuf,
        found: i64,
        known: i64,
    },
    #[error(
        "{} is damaged ({finding}): move it and its -wal and -shm files aside and restore the last \
         backup", .path.display()
    )]
    Damaged { path: PathBuf, finding: String },
    #[error(
        "event {seq} in {} is not what was written (its hash does not follow from the one before): \
         restore the last backup that verifies", .path.display()
    )]
    Altered { path: PathBuf, seq: i64 },
    #[error(
        "run {run} holds {found} events where {expected} were expected: somebody else goes on with it"
    )]
    Overtaken {
        run: RunId,
        expected: u64,
        found: u64,
    },
    #[error(
        "{project} is in the hands of another host now, or of none: nothing more can be stated about it here"
    )]
    NotHeld { project: String },
    #[error(
        "event {id} has the place of event {other} in its run: two hosts stated it in one tenure"
    )]
    Contradicts { id: String, other: String },
    #[error("run {run} of {project} is open: it comes first")]
    StillOpen { project: String, run: RunId },
    #[error(
        "the fact cannot be kept, since it would not read back (is a number in it not finite?)"
    )]
    Unfit { source: serde_json::Error },
    #[error("a report cannot be compressed")]
    Unpackable { source: std::io::Error },
    #[error(
        "event {seq} does not read as a fact this version knows: was it written by a newer one?"
    )]
    Unreadable { seq: i64, source: serde_json::Error },
    #[error("{} was opened for reading only", .path.display())]
    ReadOnly { path: PathBuf },
    #[error("no room is left to write {}: free some, nothing was lost", .path.display())]
    DiskFull { path: PathBuf },
    #[error("the database {} refused", .path.display())]
    Sqlite {
        path: PathBuf,
        source: rusqlite::Error,
    },
    #[error("the thread that serves {} has ended", .path.display())]
    Stopped { path: PathBuf },
}

impl StoreError {
    /// Only who asked is refused; whatever shares a commit with it is kept.
    fn concerns_one(&self) -> bool {
        matches!(
            self,
            StoreError::Overtaken { .. }
                | StoreError::NotHeld { .. }
                | StoreError::StillOpen { .. }
                | StoreError::Contradicts { .. }
        )
    }
}

/// Which events somebody wants; an empty filter wants all.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    pub project: Option<String>,
    pub run: Option<RunId>,
    /// The literal start of the subject, such as `result.delivery.`.
    pub subject_prefix: Option<String>,
    /// Only what stands before this place in the log.
    pub before: Option<i64>,
}

/// One line about a run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSummary {
    pub run: RunId,
    pub project: String,
    pub opened_at: Timestamp,
    /// None while the run is open.
    pub closed: Option<RunStatus>,
    pub change: Change,
}

impl RunSummary {
    /// Whether it says how the branch stands: no remote has what an update would do, and of what was opened in vain another
    /// run tells.
    pub fn is_about_the_branch(&self) -> bool {
        self.change.update.is_none() && self.closed != Some(RunStatus::InVain)
    }
}

/// What `verify` vouches for. The head is worth keeping elsewhere: a log cut short verifies too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub events: i64,
    /// Hash of the last event, hex; zeros where there is none.
    pub head: String,
}

impl Store {
    /// Opens the log for writing, and creates file (0600) and directory (0700) where they are missing.
    /// Holds `lock` beside the file until the last clone is gone. Refuses what is held, damaged or newer.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        let lock = file::take_lock(path)?;
        let connection = file::open_for_writing(path, lock.is_as_left)?;
        let newest = readers::newest(&connection).map_err(file::refused(path))?;
        let newest = Arc::new(watch::Sender::new(newest));
        let tenures = Tenures::default();
        let writer = Writer::start(path, connection, lock, newest.clone(), tenures.clone())?;
        Ok(Store::over(path, Some(writer), newest, tenures))
    }

    /// Opens the log for reading beside a daemon that writes it, or without one.
    pub fn open_read_only(path: &Path) -> Result<Store, StoreError> {
        let connection = file::open_for_reading(path)?;
        file::require_current_schema(path, &connection)?;
        let newest = readers::newest(&connection).map_err(file::refused(path))?;
        Ok(Store::over(
            path,
            None,
            Arc::new(watch::Sender::new(newest)),
            Tenures::default(),
        ))
    }

    fn over(
        path: &Path,
        writer: Option<Writer>,
        newest: Arc<watch::Sender<i64>>,
        tenures: Tenures,
    ) -> Store {
        let readers = Arc::new(Readers::of(path));
        Store {
            inner: Arc::new(Inner {
                path: path.to_owned(),
                readers,
                writer,
                newest,
                tenures,
            }),
        }
    }

    /// Which projects this host may state anything about.
    pub fn tenures(&self) -> &Tenures {
        &self.inner.tenures
    }

    /// Keeps a fact. It is on disk when this returns; it may be there too when the future is dropped.
    /// The event comes back as it will be read, so that a live run and its replay see the same.
    pub async fn append(
        &self,
        project: &str,
        run: Option<&RunId>,
        fact: Fact,
    ) -> Result<Event, StoreError> {
        self.keep(Draft::new(project, run, None, fact)?).await
    }

    /// As `append`, if the run's stream holds exactly `expected_len` events; `Overtaken` otherwise.
    pub async fn append_expecting(
        &self,
        project: &str,
        run: &RunId,
        expected_len: u64,
        fact: Fact,
    ) -> Result<Event, StoreError> {
        self.keep(Draft::new(project, Some(run), Some(expected_len), fact)?)
            .await
    }

    /// Keeps what another host stated, once, whenever and however often it comes. The event as it stands here; None
    /// where it was here already.
    pub async fn import(&self, told: Event) -> Result<Option<Event>, StoreError> {
        self.take_in(told, false).await
    }

    /// As `import`, for what nobody has told the fleet yet.
    pub async fn import_and_tell(&self, said: Event) -> Result<Option<Event>, StoreError> {
        self.take_in(said, true).await
    }

    async fn take_in(&self, event: Event, tell: bool) -> Result<Option<Event>, StoreError> {
        let work = Work::Import {
            draft: Box::new(Draft::of(event)?),
            tell,
        };
        self.writer()?.perform(work).await
    }

    /// Events that are still to be told to the fleet, oldest first.
    pub async fn waiting(&self, limit: usize) -> Result<Vec<Event>, StoreError> {
        self.read(move |c| post::waiting(c, limit)).await
    }

    /// How many are still to be told, and the seq of the oldest; behind the newest event where there is none.
    pub async fn backlog(&self) -> Result<(u64, i64), StoreError> {
        self.read(post::backlog).await
    }

    /// The newest tenure of a project that anybody stated anything in.
    pub async fn newest_epoch(&self, project: &str) -> Result<u64, StoreError> {
        let project = project.to_owned();
        self.read(move |c| post::newest_epoch(c, &project)).await
    }

    /// These were told.
    pub async fn told(&self, seqs: Vec<i64>) -> Result<(), StoreError> {
        self.post(post::Work::Told(seqs)).await
    }

    /// Every event has to be told again; a note of the name is kept with it.
    pub async fn tell_all(&self, name: &str, value: &str) -> Result<(), StoreError> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.post(post::Work::TellAll { name, value }).await
    }

    pub async fn note(&self, name: &str) -> Result<Option<String>, StoreError> {
        let name = name.to_owned();
        self.read(move |c| post::note(c, &name)).await
    }

    /// What could not be told, or not be understood; oldest first.
    pub async fn dead(&self) -> Result<Vec<Dead>, StoreError> {
        self.read(post::dead).await
    }

    pub async fn bury(&self, dead: Dead) -> Result<(), StoreError> {
        self.post(post::Work::Bury(dead)).await
    }

    pub async fn revive(&self, id: &str) -> Result<(), StoreError> {
        self.post(post::Work::Revive { id: id.to_owned() }).await
    }

    async fn post(&self, work: post::Work) -> Result<(), StoreError> {
        self.writer()?.perform(Work::Fleet(work)).await.map(drop)
    }

    /// Keeps the packed journal of a plugin call under the digest its fact will name; keeping it twice is
    /// keeping it once.
    pub async fn keep_journal(&self, digest: &str, packed: Vec<u8>) -> Result<(), StoreError> {
        let work = Work::Keep {
            digest: digest.to_owned(),
            body: packed,
        };
        self.writer()?.perform(work).await.map(drop)
    }

    /// Keeps a report on a whole suite beside the log, for a fact to name.
    pub async fn keep_report(
        &self,
        suite: &str,
        report: &TestReport,
    ) -> Result<KeptReport, StoreError> {
        let (kept, body) = reports::pack(suite, report)?;
        let digest = kept.digest.clone();
        self.writer()?.perform(Work::Keep { digest, body }).await?;
        Ok(kept)
    }

    /// The packed journal that a fact names, if it was kept.
    pub async fn journal(&self, digest: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let digest = digest.to_owned();
        self.read(move |c| readers::journal(c, &digest)).await
    }

    /// Removes the journals and reports of runs that closed so many days ago, in small steps beside whoever appends. What a
    /// run names that is open or closed later stays. How many there were.
    pub async fn remove_bodies(&self, days: u32) -> Result<usize, StoreError> {
        let age = jiff::SignedDuration::from_hours(i64::from(days) * 24);
        // A time before all times: nothing is that old.
        let closed_before = Timestamp::now().checked_sub(age).unwrap_or(Timestamp::MIN);
        let removal = bodies::Removal {
            closed_before,
            days,
        };
        let writer = self.writer()?;
        writer.perform(Work::BeginRemoval(removal)).await?;
        let old = self.read(move |c| bodies::old(c, closed_before)).await?;
        for some in old.chunks(REMOVED_AT_ONCE) {
            writer.perform(Work::Remove(some.to_vec())).await?;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(old.len())
    }

    /// How many days after its end this run's journals and reports were removed, if they were.
    pub async fn bodies_removed_after(&self, run: &RunId) -> Result<Option<u32>, StoreError> {
        let run = run.clone();
        self.read(move |c| bodies::removed_after(c, &run)).await
    }

    async fn keep(&self, draft: Draft) -> Result<Event, StoreError> {
        let event = self
            .writer()?
            .perform(Work::Append(Box::new(draft)))
            .await?;
        // The writer answers an append with its event or an error.
        event.ok_or_else(|| self.stopped())
    }

    /// All events of a run, in order; empty for a run nobody knows.
    pub async fn run_events(&self, run: &RunId) -> Result<Vec<Event>, StoreError> {
        let run = run.clone();
        self.read(move |c| readers::run_events(c, &run)).await
    }

    /// At most `limit` events after `seq` that pass the filter, in order.
    pub async fn events_after(
        &self,
        seq: i64,
        limit: usize,
        filter: &EventFilter,
    ) -> Result<Vec<Event>, StoreError> {
        let filter = filter.clone();
        self.read(move |c| readers::events_after(c, seq, limit, &filter))
            .await
    }

    /// The last `limit` events that pass the filter, in order.
    pub async fn last_events(
        &self,
        limit: usize,
        filter: &EventFilter,
    ) -> Result<Vec<Event>, StoreError> {
        let filter = filter.clone();
        self.read(move |c| readers::last_events(c, limit, &filter))
            .await
    }

    /// Looks through up to `span` events after `seq` and returns those whose subject is wanted, with the
    /// seq it came to. Bodies that are not wanted are not read.
    pub async fn scan(
        &self,
        seq: i64,
        span: usize,
        wanted: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<(Vec<Event>, i64), StoreError> {
        self.read(move |c| readers::scan(c, seq, span, &wanted))
            .await
    }

    /// Runs that were opened and not closed, with their projects; oldest first.
    pub async fn open_runs(&self) -> Result<Vec<(String, RunId)>, StoreError> {
        self.read(readers::open_runs).await
    }

    /// Whether a run was opened by a host of which no later one knew: since then another run has its change.
    pub async fn is_in_vain(&self, run: &RunId) -> Result<bool, StoreError> {
        let run = run.clone();
        self.read(move |c| readers::is_in_vain(c, &run)).await
    }

    /// The last `limit` runs, of one project or of all; newest first.
    pub async fn runs(
        &self,
        project: Option<&str>,
        limit: usize,
    ) -> Result<Vec<RunSummary>, StoreError> {
        let project = project.map(str::to_owned);
        self.read(move |c| readers::runs(c, project.as_deref(), limit))
            .await
    }

    /// The last `limit` runs of this project that are about updates of dependencies, newest first.
    pub async fn update_runs(&self, project: &str, limit: usize) -> Result<Vec<RunId>, StoreError> {
        let project = project.to_owned();
        self.read(move |c| readers::update_runs(c, &project, limit))
            .await
    }

    /// What was seen last of the project's dependencies, and when.
    pub async fn dependencies_seen(
        &self,
        project: &str,
    ) -> Result<Option<(Timestamp, Dependencies)>, StoreError> {
        let project = project.to_owned();
        let last = self.read(move |c| readers::last_of(c, &project, "dependencies-seen"));
        Ok(last.await?.and_then(|event| match event.fact {
            Fact::DependenciesSeen { seen } => Some((event.at, seen)),
            _ => None,
        }))
    }

    /// The last tip of the project's branch that was taken note of: adopted, ignored, run on, or pushed.
    pub async fn last_tip(&self, project: &str) -> Result<Option<Oid>, StoreError> {
        let project = project.to_owned();
        self.read(move |c| readers::last_tip(c, &project)).await
    }

    pub async fn last_sighting(&self, project: &str) -> Result<Option<Sighting>, StoreError> {
        Ok(match self.last_watched(project).await?.map(|e| e.fact) {
            Some(Fact::Watched { sighting }) => Some(sighting),
            _ => None,
        })
    }

    /// The last sighting, with when it was.
    pub async fn last_watched(&self, project: &str) -> Result<Option<Event>, StoreError> {
        let project = project.to_owned();
        self.read(move |c| readers::last_of(c, &project, "watched"))
            .await
    }

    /// Every project that ever had a run, by name.
    pub async fn projects(&self) -> Result<Vec<String>, StoreError> {
        self.read(readers::projects).await
    }

    /// Commits ChangeBus made for this project's branch, pushed or about to be.
    pub async fn delivered_commits(&self, project: &str) -> Result<BTreeSet<Oid>, StoreError> {
        let project = project.to_owned();
        self.read(move |c| readers::delivered_commits(c, &project))
            .await
    }

    /// Commits that runs of this project put before people or merged, with the run of each.
    pub async fn brought(&self, project: &str) -> Result<BTreeMap<Oid, RunId>, StoreError> {
        let project = project.to_owned();
        self.read(move |c| readers::brought(c, &project)).await
    }

    /// The last report on a commit of this tree that can be taken at its word, made with the same setup and test
    /// command (`suite`, the digest in `Fact::Tested`). Trials of candidates do not count: nobody had pushed those.
    pub async fn report_for_tree(
        &self,
        project: &str,
        tree: &Oid,
        suite: &str,
    ) -> Result<Option<TestReport>, StoreError> {
        let (project, tree, suite) = (project.to_owned(), tree.clone(), suite.to_owned());
        self.read(move |c| readers::report_for_tree(c, &project, &tree, &suite))
            .await
    }

    /// The first report on this tree, of a commit or of a trial. The last one of a flaky suite is a chosen one: it is run
    /// again until it passes.
    pub async fn first_report_for_tree(
        &self,
        project: &str,
        tree: &Oid,
        suite: &str,
    ) -> Result<Option<TestReport>, StoreError> {
        let (project, tree, suite) = (project.to_owned(), tree.clone(), suite.to_owned());
        self.read(move |c| readers::first_report_for_tree(c, &project, &tree, &suite))
            .await
    }

    /// Who asked last for a run of this project, if none was opened since.
    pub async fn asked(&self, project: &str) -> Result<Option<Asked>, StoreError> {
        let project = project.to_owned();
        self.read(move |c| readers::asked(c, &project)).await
    }

    /// Events of these types that were stated after one moment, up to and with another; oldest first.
    pub async fn events_between(
        &self,
        from: Timestamp,
        to: Timestamp,
        types: &'static [&'static str],
    ) -> Result<Vec<Event>, StoreError> {
        self.read(move |c| readers::events_between(c, from, to, types))
            .await
    }

    /// The newest event of a type that belongs to no project.
    pub async fn last_of_all(&self, kind: &'static str) -> Result<Option<Event>, StoreError> {
        self.read(move |c| readers::last_of(c, ALL_PROJECTS, kind))
            .await
    }

    /// Ids of the events of which this sink was told, or will never be, since this place in the log.
    pub async fn told_to(&self, sink: &str, after: i64) -> Result<BTreeSet<String>, StoreError> {
        let sink = sink.to_owned();
        self.read(move |c| readers::told_to(c, &sink, after)).await
    }

    /// Runs that wait for people, oldest first.
    pub async fn waiting_for_people(&self) -> Result<Vec<Waiting>, StoreError> {
        self.read(reviews::waiting).await
    }

    /// Every task that people elsewhere were given, and whether something came of it.
    pub async fn tasks(&self) -> Result<Vec<(Task, bool)>, StoreError> {
        self.read(reviews::tasks).await
    }

    /// Every pull request that was opened, and what came of it.
    pub async fn pull_requests(&self) -> Result<Vec<Offered>, StoreError> {
        self.read(reviews::pull_requests).await
    }

    /// What people decided about runs of this project, given after this place in the log.
    pub async fn reviews_given(&self, project: &str, after: i64) -> Result<Vec<Event>, StoreError> {
        let project = project.to_owned();
        self.read(move |c| reviews::given(c, &project, after)).await
    }

    /// What applications said that was kept, by application and event.
    pub async fn heard(&self) -> Result<Vec<Heard>, StoreError> {
        self.read(readers::heard).await
    }

    /// What models cost on this host from then on, failed calls included.
    pub async fn spent_since(&self, at: Timestamp) -> Result<Usage, StoreError> {
        self.read(move |c| readers::spent_since(c, at)).await
    }

    /// What budgets are reckoned from: requests and answers since `at`, and all of this run's.
    pub async fn model_events(&self, run: &RunId, at: Timestamp) -> Result<Vec<Event>, StoreError> {
        let run = run.clone();
        self.read(move |c| readers::model_events(c, &run, at)).await
    }

    /// The newest calls of plugins on this host, at most `limit`, oldest first.
    pub async fn plugin_calls(&self, limit: usize) -> Result<Vec<Event>, StoreError> {
        self.read(move |c| readers::plugin_calls(c, limit)).await
    }

    /// The openings of all tournaments whose run goes on.
    pub async fn open_tournaments(&self) -> Result<Vec<Event>, StoreError> {
        self.read(readers::open_tournaments).await
    }

    /// What became of earlier work on this project: `strategy/<name>/` `tried` (tournaments entered),
    /// `proposed`, `refused`, `won`, `merged`; and `project/<name>/` `runs` and one for each status a run
    /// ended with, such as `fixed` or `red-before`. What never happened is 0 or absent.
    pub async fn history(&self, project: &str) -> Result<BTreeMap<String, f64>, StoreError> {
        let project = project.to_owned();
        self.read(move |c| readers::history(c, &project)).await
    }

    /// How the runs of a project, or of all, came out that opened since then, oldest first, and what entered their
    /// tournaments.
    pub async fn results(
        &self,
        project: Option<&str>,
        since: Timestamp,
    ) -> Result<(Vec<RunResult>, Vec<Attempt>), StoreError> {
        let project = project.map(str::to_owned);
        self.read(move |c| {
            let project = project.as_deref();
            let results = results::results(c, project, since)?;
            Ok::<_, ReadError>((results, results::attempts(c, project, since)?))
        })
        .await
    }

    /// The newest real failures of a project, at most `most` and not that of `but`, and what was seen last of what was
    /// made of them.
    pub async fn earlier(
        &self,
        project: &str,
        but: &RunId,
        most: usize,
    ) -> Result<Vec<(RunId, Option<FixFate>)>, StoreError> {
        let (project, but) = (project.to_owned(), but.clone());
        self.read(move |c| results::earlier(c, &project, &but, most))
            .await
    }

    /// What was seen last of what this run brought.
    pub async fn fate(&self, run: &RunId) -> Result<Option<FixFate>, StoreError> {
        let run = run.clone();
        self.read(move |c| results::fate(c, &run)).await
    }

    /// What a project delivered or offered since then, and what was seen of it last.
    pub async fn fixes(&self, project: &str, since: Timestamp) -> Result<Vec<Fix>, StoreError> {
        let project = project.to_owned();
        self.read(move |c| results::fixes(c, &project, since)).await
    }

    /// The project's tests that flipped in its last runs, most often first. The run `but` does not count.
    pub async fn flakes(
        &self,
        project: &str,
        but: Option<&RunId>,
    ) -> Result<Vec<Flake>, StoreError> {
        let (project, but) = (project.to_owned(), but.cloned());
        self.read(move |c| memory::flakes(c, &project, but.as_ref()))
            .await
    }

    /// Runs of this project, other than `but`, that work on a failure or gave it to people; newest first.
    pub async fn in_hand(&self, project: &str, but: &RunId) -> Result<Vec<InHand>, StoreError> {
        let (project, but) = (project.to_owned(), but.clone());
        self.read(move |c| memory::in_hand(c, &project, &but)).await
    }

    /// Writes a consistent copy to `to`, which must not exist, while others go on. Complete when it stands
    /// there; opening it as a log is all a restore takes.
    pub async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let (path, to) = (self.inner.path.clone(), to.to_owned());
        self.read(move |c| file::copy(c, &path, &to)).await
    }

    /// Recomputes the hash chain from the first event to the last.
    pub async fn verify(&self) -> Result<Verified, StoreError> {
        let path = self.inner.path.clone();
        self.read(move |c| chain::verify(c, &path)).await
    }

    /// Looks everything over, beside whoever writes: pages, chain, derived tables, bodies. Takes as long as it takes to
    /// read all of it.
    pub async fn examine(&self) -> Result<Examined, StoreError> {
        let path = self.inner.path.clone();
        let examined = tokio::task::spawn_blocking(move || examine::examine(&path)).await;
        examined.unwrap_or_else(|_| Err(self.stopped()))
    }

    /// Makes every derived table anew from the events.
    pub async fn rebuild(&self) -> Result<(), StoreError> {
        self.writer()?.perform(Work::Rebuild).await.map(|_| ())
    }

    /// How far a consumer of the bus has acknowledged; 0 for a new one.
    pub async fn cursor(&self, consumer: &str) -> Result<i64, StoreError> {
        let consumer = consumer.to_owned();
        self.read(move |c| readers::cursor(c, &consumer)).await
    }

    /// Moves a consumer's cursor to `seq`; never back.
    pub async fn advance_cursor(&self, consumer: &str, seq: i64) -> Result<(), StoreError> {
        let consumer = consumer.to_owned();
        let work = Work::Advance { consumer, seq };
        self.writer()?.perform(work).await.map(|_| ())
    }

    /// Seq of the newest event; 0 in an empty log.
    pub async fn newest(&self) -> Result<i64, StoreError> {
        self.read(readers::newest).await
    }

    /// The newest seq this process knows of; moves with every commit of this process's writer.
    pub fn watch(&self) -> watch::Receiver<i64> {
        self.inner.newest.subscribe()
    }

    /// Waits until there is an event after `seq`, and returns the newest seq. Sees what other processes
    /// write, where this store was opened for reading.
    pub async fn wait_beyond(&self, seq: i64) -> Result<i64, StoreError> {
        if self.inner.writer.is_some() {
            let mut newest = self.watch();
            let reached = newest.wait_for(|n| *n > seq).await;
            return reached.map(|n| *n).map_err(|_| self.stopped());
        }
        loop {
            let newest = self.read(readers::newest).await?;
            self.inner.newest.send_replace(newest);
            if newest > seq {
                return Ok(newest);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn writer(&self) -> Result<&Writer, StoreError> {
        let path = &self.inner.path;
        let read_only = || StoreError::ReadOnly { path: path.clone() };
        self.inner.writer.as_ref().ok_or_else(read_only)
    }

    /// Answers a question on a connection of its own, off the async threads.
    async fn read<T: Send + 'static, E: Into<ReadError>>(
        &self,
        ask: impl FnOnce(&rusqlite::Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = self.inner.readers.clone();
        let answer = tokio::task::spawn_blocking(move || readers.ask(ask)).await;
        answer.unwrap_or_else(|_| Err(self.stopped()))
    }

    fn stopped(&self) -> StoreError {
        StoreError::Stopped {
            path: self.inner.path.clone(),
        }
    }
}

/// What a question can fail with: SQLite's own, which lacks the path, or a complete error.
enum ReadError {
    Sqlite(rusqlite::Error),
    Told(Box<StoreError>),
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> ReadError {
        ReadError::Sqlite(error)
    }
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> ReadError {
        ReadError::Told(Box::new(error))
    }
}

#[cfg(test)]
mod tests;
