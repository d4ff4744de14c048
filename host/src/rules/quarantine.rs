//! When a plugin that keeps failing is left out, for how long, and what brings it back.
//!
//! Touches: nothing.
//! Change here: when more or less should be forgiven.
//!
//! A fold over how calls ended, by the digest of the plugin's file: another file is another record. Faults in a row
//! bench it, each bench is twice as long as the one before, and after the last one it stays out until an operator
//! clears it. Faults of the host never count.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::event::{Ended, FaultOf, Health};

/// Answers in a row after which earlier benches are forgotten.
const HEALED: u32 = 10;

/// How much is forgiven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Faults in a row that bench a plugin.
    pub strikes: u32,
    /// The first bench; each further one is twice as long.
    pub bench_seconds: u64,
    /// Benches after which the next one is for good.
    pub benches: u32,
}

/// What is known of every plugin, by digest.
#[derive(Clone, Debug)]
pub struct Ward {
    patience: Patience,
    records: BTreeMap<String, Record>,
}

#[derive(Clone, Debug, Default)]
struct Record {
    strikes: u32,
    /// Answers in a row.
    answers: u32,
    benches: u32,
    out: Option<Out>,
    /// What happened up to here is forgotten.
    cleared: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct Out {
    since: Timestamp,
    /// None is for good.
    until: Option<Timestamp>,
    why: String,
}

impl Ward {
    pub fn new(patience: Patience) -> Ward {
        Ward {
            patience,
            records: BTreeMap::new(),
        }
    }

    /// A call ended. In the order of time.
    pub fn ended(&mut self, digest: &str, at: Timestamp, ended: &Ended) {
        let record = self.records.entry(digest.to_owned()).or_default();
        if record.cleared.is_none_or(|cleared| cleared < at) {
            record.count(self.patience, at, ended);
        }
    }

    /// An operator trusts the file again.
    pub fn cleared(&mut self, digest: &str, at: Timestamp) {
        let record = self.records.entry(digest.to_owned()).or_default();
        if record.cleared.is_none_or(|cleared| cleared < at) {
            *record = Record {
                cleared: Some(at),
                ..Record::default()
            };
        }
    }

