//! Connections that only read, and the questions they answer.
//!
//! Touches: sqlite.
//! Change here: when somebody has a new question for the log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::record::{COLUMNS, nanoseconds, read_event, timestamp};
use super::{EventFilter, ReadError, RunSummary, StoreError, file, reports};
use crate::event::{
    ALL_PROJECTS, Asked, Delivery, Event, Fact, Heard, Oid, PullRequestFate, RunId, TestReport,
    Usage,
};

/// Idle connections that are kept for the next question.
const KEPT: usize = 4;

pub struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub fn of(path: &Path) -> Readers {
        Readers {
            path: path.to_owned(),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Blocks. Borrows an idle connection or opens one.
    pub fn ask<T, E: Into<ReadError>>(
        &self,
        ask: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, StoreError> {
        let idle = self.idle().pop();
        let connection = idle.map_or_else(|| file::open_for_reading(&self.path), Ok)?;
        let answer = ask(&connection).map_err(|error| file::told(&self.path)(error.into()));
        let mut idle = self.idle();
        if idle.len() < KEPT {
            idle.push(connection);
        }
        answer
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // Nothing is half done while the lock is held, so a panic elsewhere spoils nothing.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Answer<T> = Result<T, ReadError>;

/// 0 for an empty log.
pub fn newest(c: &Connection) -> rusqlite::Result<i64> {
    c.prepare_cached("SELECT coalesce(max(seq), 0) FROM events")?
        .query_row([], |row| row.get(0))
}

/// A later tenure takes the place of what an earlier one stated of the run from some version on: of a host that was
/// thought dead, say, and came back.
pub const STANDS: &str = "NOT EXISTS (SELECT 1 FROM events AS later WHERE later.run = events.run
    AND later.epoch > events.epoch AND later.version <= events.version)";

pub fn run_events(c: &Connection, run: &RunId) -> Answer<Vec<Event>> {
    let query =
        format!("SELECT {COLUMNS} FROM events WHERE run = ?1 AND {STANDS} ORDER BY version");
    events(c, &query, [&run.0])
}

pub fn events_after(
    c: &Connection,
    seq: i64,
    limit: usize,
    filter: &EventFilter,
) -> Answer<Vec<Event>> {
    let query = format!(
        "SELECT {COLUMNS} FROM events WHERE seq > ?5 AND {} ORDER BY seq LIMIT ?6",
        filter.condition()
    );
    let (project, run, prefix, before) = filter.values();
    events(
        c,
        &query,
        params![project, run, prefix, before, seq, row_limit(limit)],
    )
}

pub fn last_events(c: &Connection, limit: usize, filter: &EventFilter) -> Answer<Vec<Event>> {
    let query = format!(
        "SELECT {COLUMNS} FROM events WHERE {} ORDER BY seq DESC LIMIT ?5",
        filter.condition()
    );
    let (project, run, prefix, before) = filter.values();
    let values = params![project, run, prefix, before, row_limit(limit)];
    let mut found = events(c, &query, values)?;
    found.reverse();
    Ok(found)
}

impl EventFilter {
    /// Only the conditions that are asked for, so that an index can serve each.
    fn condition(&self) -> String {
        let asked = [
            self.project.is_some().then_some("project = ?1"),
            self.run.is_some().then_some("run = ?2"),
            self.subject_prefix
                .is_some()
                .then_some("substr(subject, 1, length(?3)) = ?3"),
            self.before.is_some().then_some("seq < ?4"),
        ];
        let asked: Vec<&str> = asked.into_iter().flatten().collect();
        if asked.is_empty() {
            "true".to_owned()
        } else {
            asked.join(" AND ")
        }
    }

    fn values(&self) -> (Option<&str>, Option<&str>, Option<&str>, Option<i64>) {
        let run = self.run.as_ref().map(|run| run.0.as_str());
        let prefix = self.subject_prefix.as_deref();
        (self.project.as_deref(), run, prefix, self.before)
    }
}

fn row_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn events(c: &Connection, query: &str, values: impl rusqlite::Params) -> Answer<Vec<Event>> {
    let mut statement = c.prepare_cached(query)?;
    let mut rows = statement.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read_event(row)?);
    }
    Ok(found)
}

pub fn scan(
    c: &Connection,
    seq: i64,
    span: usize,
    wanted: &dyn Fn(&str) -> bool,
) -> Answer<(Vec<Event>, i64)> {
    let query = format!("SELECT {COLUMNS} FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2");
    let mut statement = c.prepare_cached(&query)?;
    let mut rows = statement.query(params![seq, row_limit(span)])?;
    let (mut found, mut reached) = (Vec::new(), seq);
    while let Some(row) = rows.next()? {
        reached = row.get(0)?;
        let subject = row.get_ref(6)?.as_str().map_err(rusqlite::Error::from)?;
        if wanted(subject) {
            found.push(read_event(row)?);
        }
    }
    Ok((found, reached))
}

pub fn open_runs(c: &Connection) -> rusqlite::Result<Vec<(String, RunId)>> {
    c.prepare_cached("SELECT project, run FROM runs WHERE status IS NULL ORDER BY opened_seq")?
        .query_map([], |row| Ok((row.get(0)?, RunId(row.get(1)?))))?
        .collect()
}

/// Whoever takes a project over finishes what it knows to be open before it opens anything.
pub const IN_VAIN: &str = "EXISTS (SELECT 1 FROM events AS own, events AS later
    WHERE own.run = runs.run AND later.project = runs.project AND later.type = 'change-seen' AND later.run <> own.run
    AND later.epoch > (SELECT max(epoch) FROM events WHERE run = runs.run))";

