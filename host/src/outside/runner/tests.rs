//! Suites that pass, fail, lie, hang and hide; in no cell, whose stories are in `tests/it/sandbox.rs`.
//!
//! Touches: files, processes, git.
//! Change here: when `../runner.rs` learns another reason not to believe a run.

use super::*;
use crate::outside::git::testing::Origin;

const PASSING: &str = "<testsuite name='s'><testcase classname='c' name='a'/><testcase classname='c' name='b'/></testsuite>";
const FAILING: &str = "<testsuite name='s'><testcase classname='c' name='a'/><testcase classname='c' name='b'><failure message='no'>x</failure></testcase></testsuite>";

/// Runs `test` in a fresh workspace of a repository with the two reports above in it.
async fn suite(test: &str) -> TestReport {
    with(test, |_| {}).await
}

async fn with(test: &str, change: impl FnOnce(&mut SuiteSpec)) -> TestReport {
    let origin = Origin::with(&[("passing.xml", PASSING), ("failing.xml", FAILING)]);
    let mut spec = SuiteSpec {
        setup: None,
        test: test.to_owned(),
        report: ReportFormat::Auto,
        env: BTreeMap::new(),
        setup_timeout: Duration::from_secs(60),
        test_timeout: Duration::from_secs(60),
        confinement: Confinement::Off,
    };
    change(&mut spec);
    let (mirror, tree) = origin.fetched().await;
    let workspace = Workspace::create(
        &mirror,
        &tree,
        Some(&origin.head()),
        &origin.beside("work"),
        "w",
    )
    .await
    .unwrap();
    match prepare(&spec, &workspace, true).await {
        Ok(()) => run_suite(&spec, &workspace).await,
        Err(unprepared) => unprepared.report(&tree, None),
    }
}

fn problem(report: &TestReport) -> &str {
    report.problem.as_deref().unwrap_or("")
}

#[tokio::test]
async fn a_green_suite_is_green() {
    let report = suite("cp passing.xml $CHANGEBUS_REPORT; echo fine").await;
    assert!(report.is_green(), "{report:?}");
    assert_eq!(
        (report.source, report.passed().len(), report.output.as_str()),
        (ReportSource::Junit, 2, "fine\n")
    );
    assert!(report.commit.is_some());
}

#[tokio::test]
async fn a_red_suite_names_its_failures() {
    let report = suite("cp failing.xml $CHANGEBUS_REPORT; exit 1").await;
    assert_eq!(
        (report.problem.as_deref(), report.exit.clone()),
        (None, Exit::Code(1))
    );
    assert_eq!(report.bad().into_iter().collect::<Vec<_>>(), ["c::b"]);
    assert_eq!(report.failures[0].message, "no");
}

#[tokio::test]
async fn exit_code_and_report_must_tell_the_same_story() {
    let cases = [
        (
            "cp failing.xml $CHANGEBUS_REPORT; exit 0",
            "the report names 1 failing tests, but the command says success (exit code 0)",
        ),
        (
            "cp passing.xml $CHANGEBUS_REPORT; exit 2",
            "the command says failure (exit code 2), but the report names no failing test",
        ),
        (
            "echo '<testsuites/>' >$CHANGEBUS_REPORT; exit 5",
            "no test ran (exit code 5)",
        ),
        (
            "echo '<testsuites/>' >$CHANGEBUS_REPORT",
            "no test ran (exit code 0)",
        ),
        (
            "echo '<testsuite><testcase name=\"a\"><skipped/></testcase></testsuite>' >$CHANGEBUS_REPORT",
            "no test ran: all 1 were skipped",
        ),
        (
            "cp passing.xml $CHANGEBUS_REPORT; kill -9 $$",
            "the test command was killed by signal 9",
        ),
    ];
    for (test, why) in cases {
        let report = suite(test).await;
        assert_eq!(problem(&report), why, "{test}");
        assert!(!report.is_green(), "{test}");
    }
}

