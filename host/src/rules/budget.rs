//! Says whether a model may be asked, given what was spent, what is under way and what may be spent.
//!
//! Touches: nothing.
//! Change here: when there is another budget, or when something else counts as spent.
//!
//! Asked before every request. A request under way counts with the most it can cost, so that several at once
//! cannot go over together.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::config;
use crate::event::{Event, Fact, Fault, FaultKind, ModelAnswer, ModelRequest, RunId};

/// Tokens of all kinds, and US dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Amount {
    pub tokens: u64,
    pub usd: f64,
}

impl std::ops::AddAssign for Amount {
    fn add_assign(&mut self, other: Amount) {
        self.tokens += other.tokens;
        self.usd += other.usd;
    }
}

/// What stands against one budget.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Account {
    pub spent: Amount,
    /// The most that requests without an answer can still cost.
    pub in_flight: Amount,
}

/// What stands against the budgets a request is held against.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Accounts {
    pub run: Account,
    pub day: Account,
}

/// The day a moment belongs to; days change at midnight UTC.
pub fn day(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

/// Reads the accounts of `run` and of `today` out of what happened, in the order it happened.
///
/// `events` must hold the run from its beginning, and everything of today; more does no harm. `ceiling` gives the
/// most a request can cost. A request that a closed run left unanswered may have been paid for: it stays in
/// flight on the day it was made.
pub fn accounts<'a>(
    events: impl IntoIterator<Item = &'a Event>,
    run: &RunId,
    today: Date,
    ceiling: impl Fn(&ModelRequest) -> Amount,
) -> Accounts {
    let mut accounts = Accounts::default();
    let mut open = BTreeMap::new();
    let mut closed = BTreeSet::new();
    for event in events {
        let Some(of) = &event.run else { continue };
        match &event.fact {
            Fact::ModelAsked {
                variant,
                call,
                request,
            } => {
                open.insert((of, variant, call), (day(event.at), request));
            }
            Fact::ModelAnswered {
                variant,
                call,
                answer,
            } => {
                open.remove(&(of, variant, call));
                accounts.add(
                    spent(answer),
                    of == run,
                    day(event.at) == today,
                    |account| &mut account.spent,
                );
            }
            Fact::RunClosed { .. } => _ = closed.insert(of),
            _ => {}
        }
    }
    for ((of, ..), (asked, request)) in open {
        let counts_today = asked == today || !closed.contains(of);
        accounts.add(ceiling(request), of == run, counts_today, |account| {
            &mut account.in_flight
        });
    }
    accounts
}

impl Accounts {
    fn add(
        &mut self,
        amount: Amount,
        to_run: bool,
        to_day: bool,
        part: impl Fn(&mut Account) -> &mut Amount,
    ) {
        for (_, account) in [(to_run, &mut self.run), (to_day, &mut self.day)]
            .into_iter()
            .filter(|(counts, _)| *counts)
        {
            *part(account) += amount;
        }
    }
}

/// What an answer cost, be it one that was of no use.
fn spent(answer: &Result<ModelAnswer, Fault>) -> Amount {
    match answer {
        Ok(answer) => {
            let usage = answer.usage;
            Amount {
                tokens: usage.input_tokens + usage.output_tokens,
                usd: usage.cost_usd,
            }
        }
        Err(fault) => fault.usage.map_or(Amount::default(), |usage| Amount {
            tokens: usage.input_tokens + usage.output_tokens,
            usd: usage.usd_micros as f64 / 1e6,
        }),
    }
}

/// Whether a request that can cost `ceiling` may be sent. The fault names the budget, what is left of it and
/// what the request would need.
pub fn may_spend(
    settings: &config::Claude,
    accounts: &Accounts,
    ceiling: Amount,
) -> Result<(), Fault> {
    let (run, day) = (&accounts.run, &accounts.day);
    money("run_budget_usd", settings.run_budget_usd, run, ceiling)?;
    tokens(
        "run_budget_tokens",
        settings.run_budget_tokens,
        run,
        ceiling,
    )?;
    money("daily_budget_usd", settings.daily_budget_usd, day, ceiling)?;
    tokens(
        "daily_budget_tokens",
        settings.daily_budget_tokens,
        day,
        ceiling,
    )
}

