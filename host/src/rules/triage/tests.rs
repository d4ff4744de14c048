use super::super::evidence::{Ask, WHOLE_SUITE};
use super::*;
use crate::event::{Exit, Flips, Oid, ReportSource};

/// `text` is a report like `a+ b- c! d?`: passed, failed, errored, skipped.
pub(crate) fn report(text: &str) -> TestReport {
    let outcome = |mark| match mark {
        '+' => Outcome::Passed,
        '-' => Outcome::Failed,
        '!' => Outcome::Errored,
        '~' => Outcome::Flaky,
        _ => Outcome::Skipped,
    };
    let split = |word: &str| {
        let (id, mark) = word.split_at(word.len() - 1);
        (id.to_owned(), outcome(mark.chars().next().unwrap_or('?')))
    };
    let tests: BTreeMap<_, _> = text.split_whitespace().map(split).collect();
    let green = tests.values().all(|o| !o.is_bad());
    TestReport {
        commit: None,
        tree: Oid("tree".into()),
        source: ReportSource::Junit,
        exit: Exit::Code(if green { 0 } else { 1 }),
        problem: tests.is_empty().then(|| "no test ran".into()),
        tests,
        failures: vec![],
        output: String::new(),
        seconds: 1.0,
        sandbox: [crate::event::Layer::Namespaces].into(),
        partial: false,
    }
}

const ONE_RERUN: Demand = Demand {
    runs: 2,
    patience: 1e9,
};

/// What is found where head and base always say the same, asked as often as triage asks.
pub(crate) fn found(head: &TestReport, base: &TestReport) -> Triage {
    ask_of(
        ONE_RERUN,
        &BTreeMap::new(),
        |_| head.clone(),
        |_| base.clone(),
    )
    .0
}

/// Runs what triage asks for until it has enough. `head` and `base` are asked with the number of their run; of a part,
/// only its tests are kept. What was found, and how many runs each took.
fn ask_of(
    demand: Demand,
    flips: &BTreeMap<String, Flips>,
    mut head: impl FnMut(usize) -> TestReport,
    mut base: impl FnMut(usize) -> TestReport,
) -> (Triage, usize, usize) {
    let mut heads = vec![head(0)];
    let mut bases: Vec<TestReport> = vec![];
    loop {
        let evidence = Evidence {
            head: &heads,
            base: &bases,
            flips,
        };
        match evidence.ask(demand) {
            Ask::Enough => {
                let found = triage(&evidence, demand).expect("the head was tested");
                return (found, heads.len(), bases.len());
            }
            Ask::Head(part) => heads.push(part_of(head(heads.len()), part)),
            Ask::Base(part) => bases.push(part_of(base(bases.len()), part)),
        }
        assert!(heads.len() + bases.len() < 200, "it never has enough");
    }
}

fn part_of(mut report: TestReport, part: Option<BTreeSet<String>>) -> TestReport {
    if let Some(part) = &part {
        report.tests.retain(|id, _| part.contains(id));
        let green = report.tests.values().all(|o| !o.is_bad());
        report.exit = Exit::Code(i32::from(!green));
    }
    report.partial = part.is_some();
    report
}

/// Of runs that say these things one after the other, the last one again and again.
fn check(head: &[&str], base: &[&str]) -> (Finding, Vec<String>) {
    let nth = |of: &[&str], n: usize| report(of[n.min(of.len() - 1)]);
    let (found, ..) = ask_of(
        ONE_RERUN,
        &BTreeMap::new(),
        |n| nth(head, n),
        |n| nth(base, n),
    );
    (found.finding, found.failing.into_iter().collect())
}