#[tokio::test]
async fn a_report_that_cannot_be_read_is_a_problem_and_not_an_absence() {
    let cases = [
        ("echo '<testsuite>' >$CHANGEBUS_REPORT", "not well-formed"),
        ("mkfifo $CHANGEBUS_REPORT", "no regular file"),
        ("ln -s /etc/passwd $CHANGEBUS_REPORT", "cannot be read"),
        ("truncate -s 1G $CHANGEBUS_REPORT", "larger than"),
    ];
    for (test, why) in cases {
        let report = suite(test).await;
        assert!(problem(&report).contains(why), "{test}: {report:?}");
        assert_eq!(report.source, ReportSource::Junit);
    }
    let none = with("true", |spec| spec.report = ReportFormat::Junit).await;
    assert_eq!(
        problem(&none),
        "the command wrote no report to $CHANGEBUS_REPORT (exit code 0)"
    );
}

#[tokio::test]
async fn without_a_report_the_text_of_libtest_or_the_exit_code_must_do() {
    let libtest = "printf 'running 1 test\\ntest a ... ok\\n\\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\\n'";
    let report = suite(libtest).await;
    assert!(
        report.is_green() && report.source == ReportSource::Libtest,
        "{report:?}"
    );
    let report = suite("exit 1").await;
    assert_eq!(
        (report.source, report.problem, report.exit),
        (ReportSource::ExitCode, None, Exit::Code(1))
    );
    let report = with("cp failing.xml $CHANGEBUS_REPORT", |spec| {
        spec.report = ReportFormat::ExitCode
    })
    .await;
    assert!(report.is_green() && report.tests.is_empty());
    let report = with("echo error: could not compile; exit 101", |spec| {
        spec.report = ReportFormat::Libtest
    })
    .await;
    assert_eq!(problem(&report), "no test ran (exit code 101)");
    let report = with(&format!("{libtest}; head -c 20000000 /dev/zero"), |spec| {
        spec.report = ReportFormat::Libtest
    })
    .await;
    assert!(
        problem(&report).contains("too long"),
        "{}",
        problem(&report)
    );
}

#[tokio::test]
async fn what_is_printed_or_written_is_told_apart_by_itself() {
    let tap = "printf 'TAP version 13\\nok 1 - a\\nnot ok 2 - b\\n1..2\\n'";
    let go = "printf '{\"Action\":\"run\",\"Package\":\"p\",\"Test\":\"b\"}\\n{\"Action\":\"fail\",\"Package\":\"p\",\"Test\":\"b\"}\\n{\"Action\":\"fail\",\"Package\":\"p\"}\\n'";
    for (command, source, id) in [
        (tap, ReportSource::Tap, "b"),
        (go, ReportSource::GoTest, "p::b"),
    ] {
        for to in ["", ">$CHANGEBUS_REPORT"] {
            let report = suite(&format!("{command} {to}; exit 1")).await;
            assert_eq!((report.source, &report.problem), (source, &None), "{to}");
            assert_eq!(report.bad().into_iter().collect::<Vec<_>>(), [id], "{to}");
        }
    }
    let page = suite("echo '<html>'").await;
    assert_eq!(page.source, ReportSource::ExitCode);
    let other = with("echo 'ok 1' >$CHANGEBUS_REPORT", |spec| {
        spec.report = ReportFormat::Tap
    })
    .await;
    let why = "the report has no plan: its end may be missing";
    assert_eq!(problem(&other), why);
}

#[tokio::test]
async fn several_reports_in_a_directory_are_one() {
    let report = suite("mkdir $CHANGEBUS_REPORT && cp *.xml $CHANGEBUS_REPORT; exit 1").await;
    assert_eq!(
        (report.tests.len(), report.bad().len(), report.problem),
        (2, 1, None)
    );
}

#[tokio::test]
async fn a_setup_that_fails_is_told_with_its_output() {
    let report = with("cp passing.xml $CHANGEBUS_REPORT", |spec| {
        spec.setup = Some("echo no network; exit 7".into())
    })
    .await;
    assert_eq!(
        (problem(&report), report.exit.clone()),
        ("setup failed (exit code 7)", Exit::Code(7))
    );
    assert_eq!(
        (report.output.as_str(), report.tests.len()),
        ("no network\n", 0)
    );
}

#[tokio::test]
async fn a_report_that_setup_wrote_does_not_count() {
    let report = with("true", |spec| {
        spec.setup = Some("cp passing.xml $CHANGEBUS_REPORT".into())
    })
    .await;
    assert_eq!(
        (report.source, report.tests.len()),
        (ReportSource::ExitCode, 0)
    );
    let report = with("true", |spec| {
        spec.setup = Some("mkdir $CHANGEBUS_REPORT; cp passing.xml $CHANGEBUS_REPORT".into())
    })
    .await;
    assert_eq!(report.source, ReportSource::ExitCode);
}

