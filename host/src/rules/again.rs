//! When something that could not be sent is sent again.
//!
//! Touches: nothing.
//! Change here: when what is sent should be more or less patient.

/// Seconds before the second attempt; twice as many before each further one.
const FIRST: f64 = 1.0;
const LONGEST: f64 = 15.0 * 60.0;
/// With the pauses above about twelve hours.
const ATTEMPTS: u32 = 60;

/// Seconds to wait after so many attempts, at least as many as the other side asks for; None where it is given up.
pub fn pause(attempts: u32, asked: Option<f64>) -> Option<f64> {
    if attempts >= ATTEMPTS {
        return None;
    }
    let doublings = attempts.saturating_sub(1).min(16);
    let own = (FIRST * f64::from(1 << doublings)).min(LONGEST);
    Some(own.max(asked.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_heed_what_is_asked_and_end() {
        assert_eq!(pause(1, None), Some(1.0));
        assert_eq!(pause(3, None), Some(4.0));
        assert_eq!(pause(3, Some(40.5)), Some(40.5));
        assert_eq!(pause(30, None), Some(900.0));
        assert_eq!(pause(60, Some(1.0)), None);
    }
}