fn ids(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn what_passed_before_and_fails_every_time_is_real() {
    assert_eq!(check(&["a- b+"], &["a+ b+"]), (Finding::Real, ids("a")));
}

#[test]
fn what_passes_among_the_others_the_second_time_is_flaky_and_the_base_is_not_asked() {
    let once = |n: usize| report(if n == 0 { "a- b+" } else { "a+ b+" });
    let base = |_| panic!("the base is not asked");
    let (found, heads, _) = ask_of(ONE_RERUN, &BTreeMap::new(), once, base);
    assert_eq!((found.finding, heads), (Finding::Flaky, 3));
    assert_eq!(found.flaky.into_iter().collect::<Vec<_>>(), ids("a"));
}

#[test]
fn a_suite_that_broke_off_once_and_was_green_then_is_flaky() {
    assert_eq!(check(&["m!", "a+ b+"], &["a+ b+"]).0, Finding::Flaky);
    let once = |n: usize| match n {
        0 => only_an_exit_code(1),
        _ => report("a+ b+"),
    };
    let base = |_| panic!("the base is not asked");
    let (found, ..) = ask_of(ONE_RERUN, &BTreeMap::new(), once, base);
    assert_eq!(found.finding, Finding::Flaky);
}

#[test]
fn a_base_that_never_comes_to_the_test_again_is_not_asked_for_ever() {
    let base = |n: usize| report(if n == 0 { "a+ b+" } else { "a? b+" });
    let (found, heads, bases) = ask_of(ONE_RERUN, &BTreeMap::new(), |_| report("a- b+"), base);
    assert_eq!(found.finding, Finding::CannotTell);
    assert!(
        heads + bases <= 20,
        "{heads} at the head, {bases} at the base"
    );
}

#[test]
fn what_failed_before_is_not_the_changes_doing() {
    assert_eq!(check(&["a- b+"], &["a- b+"]), (Finding::RedBefore, ids("")));
}

#[test]
fn a_new_test_that_fails_is_the_changes_doing_and_is_run_twice_as_often() {
    let head = |_| report("a+ new-");
    let (found, heads, bases) = ask_of(ONE_RERUN, &BTreeMap::new(), head, |_| report("a+"));
    assert_eq!(found.finding, Finding::Real);
    assert_eq!((heads, bases), (4, 1));
}

#[test]
fn tests_lost_to_a_collection_error_count_as_failing() {
    let before = &["a+ b+"];
    assert_eq!(check(&["m!"], before), (Finding::Real, ids("a b m")));
    assert_eq!(check(&[""], before), (Finding::Real, ids("a b")));
}

#[test]
fn a_test_the_push_removed_is_not_missed() {
    let found = check(&["a- b+"], &["a+ b+ gone+"]);
    assert_eq!(found, (Finding::Real, ids("a")));
}

#[test]
fn where_the_base_cannot_be_tested_nothing_is_claimed() {
    assert_eq!(check(&["a-"], &[""]).0, Finding::CannotTell);
}

#[test]
fn a_test_that_reruns_itself_into_passing_is_flaky() {
    let found = check(&["a~ b-"], &["a+ b+"]);
    assert_eq!(found, (Finding::Real, ids("b")));
}

#[test]
fn a_flaky_test_is_not_among_those_to_keep() {
    let head = |n: usize| report(if n == 0 { "a- b- c+" } else { "a- b+ c+" });
    let (found, ..) = ask_of(ONE_RERUN, &BTreeMap::new(), head, |_| report("a+ b+ c+"));
    assert_eq!(found.to_keep.into_iter().collect::<Vec<_>>(), ids("c"));
}

#[test]
fn a_test_that_fails_only_among_the_others_is_real_all_the_same() {
    let mut heads = vec![report("a- b+")];
    let mut bases = vec![];
    let flips = BTreeMap::new();
    let demand = Demand {
        runs: 3,
        ..ONE_RERUN
    };
    let found = loop {
        let evidence = Evidence {
            head: &heads,
            base: &bases,
            flips: &flips,
        };
        match evidence.ask(demand) {
            Ask::Head(None) => heads.push(report("a- b+")),
            Ask::Head(part) => heads.push(part_of(report("a+ b+"), part)),
            Ask::Base(part) => bases.push(part_of(report("a+ b+"), part)),
            Ask::Enough => break triage(&evidence, demand).expect("it was tested"),
        }
        assert!(heads.len() + bases.len() < 50, "it never has enough");
    };
    assert_eq!(found.finding, Finding::Real);
    let alone = heads.iter().filter(|s| s.partial).count();
    assert_eq!(alone, 1, "once it passed alone, only the whole suite tells");
}

#[test]
fn a_part_that_leaves_its_test_out_is_not_asked_again() {
    let deaf = |id: &str| part_of(report("other+"), Some(BTreeSet::from([id.to_owned()])));
    let heads = [report("a- b+"), deaf("a")];
    let flips = BTreeMap::new();
    let evidence = Evidence {
        head: &heads,
        base: &[],
        flips: &flips,
    };
    assert_eq!(evidence.ask(ONE_RERUN), Ask::Base(None));
    let more = Demand {
        runs: 7,
        ..ONE_RERUN
    };
    assert_eq!(evidence.ask(more), Ask::Head(None));
}

#[test]
fn a_test_that_flips_at_the_base_and_fails_at_the_head_is_left_to_a_person() {
    let demand = Demand {
        runs: 7,
        ..ONE_RERUN
    };
    let base = |n: usize| report(if n == 3 { "a- b+" } else { "a+ b+" });
    // The first base run is whole, the others are parts: among those one differs from the rest.
    let (found, ..) = ask_of(demand, &BTreeMap::new(), |_| report("a- b+"), base);
    assert_eq!(found.finding, Finding::CannotTell);
    assert!(
        found.because.contains("a person has to say"),
        "{}",
        found.because
    );
}

#[test]
fn what_is_known_to_flip_is_asked_more_often() {
    let runs = |flips: &BTreeMap<String, Flips>| {
        let (found, heads, bases) = ask_of(ONE_RERUN, flips, |_| report("a-"), |_| report("a+"));
        assert_eq!(found.finding, Finding::Real);
        (heads, bases)
    };
    assert_eq!(runs(&BTreeMap::new()), (2, 2));
    let seen = Flips { flips: 3, runs: 40 };
    assert_eq!(runs(&BTreeMap::from([("a".to_owned(), seen)])), (5, 5));
}

#[test]
fn a_slow_suite_is_not_run_for_hours_and_what_stays_open_goes_to_a_person() {
    let slow = |text: &str| TestReport {
        seconds: 900.0,
        ..report(text)
    };
    let demand = Demand {
        runs: 7,
        patience: 3600.0,
    };
    let (found, heads, bases) = ask_of(
        demand,
        &BTreeMap::new(),
        |_| slow("a- b+"),
        |_| slow("a+ b+"),
    );
    assert_eq!(found.finding, Finding::CannotTell);
    assert!(
        found.because.contains("policy.rerun_seconds"),
        "{}",
        found.because
    );
    assert_eq!(found.failing.into_iter().collect::<Vec<_>>(), ids("a"));
    let told = "four reruns of a quarter of an hour, and the first at the head and at the base";
    assert_eq!((heads, bases), (5, 1), "{told}");
}

fn only_an_exit_code(code: i32) -> TestReport {
    TestReport {
        source: ReportSource::ExitCode,
        exit: Exit::Code(code),
        problem: None,
        ..report("")
    }
}

#[test]
fn a_build_that_broke_takes_every_test_of_the_base_with_it() {
    let found = found(&only_an_exit_code(1), &report("a+ b+ c-"));
    assert_eq!(found.finding, Finding::Real);
    assert_eq!(found.failing.into_iter().collect::<Vec<_>>(), ids("a b"));
}

#[test]
fn an_exit_code_alone_counts_as_one_test() {
    let found = found(&only_an_exit_code(1), &only_an_exit_code(0));
    assert_eq!(found.finding, Finding::Real);
    assert_eq!(found.failing, BTreeSet::from([WHOLE_SUITE.to_owned()]));
}

fn timed_out() -> TestReport {
    TestReport {
        exit: Exit::TimedOut { after_seconds: 9 },
        problem: Some("the test command was stopped after 9 s".into()),
        source: ReportSource::ExitCode,
        ..report("")
    }
}

#[test]
fn trouble_that_passes_leaves_the_tests_to_speak() {
    let head = |n: usize| match n {
        0 => timed_out(),
        _ => report("a- b+"),
    };
    let (found, ..) = ask_of(ONE_RERUN, &BTreeMap::new(), head, |_| report("a+ b+"));
    assert_eq!(found.finding, Finding::Real);
    assert_eq!(found.failing.into_iter().collect::<Vec<_>>(), ids("a"));
    assert_eq!(found.to_keep.into_iter().collect::<Vec<_>>(), ids("b"));
    let green = |n: usize| if n == 0 { timed_out() } else { report("a+ b+") };
    let (found, ..) = ask_of(ONE_RERUN, &BTreeMap::new(), green, |_| report("a+ b+"));
    assert_eq!(found.finding, Finding::Flaky);
}

#[test]
fn trouble_at_head_and_base_alike_is_the_machines_and_tells_the_operator_what_to_do() {
    let (found, heads, bases) = ask_of(
        ONE_RERUN,
        &BTreeMap::new(),
        |_| timed_out(),
        |_| timed_out(),
    );
    assert_eq!(found.finding, Finding::Infrastructure);
    assert!(found.failing.is_empty());
    assert!(
        found.because.contains("raise test_timeout_seconds"),
        "{}",
        found.because
    );
    assert_eq!(
        (heads, bases),
        (3, 3),
        "it is tried again, but not for ever"
    );
}

#[test]
fn a_push_that_hangs_the_suite_is_real() {
    let demand = Demand {
        runs: 3,
        ..ONE_RERUN
    };
    let (found, ..) = ask_of(
        demand,
        &BTreeMap::new(),
        |_| timed_out(),
        |_| report("a+ b+"),
    );
    assert_eq!(found.finding, Finding::Real);
    assert_eq!(found.failing.into_iter().collect::<Vec<_>>(), ids("a b"));
}

#[test]
fn a_full_disk_is_nobodys_push() {
    let full = || TestReport {
        problem: Some("no test ran (exit code 1)".into()),
        output: "OSError: [Errno 28] No space left on device".into(),
        ..report("")
    };
    let base = |_| panic!("the base is not asked");
    let (found, ..) = ask_of(ONE_RERUN, &BTreeMap::new(), |_| full(), base);
    assert_eq!(found.finding, Finding::Infrastructure);
    assert!(found.because.contains("make room"), "{}", found.because);
}

/// A suite of one sound test and some that fail by chance, and with luck a real failure among them.
struct Fixture {
    chance: fastrand::Rng,
    rates: Vec<f64>,
}

impl Fixture {
    fn run(&mut self, real: bool) -> TestReport {
        let mut text = format!("sound+ real{}", if real { "-" } else { "+" });
        for (n, rate) in self.rates.clone().into_iter().enumerate() {
            let mark = if self.chance.f64() < rate { "-" } else { "+" };
            text.push_str(&format!(" flake{n}{mark}"));
        }
        report(&text)
    }
}

/// Seeded pushes through triage as it is set by default. What it called each, and the runs it took in all.
fn pushes(seed: u64, rates: &[f64], count: usize, broken_every: usize) -> Vec<(bool, Triage)> {
    let fixture = std::cell::RefCell::new(Fixture {
        chance: fastrand::Rng::with_seed(seed),
        rates: rates.to_vec(),
    });
    let demand = Demand::from(&crate::config::Policy::default());
    (0..count)
        .map(|n| {
            let broken = n % broken_every == 0;
            let head = |_| fixture.borrow_mut().run(broken);
            let base = |_| fixture.borrow_mut().run(false);
            (broken, ask_of(demand, &BTreeMap::new(), head, base).0)
        })
        .collect()
}

#[test]
fn of_thousands_of_seeded_pushes_no_flake_is_called_real_and_no_break_is_called_flaky() {
    for (nth, rate) in [0.05, 0.2, 0.5].into_iter().enumerate() {
        for (broken, found) in pushes(nth as u64, &[rate], 4_000, 8) {
            let real = found.failing.contains("real");
            let told = format!("at {rate}: {}", found.because);
            assert_eq!(broken, real, "{told}");
            let blamed = found.finding == Finding::Real && found.failing.contains("flake0");
            assert!(!blamed, "{told}");
            assert_eq!(broken, found.finding == Finding::Real, "{told}");
        }
    }
}

#[test]
fn however_often_a_flake_fails_it_passes_for_broken_less_than_once_in_sixty_five_thousand() {
    // Exactly: the chance of n failures at the head and n passes at the base, for every rate in steps of a thousandth.
    let n = Demand::from(&crate::config::Policy::default()).runs as i32;
    let worst = (1..1000)
        .map(|rate| f64::from(rate) / 1000.0)
        .map(|p| p.powi(n) * (1.0 - p).powi(n))
        .fold(0.0, f64::max);
    assert_eq!(worst, 0.25_f64.powi(n), "it is worst at a half");
    assert!(worst < 1.0 / 65_000.0);
}