pub fn is_in_vain(c: &Connection, run: &RunId) -> rusqlite::Result<bool> {
    let query = format!("SELECT EXISTS (SELECT 1 FROM runs WHERE run = ?1 AND {IN_VAIN})");
    c.prepare_cached(&query)?
        .query_row([&run.0], |row| row.get(0))
}

pub fn runs(c: &Connection, project: Option<&str>, limit: usize) -> Answer<Vec<RunSummary>> {
    let projects = match project {
        Some(project) => vec![project.to_owned()],
        None => projects(c)?,
    };
    // Project by project, as the index has them: all runs there ever were need not be sorted.
    let mut newest_of = c.prepare_cached(
        "SELECT opened_seq FROM runs WHERE project = ?1 ORDER BY opened_seq DESC LIMIT ?2",
    )?;
    let mut opened: Vec<i64> = vec![];
    for project in projects {
        let newest = newest_of.query_map(params![project, row_limit(limit)], |row| row.get(0))?;
        for seq in newest {
            opened.push(seq?);
        }
    }
    opened.sort_unstable_by(|a, b| b.cmp(a));
    opened.truncate(limit);
    let mut statement = c.prepare_cached(
        "SELECT runs.run, runs.project, runs.status, opened_seq, at, body
         FROM events JOIN runs ON runs.run = events.run WHERE events.seq = ?1",
    )?;
    let mut found = Vec::new();
    for seq in opened {
        let mut rows = statement.query([seq])?;
        while let Some(row) = rows.next()? {
            found.extend(summary(row)?);
        }
    }
    Ok(found)
}

/// Every project that ever had a run, by a step over the index for each.
pub fn projects(c: &Connection) -> rusqlite::Result<Vec<String>> {
    c.prepare_cached(
        "WITH RECURSIVE each (project) AS (
             SELECT min(project) FROM runs UNION ALL
             SELECT (SELECT min(project) FROM runs WHERE project > each.project) FROM each
             WHERE each.project IS NOT NULL)
         SELECT project FROM each WHERE project IS NOT NULL",
    )?
    .query_map([], |row| row.get(0))?
    .collect()
}