fn money(name: &str, budget: f64, account: &Account, ceiling: Amount) -> Result<(), Fault> {
    let left = budget - account.spent.usd - account.in_flight.usd;
    // Asked this way round, a figure that is no number is refused. A millionth of a cent is rounding.
    if ceiling.usd <= left + 1e-8 {
        return Ok(());
    }
    let in_flight = account.in_flight.usd;
    Err(over(
        name,
        &format!(
            "${:.4} of ${budget:.2} left, ${in_flight:.4} more is in flight, and this request can cost ${:.4}",
            left.max(0.0),
            ceiling.usd
        ),
    ))
}

fn tokens(name: &str, budget: u64, account: &Account, ceiling: Amount) -> Result<(), Fault> {
    let in_flight = account.in_flight.tokens;
    let left = budget
        .saturating_sub(account.spent.tokens)
        .saturating_sub(in_flight);
    if ceiling.tokens <= left {
        return Ok(());
    }
    Err(over(
        name,
        &format!(
            "{left} of {budget} tokens left, {in_flight} more are in flight, and this request can take {}",
            ceiling.tokens
        ),
    ))
}

fn over(name: &str, why: &str) -> Fault {
    Fault::new(
        FaultKind::Budget,
        "llm.budget",
        format!("claude.{name}: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{FaultUsage, RunStatus, Usage};

    const NOON: &str = "2026-11-22T12:00:00Z";
    const YESTERDAY: &str = "2026-11-21T23:59:59Z";

    fn event(run: &str, at: &str, fact: Fact) -> Event {
        let at = at.parse().expect("a time");
        Event {
            seq: 1,
            id: String::new(),
            at,
            project: "p".into(),
            run: Some(RunId(run.into())),
            version: None,
            epoch: 0,
            origin: None,
            fact,
        }
    }

    fn asked(run: &str, at: &str, call: u32) -> Event {
        let request = ModelRequest {
            model: None,
            max_output_tokens: 100,
            system: vec![],
            messages: vec![],
            effort: None,
            temperature: None,
        };
        event(
            run,
            at,
            Fact::ModelAsked {
                variant: "A".into(),
                call,
                request,
            },
        )
    }

    fn answered(run: &str, at: &str, call: u32, cost_usd: f64) -> Event {
        let usage = Usage {
            input_tokens: 700,
            output_tokens: 300,
            cost_usd,
            ..Usage::default()
        };
        let answer = ModelAnswer {
            text: String::new(),
            model: "m".into(),
            stop_reason: "end_turn".into(),
            usage,
            request_id: None,
            notes: vec![],
        };
        event(
            run,
            at,
            Fact::ModelAnswered {
                variant: "A".into(),
                call,
                answer: Ok(answer),
            },
        )
    }

    fn failed(run: &str, at: &str, call: u32, usd_micros: u64) -> Event {
        let mut fault = Fault::new(FaultKind::Denied, "llm.refused", "no");
        fault.usage = Some(FaultUsage {
            input_tokens: 70,
            output_tokens: 30,
            usd_micros,
        });
        event(
            run,
            at,
            Fact::ModelAnswered {
                variant: "A".into(),
                call,
                answer: Err(fault),
            },
        )
    }

    fn read(events: &[Event]) -> Accounts {
        let today = day(NOON.parse().expect("a time"));
        accounts(events, &RunId("r1".into()), today, |request| Amount {
            tokens: request.max_output_tokens.into(),
            usd: 0.5,
        })
    }

    fn account(spent: (u64, f64), in_flight: (u64, f64)) -> Account {
        let amount = |(tokens, usd)| Amount { tokens, usd };
        Account {
            spent: amount(spent),
            in_flight: amount(in_flight),
        }
    }

    fn settings() -> config::Claude {
        config::Claude {
            run_budget_usd: 1.0,
            run_budget_tokens: 1_000,
            daily_budget_usd: 2.0,
            daily_budget_tokens: 5_000,
            ..config::Claude::default()
        }
    }

    #[test]
    fn answers_are_spent_and_open_requests_are_in_flight() {
        let events = [
            asked("r1", NOON, 1),
            answered("r1", NOON, 1, 0.25),
            asked("r1", NOON, 2),
        ];
        let expected = account((1000, 0.25), (100, 0.5));
        assert_eq!(
            read(&events),
            Accounts {
                run: expected,
                day: expected
            }
        );
    }

    #[test]
    fn an_answer_that_was_of_no_use_was_paid_for_all_the_same() {
        let events = [asked("r1", NOON, 1), failed("r1", NOON, 1, 40_000)];
        assert_eq!(read(&events).run, account((100, 0.04), (0, 0.0)));
    }

    #[test]
    fn other_runs_count_for_the_day_and_other_days_for_the_run() {
        let events = [
            asked("r1", YESTERDAY, 1),
            answered("r1", YESTERDAY, 1, 0.25),
            asked("r2", NOON, 1),
            answered("r2", NOON, 1, 0.5),
        ];
        let accounts = read(&events);
        assert_eq!(accounts.run, account((1000, 0.25), (0, 0.0)));
        assert_eq!(accounts.day, account((1000, 0.5), (0, 0.0)));
    }

    #[test]
    fn a_request_of_yesterday_that_is_still_open_counts_today_until_its_run_is_closed() {
        let mut events = vec![asked("r2", YESTERDAY, 1)];
        assert_eq!(
            read(&events).day.in_flight,
            Amount {
                tokens: 100,
                usd: 0.5
            }
        );
        events.push(event(
            "r2",
            YESTERDAY,
            Fact::RunClosed {
                status: RunStatus::Error,
            },
        ));
        assert_eq!(read(&events).day.in_flight, Amount::default());
    }

    #[test]
    fn a_request_a_run_of_today_left_open_stays_reserved_for_the_day() {
        let events = [
            asked("r2", NOON, 1),
            event(
                "r2",
                NOON,
                Fact::RunClosed {
                    status: RunStatus::Error,
                },
            ),
        ];
        assert_eq!(
            read(&events).day.in_flight,
            Amount {
                tokens: 100,
                usd: 0.5
            }
        );
    }

    #[test]
    fn the_last_cent_may_be_spent_and_not_one_more() {
        let accounts = Accounts {
            run: account((0, 0.6), (0, 0.1)),
            day: Account::default(),
        };
        let costs = |usd| Amount { tokens: 1, usd };
        assert_eq!(may_spend(&settings(), &accounts, costs(0.3)), Ok(()));
        let fault = may_spend(&settings(), &accounts, costs(0.31)).expect_err("too much");
        assert_eq!(
            (fault.kind, fault.code.as_str()),
            (FaultKind::Budget, "llm.budget")
        );
        let why = "claude.run_budget_usd: $0.3000 of $1.00 left, $0.1000 more is in flight, and this request can cost $0.3100";
        assert_eq!(fault.message, why);
    }

    #[test]
    fn each_of_the_four_budgets_holds_by_itself() {
        let free = Account::default();
        let cases = [
            ("run_budget_usd", account((0, 1.0), (0, 0.0)), free),
            ("run_budget_tokens", account((900, 0.0), (100, 0.0)), free),
            ("daily_budget_usd", free, account((0, 0.0), (0, 2.0))),
            ("daily_budget_tokens", free, account((5_000, 0.0), (0, 0.0))),
        ];
        for (name, run, day) in cases {
            let fault = may_spend(
                &settings(),
                &Accounts { run, day },
                Amount {
                    tokens: 1,
                    usd: 0.01,
                },
            )
            .expect_err(name);
            assert!(
                fault.message.starts_with(&format!("claude.{name}: ")),
                "{fault}"
            );
        }
    }

    #[test]
    fn an_overdrawn_account_has_nothing_left() {
        let accounts = Accounts {
            run: account((2_000, 3.0), (0, 0.0)),
            day: Account::default(),
        };
        let fault = may_spend(&settings(), &accounts, Amount::default()).expect_err("overdrawn");
        assert!(fault.message.contains("$0.0000 of $1.00 left"), "{fault}");
    }

    #[test]
    fn a_cost_that_is_no_number_is_not_paid() {
        let nan = Amount {
            tokens: 1,
            usd: f64::NAN,
        };
        assert!(may_spend(&settings(), &Accounts::default(), nan).is_err());
    }
}
