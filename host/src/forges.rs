//! Opens what runs offer as pull requests, hears what becomes of them, and tells commits how their tests ended.
//!
//! Touches: http (through `outside/forge`), sqlite (through the store), clock.
//! Change here: when a forge is used otherwise. What a result means for a forge is `rules/pull_request.rs`; what stands in
//! a pull request is `story/report.rs`; which merges may be pushed is asked in `stages/deliver.rs`.
//!
//! Of several hosts one does it at a time. What is asked of a forge may be asked again: a pull request is looked for
//! before it is opened, and that it was opened is a fact only afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::{self, Home};
use crate::event::{ALL_PROJECTS, Event, PullRequest, PullRequestEnd, PullRequestFate, RunId};
use crate::failpoint;
use crate::outside::bus::BusError;
use crate::outside::forge::{Forge, ForgeError, Offer, Pull, PullState, StatusState};
use crate::outside::store::{StoreError, Waiting};
use crate::reception::{self, Bells};
use crate::rules::pull_request::Wanted;
use crate::rules::run::Run;
use crate::rules::{again, pull_request};
use crate::stages::House;
use crate::story;

mod statuses;

/// How soon it is noticed that a run offers something.
const LOOK: Duration = Duration::from_secs(2);
/// Before the log is asked again that could not be read.
const LATER: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
enum ForgesError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Forge(#[from] ForgeError),
}

/// Rung when a forge tells of something, by its name.
pub type Hints = BTreeMap<String, Arc<Notify>>;

/// For as long as the process runs.
pub async fn attend(house: Arc<House>, hints: Hints, bells: Bells) {
    if let Err(error) = statuses::begin(&house).await {
        tracing::error!("no forge is told anything: {error}");
        return;
    }
    loop {
        house.fleet.gets(ALL_PROJECTS).await;
        let mut tasks = tokio::task::JoinSet::new();
        for (name, forge) in &house.forges {
            let agent = Arc::new(Agent {
                house: house.clone(),
                name: name.clone(),
                forge: forge.clone(),
                bells: bells.clone(),
            });
            tasks.spawn(statuses::tell(agent.clone()));
            let hints = hints.get(name).cloned().unwrap_or_default();
            tasks.spawn(async move { agent.work(&hints).await });
        }
        house.fleet.loses(ALL_PROJECTS).await;
        tasks.shutdown().await;
    }
}

/// One forge, and what looking after it takes.
struct Agent {
    house: Arc<House>,
    name: String,
    forge: Forge,
    bells: Bells,
}

/// What could not be done yet, by the event it is about: how often, and when it is tried again.
type Postponed = BTreeMap<String, (u32, Instant)>;

impl Agent {
    fn settings(&self) -> Option<&config::Forge> {
        self.house.settings.forges.get(&self.name)
    }

    /// The project's place on this forge, if it is here.
    fn home(&self, project: &str) -> Option<&Home> {
        let home = self.house.settings.projects.get(project)?.forge.as_ref()?;
        (home.name == self.name).then_some(home)
    }