fn summary(row: &Row<'_>) -> Answer<Option<RunSummary>> {
    let seq: i64 = row.get(3)?;
    let unreadable = |source| ReadError::from(StoreError::Unreadable { seq, source });
    let status: Option<String> = row.get(2)?;
    let closed = status.map(|name| serde_json::from_value(name.into()));
    let body: String = row.get(5)?;
    let Fact::ChangeSeen { change } = serde_json::from_str(&body).map_err(unreadable)? else {
        return Ok(None);
    };
    Ok(Some(RunSummary {
        run: RunId(row.get(0)?),
        project: row.get(1)?,
        opened_at: timestamp(row.get(4)?),
        closed: closed.transpose().map_err(unreadable)?,
        change,
    }))
}

pub fn last_tip(c: &Connection, project: &str) -> rusqlite::Result<Option<Oid>> {
    c.prepare_cached(
        "SELECT tip FROM tips WHERE project = ?1 ORDER BY epoch DESC, seq DESC LIMIT 1",
    )?
    .query_row([project], |row| row.get(0).map(Oid))
    .optional()
}

pub fn last_of(c: &Connection, project: &str, kind: &str) -> Answer<Option<Event>> {
    let query = format!(
        "SELECT {COLUMNS} FROM events WHERE project = ?1 AND type = ?2 ORDER BY seq DESC LIMIT 1"
    );
    Ok(events(c, &query, [project, kind])?.pop())
}

pub fn events_between(
    c: &Connection,
    from: Timestamp,
    to: Timestamp,
    types: &[&str],
) -> Answer<Vec<Event>> {
    let names = types.iter().map(|name| format!("'{name}'"));
    let query = format!(
        "SELECT {COLUMNS} FROM events WHERE type IN ({}) AND at > ?1 AND at <= ?2 ORDER BY seq",
        names.collect::<Vec<_>>().join(", ")
    );
    events(c, &query, [nanoseconds(from), nanoseconds(to)])
}

pub fn told_to(c: &Connection, sink: &str, after: i64) -> rusqlite::Result<BTreeSet<String>> {
    c.prepare_cached(
        "SELECT body ->> '$.sent.about' FROM events
         WHERE project = ?1 AND type = 'notice-sent' AND seq > ?2 AND body ->> '$.sent.sink' = ?3",
    )?
    .query_map(params![ALL_PROJECTS, after, sink], |row| row.get(0))?
    .collect()
}

/// A run that was opened since has what was asked for, wherever it stands in this log.
pub fn asked(c: &Connection, project: &str) -> Answer<Option<Asked>> {
    let Some(Event {
        seq,
        fact: Fact::StartAsked { asked },
        ..
    }) = last_of(c, project, "start-asked")?
    else {
        return Ok(None);
    };
    let query = format!(
        "SELECT {COLUMNS} FROM events WHERE project = ?1 AND type = 'change-seen'
            AND run NOT IN (SELECT run FROM runs WHERE project = ?1 AND is_update = 1) ORDER BY seq DESC LIMIT 1"
    );
    let opened = events(c, &query, [project])?.pop();
    let has_it = opened.is_some_and(|opened| match opened.fact {
        Fact::ChangeSeen { change } => opened.seq > seq || change.asked.as_ref() == Some(&asked),
        _ => false,
    });
    Ok((!has_it).then_some(asked))
}

/// Runs of this project that are about updates, newest first.
pub fn update_runs(c: &Connection, project: &str, limit: usize) -> rusqlite::Result<Vec<RunId>> {
    c.prepare_cached(
        "SELECT run FROM runs WHERE project = ?1 AND is_update = 1 ORDER BY opened_seq DESC LIMIT ?2",
    )?
    .query_map(params![project, row_limit(limit)], |row| row.get(0).map(RunId))?
    .collect()
}

pub fn heard(c: &Connection) -> rusqlite::Result<Vec<Heard>> {
    c.prepare_cached("SELECT app, event, count, last_at FROM heard ORDER BY app, event")?
        .query_map([], |row| {
            Ok(Heard {
                app: row.get(0)?,
                event: row.get(1)?,
                count: row.get::<_, i64>(2)?.unsigned_abs(),
                last: timestamp(row.get(3)?),
            })
        })?
        .collect()
}