#[tokio::test]
async fn setup_and_tests_share_a_home_that_nobody_else_has() {
    let report = with(
        "cat ~/installed && [ -d $TMPDIR ] && [ $HOME != $TMPDIR ] && pwd && echo $MINE",
        |spec| {
            spec.setup = Some("echo yes >~/installed".into());
            spec.env.insert("MINE".into(), "mine".into());
            spec.env
                .insert("CHANGEBUS_REPORT".into(), "/not/this".into());
        },
    )
    .await;
    assert!(report.is_green(), "{report:?}");
    assert_eq!(
        report.output, "yes\n.\nmine\n",
        "where the workspace lies is left out"
    );
}

#[tokio::test]
async fn nothing_of_our_environment_reaches_the_tests() {
    let report = suite("env | cut -d= -f1 | sort | tr '\\n' ' '").await;
    let names: Vec<&str> = report
        .output
        .split_whitespace()
        .filter(|n| !["PWD", "OLDPWD", "SHLVL", "_"].contains(n))
        .collect();
    let allowed = [
        "CHANGEBUS_JOB",
        "CHANGEBUS_REPORT",
        "HOME",
        "LANG",
        "PATH",
        "RUSTUP_HOME",
        "TMPDIR",
    ];
    assert!(names.iter().all(|name| allowed.contains(name)), "{names:?}");
}

#[tokio::test]
async fn a_suite_that_hangs_is_stopped_and_what_it_left_is_gone() {
    let report = with("setsid sleep 300 & echo $!; sleep 300", |spec| {
        spec.test_timeout = Duration::from_secs(2)
    })
    .await;
    assert_eq!(
        (problem(&report), report.exit.clone()),
        (
            "the test command was stopped after 2 s",
            Exit::TimedOut { after_seconds: 2 }
        )
    );
    let orphan = Path::new("/proc").join(report.output.trim());
    for _ in 0..500 {
        if !orphan.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} still runs", orphan.display());
}

#[tokio::test]
async fn only_the_end_of_a_long_output_is_kept() {
    let report = suite("seq 1 100000").await;
    assert!(report.output.len() <= 16 << 10 && report.output.ends_with("\n99999\n100000\n"));
}

#[tokio::test]
async fn the_real_cargo_is_found_and_understood() {
    let origin = Origin::with(&[
        (
            "Cargo.toml",
            "[package]\nname = \"shop\"\nedition = \"2021\"\n[workspace]\n",
        ),
        (
            "src/lib.rs",
            "#[test]\nfn adds() {}\n#[test]\nfn sums() { assert_eq!(1, 2, \"the sum\") }\n",
        ),
        ("tests/it.rs", "#[test]\nfn adds() {}\n"),
    ]);
    let (mirror, tree) = origin.fetched().await;
    let workspace = Workspace::create(&mirror, &tree, None, &origin.beside("work"), "w")
        .await
        .unwrap();
    let spec = SuiteSpec {
        setup: None,
        test: "cargo test --offline --no-fail-fast".into(),
        report: ReportFormat::Auto,
        env: BTreeMap::new(),
        setup_timeout: Duration::from_secs(60),
        test_timeout: Duration::from_secs(300),
        confinement: Confinement::Off,
    };
    let report = run_suite(&spec, &workspace).await;
    assert_eq!(
        (report.problem.as_deref(), report.source),
        (None, ReportSource::Libtest),
        "{}",
        report.output
    );
    let ids: Vec<(&str, Outcome)> = report
        .tests
        .iter()
        .map(|(id, outcome)| (id.as_str(), *outcome))
        .collect();
    assert_eq!(
        ids,
        [
            ("it::adds", Outcome::Passed),
            ("shop::adds", Outcome::Passed),
            ("shop::sums", Outcome::Failed)
        ]
    );
    let failure = &report.failures[0];
    assert_eq!(
        (failure.file.as_deref(), failure.line),
        (Some("src/lib.rs"), Some(4))
    );
    assert!(failure.message.contains("the sum"), "{}", failure.message);
}
