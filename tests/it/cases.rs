//! The real cases: pushes that broke true packages, healed by the product, and everybody who was wrong told why.
//!
//! Touches: files, processes, git, http, sqlite.
//! Change here: when a case is added to `tests/cases`, or should be told with other answers of the model. Every case
//! stands in at least one story; a test sees to that.

pub mod answer;
mod table;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use changebus::event::{Action, Delivery, Event, Fact, RunStatus, Standing, Triage, VariantState};
use changebus::story;
use changebus_tests::cases::{self, Case, Kind, Prepared, Repo};
use changebus_tests::world::{World, git, kept};

use answer::Answer;

/// One case, what the model says to A and to B, and who has to win.
#[derive(Clone, Copy, Debug)]
pub struct Plot {
    case: &'static str,
    minimal: Answer,
    robust: Answer,
    winner: &'static str,
    /// Trials a strategy may ask for; what a large push takes would make the suite too slow.
    probes: u32,
    /// Through the daemon, which sees the push come, instead of `changebus fix`.
    watched: bool,
}

impl Plot {
    const fn of(case: &'static str, minimal: Answer, robust: Answer, winner: &'static str) -> Plot {
        Plot {
            case,
            minimal,
            robust,
            winner,
            probes: 20,
            watched: false,
        }
    }

    const fn probes(self, probes: u32) -> Plot {
        Plot { probes, ..self }
    }

    const fn watched(self) -> Plot {
        Plot {
            watched: true,
            ..self
        }
    }
}

/// Makes a test of every story, and a list of all.
macro_rules! stories {
    ($($story:ident: $plot:expr,)*) => {
        /// In the order of the table.
        const STORIES: &[(&str, Plot)] = &[$((stringify!($story), $plot),)*];

        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                tell(stringify!($story), $plot).await;
            }
        )*
    };
}

use Answer::{Cheat, NoFix, Nothing, Plausible, TrueFiles, TrueFix};

stories! {
    the_smallest_revert_brings_back_the_case_classes_of_aho_corasick:
        Plot::of("aho-corasick-case-classes", Plausible, NoFix, "C"),
    the_true_fix_of_aho_corasick_wins_where_only_tests_were_pushed:
        Plot::of("aho-corasick-leftmost", TrueFix, Nothing, "A"),
    the_true_fix_and_the_whole_revert_of_fast_json_stringify_are_the_same:
        Plot::of("fast-json-stringify-escapes", TrueFix, Nothing, "A"),
    a_build_that_broke_in_json_is_mended_with_all_its_tests:
        Plot::of("json-broken-build", TrueFix, NoFix, "A").probes(3),
    the_smallest_revert_lets_light_my_request_send_forms_again:
        Plot::of("light-my-request-form-data", Nothing, Plausible, "C"),
    the_true_fix_of_object_path_wins_over_taking_the_tests_back:
        Plot::of("object-path-array-path", TrueFix, Cheat, "A"),
    a_push_to_object_path_is_seen_and_the_hole_in_it_closed:
        Plot::of("object-path-magic", Plausible, Cheat, "C").watched(),
    the_true_fix_of_object_path_loses_to_a_smaller_revert:
        Plot::of("object-path-magic", TrueFiles, NoFix, "C"),
    the_guard_of_object_path_is_found_in_a_reformatted_file:
        Plot::of("object-path-reformatted", NoFix, Plausible, "C"),
    the_true_fix_of_parse_wins_over_a_plausible_one:
        Plot::of("parse-hyphens", TrueFiles, Plausible, "A"),
    two_of_three_hunks_of_parse_are_taken_back:
        Plot::of("parse-subseconds", NoFix, Plausible, "C"),
    one_of_twenty_hunks_of_pathspec_is_taken_back:
        Plot::of("pathspec-directory-marks", Cheat, Nothing, "C"),
    the_smallest_revert_tells_the_flags_of_pico_args_apart:
        Plot::of("pico-args-combined-flags", Plausible, Nothing, "C"),
    the_smallest_revert_keeps_the_hints_of_sqlparse:
        Plot::of("sqlparse-hints", NoFix, Plausible, "C").probes(6),
    the_smallest_revert_lets_xmlparser_read_blanks_again:
        Plot::of("xmlparser-doctype-end", Plausible, Cheat, "C").probes(10),
    an_older_red_of_xmlparser_is_left_aside:
        Plot::of("xmlparser-instructions", TrueFix, NoFix, "A").probes(4),
    the_smallest_revert_strips_the_blanks_of_xmltodict:
        Plot::of("xmltodict-whitespace", Plausible, NoFix, "C"),
    the_true_fix_of_xmltodict_loses_to_a_smaller_revert:
        Plot::of("xmltodict-whitespace", TrueFix, Cheat, "C"),
}

#[test]
fn every_case_stands_in_a_story() {
    let told: BTreeSet<&str> = STORIES.iter().map(|(_, plot)| plot.case).collect();
    let cases = cases::all().expect("the cases can be read");
    let there: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(told, there);
}

