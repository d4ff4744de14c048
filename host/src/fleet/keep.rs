//! The keeper: gives signs of life, sees who else does, claims projects and gives them back.
//!
//! Touches: network (through `outside/nats`), sqlite (through the store), files, clock.
//! Change here: when a project should change hands sooner or later. Whose it should be is `rules/fleet.rs`.
//!
//! No clock is compared with another host's. A host counts as gone when its entry has stood unchanged for most of the time
//! of a lease by the watch of whoever looks, and it stops acting a little before that by its own. The rest of the lease is
//! for whoever goes on to be at work by its end.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::outside::nats::{Entry, Holding, Leases, Link};
use crate::rules::fleet::{Held, Host, Step, step};

use super::{FleetError, Membership};

/// Signs of life within the time of a lease, and at least so often.
const BEATS: u32 = 5;
const BEAT: Duration = Duration::from_secs(2);
/// After connecting, before anything is claimed that seems free.
const SETTLING: Duration = Duration::from_millis(2500);
/// Until every host that is there has noticed that the server lost everything, and has connected again.
const NOTICING: Duration = Duration::from_secs(10);
/// Leases after which nobody waits any longer for a host that cannot tell what it knows.
const TELLING: u32 = 60;
/// Between two looks whether everything was heard that was told before a claim.
const CATCHING_UP: Duration = Duration::from_millis(50);
/// For giving everything back when the process is asked to end.
const PARTING: Duration = Duration::from_secs(2);

/// An entry, and since when it has stood so by this host's watch.
struct Seen {
    entry: Entry,
    since: Instant,
}

/// What this host knows of the others, for the time of one connection.
struct Board<'a> {
    membership: &'a Membership,
    link: &'a Link,
    leases: Leases,
    seen: BTreeMap<String, Seen>,
    since: Instant,
    /// Claimed, with the tenure and the place in the stream that has to be heard first.
    claimed: BTreeMap<String, (u64, u64)>,
    /// Ended here, and still to be written so.
    parting: BTreeMap<String, u64>,
}

impl Membership {
    pub(super) async fn keep(&self, link: &Link) -> Result<(), FleetError> {
        let leases = link.leases().await?;
        let mut changes = leases.follow().await?;
        let mut board = Board {
            membership: self,
            link,
            leases,
            seen: BTreeMap::new(),
            since: Instant::now(),
            claimed: BTreeMap::new(),
            parting: BTreeMap::new(),
        };
        let mut beats = tokio::time::interval(BEAT.min(self.lease() / BEATS));
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks = tokio::time::interval(CATCHING_UP);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                change = changes.next() => match change {
                    Some(entry) => board.see(entry?),
                    None => return Err(FleetError::Ended("following the leases")),
                },
                _ = beats.tick() => board.beat().await?,
                _ = looks.tick(), if board.has_looks() => board.look().await?,
            }
        }
    }

    /// Ends every tenure and says so, as far as the server can be reached.
    pub(super) async fn hand_back(&self) {
        self.ending.store(true, Ordering::Relaxed);
        for project in self.held.send_replace(Default::default()) {
            self.store.tenures().end(&project);
        }
        match tokio::time::timeout(PARTING, self.say_goodbye()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("others have to miss this host first: {error}"),
            Err(_) => tracing::warn!("others have to miss this host first"),
        }
    }

    /// Returns once the host's entry says that it is leaving, and its projects' that they are free.
    async fn say_goodbye(&self) -> Result<(), FleetError> {
        let link = Link::connect(&self.config.bus, &self.host).await?;
        let leases = link.leases().await?;
        let mut changes = leases.follow().await?;
        let own = of_host(&self.host);
        let mut said = false;
        while let Some(entry) = changes.next().await {
            let Entry {
                key,
                holding,
                revision,
            } = entry?;
            if holding.host == self.host && !holding.leaving {
                let leaving = Holding {
                    leaving: true,
                    ..holding
                };
                // Where somebody was faster, the entry comes again as it stands then.
                leases.write(&key, &leaving, Some(revision)).await?;
            } else if key == own {
                said = true;
            }
            if said && !changes.has_more() {
                break;
            }
        }
        Ok(())
    }

    fn lease(&self) -> Duration {
        Duration::from_secs(self.config.bus.lease_seconds)
    }

    fn is_leaving(&self) -> bool {
        self.ending.load(Ordering::Relaxed) || self.drain.exists()
    }
}