    async fn work(&self, hints: &Notify) {
        let polls = self.settings().map_or(60, |s| s.poll_seconds);
        let polls = Duration::from_secs(polls.into());
        let mut polled: Option<Instant> = None;
        let mut postponed = Postponed::new();
        loop {
            let due = polled.is_none_or(|at| at.elapsed() >= polls);
            if due {
                polled = Some(Instant::now());
            }
            if let Err(error) = self.look(due, &mut postponed).await {
                tracing::error!(forge = self.name, "the log cannot be read: {error}");
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK.min(polls)) => {}
                () = hints.notified() => polled = None,
            }
        }
    }

    /// Opens what is not open yet; looks what became of the rest where it is time to. What cannot be done for one is
    /// done for it later, and for the others now.
    async fn look(&self, due: bool, postponed: &mut Postponed) -> Result<(), StoreError> {
        let waiting = self.house.store.waiting_for_people().await?;
        let requests = self.house.store.pull_requests().await?;
        let known = requests.iter().map(|o| o.request.about.as_str());
        let known: BTreeSet<&str> = known.collect();
        let is_ours = |w: &&Waiting| self.home(&w.project).is_some();
        let new = |w: &&Waiting| !known.contains(w.because.as_str());
        for waiting in waiting.iter().filter(is_ours).filter(new) {
            if is_due(postponed, &waiting.because) {
                let done = self.offer(waiting).await;
                self.note(postponed, &waiting.because, done);
            }
        }
        if !due {
            return Ok(());
        }
        let waits: BTreeMap<&str, &Waiting> =
            waiting.iter().map(|w| (w.because.as_str(), w)).collect();
        let open: Vec<&PullRequest> = requests
            .iter()
            .filter(|offered| offered.fate.is_none() && offered.request.forge == self.name)
            .map(|offered| &offered.request)
            .collect();
        let mut merging = BTreeSet::new();
        for request in &open {
            if is_due(postponed, &request.about) {
                let waiting = waits.get(request.about.as_str()).copied();
                let done = self.see(request, waiting, &open, &mut merging).await;
                self.note(postponed, &request.about, done);
            }
        }
        Ok(())
    }

    fn note(&self, postponed: &mut Postponed, about: &str, done: Result<(), ForgesError>) {
        let Err(error) = done else {
            postponed.remove(about);
            return;
        };
        let asked = match &error {
            ForgesError::Forge(error) => error.asks_to_wait(),
            _ => None,
        };
        let (attempts, at) = postponed
            .entry(about.to_owned())
            .or_insert((0, Instant::now()));
        *attempts += 1;
        // It is never given up: what is offered waits for people as long as they take.
        let pause = again::pause((*attempts).min(12), asked).unwrap_or_default();
        let pause = Duration::from_secs_f64(pause);
        *at = Instant::now() + pause;
        tracing::warn!(forge = self.name, attempts, ?pause, "{error}");
    }

    async fn run(&self, id: &RunId) -> Result<Option<(Run, Vec<Event>)>, StoreError> {
        let events = self.house.store.run_events(id).await?;
        // What does not fold was written by a newer version; it is for that one.
        let run = Run::replay(&events).ok().flatten();
        Ok(run.map(|run| (run, events)))
    }

    /// One pull request for what the run offers, whatever was done about it before.
    async fn offer(&self, waiting: &Waiting) -> Result<(), ForgesError> {
        let (Some(home), Some((run, events))) =
            (self.home(&waiting.project), self.run(&waiting.run).await?)
        else {
            return Ok(());
        };
        let Some(wanted) = pull_request::wanted(&run, home.pull_requests) else {
            return Ok(());
        };
        let Some((title, body)) = story::offer(&events) else {
            return Ok(());
        };
        let offer = Offer {
            title: self.house.redactor.clean(&title),
            body: self.house.redactor.clean(&body),
            head: wanted.branch.to_owned(),
            base: run.change.branch.clone(),
            draft: wanted.draft,
        };
        let before = self
            .forge
            .find(&home.repo, &offer.head, &offer.base)
            .await?;
        let pull = match before.filter(|pull| pull.state == PullState::Open) {
            Some(pull) if pull.title == offer.title && pull.body == offer.body => pull,
            Some(pull) => self.forge.update(&home.repo, pull.number, &offer).await?,
            None => {
                let pull = self.forge.open(&home.repo, &offer).await?;
                failpoint::reach("after-pull-request");
                pull
            }
        };
        self.dress(home, &run, &pull).await?;
        self.vouch(home, &run, &wanted).await?;
        let request = PullRequest {
            run: waiting.run.clone(),
            about: waiting.because.clone(),
            forge: self.name.clone(),
            repo: home.repo.clone(),
            number: pull.number,
            url: pull.url.clone(),
            commit: wanted.commit.clone(),
        };
        tracing::info!(run = %waiting.run, url = request.url, "a pull request is open");
        let opened = pull_request::opened(&waiting.project, request, Timestamp::now());
        self.house.store.import_and_tell(opened).await?;
        Ok(())
    }

    /// Labels, and whoever is to look at it. A forge that does not want them has a pull request without.
    async fn dress(&self, home: &Home, run: &Run, pull: &Pull) -> Result<(), ForgeError> {
        let labelled = self
            .forge
            .label(&home.repo, pull.number, &home.labels)
            .await;
        self.unless_refused("labels", labelled)?;
        let Some(culprit) = pull_request::culprit(run).filter(|_| home.ask_author) else {
            return Ok(());
        };
        let author = self.forge.author(&home.repo, culprit).await;
        let Some(author) = self.unless_refused("the author", author)?.flatten() else {
            return Ok(());
        };
        let asked = self.forge.ask_to_review(&home.repo, pull.number, &author);
        self.unless_refused("a review", asked.await).map(drop)
    }

    /// What may be merged says so on the forge, where the branch's protection may ask for it. What somebody has to decide
    /// about first does not.
    async fn vouch(&self, home: &Home, run: &Run, wanted: &Wanted<'_>) -> Result<(), ForgeError> {
        if !home.statuses {
            return Ok(());
        }
        let (state, said) = match wanted.draft {
            true => (StatusState::Pending, "somebody has to decide"),
            false => (StatusState::Success, "the tests were run on it"),
        };
        let said = format!("{said}, run {}", run.id);
        let told = self.forge.tell(&home.repo, wanted.commit, state, &said);
        self.unless_refused("a status", told.await).map(drop)
    }

    /// None where the forge said no for good.
    fn unless_refused<T>(
        &self,
        what: &str,
        done: Result<T, ForgeError>,
    ) -> Result<Option<T>, ForgeError> {
        match done {
            Ok(done) => Ok(Some(done)),
            Err(error) if error.may_pass() => Err(error),
            Err(error) => {
                tracing::warn!(forge = self.name, "without {what}: {error}");
                Ok(None)
            }
        }
    }

    async fn see(
        &self,
        request: &PullRequest,
        waiting: Option<&Waiting>,
        open: &[&PullRequest],
        merging: &mut BTreeSet<String>,
    ) -> Result<(), ForgesError> {
        let Some((run, _)) = self.run(&request.run).await? else {
            return Ok(());
        };
        let pull = match self.forge.pull(&request.repo, request.number).await {
            Err(ForgeError::NotFound(because)) => {
                let fate = PullRequestFate::Lost { because };
                return self.end(&run, request, fate).await;
            }
            pull => pull?,
        };
        match (&pull.state, waiting) {
            (PullState::Merged { by, commit }, _) => {
                let fate = PullRequestFate::Merged {
                    by: by.clone(),
                    commit: commit.clone(),
                };
                self.end(&run, request, fate).await?;
                self.tidy(&run, request).await;
                // What landed is looked at now, and not when its time comes.
                self.bells.ring(&run.project);
                Ok(())
            }
            (PullState::Closed, Some(_)) => self.take_rejection(&run, request).await,
            (PullState::Closed, None) => self.end(&run, request, PullRequestFate::Closed).await,
            (PullState::Open, Some(_)) => self.have_it_merged(&run, request, &pull, merging).await,
            (PullState::Open, None) => self.withdraw(&run, request, open).await,
        }
    }

    /// Whoever closes it decides; what they wrote last is the reason.
    async fn take_rejection(&self, run: &Run, request: &PullRequest) -> Result<(), ForgesError> {
        let me = self.forge.login().await?;
        let comments = self.forge.comments(&request.repo, request.number).await?;
        let last = comments.iter().rev().find(|comment| comment.by != me);
        let last = last.map(|comment| (comment.by.as_str(), comment.body.as_str()));
        let review = pull_request::rejection(request, last);
        let id = format!("{}-{}", request.forge, request.about);
        reception::decide(&self.house.store, &run.project, review, &id).await?;
        self.end(run, request, PullRequestFate::Closed).await
    }

    /// The forge's own merge, of one pull request for a branch at a time, and only where what lands is what was tested.
    async fn have_it_merged(
        &self,
        run: &Run,
        request: &PullRequest,
        pull: &Pull,
        merging: &mut BTreeSet<String>,
    ) -> Result<(), ForgesError> {
        let Some(home) = self.home(&run.project).filter(|home| home.auto_merge) else {
            return Ok(());
        };
        if pull.head != request.commit {
            // Somebody pushed to it: what stands there now was tested by nobody here.
            if pull.merges_itself {
                let stopped = self.forge.do_not_merge(&home.repo, pull).await;
                self.unless_refused("stopping its merge", stopped)?;
            }
            return Ok(());
        }
        let is_decided = pull_request::wanted(run, home.pull_requests).is_some_and(|w| w.merge);
        let branch = format!("{} {}", request.repo, run.change.branch);
        if !is_decided || !merging.insert(branch) || pull.merges_itself {
            return Ok(());
        }
        let protection = self
            .forge
            .protection(&home.repo, &run.change.branch)
            .await?;
        if !protection.up_to_date {
            tracing::debug!(run = %run.id, "the forge may merge what is not up to date: people merge it");
            return Ok(());
        }
        let merged = self
            .forge
            .merge_once_it_can(&home.repo, pull, &request.commit)
            .await;
        self.unless_refused("a merge by itself", merged)?;
        Ok(())
    }

    /// Nobody has to decide any more.
    async fn withdraw(
        &self,
        run: &Run,
        request: &PullRequest,
        open: &[&PullRequest],
    ) -> Result<(), ForgesError> {
        let Some(because) = pull_request::withdrawn(run) else {
            return Ok(());
        };
        let same = |r: &&&PullRequest| r.repo == request.repo && r.number == request.number;
        if open.iter().filter(same).any(|r| r.about != request.about) {
            let because = "it was offered anew".to_owned();
            return self
                .end(run, request, PullRequestFate::Withdrawn { because })
                .await;
        }
        self.forge.close(&request.repo, request.number).await?;
        let words = format!("Closed by ChangeBus: {}.", story::text::prose(&because));
        let said = self
            .forge
            .comment(&request.repo, request.number, &words)
            .await;
        self.unless_refused("a word", said)?;
        self.tidy(run, request).await;
        self.end(run, request, PullRequestFate::Withdrawn { because })
            .await
    }

    /// A branch that stays harms nobody.
    async fn tidy(&self, run: &Run, request: &PullRequest) {
        let branch = format!("changebus/{}", run.id);
        if let Err(error) = self.forge.remove_branch(&request.repo, &branch).await {
            tracing::warn!(forge = self.name, branch, "its branch stays: {error}");
        }
    }

    async fn end(
        &self,
        run: &Run,
        request: &PullRequest,
        fate: PullRequestFate,
    ) -> Result<(), ForgesError> {
        let end = PullRequestEnd {
            run: request.run.clone(),
            about: request.about.clone(),
            forge: request.forge.clone(),
            number: request.number,
            fate,
        };
        let ended = pull_request::ended(&run.project, end, Timestamp::now());
        self.house.store.import_and_tell(ended).await?;
        Ok(())
    }
}

fn is_due(postponed: &Postponed, about: &str) -> bool {
    postponed
        .get(about)
        .is_none_or(|(_, at)| *at <= Instant::now())
}