/// A told story: what the log and the origin say at its end.
pub struct Told {
    case: Case,
    story: story::Story,
    triage: Triage,
    standings: Vec<Standing>,
    delivery: Delivery,
    changed: BTreeSet<String>,
}

async fn tell(name: &str, plot: Plot) {
    let case = prepared(plot.case);
    let apart = tempfile::tempdir().expect("a temporary directory can be made");
    let repo = case.materialize(apart.path()).expect("the case's origin");
    let script = answer::script(&case, &repo, plot.minimal, plot.robust);
    let (mut world, repo) = World::around(&case, script).await;
    world.variants(&[
        ("A", "minimal-fix", "{ effort = \"low\" }"),
        // Without a probe a wrong answer comes to its trial, and falls at the gates.
        (
            "B",
            "robust-refactor",
            "{ effort = \"high\", probe = false }",
        ),
        ("C", "revert-culprit", "{}"),
    ]);
    world.policy(&format!("probes = {}", plot.probes));
    let story = match plot.watched {
        true => through_the_daemon(&world, &repo).await,
        false => through_fix(&world),
    };
    let told = told(case.case, story, &repo, &world.events().await);
    println!("{}", table::row(&plot, &told));
    the_failure_is_found(&told);
    the_right_one_wins(&plot, &told);
    for (variant, answer) in [("A", plot.minimal), ("B", plot.robust)] {
        the_wrong_say_why(&told, variant, answer);
    }
    the_revert_is_a_fix_where_sources_were_pushed(&told);
    the_merged_tip_is_whole(&told, &repo);
    table::keep(name, &plot, &told);
}

/// The case with everything it needs, fetched once for all tests.
fn prepared(name: &str) -> Prepared {
    let cache = kept("cases");
    let cases = cases::all().expect("the cases can be read");
    let case = cases.iter().find(|case| case.name == name);
    let case = case.unwrap_or_else(|| panic!("there is no case {name}"));
    case.prepare(&cache).unwrap_or_else(|e| panic!("{e:#}"))
}

fn through_fix(world: &World) -> story::Story {
    let (printed, code) = world.fix(&[]);
    let story: story::Story = serde_json::from_value(printed).expect("the documented shape");
    let expected = match story.status {
        Some(RunStatus::Fixed) => 0,
        Some(RunStatus::Human) => 4,
        Some(RunStatus::NoFix) => 5,
        _ => 1,
    };
    assert_eq!(code, expected, "{:?}", story.status);
    story
}

/// The daemon meets the branch at its green base; then the push comes.
async fn through_the_daemon(world: &World, repo: &Repo) -> story::Story {
    let move_to =
        |commit: &str| world.git_in(&repo.origin, &["update-ref", "refs/heads/main", commit]);
    let closed = |e: &Event| matches!(e.fact, Fact::RunClosed { .. });
    let adopted = |e: &Event| matches!(e.fact, Fact::Watched { .. });
    move_to(&repo.base);
    let _daemon = world.daemon();
    world
        .until("the first look", |all| all.iter().any(adopted))
        .await;
    move_to(&repo.head);
    let events = world
        .until("the end of the run", |all| all.iter().any(closed))
        .await;
    let run: Vec<Event> = events.into_iter().filter(|e| e.run.is_some()).collect();
    story::Story::of(&run).expect("a run begins with a change")
}

fn told(case: Case, story: story::Story, repo: &Repo, events: &[Event]) -> Told {
    let facts = || events.iter().map(|e| &e.fact);
    let triage = facts().find_map(|fact| match fact {
        Fact::Triaged { triage } => Some(triage.clone()),
        _ => None,
    });
    let standings = facts().find_map(|fact| match fact {
        Fact::Decided { verdict } => Some(verdict.standings.clone()),
        _ => None,
    });
    let delivery = facts().find_map(|fact| match fact {
        Fact::Delivered { delivery } => Some(delivery.clone()),
        _ => None,
    });
    let range = format!("{}..main", repo.head);
    let names = git(&repo.origin, &["diff", "--name-only", &range]).stdout;
    let names = String::from_utf8_lossy(&names);
    Told {
        case,
        story,
        triage: triage.expect("a run is triaged"),
        standings: standings.expect("a run is decided"),
        delivery: delivery.expect("a verdict is delivered"),
        changed: names.lines().map(str::to_owned).collect(),
    }
}

fn the_failure_is_found(told: &Told) {
    let Told {
        case,
        story,
        triage,
        ..
    } = told;
    let ids = |list: &[String]| list.iter().cloned().collect::<BTreeSet<_>>();
    match case.broken_build {
        // Nothing reports any more: every test that passed is what broke.
        true => assert_eq!(triage.failing.len(), case.passing_at_base),
        false => assert_eq!(triage.failing, ids(&case.failing)),
    }
    assert_eq!(ids(&story.failing), triage.failing);
    assert_eq!(triage.red_before, ids(&case.red_before));
    assert!(triage.flaky.is_empty(), "{:?}", triage.flaky);
}