/// Tenures count with the clock, so that a server that forgot them all does not let two hosts count alike.
fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default()
}

fn in_hand(membership: &Membership, project: &str) -> bool {
    membership.held.borrow().contains(project)
}

fn of_host(host: &str) -> String {
    format!("host.{host}")
}

fn of_project(project: &str) -> String {
    format!("project.{project}")
}

impl Board<'_> {
    fn see(&mut self, entry: Entry) {
        let project = entry.key.strip_prefix("project.").map(str::to_owned);
        if let Some(project) = project
            && entry.holding.host != self.membership.host
        {
            self.lose(&project);
        }
        let newer = |seen: &Seen| seen.entry.revision < entry.revision;
        if self.seen.get(&entry.key).is_none_or(newer) {
            let since = Instant::now();
            self.seen.insert(entry.key.clone(), Seen { entry, since });
        }
    }

    /// One sign of life, and then what it allows.
    async fn beat(&mut self) -> Result<(), FleetError> {
        let me = &self.membership.host;
        let key = of_host(me);
        let started = Instant::now();
        let sign = Holding {
            host: me.clone(),
            leaving: self.membership.is_leaving(),
            labels: self.membership.config.host.labels.clone(),
            told: self.membership.told_all.load(Ordering::Relaxed),
            ..Holding::default()
        };
        match self.write(&key, sign).await? {
            true => {
                // Others wait from when they saw it, which was later.
                let lasts = self.membership.lease() * 7 / 10;
                self.membership.store.tenures().extend(started + lasts);
            }
            // Another process of this name, or an answer that was lost: the entry will be seen as it stands.
            false => tracing::debug!("another sign of life came before"),
        }
        let hosts = self.hosts();
        for (name, wants) in self.membership.to_share() {
            if self.membership.own.contains(name) || self.parting.contains_key(name) {
                continue;
            }
            // The entries are gone with the server's data, and this host still has the project.
            let lost = in_hand(self.membership, name) && !self.seen.contains_key(&of_project(name));
            match step(me, wants, &hosts, self.held(name)) {
                _ if lost => self.claim(name).await?,
                Step::Claim
                    if !self.claimed.contains_key(name) && self.is_settled(name).await? =>
                {
                    self.claim(name).await?
                }
                Step::GiveBack if !self.membership.busy().contains_key(name) => self.part(name),
                Step::Leave => self.part_with_what_an_earlier_life_held(name),
                _ => {}
            }
        }
        Ok(())
    }

    /// True if it was written: nobody had written since this host saw it.
    async fn write(&mut self, key: &str, holding: Holding) -> Result<bool, FleetError> {
        let known = self.seen.get(key).map(|seen| seen.entry.revision);
        let Some(revision) = self.leases.write(key, &holding, known).await? else {
            return Ok(false);
        };
        let key = key.to_owned();
        self.see(Entry {
            key,
            holding,
            revision,
        });
        Ok(true)
    }

    /// What those hosts say that gave a sign of life within the time of a lease; this one always did.
    fn signs(&self) -> impl Iterator<Item = &Holding> {
        let alive = self.seen.values().filter(|seen| {
            let host = &seen.entry.holding.host;
            seen.entry.key == of_host(host) && self.is_alive(host)
        });
        alive.map(|seen| &seen.entry.holding)
    }

    fn hosts(&self) -> Vec<Host> {
        let host = |sign: &Holding| Host {
            name: sign.host.clone(),
            labels: sign.labels.clone(),
            leaving: sign.leaving,
        };
        self.signs().map(host).collect()
    }

    fn is_alive(&self, host: &str) -> bool {
        if *host == self.membership.host {
            return true;
        }
        // Who was never seen may only not have been seen yet.
        let since = self
            .seen
            .get(&of_host(host))
            .map_or(self.since, |s| s.since);
        since.elapsed() < self.membership.lease() * 8 / 10
    }

    fn held(&self, project: &str) -> Held<'_> {
        let Some(seen) = self.seen.get(&of_project(project)) else {
            return Held::Free;
        };
        let holding = &seen.entry.holding;
        if holding.leaving || holding.host.is_empty() || !self.is_alive(&holding.host) {
            return Held::Free;
        }
        // Of an earlier life of this process, or never begun.
        if holding.host == self.membership.host && !in_hand(self.membership, project) {
            return Held::Free;
        }
        Held::By(&holding.host)
    }

    /// Others had the time to show themselves, and have told what they know. Where no entry stands for a project that
    /// somebody worked on, the server lost it, and whoever had it needs a while to notice and be back.
    async fn is_settled(&self, project: &str) -> Result<bool, FleetError> {
        let lease = self.membership.lease();
        let is_known = self.seen.contains_key(&of_project(project));
        let wait = match is_known || self.membership.store.newest_epoch(project).await? == 0 {
            true => SETTLING.min(lease / 4),
            false => lease + NOTICING,
        };
        let here = self.since.elapsed();
        Ok(here > wait && (here > lease * TELLING || self.signs().all(|sign| sign.told)))
    }

    /// Writes it so, if nobody was faster; the tenure begins once everything was heard that came before.
    async fn claim(&mut self, project: &str) -> Result<(), FleetError> {
        let key = of_project(project);
        let before = self.seen.get(&key).map_or(0, |s| s.entry.holding.epoch);
        let known = self.membership.store.newest_epoch(project).await?;
        let epoch = (before.max(known) + 1).max(now());
        let holding = Holding {
            host: self.membership.host.clone(),
            epoch,
            ..Holding::default()
        };
        if self.write(&key, holding).await? {
            let last = self.link.stream().await?.last;
            self.claimed.insert(project.to_owned(), (epoch, last));
        }
        Ok(())
    }

    fn has_looks(&self) -> bool {
        !self.claimed.is_empty() || !self.parting.is_empty()
    }

    async fn look(&mut self) -> Result<(), FleetError> {
        let heard = match self.claimed.values().map(|(_, last)| *last).max() {
            Some(last) => self.link.has_heard(&self.membership.host, last).await?,
            None => false,
        };
        if heard {
            for (project, (epoch, _)) in std::mem::take(&mut self.claimed) {
                self.begin(project, epoch);
            }
        }
        if !self.parting.is_empty() && self.membership.store.backlog().await?.0 == 0 {
            for (project, epoch) in std::mem::take(&mut self.parting) {
                let given = Holding {
                    host: self.membership.host.clone(),
                    epoch,
                    leaving: true,
                    ..Holding::default()
                };
                self.write(&of_project(&project), given).await?;
            }
        }
        Ok(())
    }

    fn begin(&self, project: String, epoch: u64) {
        tracing::info!(project, epoch, "in this host's hands");
        self.membership.store.tenures().begin(&project, epoch);
        self.membership.held.send_modify(|held| {
            held.insert(project);
        });
    }

    /// Ends the tenure here; it is written so once everything of it was told.
    fn part(&mut self, project: &str) {
        if let Ok(epoch) = self.membership.store.tenures().of(project) {
            self.lose(project);
            self.parting.insert(project.to_owned(), epoch);
        }
    }

    /// Others see this host alive, and would wait for ever.
    fn part_with_what_an_earlier_life_held(&mut self, project: &str) {
        let Some(seen) = self.seen.get(&of_project(project)) else {
            return;
        };
        let holding = &seen.entry.holding;
        let ours = holding.host == self.membership.host && !holding.leaving;
        if ours && !in_hand(self.membership, project) && !self.claimed.contains_key(project) {
            self.parting.insert(project.to_owned(), holding.epoch);
        }
    }

    fn lose(&mut self, project: &str) {
        self.claimed.remove(project);
        self.membership.store.tenures().end(project);
        let lost = self
            .membership
            .held
            .send_if_modified(|held| held.remove(project));
        if lost {
            tracing::info!(project, "out of this host's hands");
        }
    }
}
