//! Looks again and again whether something has come about that nobody tells.
//!
//! Touches: clock.
//! Change here: when such looks should take more of the machine, or less.

use std::time::{Duration, Instant};

use super::git::blocking;

/// For each second that a look took, so many seconds of rest.
const REST: u32 = 20;

/// Returns when a look says so. Between two of them it rests for `pause`, or longer where looking is dear.
pub async fn until(pause: Duration, mut look: impl FnMut() -> bool + Send + 'static) {
    loop {
        let started = Instant::now();
        let looked = move || (look(), look);
        let (is_so, again) = blocking(looked).await;
        if is_so {
            return;
        }
        look = again;
        tokio::time::sleep(pause.max(started.elapsed() * REST)).await;
    }
}
