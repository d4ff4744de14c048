//! The one thread that writes: takes work from a queue and commits what has piled up together.
//!
//! Touches: sqlite (holds the lock, through `store/file.rs`).
//! Change here: when something besides events, what they name, cursors and derived tables is written.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{oneshot, watch};

use super::record::{Draft, Ends, Place};
use super::tenure::Tenures;
use super::{ReadError, StoreError, bodies, derived, file, post};
use crate::event::Event;

/// Most pieces of work that share one commit, and so one wait for the disk.
const BATCH: usize = 64;

/// A pause this long is used to fold the write-ahead log back into the database.
const IDLE: Duration = Duration::from_secs(30);

/// Something to write.
pub enum Work {
    Append(Box<Draft>),
    /// What somebody else stated: a host, or an application.
    Import {
        draft: Box<Draft>,
        event: Box<Event>,
        /// The fleet is still to hear of it.
        tell: bool,
    },
    Fleet(post::Work),
    /// What a fact names by its digest.
    Keep {
        digest: String,
        body: Vec<u8>,
    },
    /// Bodies are going to be removed.
    BeginRemoval(bodies::Removal),
    Remove(Vec<String>),
    Advance {
        consumer: String,
        seq: i64,
    },
    Rebuild,
}

type Answer = Result<Option<Event>, StoreError>;

struct Job {
    work: Work,
    reply: oneshot::Sender<Answer>,
}