pub fn delivered_commits(c: &Connection, project: &str) -> rusqlite::Result<BTreeSet<Oid>> {
    c.prepare_cached("SELECT oid FROM own_commits WHERE project = ?1")?
        .query_map([project], |row| row.get(0).map(Oid))?
        .collect()
}

/// Commits that runs of this project put before people or merged, and what people's merges of them are called.
pub fn brought(c: &Connection, project: &str) -> Answer<BTreeMap<Oid, RunId>> {
    let query = format!(
        "SELECT {COLUMNS} FROM events WHERE project = ?1 AND type IN ('delivered', 'pull-request-ended') ORDER BY seq"
    );
    let mut statement = c.prepare_cached(&query)?;
    let mut rows = statement.query([project])?;
    let mut brought = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let event = read_event(row)?;
        let found = match (event.fact, event.run) {
            (Fact::Delivered { delivery }, Some(run)) => match delivery {
                Delivery::Merged { commit, .. } | Delivery::Proposed { commit, .. } => {
                    Some((commit, run))
                }
                Delivery::Escalated { commit, .. } => commit.map(|commit| (commit, run)),
                Delivery::Moot { .. } | Delivery::Withheld { .. } => None,
            },
            (Fact::PullRequestEnded { end }, _) => match end.fate {
                PullRequestFate::Merged { commit, .. } => commit.map(|commit| (commit, end.run)),
                _ => None,
            },
            _ => None,
        };
        brought.extend(found);
    }
    Ok(brought)
}

pub fn report_for_tree(
    c: &Connection,
    project: &str,
    tree: &Oid,
    suite: &str,
) -> Answer<Option<TestReport>> {
    let of_a_commit =
        "SELECT max(seq) FROM tested JOIN events USING (seq) WHERE type = 'tested' AND";
    report(c, of_a_commit, [project, &tree.0, suite])
}

pub fn first_report_for_tree(
    c: &Connection,
    project: &str,
    tree: &Oid,
    suite: &str,
) -> Answer<Option<TestReport>> {
    report(
        c,
        "SELECT min(seq) FROM tested WHERE",
        [project, &tree.0, suite],
    )
}

/// Of the reports of a project on a tree with a suite.
fn report(c: &Connection, which: &'static str, of: [&str; 3]) -> Answer<Option<TestReport>> {
    let query = format!(
        "SELECT {COLUMNS} FROM events WHERE seq =
         ({which} tested.project = ?1 AND tree = ?2 AND suite = ?3)"
    );
    let event = events(c, &query, of)?.pop();
    Ok(match event.map(|event| event.fact) {
        Some(Fact::Tested { report, .. }) => Some(report),
        Some(Fact::Tried { trial }) => match trial.report {
            Some(kept) => {
                journal(c, &kept.digest)?.and_then(|packed| reports::unpack(&kept, &packed))
            }
            None => None,
        },
        _ => None,
    })
}

pub fn spent_since(c: &Connection, at: Timestamp) -> rusqlite::Result<Usage> {
    c.prepare_cached(
        "SELECT coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0),
                coalesce(sum(cache_read_tokens), 0), coalesce(sum(cache_write_tokens), 0),
                coalesce(sum(cost_usd), 0.0) FROM spending WHERE at >= ?1",
    )?
    .query_row([nanoseconds(at)], |row| {
        let tokens = |index| row.get(index).map(i64::unsigned_abs);
        Ok(Usage {
            input_tokens: tokens(0)?,
            output_tokens: tokens(1)?,
            cache_read_tokens: tokens(2)?,
            cache_write_tokens: tokens(3)?,
            cost_usd: row.get(4)?,
        })
    })
}

/// What was asked of models and answered since `at`, or ever in this run, and which runs closed since.
pub fn model_events(c: &Connection, run: &RunId, at: Timestamp) -> Answer<Vec<Event>> {
    let query = format!(
        "SELECT {COLUMNS} FROM events
         WHERE type IN ('model-asked', 'model-answered', 'run-closed') AND (at >= ?1 OR run = ?2) ORDER BY seq"
    );
    events(c, &query, params![nanoseconds(at), run.0])
}

