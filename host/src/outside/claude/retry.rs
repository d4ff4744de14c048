//! Whether a request that failed is sent again, and when: the rule of Anthropic's own clients, with a bound.
//!
//! Touches: nothing.
//! Change here: when what is worth another try, or the wait before it, should differ.

use std::time::Duration;

use jiff::Timestamp;

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_BACKOFF: Duration = Duration::from_secs(8);
/// Share of a backoff that chance may take off.
const JITTER: f64 = 0.25;

/// What went wrong, as far as the decision needs it.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// None: no answer came, or it broke off before any content.
    pub status: Option<u16>,
    pub spend_limit: bool,
    pub should_retry: Option<bool>,
    pub retry_after: Option<Duration>,
}

/// How often it was tried already, and what may still be spent on it.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Further tries so far: 0 after the first one failed.
    pub retried: u32,
    /// Further tries allowed.
    pub retries: u32,
    /// Longest wait that is sat out.
    pub longest_wait: Duration,
    /// From 0 to 1, by chance.
    pub jitter: f64,
}

/// How long to wait before the next try; none: give up.
pub fn wait(failure: &Failure, patience: &Patience) -> Option<Duration> {
    let again = patience.retried < patience.retries && is_passing(failure);
    let wait = failure
        .retry_after
        .filter(|wait| !wait.is_zero())
        .unwrap_or_else(|| backoff(patience));
    (again && wait <= patience.longest_wait).then_some(wait)
}

fn is_passing(failure: &Failure) -> bool {
    if failure.spend_limit {
        return false;
    }
    failure.should_retry.unwrap_or(matches!(
        failure.status,
        None | Some(408 | 409 | 429 | 500..)
    ))
}

fn backoff(patience: &Patience) -> Duration {
    let doubled = FIRST_WAIT * 2u32.saturating_pow(patience.retried.min(10));
    doubled
        .min(LONGEST_BACKOFF)
        .mul_f64(1.0 - JITTER * patience.jitter.clamp(0.0, 1.0))
}

/// Reads `retry-after-ms` (milliseconds), else `retry-after` (seconds, or a date as HTTP writes it).
pub fn retry_after(
    millis: Option<&str>,
    seconds_or_date: Option<&str>,
    now: Timestamp,
) -> Option<Duration> {
    let number = |text: Option<&str>| text?.trim().parse::<f64>().ok();
    if let Some(millis) = number(millis) {
        return Duration::try_from_secs_f64(millis / 1e3).ok();
    }
    if let Some(seconds) = number(seconds_or_date) {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = jiff::fmt::rfc2822::parse(seconds_or_date?.trim()).ok()?;
    Some(Duration::try_from(now.until(date.timestamp()).ok()?).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        retried: 0,
        retries: 2,
        longest_wait: Duration::from_secs(60),
        jitter: 0.0,
    };

    fn status(status: u16) -> Failure {
        Failure {
            status: Some(status),
            spend_limit: false,
            should_retry: None,
            retry_after: None,
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (code, again) in [
            (400, false),
            (401, false),
            (404, false),
            (408, true),
            (409, true),
            (413, false),
            (429, true),
            (500, true),
            (529, true),
        ] {
            assert_eq!(wait(&status(code), &PATIENCE).is_some(), again, "{code}");
        }
        let unreachable = Failure {
            status: None,
            ..status(0)
        };
        assert!(wait(&unreachable, &PATIENCE).is_some());
    }

    #[test]
    fn the_server_has_the_last_word_but_not_on_money() {
        assert_eq!(
            wait(
                &Failure {
                    should_retry: Some(false),
                    ..status(529)
                },
                &PATIENCE
            ),
            None
        );
        assert!(
            wait(
                &Failure {
                    should_retry: Some(true),
                    ..status(400)
                },
                &PATIENCE
            )
            .is_some()
        );
        assert_eq!(
            wait(
                &Failure {
                    should_retry: Some(true),
                    spend_limit: true,
                    ..status(429)
                },
                &PATIENCE
            ),
            None
        );
    }

    #[test]
    fn waits_double_up_to_eight_seconds_and_chance_shortens_them() {
        let waits: Vec<_> = (0..7)
            .map(|retried| {
                wait(
                    &status(529),
                    &Patience {
                        retried,
                        retries: 9,
                        ..PATIENCE
                    },
                )
                .map(|w| w.as_millis())
            })
            .collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 8000, 8000].map(Some));
        let lucky = wait(
            &status(529),
            &Patience {
                jitter: 1.0,
                ..PATIENCE
            },
        );
        assert_eq!(lucky, Some(Duration::from_millis(375)));
    }

    #[test]
    fn tries_run_out() {
        assert_eq!(
            wait(
                &status(529),
                &Patience {
                    retried: 2,
                    ..PATIENCE
                }
            ),
            None
        );
        assert_eq!(
            wait(
                &status(529),
                &Patience {
                    retries: 0,
                    ..PATIENCE
                }
            ),
            None
        );
    }

    #[test]
    fn a_wait_the_server_asks_for_is_sat_out_only_up_to_the_bound() {
        let after = |seconds| Failure {
            retry_after: Some(Duration::from_secs(seconds)),
            ..status(429)
        };
        assert_eq!(wait(&after(60), &PATIENCE), Some(Duration::from_secs(60)));
        assert_eq!(wait(&after(61), &PATIENCE), None);
    }

    #[test]
    fn a_wait_may_be_told_in_three_ways() {
        let now: Timestamp = "1994-11-06T08:49:00Z".parse().expect("a time");
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(
            retry_after(Some("1500"), Some("9"), now),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(
            retry_after(None, Some("0.5"), now),
            Some(Duration::from_millis(500))
        );
        assert_eq!(
            retry_after(None, Some(date), now),
            Some(Duration::from_secs(37))
        );
        let late: Timestamp = "1994-11-07T00:00:00Z".parse().expect("a time");
        assert_eq!(retry_after(None, Some(date), late), Some(Duration::ZERO));
        for nonsense in ["soon", "-1", "NaN", "1e300"] {
            assert_eq!(retry_after(None, Some(nonsense), now), None, "{nonsense}");
        }
    }
}
