//! When something that could not be sent is sent again.
//!
//! Touches: nothing.
//! Change here: when what is sent should be more or less patient.

use std::time::Duration;

/// Before the second attempt; twice as long before each further one.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// With the pauses above about twelve hours.
const ATTEMPTS: u32 = 60;

/// How long to wait after so many attempts, at least as long as the other side asks for; None where it is given up.
pub fn pause(attempts: u32, asked: Option<Duration>) -> Option<Duration> {
    if attempts >= ATTEMPTS {
        return None;
    }
    let doublings = attempts.saturating_sub(1).min(16);
    let own = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    Some(own.max(asked.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_heed_what_is_asked_and_end() {
        let seconds = |attempts, asked: Option<u64>| {
            pause(attempts, asked.map(Duration::from_secs)).map(|p| p.as_secs())
        };
        assert_eq!(seconds(1, None), Some(1));
        assert_eq!(seconds(3, None), Some(4));
        assert_eq!(seconds(3, Some(40)), Some(40));
        assert_eq!(seconds(30, None), Some(900));
        assert_eq!(seconds(60, Some(1)), None);
    }
}
