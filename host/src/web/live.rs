//! Tells open pages that something happened.
//!
//! Touches: http (a stream of events), sqlite (through the bus), clock.
//! Change here: when pages should hear more, or otherwise. What they do then is in `host/templates/web/page.js`.
//!
//! One tail of the log serves all of them. A page that cannot keep up misses some and is told so: it looks again either way.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event as Told, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use crate::event::{Event, Fact};
use crate::outside::bus::{Bus, BusError};
use crate::outside::store::Store;

/// Pages that are told at a time.
const PAGES: usize = 512;
/// News a page may lag behind before it misses some.
const BEHIND: usize = 64;
/// A page that is told for so long has to come again, and be signed in still.
const LONGEST: Duration = Duration::from_secs(3600);
/// Before the log is asked again that could not be read.
const LATER: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct Live {
    news: broadcast::Sender<Arc<str>>,
    places: Arc<Semaphore>,
}

impl Default for Live {
    fn default() -> Live {
        Live {
            news: broadcast::Sender::new(BEHIND),
            places: Arc::new(Semaphore::new(PAGES)),
        }
    }
}

impl Live {
    /// For as long as the process runs: follows the log and passes on what happens.
    pub async fn follow(self, store: Store) {
        loop {
            if let Err(error) = self.pass_on(&store).await {
                tracing::error!("open pages are not told anything: {error}");
            }
            tokio::time::sleep(LATER).await;
        }
    }

    async fn pass_on(&self, store: &Store) -> Result<(), BusError> {
        let mut log = Bus::of(store.clone()).tail(&[], None).await?;
        loop {
            let event = log.next().await?;
            // Nobody may be listening.
            let _ = self.news.send(news(&event).into());
        }
    }

    /// A stream of what happens from now on; None where too many are listening.
    pub fn listen(&self) -> Option<Response> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        let page = Page {
            news: self.news.subscribe(),
            until: tokio::time::Instant::now() + LONGEST,
            _place: place,
        };
        let told = stream::unfold(page, async |mut page| {
            Some((Ok::<_, Infallible>(page.next().await?), page))
        });
        let told = Sse::new(Box::pin(told)).keep_alive(KeepAlive::default());
        Some(told.into_response())
    }
}

struct Page {
    news: broadcast::Receiver<Arc<str>>,
    until: tokio::time::Instant,
    _place: OwnedSemaphorePermit,
}

impl Page {
    async fn next(&mut self) -> Option<Told> {
        let next = tokio::time::timeout_at(self.until, self.news.recv()).await;
        match next.ok()? {
            Ok(news) => Some(Told::default().data(&*news)),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Told::default().data("{}")),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// Enough for a page to know whether it is concerned. A decision and a pull request are about a run without being part of it.
fn news(event: &Event) -> String {
    let about = match &event.fact {
        Fact::ReviewGiven { review } => Some(&review.run),
        Fact::PullRequestOpened { request } => Some(&request.run),
        Fact::PullRequestEnded { end } => Some(&end.run),
        _ => event.run.as_ref(),
    };
    json!({ "seq": event.seq, "project": event.project, "run": about }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn so_many_pages_are_told_and_no_more_until_one_is_left() {
        let live = Live::default();
        let mut open: Vec<_> = (0..PAGES).map(|_| live.listen().unwrap()).collect();
        assert!(live.listen().is_none());
        open.pop();
        assert!(live.listen().is_some());
    }

    #[tokio::test]
    async fn a_page_that_cannot_keep_up_is_told_to_look_again() {
        let live = Live::default();
        let mut page = Page {
            news: live.news.subscribe(),
            until: tokio::time::Instant::now() + LONGEST,
            _place: live.places.clone().try_acquire_owned().unwrap(),
        };
        for n in 0..=BEHIND {
            live.news.send(n.to_string().into()).unwrap();
        }
        let told = format!("{:?}", page.next().await.unwrap());
        assert!(told.contains("data: {}"), "{told}");
        let told = format!("{:?}", page.next().await.unwrap());
        assert!(told.contains("data: 1"), "{told}");
    }
}