fn the_right_one_wins(plot: &Plot, told: &Told) {
    let story = &told.story;
    let reasons = &story.verdict.reasons;
    assert_eq!(story.winner.as_deref(), Some(plot.winner), "{reasons:?}");
    assert_eq!(story.verdict.action, Action::Merge, "{reasons:?}");
    assert_eq!(story.status, Some(RunStatus::Fixed), "{reasons:?}");
    assert!(story.score >= 75.0 && story.confidence >= 0.7, "{story:?}");
    assert!(matches!(told.delivery, Delivery::Merged { .. }));
    let won = story
        .variants
        .iter()
        .filter(|v| v.state == VariantState::Won);
    assert_eq!(won.count(), 1);
}

fn standing<'a>(told: &'a Told, variant: &str) -> &'a Standing {
    let found = told.standings.iter().find(|s| s.variant == variant);
    found.unwrap_or_else(|| panic!("{variant} does not stand anywhere"))
}

fn the_wrong_say_why(told: &Told, variant: &str, answer: Answer) {
    let standing = standing(told, variant);
    if answer.is_right() {
        return assert_passes(standing);
    }
    let (state, why) = match (answer, variant) {
        (Answer::Plausible, "A") => (
            VariantState::Refused,
            "its own edits do not hold on the tests",
        ),
        (Answer::Plausible, _) => (VariantState::Lost, "still do not pass"),
        (Answer::Cheat, _) => (VariantState::Refused, "decides what passes"),
        (Answer::NoFix, _) => (
            VariantState::Refused,
            "the model would change nothing: the tests contradict",
        ),
        (Answer::Nothing, _) => (VariantState::Refused, "holds no edit"),
        (Answer::TrueFix | Answer::TrueFiles | Answer::FirstHunk, _) => {
            unreachable!("told apart above, or in no story")
        }
    };
    assert_eq!(standing.state, state, "{standing:?}");
    assert!(standing.because.contains(why), "{standing:?}");
}

/// It won, or another one did that it could not come before whatever its tests said.
fn assert_passes(standing: &Standing) {
    let fine = match standing.state {
        VariantState::Won => true,
        VariantState::Duplicate => standing.because.contains("the same tree as"),
        VariantState::Lost => standing.because.contains("passes too, behind"),
        VariantState::Stopped => {
            standing.objections.is_empty() && standing.because.contains("stands first with")
        }
        _ => false,
    };
    assert!(fine, "{standing:?}");
}

fn the_revert_is_a_fix_where_sources_were_pushed(told: &Told) {
    let revert = standing(told, "C");
    match told.case.kind {
        Kind::OldSourcesUnderNewTests => assert_passes(revert),
        Kind::TestsAheadOfSources => {
            assert_eq!(revert.state, VariantState::Refused, "{revert:?}");
            let why = "the push changes nothing that may be taken back";
            assert!(revert.because.contains(why), "{revert:?}");
        }
    }
}

/// One commit on top of the push, in the sources alone, and its suite is green in a fresh clone.
fn the_merged_tip_is_whole(told: &Told, repo: &Repo) {
    let world = |args: &[&str]| {
        String::from_utf8_lossy(&git(&repo.origin, args).stdout)
            .trim()
            .to_owned()
    };
    assert_eq!(world(&["rev-parse", "main^"]), repo.head);
    let sources: BTreeSet<String> = repo.true_fix.iter().map(|(path, _)| path.clone()).collect();
    assert!(
        !told.changed.is_empty() && told.changed.is_subset(&sources),
        "{:?}",
        told.changed
    );
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let clone = dir.path().join("clone");
    let from = repo.origin.display().to_string();
    git(dir.path(), &["clone", "--quiet", &from, "clone"]);
    let output = suite(&clone, repo);
    if told.case.red_before.is_empty() {
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    } else {
        let failed = libtest_failures(&said(&output));
        assert!(same_tests(&failed, &told.triage.red_before), "{failed:?}");
    }
}

fn suite(clone: &Path, repo: &Repo) -> std::process::Output {
    let report = clone.with_file_name("report.xml");
    let mut command = Command::new("sh");
    command.arg("-c").arg(&repo.test).current_dir(clone);
    command.envs(&repo.env).env("CHANGEBUS_REPORT", report);
    command.output().expect("a shell can be started")
}

fn said(output: &std::process::Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// The failed tests as libtest prints them.
fn libtest_failures(output: &str) -> BTreeSet<String> {
    let failed = |line: &str| {
        line.strip_prefix("test ")?
            .strip_suffix(" ... FAILED")
            .map(str::to_owned)
    };
    output.lines().filter_map(failed).collect()
}

/// libtest leaves the test binary's name out, which the product puts in front.
fn same_tests(plain: &BTreeSet<String>, ids: &BTreeSet<String>) -> bool {
    let ends = |id: &String| plain.iter().any(|name| id.ends_with(&format!("::{name}")));
    plain.len() == ids.len() && ids.iter().all(ends)
}

fn table_path() -> Option<PathBuf> {
    std::env::var_os("CHANGEBUS_CASES_TABLE").map(PathBuf::from)
}
