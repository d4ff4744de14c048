//! The one thread that writes: takes work from a queue and commits what has piled up together. A second one tells what became
//! of it.
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

type Answer = Result<Option<Box<Draft>>, StoreError>;

/// Whether there is an event now that was not there before.
type Done = Result<bool, StoreError>;

struct Job {
    work: Work,
    reply: oneshot::Sender<Answer>,
}

/// What became of a job, on its way to whoever asked.
type Answered = (oneshot::Sender<Answer>, Answer);

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
        let cannot = |source| StoreError::File {
            doing: "start the writer of",
            path: path.to_owned(),
            source,
        };
        let (answers, answered) = mpsc::channel();
        let answering = std::thread::Builder::new()
            .name("event-answers".into())
            .spawn(move || tell(&answered, &newest))
            .map_err(cannot)?;
        let desk = Desk {
            path: path.to_owned(),
            connection,
            answers,
            tenures,
            fresh: bodies::Fresh::default(),
            ends: None,
        };
        let thread = std::thread::Builder::new()
            .name("event-store".into())
            .spawn(move || {
                desk.serve(&jobs);
                lock.leave(&database);
                answering.join().ok();
            })
            .map_err(cannot)?;
        Ok(Writer {
            path: path.to_owned(),
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// The event, for an append; on disk when this returns.
    pub async fn perform(&self, work: Work) -> Result<Option<Event>, StoreError> {
        let stopped = || StoreError::Stopped {
            path: self.path.clone(),
        };
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(Job { work, reply }).map_err(|_| stopped())?;
        let written = answer.await.unwrap_or_else(|_| Err(stopped()))?;
        Ok(written.map(|draft| draft.into_event()))
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
    answers: mpsc::Sender<Vec<Answered>>,
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
        let (mut works, replies): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|job| (job.work, job.reply)).unzip();
        works.iter().for_each(|work| self.note(work));
        let done = match self.attempt(&mut works) {
            Ok(done) => done,
            Err(error) if works.len() == 1 => vec![Err(error)],
            // Nothing of the batch was kept. One by one, only the one at fault fails.
            Err(_) => works.iter_mut().map(|work| self.alone(work)).collect(),
        };
        let answers = works.into_iter().zip(done).map(|(work, done)| match work {
            Work::Append(draft) | Work::Import { draft, .. } => {
                done.map(|new| new.then_some(draft))
            }
            _ => done.map(|_| None),
        });
        // They are listened to until this end of the channel is dropped.
        self.answers
            .send(replies.into_iter().zip(answers).collect())
            .ok();
    }

    /// Before anything of the batch is done: what is kept in it must not be removed in it.
    fn note(&mut self, work: &Work) {
        match work {
            Work::Keep { digest, .. } => self.fresh.keep(digest),
            Work::BeginRemoval(_) => self.fresh.turn(),
            _ => {}
        }
    }

    fn alone(&mut self, work: &mut Work) -> Done {
        let done = self.attempt(std::slice::from_mut(work))?;
        done.into_iter().next().unwrap_or(Ok(false))
    }

    /// All of it in one transaction; some errors concern only the one who asked.
    fn attempt(&mut self, works: &mut [Work]) -> Result<Vec<Done>, StoreError> {
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
        let mut done = Vec::with_capacity(works.len());
        for work in works {
            match perform(&tx, &mut ends, work, &self.tenures, &self.fresh) {
                Ok(new) => done.push(Ok(new)),
                Err(ReadError::Told(error)) if error.concerns_one() => done.push(Err(*error)),
                Err(ReadError::Told(error)) => return Err(*error),
                Err(ReadError::Sqlite(error)) => return Err(refused(error)),
            }
        }
        tx.commit().map_err(refused)?;
        self.ends = Some(ends);
        Ok(done)
    }

    fn checkpoint(&self) {
        // Only tidies; a reader in the way is no reason to complain.
        self.connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .ok();
    }
}

/// Tells what became of it, on a thread of its own: to wake whoever waits can take as long as to write, and the next
/// batch can be written meanwhile.
fn tell(answered: &mpsc::Receiver<Vec<Answered>>, newest: &watch::Sender<i64>) {
    for batch in answered {
        let written = batch
            .iter()
            .filter_map(|(_, answer)| answer.as_ref().ok()?.as_ref());
        if let Some(seq) = written.map(|draft| draft.event().seq).max() {
            newest.send_replace(seq);
        }
        for (reply, answer) in batch {
            // Whoever asked may have gone; the work is done all the same.
            reply.send(answer).ok();
        }
    }
}

fn perform(
    tx: &rusqlite::Transaction<'_>,
    ends: &mut Ends,
    work: &mut Work,
    tenures: &Tenures,
    fresh: &bodies::Fresh,
) -> Result<bool, ReadError> {
    match work {
        Work::Append(draft) => {
            let epoch = tenures.of(draft.project())?;
            if tenures.in_a_fleet() {
                draft.comes_first(tx)?;
            }
            let place = draft.write(tx, ends, epoch)?;
            if tenures.in_a_fleet() {
                post::put_out(tx, draft.event().seq)?;
            }
            derived::take_in(tx, draft.event(), place)?;
            Ok(true)
        }
        Work::Import { draft, tell } => {
            let new = draft.import(tx, ends)?;
            if new {
                if *tell && tenures.in_a_fleet() {
                    post::put_out(tx, draft.event().seq)?;
                }
                derived::take_in(tx, draft.event(), Place::Anywhere)?;
            }
            Ok(new)
        }
        Work::Fleet(work) => {
            post::perform(tx, work)?;
            Ok(false)
        }
        Work::Keep { digest, body } => {
            // The table is called after what it held first.
            tx.prepare_cached("INSERT OR IGNORE INTO journals (digest, body) VALUES (?1, ?2)")?
                .execute(rusqlite::params![*digest, *body])?;
            Ok(false)
        }
        Work::BeginRemoval(removal) => {
            bodies::begin(tx, removal)?;
            Ok(false)
        }
        Work::Remove(digests) => {
            bodies::remove(tx, digests, fresh)?;
            Ok(false)
        }
        Work::Advance { consumer, seq } => {
            tx.prepare_cached(
                "INSERT INTO cursors (consumer, seq) VALUES (?1, ?2)
                 ON CONFLICT (consumer) DO UPDATE SET seq = max(seq, excluded.seq)",
            )?
            .execute(rusqlite::params![*consumer, *seq])?;
            Ok(false)
        }
        Work::Rebuild => {
            derived::rebuild(tx)?;
            Ok(false)
        }
    }
}
