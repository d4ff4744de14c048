//! Programs that end, hang, flood and leave others behind.
//!
//! Touches: files, processes, clock.
//! Change here: when a program is bounded in another way.

use super::*;

fn shell(line: &str) -> Spec {
    Spec {
        program: Program::Shell(line.into()),
        cwd: std::env::temp_dir(),
        env: BTreeMap::new(),
        timeout: Duration::from_secs(60),
        grace: Duration::from_millis(200),
        output_bytes: 64 << 10,
        streams: Streams::Together,
        bounds: Bounds::Group,
    }
}

fn lives(pid: &str) -> bool {
    process(
        pid.trim()
            .parse()
            .expect("the program printed a process id"),
    )
    .is_some()
}

/// True once the process has gone; it was killed before, so this waits for the kernel only.
async fn goes(pid: &str) -> bool {
    for _ in 0..500 {
        if !lives(pid) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

#[tokio::test]
async fn both_streams_come_in_the_order_of_writing() {
    let finished = run(&shell("echo one; echo two >&2; echo three; exit 3")).await;
    assert_eq!(finished.exit, Exit::Code(3));
    assert_eq!(finished.output, "one\ntwo\nthree\n");
}

#[tokio::test]
async fn streams_can_be_kept_apart() {
    let finished = run(&Spec {
        streams: Streams::Apart,
        ..shell("echo out; echo err >&2")
    })
    .await;
    assert_eq!(
        (finished.output.as_str(), finished.errors.as_str()),
        ("out\n", "err\n")
    );
}

#[tokio::test]
async fn the_environment_holds_the_basics_and_what_was_given() {
    let env = BTreeMap::from([
        ("HOME".into(), "/nowhere".into()),
        ("GIVEN".into(), "yes".into()),
    ]);
    let finished = run(&Spec {
        env,
        ..shell("env | cut -d= -f1 | sort; echo $HOME $GIVEN")
    })
    .await;
    let names: Vec<&str> = finished
        .output
        .lines()
        .filter(|l| !["PWD", "SHLVL", "_", "OLDPWD"].contains(l))
        .collect();
    assert_eq!(
        names,
        [
            "CHANGEBUS_JOB",
            "GIVEN",
            "HOME",
            "LANG",
            "PATH",
            "/nowhere yes"
        ]
    );
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_a_value() {
    let program = Program::Argv(vec!["/does/not/exist".into()]);
    let finished = run(&Spec {
        program,
        ..shell("")
    })
    .await;
    assert_eq!(finished.exit, Exit::NotStarted);
    assert!(
        finished
            .output
            .contains("/does/not/exist cannot be started"),
        "{}",
        finished.output
    );
}

#[tokio::test]
async fn a_crash_is_told_from_an_exit() {
    assert_eq!(
        run(&shell("kill -SEGV $$")).await.exit,
        Exit::Signal(Signal::SIGSEGV as i32)
    );
}

/// Runs `line` with `$PID_FILE`, into which something must write its process id before the run ends.
async fn run_and_read_pid(line: &str, timeout: Duration) -> (Finished, String) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let env = BTreeMap::from([("PID_FILE".into(), file.path().display().to_string())]);
    let finished = run(&Spec {
        env,
        timeout,
        ..shell(line)
    })
    .await;
    (
        finished,
        std::fs::read_to_string(file.path()).expect("the file stays"),
    )
}

const UNTIL_WRITTEN: &str = "while [ ! -s $PID_FILE ]; do sleep 0.02; done";
/// Long enough for a shell to get to work on a busy machine.
const SHORT: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(200);

#[tokio::test]
async fn a_program_that_never_ends_is_stopped_at_its_deadline_with_its_children() {
    let (finished, pid) =
        run_and_read_pid("sleep 300 & echo $! >$PID_FILE; sleep 300", SHORT).await;
    assert_eq!(finished.exit, Exit::TimedOut { after_seconds: 2 });
    assert!(goes(&pid).await);
}

#[tokio::test]
async fn a_program_may_say_its_last_words_before_the_kill() {
    let line = "trap 'echo bye; exit 0' TERM; while :; do sleep 0.02; done";
    let finished = run(&Spec {
        timeout: SHORT,
        grace: LONG,
        ..shell(line)
    })
    .await;
    assert!(matches!(finished.exit, Exit::TimedOut { .. }));
    assert!(finished.output.ends_with("bye\n"), "{}", finished.output);
}

#[tokio::test]
async fn a_program_that_ignores_the_request_to_stop_is_killed() {
    let line = "trap '' TERM; echo $$ >$PID_FILE; while :; do sleep 0.02; done";
    let (finished, pid) = run_and_read_pid(line, SHORT).await;
    assert!(matches!(finished.exit, Exit::TimedOut { .. }));
    assert!(goes(&pid).await);
}

#[tokio::test]
async fn an_orphan_holds_up_nothing_and_is_killed_however_it_tried_to_get_away() {
    let orphan = "sh -c 'echo $$ >'$PID_FILE'; exec sleep 300'";
    let escapes = [
        format!("{orphan} & {UNTIL_WRITTEN}"),
        // A session of its own: found by its environment and by our pipe.
        format!("setsid {orphan} & {UNTIL_WRITTEN}"),
        // No environment: found by our pipe.
        format!("env -i setsid {orphan} & {UNTIL_WRITTEN}"),
        // No pipe: found by its environment.
        format!("setsid {orphan} >/dev/null 2>&1 & {UNTIL_WRITTEN}"),
    ];
    for line in escapes {
        let (finished, pid) = run_and_read_pid(&line, LONG).await;
        assert_eq!(
            finished.exit,
            Exit::Code(0),
            "it waited for the orphan of {line}"
        );
        assert!(goes(&pid).await, "{line}");
    }
}

#[tokio::test]
async fn a_child_that_shed_everything_but_its_parent_is_killed_at_the_deadline() {
    let line = "env -i setsid -w sh -c 'echo $$ >'$PID_FILE'; exec sleep 300' >/dev/null 2>&1";
    let (finished, pid) = run_and_read_pid(line, SHORT).await;
    assert!(matches!(finished.exit, Exit::TimedOut { .. }));
    assert!(goes(&pid).await);
}

#[tokio::test]
async fn dropping_the_run_kills_the_whole_group() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let spec = shell(&format!(
        "sleep 300 & echo $! >{}; sleep 300",
        file.path().display()
    ));
    let said = || std::fs::read_to_string(file.path()).unwrap();
    let run = tokio::spawn(async move { run(&spec).await });
    while !said().ends_with('\n') {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());
    assert!(goes(&said()).await);
}

#[tokio::test]
async fn orphans_of_a_dead_process_are_told_from_those_of_others_by_whose_they_are() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let orphan = |dir: &Path, bounds: Bounds| {
        let spec = Spec {
            cwd: dir.join("workspaces/one"),
            bounds,
            ..shell("")
        };
        let mark = mark(&spec).unwrap();
        std::process::Command::new("sleep")
            .arg("300")
            .env(MARK, mark)
            .spawn()
            .unwrap()
    };
    let namespace = |dir: &Path| Bounds::Namespace {
        input: vec![],
        owner: owner(dir).unwrap(),
        memory_bytes: u64::MAX,
    };
    let all = |dir: &Path| [orphan(dir, Bounds::Group), orphan(dir, namespace(dir))];
    let (mut own, mut others) = (all(ours.path()), all(theirs.path()));
    assert_eq!(end_orphans(ours.path()).unwrap(), 2);
    for each in &mut own {
        assert!(!each.wait().unwrap().success());
    }
    for each in &mut others {
        assert!(each.try_wait().unwrap().is_none(), "it was not ours");
        each.kill().unwrap();
        each.wait().unwrap();
    }
}

#[tokio::test]
async fn a_flood_keeps_its_head_and_its_tail() {
    let finished = run(&Spec {
        output_bytes: 4000,
        ..shell("echo first; seq 1 100000; echo last")
    })
    .await;
    assert!(finished.output.starts_with("first\n1\n2\n"));
    assert!(finished.output.ends_with("99999\n100000\nlast\n"));
    assert!(finished.output.len() < 4100 && finished.left_out > 500_000);
    assert!(
        finished
            .output
            .contains(&format!("[{} bytes left out]", finished.left_out))
    );
}

#[tokio::test]
async fn nothing_can_be_typed_into_it() {
    assert_eq!(run(&shell("read line || echo end")).await.output, "end\n");
}
