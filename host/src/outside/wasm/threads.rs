//! The threads that guests compute on, apart from the daemon's own.
//!
//! Touches: wasm, clock.
//! Change here: when guests should share the machine otherwise.
//!
//! A guest that spins holds a thread until its next tick. On threads of their own guests can take turns with
//! each other, but never keep the daemon from its timers and sockets. A guest that waits holds no thread.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinSet;

use super::limits::Stop;

/// Trees are read on further threads, at most so many at once.
const READERS: usize = 8;

pub struct GuestThreads {
    // Some until drop, which must take it: a runtime may not be dropped where it would block.
    runtime: Option<Runtime>,
    handle: Handle,
    underway: Underway,
}

/// How many calls are under way: what interrupts guests can rest while there are none.
#[derive(Clone, Default)]
pub struct Underway(Arc<Calls>);

#[derive(Default)]
struct Calls {
    count: Mutex<usize>,
    begun: Condvar,
}

impl Underway {
    /// Returns when a call is under way, or after `at_most`.
    pub fn wait(&self, at_most: Duration) {
        let count = self.count();
        // Whether it was in time makes no difference to the caller.
        drop(self.0.begun.wait_timeout_while(count, at_most, |n| *n == 0));
    }

    fn enter(&self) -> Entered {
        *self.count() += 1;
        self.0.begun.notify_all();
        Entered(self.clone())
    }

    fn count(&self) -> MutexGuard<'_, usize> {
        // A number is whole whatever happened to the thread that held it.
        self.0.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call, from before it is spawned until nothing of it runs any more.
struct Entered(Underway);

impl Drop for Entered {
    fn drop(&mut self) {
        *self.0.count() -= 1;
    }
}

impl GuestThreads {
    pub fn start(threads: usize) -> std::io::Result<GuestThreads> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .max_blocking_threads(READERS)
            .thread_name("guests")
            // Nothing here waits for a socket, and a thread that might is woken by a dearer call.
            .enable_time()
            .build()?;
        Ok(GuestThreads {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
            underway: Underway::default(),
        })
    }

    pub fn underway(&self) -> Underway {
        self.underway.clone()
    }

    /// Runs a call to its end or to its deadline; dropping the returned future ends the call.
    pub async fn run<T: Send + 'static>(
        &self,
        wall: Duration,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Stop> {
        let mut running = JoinSet::new();
        let entered = self.underway.enter();
        // The timer is made inside, so that it belongs to the guests' threads and not to the caller's.
        running.spawn_on(
            async move {
                // Dropped with the call itself: one that nobody waits for any more still has to be interrupted.
                let _entered = entered;
                tokio::time::timeout(wall, call).await
            },
            &self.handle,
        );
        match running.join_next().await {
            Some(Ok(Ok(answer))) => Ok(answer),
            Some(Ok(Err(_))) => Err(Stop::Wall(wall)),
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            _ => Err(Stop::HostLeaves),
        }
    }

    /// The same for a thread that may block, which a runtime's own threads may not.
    pub fn run_here<T: Send + 'static>(
        &self,
        wall: Duration,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Stop> {
        self.handle.block_on(self.run(wall, call))
    }
}

impl Drop for GuestThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