/// The newest calls of plugins, oldest first.
pub fn plugin_calls(c: &Connection, limit: usize) -> Answer<Vec<Event>> {
    let query = format!(
        "SELECT {COLUMNS} FROM events WHERE type = 'plugin-called' ORDER BY seq DESC LIMIT ?1"
    );
    let mut found = events(c, &query, [row_limit(limit)])?;
    found.reverse();
    Ok(found)
}

/// What tournaments of runs that are not closed were opened with.
pub fn open_tournaments(c: &Connection) -> Answer<Vec<Event>> {
    let query = format!(
        "SELECT {COLUMNS} FROM events WHERE type = 'tournament-opened'
         AND run IN (SELECT run FROM runs WHERE status IS NULL) ORDER BY seq"
    );
    events(c, &query, [])
}

pub fn history(c: &Connection, project: &str) -> rusqlite::Result<BTreeMap<String, f64>> {
    let mut figures = strategy_figures(c, project)?;
    let mut runs = 0.0;
    let mut statement =
        c.prepare_cached("SELECT status, count(*) FROM runs WHERE project = ?1 GROUP BY status")?;
    let mut rows = statement.query([project])?;
    while let Some(row) = rows.next()? {
        let (status, count): (Option<String>, f64) = (row.get(0)?, count(row, 1)?);
        runs += count;
        if let Some(status) = status {
            figures.insert(format!("project/{project}/{status}"), count);
        }
    }
    figures.insert(format!("project/{project}/runs"), runs);
    lasting_figures(c, project, &mut figures)?;
    Ok(figures)
}

fn strategy_figures(c: &Connection, project: &str) -> rusqlite::Result<BTreeMap<String, f64>> {
    const METRICS: [&str; 5] = ["tried", "proposed", "refused", "won", "merged"];
    let mut statement = c.prepare_cached(
        "SELECT strategy, count(*), sum(proposed), sum(refused), sum(won), sum(merged)
         FROM heats JOIN runs USING (run) WHERE project = ?1 GROUP BY strategy",
    )?;
    let mut rows = statement.query([project])?;
    let mut figures = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let strategy: String = row.get(0)?;
        for (index, metric) in METRICS.iter().enumerate() {
            figures.insert(
                format!("strategy/{strategy}/{metric}"),
                count(row, index + 1)?,
            );
        }
    }
    Ok(figures)
}

/// What became of the fixes that a strategy won with: how many are old enough to say, how many survived, were taken back.
fn lasting_figures(
    c: &Connection,
    project: &str,
    figures: &mut BTreeMap<String, f64>,
) -> rusqlite::Result<()> {
    const METRICS: [&str; 3] = ["aged", "survived", "reverted"];
    let mut statement = c.prepare_cached(
        "SELECT strategy, sum(fate <> 'merged'), sum(fate = 'survived'), sum(fate = 'reverted')
         FROM heats JOIN results USING (run) JOIN outcomes USING (run)
         WHERE project = ?1 AND won = 1 GROUP BY strategy",
    )?;
    let mut rows = statement.query([project])?;
    while let Some(row) = rows.next()? {
        let strategy: String = row.get(0)?;
        for (index, metric) in METRICS.iter().enumerate() {
            figures.insert(
                format!("strategy/{strategy}/{metric}"),
                count(row, index + 1)?,
            );
        }
    }
    Ok(())
}

/// Counts stay far below where a float would round.
fn count(row: &Row<'_>, index: usize) -> rusqlite::Result<f64> {
    row.get::<_, i64>(index).map(|count| count as f64)
}

pub fn journal(c: &Connection, digest: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    c.prepare_cached("SELECT body FROM journals WHERE digest = ?1")?
        .query_row([digest], |row| row.get(0))
        .optional()
}

pub fn cursor(c: &Connection, consumer: &str) -> rusqlite::Result<i64> {
    let seq = c
        .prepare_cached("SELECT seq FROM cursors WHERE consumer = ?1")?
        .query_row([consumer], |row| row.get(0))
        .optional()?;
    Ok(seq.unwrap_or(0))
}