/// The queue's near end. Dropping it waits until all that was queued is written and the lock is free.
pub struct Writer {
    path: PathBuf,
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub fn start(
        path: &Path,
        connection: Connection,
        lock: file::Lock,
        newest: Arc<watch::Sender<i64>>,
        tenures: Tenures,
    ) -> Result<Writer, StoreError> {
        let (queue, jobs) = mpsc::channel();
        let database = path.to_owned();
        let desk = Desk {
            path: path.to_owned(),
            connection,
            newest,
            tenures,
            fresh: bodies::Fresh::default(),
            ends: None,
        };
        let thread = std::thread::Builder::new()
            .name("event-store".into())
            .spawn(move || {
                desk.serve(&jobs);
                lock.leave(&database);
            })
            .map_err(|source| StoreError::File {
                doing: "start the writer of",
                path: path.to_owned(),
                source,
            })?;
        Ok(Writer {
            path: path.to_owned(),
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// The event, for an append; on disk when this returns.
    pub async fn perform(&self, work: Work) -> Answer {
        let stopped = || StoreError::Stopped {
            path: self.path.clone(),
        };
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(Job { work, reply }).map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // A panic over there has already been printed, and there is nobody left to tell.
            thread.join().ok();
        }
    }
}

/// The queue's far end.
struct Desk {
    path: PathBuf,
    connection: Connection,
    newest: Arc<watch::Sender<i64>>,
    tenures: Tenures,
    fresh: bodies::Fresh,
    /// None before the first commit and after one that failed.
    ends: Option<Ends>,
}

impl Desk {
    fn serve(mut self, jobs: &mpsc::Receiver<Job>) {
        let mut written = false;
        loop {
            match jobs.recv_timeout(IDLE) {
                Ok(first) => {
                    let batch = std::iter::once(first).chain(jobs.try_iter().take(BATCH - 1));
                    self.commit(batch.collect());
                    written = true;
                }
                Err(mpsc::RecvTimeoutError::Timeout) if written => {
                    self.checkpoint();
                    written = false;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn commit(&mut self, batch: Vec<Job>) {
        let (works, replies): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|job| (job.work, job.reply)).unzip();
        works.iter().for_each(|work| self.note(work));
        let answers = match self.attempt(&works) {
            Ok(answers) => answers,
            Err(error) if works.len() == 1 => vec![Err(error)],
            // Nothing of the batch was kept. One by one, only the one at fault fails.
            Err(_) => works.iter().map(|work| self.alone(work)).collect(),
        };
        self.tell_newest(&answers);
        for (reply, answer) in replies.into_iter().zip(answers) {
            // Whoever asked may have gone; the work is done all the same.
            reply.send(answer).ok();
        }
    }

    /// Before anything of the batch is done: what is kept in it must not be removed in it.
    fn note(&mut self, work: &Work) {
        match work {
            Work::Keep { digest, .. } => self.fresh.keep(digest),
            Work::BeginRemoval(_) => self.fresh.turn(),
            _ => {}
        }
    }

    fn alone(&mut self, work: &Work) -> Answer {
        let answers = self.attempt(std::slice::from_ref(work))?;
        answers.into_iter().next().unwrap_or(Ok(None))
    }

    /// All of it in one transaction; some errors concern only the one who asked.
    fn attempt(&mut self, works: &[Work]) -> Result<Vec<Answer>, StoreError> {
        let refused = file::refused(&self.path);
        let tx = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(&refused)?;
        // Put back only when all of it is kept: then it is still true.
        let mut ends = match self.ends.take() {
            Some(ends) => ends,
            None => Ends::read(&tx).map_err(&refused)?,
        };
        let mut answers = Vec::with_capacity(works.len());
        for work in works {
            match perform(&tx, &mut ends, work, &self.tenures, &self.fresh) {
                Ok(event) => answers.push(Ok(event)),
                Err(ReadError::Told(error)) if error.concerns_one() => answers.push(Err(*error)),
                Err(ReadError::Told(error)) => return Err(*error),
                Err(ReadError::Sqlite(error)) => return Err(refused(error)),
            }
        }
        tx.commit().map_err(refused)?;
        self.ends = Some(ends);
        Ok(answers)
    }

    fn tell_newest(&self, answers: &[Answer]) {
        let events = answers.iter().filter_map(|a| a.as_ref().ok()?.as_ref());
        if let Some(newest) = events.map(|event| event.seq).max() {
            self.newest.send_replace(newest);
        }
    }

    fn checkpoint(&self) {
        // Only tidies; a reader in the way is no reason to complain.
        self.connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .ok();
    }
}

fn perform(
    tx: &rusqlite::Transaction<'_>,
    ends: &mut Ends,
    work: &Work,
    tenures: &Tenures,
    fresh: &bodies::Fresh,
) -> Result<Option<Event>, ReadError> {
    match work {
        Work::Append(draft) => {
            let epoch = tenures.of(draft.project())?;
            if tenures.in_a_fleet() {
                draft.comes_first(tx)?;
            }
            let (event, place) = draft.write(tx, ends, epoch)?;
            if tenures.in_a_fleet() {
                post::put_out(tx, event.seq)?;
            }
            derived::take_in(tx, &event, place)?;
            Ok(Some(event))
        }
        Work::Import { draft, event, tell } => {
            let kept = draft.import(tx, ends, event)?;
            if let Some(event) = &kept {
                if *tell && tenures.in_a_fleet() {
                    post::put_out(tx, event.seq)?;
                }
                derived::take_in(tx, event, Place::Anywhere)?;
            }
            Ok(kept)
        }
        Work::Fleet(work) => {
            post::perform(tx, work)?;
            Ok(None)
        }
        Work::Keep { digest, body } => {
            // The table is called after what it held first.
            tx.prepare_cached("INSERT OR IGNORE INTO journals (digest, body) VALUES (?1, ?2)")?
                .execute(rusqlite::params![digest, body])?;
            Ok(None)
        }
        Work::BeginRemoval(removal) => {
            bodies::begin(tx, removal)?;
            Ok(None)
        }
        Work::Remove(digests) => {
            bodies::remove(tx, digests, fresh)?;
            Ok(None)
        }
        Work::Advance { consumer, seq } => {
            tx.prepare_cached(
                "INSERT INTO cursors (consumer, seq) VALUES (?1, ?2)
                 ON CONFLICT (consumer) DO UPDATE SET seq = max(seq, excluded.seq)",
            )?
            .execute(rusqlite::params![consumer, seq])?;
            Ok(None)
        }
        Work::Rebuild => {
            derived::rebuild(tx)?;
            Ok(None)
        }
    }
}