    pub fn health(&self, digest: &str, now: Timestamp) -> Health {
        let Some(record) = self.records.get(digest) else {
            return Health::Well { strikes: 0 };
        };
        let strikes = record.strikes;
        match record.out.as_ref().filter(|out| out.holds(now)) {
            None => Health::Well { strikes },
            Some(out) => {
                let (since, why) = (out.since, out.why.clone());
                match out.until {
                    Some(until) => Health::Benched { since, until, why },
                    None => Health::Quarantined { since, why },
                }
            }
        }
    }
}

impl Out {
    fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl Record {
    fn count(&mut self, patience: Patience, at: Timestamp, ended: &Ended) {
        // Calls that began before the bench end during it; they say nothing new.
        if self.out.as_ref().is_some_and(|out| out.holds(at)) {
            return;
        }
        match ended {
            Ended::Answered => {
                self.strikes = 0;
                self.answers += 1;
                if self.answers >= HEALED {
                    self.benches = 0;
                }
            }
            Ended::Failed {
                fault_of: FaultOf::Host,
                ..
            } => {}
            Ended::Failed { why, .. } => {
                self.answers = 0;
                self.strikes += 1;
                if self.strikes >= patience.strikes {
                    self.leave(patience, at, why);
                }
            }
        }
    }

    fn leave(&mut self, patience: Patience, at: Timestamp, why: &str) {
        let until = (self.benches < patience.benches).then(|| {
            let seconds = patience
                .bench_seconds
                .saturating_mul(1 << self.benches.min(32));
            let length = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
            at.checked_add(length).unwrap_or(Timestamp::MAX)
        });
        self.strikes = 0;
        self.benches += 1;
        self.out = Some(Out {
            since: at,
            until,
            why: why.to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::event::PluginFailureKind;

    use super::*;

    const PATIENCE: Patience = Patience {
        strikes: 2,
        bench_seconds: 60,
        benches: 3,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("a time")
    }

    fn fault(fault_of: FaultOf) -> Ended {
        Ended::Failed {
            kind: PluginFailureKind::Trapped,
            why: "trapped: unreachable".to_owned(),
            fault_of,
        }
    }

    /// A ward that heard of these ends of `x`, one each second from 0: `f`ault, `a`nswer, `h`ost's fault.
    fn heard(ends: &str) -> Ward {
        let mut ward = Ward::new(PATIENCE);
        for (second, end) in ends.chars().enumerate() {
            let ended = match end {
                'f' => fault(FaultOf::Plugin),
                'h' => fault(FaultOf::Host),
                _ => Ended::Answered,
            };
            ward.ended("x", at(second as i64), &ended);
        }
        ward
    }

    fn until(ward: &Ward, now: i64) -> Option<i64> {
        match ward.health("x", at(now)) {
            Health::Benched { until, .. } => Some(until.as_second() - 1_800_000_000),
            Health::Well { .. } => None,
            Health::Quarantined { .. } => Some(i64::MAX),
        }
    }

    #[test]
    fn faults_in_a_row_bench_a_plugin_for_a_while() {
        assert_eq!(until(&heard("f"), 1), None);
        let ward = heard("ff");
        assert_eq!(until(&ward, 2), Some(61));
        assert_eq!(until(&ward, 60), Some(61));
        assert_eq!(until(&ward, 61), None);
    }

    #[test]
    fn an_answer_between_two_faults_keeps_a_plugin_in() {
        assert_eq!(until(&heard("fafafaf"), 7), None);
    }

    #[test]
    fn a_fault_of_the_host_neither_counts_nor_forgives() {
        assert_eq!(until(&heard("hhhhhh"), 6), None);
        assert_eq!(until(&heard("fhhf"), 4), Some(63));
    }

    #[test]
    fn each_bench_is_twice_as_long_and_the_one_after_the_last_is_for_good() {
        let mut ward = Ward::new(PATIENCE);
        let mut now = 0;
        for length in [60, 120, 240] {
            ward.ended("x", at(now), &fault(FaultOf::Plugin));
            ward.ended("x", at(now), &fault(FaultOf::Plugin));
            assert_eq!(until(&ward, now), Some(now + length));
            now += length;
        }
        ward.ended("x", at(now), &fault(FaultOf::Plugin));
        ward.ended("x", at(now), &fault(FaultOf::Plugin));
        assert_eq!(until(&ward, now + 1_000_000), Some(i64::MAX));
        assert_eq!(ward.health("y", at(now)), Health::Well { strikes: 0 });
    }

    #[test]
    fn what_ends_during_a_bench_does_not_make_it_longer() {
        assert_eq!(until(&heard("ffffffff"), 8), Some(61));
    }

    #[test]
    fn health_for_a_while_makes_earlier_benches_forgotten() {
        let mut ward = heard("ff");
        for second in 100..110 {
            ward.ended("x", at(second), &Ended::Answered);
        }
        ward.ended("x", at(200), &fault(FaultOf::Plugin));
        ward.ended("x", at(200), &fault(FaultOf::Plugin));
        assert_eq!(until(&ward, 200), Some(260));
    }

    #[test]
    fn an_operator_clears_what_was_and_not_what_comes() {
        let mut ward = heard("ff");
        ward.cleared("x", at(10));
        assert_eq!(ward.health("x", at(10)), Health::Well { strikes: 0 });
        // Heard of late, as at a start from the log.
        ward.ended("x", at(9), &fault(FaultOf::Plugin));
        ward.ended("x", at(10), &fault(FaultOf::Plugin));
        assert_eq!(ward.health("x", at(11)), Health::Well { strikes: 0 });
        ward.ended("x", at(11), &fault(FaultOf::Plugin));
        ward.ended("x", at(12), &fault(FaultOf::Plugin));
        ward.cleared("x", at(10));
        assert_eq!(until(&ward, 13), Some(72));
    }
}
