//! DigestAgent: tells people what needs them, and once in a while what happened.
//!
//! Touches: network (through `outside/hook`), sqlite (through the store), clock.
//! Change here: when people are told another way. What they are told is `rules/notices.rs` and `rules/digest.rs`.
//!
//! Of several hosts one does it at a time. A place is told of each event at least once and in order: that it was told is
//! stated after it was, so that only a host that ends in between says something twice.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::config::Sink;
use crate::event::{ALL_PROJECTS, Event, Fact, Sent};
use crate::outside::bus::{Bus, BusError};
use crate::outside::store::StoreError;
use crate::rules::learn::stats;
use crate::rules::notices::{self, Notice, NoticeKind, SUBJECTS};
use crate::rules::{again, digest};
use crate::stages::House;

mod outlet;

use outlet::{Outlet, Unsent};

/// Before the log is asked again that could not be read.
const LATER: Duration = Duration::from_secs(5);
/// Between two looks whether a digest is due.
const LOOK: Duration = Duration::from_secs(1);
/// Of runs whose figures are told.
const A_YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);

/// For as long as the process runs.
pub async fn attend(house: Arc<House>) {
    if let Err(error) = begin(&house).await {
        tracing::error!("nobody is told anything: {error}");
        return;
    }
    loop {
        house.fleet.gets(ALL_PROJECTS).await;
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(make_digests(house.clone()));
        for (name, sink) in house.settings.notices.clone() {
            tasks.spawn(tell(house.clone(), name, sink));
        }
        house.fleet.loses(ALL_PROJECTS).await;
        tasks.shutdown().await;
    }
}

fn place(sink: &str) -> String {
    format!("notices/{sink}")
}

/// A place that is new is told what happens from now on.
async fn begin(house: &House) -> Result<(), StoreError> {
    for name in house.settings.notices.keys() {
        let place = place(name);
        if house.store.cursor(&place).await? == 0 {
            let newest = house.store.newest().await?.max(1);
            house.store.advance_cursor(&place, newest).await?;
        }
    }
    Ok(())
}

async fn tell(house: Arc<House>, name: String, sink: Sink) {
    let outlet = match Outlet::open(&sink) {
        Ok(outlet) => outlet,
        Err(why) => return tracing::error!("notices.{name}: {why}"),
    };
    loop {
        if let Err(error) = follow(&house, &name, &sink, &outlet).await {
            tracing::error!(sink = name, "the log cannot be followed: {error}");
        }
        tokio::time::sleep(LATER).await;
    }
}

async fn follow(house: &House, name: &str, sink: &Sink, outlet: &Outlet) -> Result<(), BusError> {
    let place = place(name);
    let after = house.store.cursor(&place).await?;
    let mut told = house.store.told_to(name, after).await?;
    let mut log = Bus::of(house.store.clone())
        .subscribe(&place, &SUBJECTS)
        .await?;
    loop {
        let event = log.next().await?;
        if let Some(notice) = wanted(sink, &event)
            && told.insert(notice.id.clone())
        {
            let given_up = send(outlet, name, &notice).await;
            let sent = Sent {
                sink: name.to_owned(),
                about: notice.id,
                given_up,
            };
            let fact = Fact::NoticeSent { sent };
            house.store.append(ALL_PROJECTS, None, fact).await?;
        }
        log.ack(event.seq).await?;
    }
}

fn wanted(sink: &Sink, event: &Event) -> Option<Notice> {
    let notice = notices::of(event)?;
    let wanted = match notice.kind {
        NoticeKind::Alert => {
            sink.alerts && (notice.project == ALL_PROJECTS || sink.is_about(&notice.project))
        }
        NoticeKind::Digest => sink.digest,
    };
    wanted.then(|| notice.only_about(&sink.projects))
}

/// Until all of it is there, or some of it never will be: then why.
async fn send(outlet: &Outlet, name: &str, notice: &Notice) -> Option<String> {
    for (nth, message) in outlet.messages(notice).iter().enumerate() {
        let key = format!("{}-{nth}", notice.id);
        let mut attempts = 0;
        while let Err(unsent) = outlet.send(message, &key).await {
            attempts += 1;
            let (why, asked) = match unsent {
                Unsent::Never(why) => {
                    tracing::error!(sink = name, "a notice is given up: {why}");
                    return Some(why);
                }
                Unsent::NotNow { why, after } => (why, after),
            };
            let Some(pause) = again::pause(attempts, asked.map(|a| a.as_secs_f64())) else {
                return Some(format!("{why}, {attempts} times"));
            };
            let pause = Duration::from_secs_f64(pause);
            tracing::warn!(sink = name, attempts, ?pause, "not told yet: {why}");
            tokio::time::sleep(pause).await;
        }
    }
    None
}

async fn make_digests(house: Arc<House>) {
    if house.settings.digest.at.is_none() {
        return;
    }
    // The first one is about the time from now on.
    let begun = Timestamp::now();
    loop {
        if let Err(error) = make_digest(&house, begun).await {
            tracing::error!("the digest cannot be made: {error}");
            tokio::time::sleep(LATER).await;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn make_digest(house: &House, begun: Timestamp) -> Result<(), StoreError> {
    let last = house.store.last_of_all("digest-made").await?;
    let from = last.map_or(begun, |event| event.at);
    let now = Timestamp::now();
    let Some(mut to) = digest::due_after(&house.settings.digest, from).filter(|due| *due <= now)
    else {
        return Ok(());
    };
    // After a long absence one digest is about all of it.
    while let Some(later) = digest::due_after(&house.settings.digest, to).filter(|due| *due <= now)
    {
        to = later;
    }
    let events = house.store.events_between(from, to, &digest::READ).await?;
    let waiting = house.store.waiting_for_people().await?;
    let waiting: Vec<_> = waiting.into_iter().map(|w| (w.project, w.run)).collect();
    let (results, attempts) = house.store.results(None, to - A_YEAR).await?;
    let figures = match results.is_empty() {
        true => String::new(),
        false => stats::sentence(&stats::of(&results, &attempts, to)),
    };
    let digest = digest::of(from, to, &events, &waiting, figures);
    house.store.import_and_tell(digest::made(digest)).await?;
    Ok(())
}
