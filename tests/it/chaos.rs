//! Three hosts and a server on a bad day: killed, stopped and wiped at seeded instants, while people push.
//!
//! Touches: files, processes, git, http, sqlite, network (loopback), clock.
//! Change here: when a fleet promises something new: add it to `Aftermath`.
//!
//! The ordinary run is short. `cargo xtask chaos --minutes N --seed S` tells the long one; the same seed brings the same
//! faults in the same order, as far as the machine lets it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use changebus::event::{Delivery, Event, Fact, IgnoreReason, Oid, RunId, RunStatus, Sighting};
use changebus::outside::store::Store;
use changebus_tests::fleet::{BAD, Fleet, GOOD, all_adopted};
use changebus_tests::world::{Daemon, git, pause, processes_of};

const HOSTS: [&str; 3] = ["ada", "bob", "cyd"];
/// From the last push and the last fault to the end of everything.
const SETTLING: Duration = Duration::from_secs(240);

/// How bad the day is.
struct Day {
    seed: u64,
    projects: usize,
    pushes: usize,
    lasts: Duration,
}

impl Day {
    /// As the environment says, or a short one.
    fn planned() -> Day {
        let number = |name: &str| {
            std::env::var(name).ok().map(|text| {
                text.parse::<u64>()
                    .unwrap_or_else(|e| panic!("{name}={text}: {e}"))
            })
        };
        let seed = number("CHANGEBUS_CHAOS_SEED").unwrap_or(11);
        match number("CHANGEBUS_CHAOS_MINUTES") {
            None => Day {
                seed,
                projects: 5,
                pushes: 20,
                lasts: Duration::from_secs(30),
            },
            Some(minutes) => Day {
                seed,
                projects: 30,
                pushes: 300.max(60 * minutes as usize),
                lasts: Duration::from_secs(60 * minutes),
            },
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    HostKilled,
    HostStopped,
    ServerKilled,
    ServerStopped,
    StreamWiped,
}

/// A host that is away, and until when.
enum Away {
    Dead(Instant),
    Stopped(Instant),
}

struct Chaos {
    fleet: Fleet,
    random: fastrand::Rng,
    hosts: BTreeMap<&'static str, Option<Daemon>>,
    away: BTreeMap<&'static str, Away>,
    server_back: Option<(Instant, Fault)>,
    quiet_until: Instant,
    /// The server lost everything, and not all of it was told again.
    retelling: bool,
    faults: BTreeMap<Fault, usize>,
    /// Every pushed commit, by project, in order.
    pushed: BTreeMap<String, Vec<String>>,
}

impl Chaos {
    async fn begin(day: &Day) -> Chaos {
        let mut fleet = Fleet::new(&HOSTS, day.projects).await;
        fleet.interval_seconds = 2;
        let hosts = HOSTS.map(|host| (host, Some(fleet.daemon(host))));
        let chaos = Chaos {
            fleet,
            random: fastrand::Rng::with_seed(day.seed),
            hosts: BTreeMap::from(hosts),
            away: BTreeMap::new(),
            server_back: None,
            quiet_until: Instant::now(),
            retelling: false,
            faults: BTreeMap::new(),
            pushed: BTreeMap::new(),
        };
        let projects = &chaos.fleet.projects;
        chaos
            .fleet
            .until(HOSTS[0], "every tip is known", |e| all_adopted(e, projects))
            .await;
        chaos
    }

    fn push(&mut self, nth: usize) {
        let project = self
            .random
            .choice(&self.fleet.projects)
            .expect("there are some")
            .clone();
        // A third is broken.
        let shop = if self.random.u8(0..3) == 0 { BAD } else { GOOD };
        let commit = self.fleet.push(&project, &format!("Change {nth}"), shop);
        self.pushed.entry(project).or_default().push(commit);
    }

    /// The server loses all it ever acknowledged. Only while everybody is there to tell it again, and nobody dies before
    /// that is done: what it loses with the only host that knew it, nobody can know.
    fn wipe(&mut self) {
        self.fleet.nats.wipe();
        self.count(Fault::StreamWiped);
        self.quiet_until = Instant::now() + Duration::from_secs(10);
        self.retelling = true;
    }

    /// Whether somebody still has something to tell that the server may have lost.
    async fn is_retelling(&mut self) -> bool {
        if self.retelling && self.quiet_until <= Instant::now() {
            let mut left = 0;
            for host in HOSTS {
                let path = self.fleet.state(host).join("events.sqlite");
                let store = Store::open_read_only(&path).expect("the log is there");
                left += store.backlog().await.expect("it can be asked").0;
            }
            self.retelling = left > 0;
        }
        self.retelling
    }

    fn may_wipe(&self) -> bool {
        let all_there = self.away.is_empty() && self.server_back.is_none();
        all_there && !self.faults.contains_key(&Fault::StreamWiped)
    }

    fn strike(&mut self) {
        if self.quiet_until > Instant::now() {
            return;
        }
        let seconds = Duration::from_secs_f64(self.random.f64() * 4.0 + 0.5);
        let back = Instant::now() + seconds;
        let host: &'static str = self.random.choice(HOSTS).expect("there are some");
        match self.random.u8(0..10) {
            0..=3 if !self.away.contains_key(host) => {
                let daemon = self.hosts.get_mut(host).expect("it is one of ours");
                if let Some(mut daemon) = daemon.take() {
                    daemon.kill();
                }
                self.away.insert(host, Away::Dead(back));
                self.count(Fault::HostKilled);
            }
            4..=6 if !self.away.contains_key(host) => {
                if let Some(Some(daemon)) = self.hosts.get(host) {
                    daemon.pause(true);
                }
                // Longer than a lease, so that it is missed.
                let back = back + Duration::from_secs(self.fleet.lease_seconds);
                self.away.insert(host, Away::Stopped(back));
                self.count(Fault::HostStopped);
            }
            7 if self.server_back.is_none() => {
                self.fleet.nats.kill();
                self.server_back = Some((back, Fault::ServerKilled));
                self.count(Fault::ServerKilled);
            }
            8 if self.server_back.is_none() => {
                self.fleet
                    .nats
                    .pid()
                    .into_iter()
                    .for_each(|pid| pause(pid, true));
                self.server_back = Some((back, Fault::ServerStopped));
                self.count(Fault::ServerStopped);
            }
            9 if self.may_wipe() => self.wipe(),
            _ => {}
        }
    }

    fn count(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Brings back what has been away for long enough; everything where `all` is.
    fn mend(&mut self, all: bool) {
        let due = |back: &Instant| all || *back <= Instant::now();
        let hosts: Vec<&'static str> = self.away.keys().copied().collect();
        for host in hosts {
            match &self.away[host] {
                Away::Dead(back) if due(back) => {
                    self.hosts.insert(host, Some(self.fleet.daemon(host)));
                    self.away.remove(host);
                }
                Away::Stopped(back) if due(back) => {
                    if let Some(Some(daemon)) = self.hosts.get(host) {
                        daemon.pause(false);
                    }
                    self.away.remove(host);
                }
                _ => {}
            }
        }
        match &self.server_back {
            Some((back, Fault::ServerKilled)) if due(back) => {
                self.fleet.nats.resume_or_start();
                self.server_back = None;
            }
            Some((back, _)) if due(back) => {
                self.fleet
                    .nats
                    .pid()
                    .into_iter()
                    .for_each(|pid| pause(pid, false));
                self.server_back = None;
            }
            _ => {}
        }
    }

    /// Pushes and faults, spread over the day.
    async fn rage(&mut self, day: &Day) {
        let started = Instant::now();
        let (mut pushed, mut next_fault) = (0, Duration::from_secs(2));
        while started.elapsed() < day.lasts || pushed < day.pushes {
            let part = started.elapsed().as_secs_f64() / day.lasts.as_secs_f64();
            if pushed < day.pushes && (pushed as f64) < part * day.pushes as f64 {
                self.push(pushed);
                pushed += 1;
            }
            let is_day = started.elapsed() < day.lasts;
            if started.elapsed() >= next_fault && is_day && !self.is_retelling().await {
                self.strike();
                next_fault += Duration::from_secs_f64(self.random.f64() * 3.0 + 1.0);
            }
            // The one fault that every day has.
            if part > 0.5 && self.may_wipe() {
                self.wipe();
            }
            self.mend(false);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.mend(true);
    }

    /// Waits until nothing is under way and every tip was looked at, as a host sees it that knew nothing before.
    async fn settle(&mut self) -> Vec<Event> {
        let _eve = self.fleet.daemon("eve");
        let started = Instant::now();
        loop {
            let events = self.fleet.events("eve").await;
            let story = Story::of(&events);
            let open = story.open();
            let unseen: Vec<&String> = self
                .fleet
                .projects
                .iter()
                .filter(|p| !story.has_seen(p, &self.fleet.tip(p)))
                .collect();
            if open.is_empty() && unseen.is_empty() {
                return events;
            }
            if started.elapsed() > SETTLING {
                let logs: Vec<String> = HOSTS
                    .iter()
                    .chain(&["eve"])
                    .map(|host| self.fleet.log(host))
                    .collect();
                panic!("open: {open:?}, unseen: {unseen:?}\n{}", logs.join("\n"));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

impl Chaos {
    /// Waits until every host has heard as much as all of them together, or for as long as it may take: who came back
    /// last has the most to hear. Whether it is all of it is for the aftermath to say.
    async fn converge(&self) {
        let started = Instant::now();
        loop {
            let mut counts = BTreeSet::new();
            let mut all = BTreeSet::new();
            for host in HOSTS {
                let events = self.fleet.events(host).await;
                counts.insert(events.len());
                all.extend(events.into_iter().map(|e| e.id));
            }
            if counts == BTreeSet::from([all.len()]) || started.elapsed() > SETTLING {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

/// What the events of a fleet come to, without what was stated in vain.
struct Story<'a> {
    runs: BTreeMap<&'a RunId, Vec<&'a Event>>,
    outside: Vec<&'a Event>,
}

impl<'a> Story<'a> {
    fn of(events: &'a [Event]) -> Story<'a> {
        let mut runs: BTreeMap<&RunId, Vec<&Event>> = BTreeMap::new();
        for event in events {
            if let Some(run) = &event.run {
                runs.entry(run).or_default().push(event);
            }
        }
        for events in runs.values_mut() {
            let all = events.clone();
            events.retain(|e| {
                !all.iter()
                    .any(|later| later.epoch > e.epoch && later.version <= e.version)
            });
            events.sort_by_key(|e| e.version);
        }
        // Another run has the change of what was opened in vain.
        runs.retain(|_, events| Story::status(events) != Some(RunStatus::InVain));
        let outside = events.iter().filter(|e| e.run.is_none()).collect();
        Story { runs, outside }
    }

    fn status(events: &[&Event]) -> Option<RunStatus> {
        events.iter().find_map(|e| match e.fact {
            Fact::RunClosed { status } => Some(status),
            _ => None,
        })
    }

    fn open(&self) -> Vec<&'a RunId> {
        let open = self
            .runs
            .iter()
            .filter(|(_, events)| Story::status(events).is_none());
        open.map(|(run, _)| *run).collect()
    }

    /// A tip was run on, made by a merge, or found to need nothing.
    fn has_seen(&self, project: &str, tip: &str) -> bool {
        let of_project = |e: &&&Event| e.project == project;
        let all = self.runs.values().flatten().chain(&self.outside);
        let mut seen = all.filter(of_project).map(|e| match &e.fact {
            Fact::ChangeSeen { change } => Some(&change.head),
            Fact::Delivered {
                delivery: Delivery::Merged { commit, .. },
            } => Some(commit),
            Fact::Watched {
                sighting: Sighting::Adopted { tip } | Sighting::Ignored { tip, .. },
            } => Some(tip),
            _ => None,
        });
        seen.any(|known| known.is_some_and(|oid| oid.0 == tip))
    }
}

/// Everything that has to hold in the end, and what was seen of it.
struct Aftermath<'a> {
    chaos: &'a Chaos,
    story: &'a Story<'a>,
}

impl Aftermath<'_> {
    fn every_push_has_exactly_one_run_in_a_final_state(&self) -> usize {
        let mut covered: BTreeMap<&str, BTreeSet<&RunId>> = BTreeMap::new();
        for (run, events) in &self.story.runs {
            assert!(Story::status(events).is_some(), "{run} is open");
            for event in events {
                if let Fact::ChangeSeen { change } = &event.fact {
                    for commit in change.commits.iter().map(|c| &c.id).chain([&change.head]) {
                        covered.entry(&commit.0).or_default().insert(run);
                    }
                }
            }
        }
        let mut pushes = 0;
        for (project, commits) in &self.chaos.pushed {
            for commit in commits {
                let runs = covered.get(commit.as_str());
                match runs.map_or(0, BTreeSet::len) {
                    1 => pushes += 1,
                    0 if self.needs_none(project, commit) => pushes += 1,
                    0 => panic!("no run has {commit}:\n{}", self.seen_of(project)),
                    _ => panic!(
                        "{commit} has several runs: {runs:?}:\n{}",
                        self.seen_of(project)
                    ),
                }
            }
        }
        pushes
    }

    /// It came with a tip whose tree was tested, green, before it was looked at.
    fn needs_none(&self, project: &str, commit: &str) -> bool {
        let origin = self.chaos.fleet.origin(project);
        let of_project = self.story.outside.iter().filter(|e| e.project == project);
        let mut green = of_project.filter_map(|e| match &e.fact {
            Fact::Watched {
                sighting:
                    Sighting::Ignored {
                        tip,
                        reason: IgnoreReason::TreeAlreadyGreen,
                    },
            } => Some(&tip.0),
            _ => None,
        });
        let holds = ["merge-base", "--is-ancestor", commit];
        green.any(|tip| {
            git(&origin, &[&holds[..], &[tip]].concat())
                .status
                .success()
        })
    }

    /// What the fleet knows of a project's branch, and the branch.
    fn seen_of(&self, project: &str) -> String {
        let runs = self.story.runs.values().flatten();
        let mut events: Vec<&&Event> = runs
            .chain(&self.story.outside)
            .filter(|e| e.project == project)
            .collect();
        events.sort_by_key(|e| e.at);
        let told = |e: &&&Event| {
            let what = match &e.fact {
                Fact::ChangeSeen { change } => format!("{} to {}", change.base.0, change.head.0),
                Fact::Watched { sighting } => format!("{sighting:?}"),
                Fact::Delivered { delivery } => format!("{delivery:?}"),
                Fact::MergePrepared { merge } => format!("{merge:?}"),
                Fact::RunClosed { status } => format!("{status:?}"),
                _ => return None,
            };
            Some(format!(
                "{} {:?} epoch {} seq {}: {what}",
                e.at, e.origin, e.epoch, e.seq
            ))
        };
        let events: Vec<String> = events.iter().filter_map(told).collect();
        let origin = self.chaos.fleet.origin(project);
        let log = self
            .chaos
            .fleet
            .git(&origin, &["log", "--format=%H %cn %s", "main"]);
        format!("{}\n{log}", events.join("\n"))
    }

    fn every_merge_was_made_once_and_tested_as_it_stands(&self) -> usize {
        let mut merges: BTreeMap<&Oid, Vec<&RunId>> = BTreeMap::new();
        for (run, events) in &self.story.runs {
            let mut delivered = 0;
            for event in events {
                let Fact::Delivered { delivery } = &event.fact else {
                    continue;
                };
                delivered += 1;
                if let Delivery::Merged { commit, .. } = delivery {
                    merges.entry(commit).or_default().push(run);
                    let tree = self.tree_of(&event.project, commit);
                    assert!(
                        was_tested(events, &tree),
                        "{run} merged {} untested",
                        commit.0
                    );
                }
            }
            assert!(delivered <= 1, "{run} was delivered {delivered} times");
        }
        for (commit, runs) in &merges {
            assert_eq!(runs.len(), 1, "{} was merged by {runs:?}", commit.0);
        }
        let made: usize = self
            .chaos
            .fleet
            .projects
            .iter()
            .map(|p| self.own_commits(p).len())
            .sum();
        assert_eq!(
            made,
            merges.len(),
            "a merge nobody states, or one that is not there"
        );
        merges.len()
    }

    fn tree_of(&self, project: &str, commit: &Oid) -> String {
        let origin = self.chaos.fleet.origin(project);
        let tree = format!("{}^{{tree}}", commit.0);
        self.chaos.fleet.git(&origin, &["rev-parse", &tree])
    }

    fn own_commits(&self, project: &str) -> Vec<String> {
        let origin = self.chaos.fleet.origin(project);
        let by_us = [
            "log",
            "--format=%H",
            "--committer=changebus@localhost",
            "main",
        ];
        let found = self.chaos.fleet.git(&origin, &by_us);
        found.lines().map(str::to_owned).collect()
    }

    /// What was asked is in the request; each push has words of its own.
    fn no_model_call_was_paid_twice(&self) -> usize {
        let mut asked: BTreeMap<String, usize> = BTreeMap::new();
        for request in self.chaos.fleet.model.requests() {
            *asked.entry(request.body.to_string()).or_default() += 1;
        }
        let twice: Vec<_> = asked.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "paid twice: {twice:#?}");
        asked.len()
    }

    async fn every_host_has_every_event_and_its_log_is_whole(&self) -> usize {
        let mut all: BTreeSet<String> = BTreeSet::new();
        let mut by_host = vec![];
        for host in HOSTS {
            let path = self.chaos.fleet.state(host).join("events.sqlite");
            let store = Store::open_read_only(&path).expect("the log is there");
            store
                .verify()
                .await
                .unwrap_or_else(|e| panic!("{host}: {e}"));
            assert_eq!(store.dead().await.expect("it can be asked"), [], "{host}");
            let ids: BTreeSet<String> = self
                .chaos
                .fleet
                .events(host)
                .await
                .into_iter()
                .map(|e| e.id)
                .collect();
            all.extend(ids.iter().cloned());
            by_host.push((host, ids));
        }
        for (host, ids) in &by_host {
            let missing: Vec<_> = all.difference(ids).collect();
            assert!(
                missing.is_empty(),
                "{host} lacks {} of {} events",
                missing.len(),
                all.len()
            );
        }
        all.len()
    }

    fn nothing_is_left_running_or_lying_about(&self) {
        let left = processes_of(self.chaos.fleet.path());
        assert!(left.is_empty(), "{left:#?}");
        for host in HOSTS {
            let workspaces = self.chaos.fleet.state(host).join("workspaces");
            let left = std::fs::read_dir(&workspaces).map_or(0, Iterator::count);
            assert_eq!(left, 0, "{host} leaves workspaces");
        }
    }
}

/// A whole, green run of the tests on this very tree stands in the run.
fn was_tested(events: &[&Event], tree: &str) -> bool {
    events.iter().any(|event| match &event.fact {
        Fact::Tried { trial } => {
            trial.tree.0 == tree && trial.unfixed.is_empty() && trial.failed == 0
        }
        Fact::Tested { report, .. } => {
            report.tree.0 == tree && report.is_green() && !report.partial
        }
        _ => false,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_day_loses_nothing_and_does_nothing_twice() {
    let day = Day::planned();
    let mut chaos = Chaos::begin(&day).await;
    chaos.rage(&day).await;
    let events = chaos.settle().await;
    chaos.converge().await;
    for daemon in chaos.hosts.values_mut().flatten() {
        assert!(daemon.stop().success());
    }
    chaos.fleet.nats.kill();
    let story = Story::of(&events);
    let aftermath = Aftermath {
        chaos: &chaos,
        story: &story,
    };
    let pushes = aftermath.every_push_has_exactly_one_run_in_a_final_state();
    let merges = aftermath.every_merge_was_made_once_and_tested_as_it_stands();
    let calls = aftermath.no_model_call_was_paid_twice();
    let kept = aftermath
        .every_host_has_every_event_and_its_log_is_whole()
        .await;
    aftermath.nothing_is_left_running_or_lying_about();
    let in_vain =
        events.len() - story.outside.len() - story.runs.values().map(Vec::len).sum::<usize>();
    println!(
        "seed {}: {pushes} pushes to {} projects, {} runs, {merges} merges, {calls} model calls, {kept} events \
         ({in_vain} stated in vain); survived {:?}",
        day.seed,
        day.projects,
        story.runs.len(),
        chaos.faults
    );
}
