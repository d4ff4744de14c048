//! What the scripted model says about a real case: the author's own fix, or one of the ways to be wrong.
//!
//! Touches: files, git.
//! Change here: when a model can be wrong in another way. Edits are written in the form the SDK asks for, and read
//! back by the reader both sides share, so that a wrong answer is wrong in what it says and never in its form.

use std::collections::BTreeMap;
use std::path::Path;

use changebus_edits::{apply, parse};
use changebus_tests::cases::{Edit, Prepared, Repo};
use changebus_tests::world::git;
use scripted_claude::{RecordedRequest, Reply, Script};

/// What the model says to one variant, however often it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What the author released, as search and replace blocks.
    TrueFix,
    /// The same, every file as a whole.
    TrueFiles,
    /// A comment in the right file.
    Plausible,
    /// The tests as they were in the release before.
    Cheat,
    NoFix,
    Nothing,
    /// Of what the author released, what is changed first: enough for some of the tests, or for none.
    FirstHunk,
}

impl Answer {
    /// For the table.
    pub fn name(self) -> &'static str {
        match self {
            Answer::TrueFix => "the true fix, in blocks",
            Answer::TrueFiles => "the true fix, whole files",
            Answer::Plausible => "a plausible edit that fixes nothing",
            Answer::Cheat => "the old tests back",
            Answer::NoFix => "`NO_FIX`",
            Answer::Nothing => "no edit at all",
            Answer::FirstHunk => "the first hunk of the true fix",
        }
    }

    pub fn is_right(self) -> bool {
        matches!(self, Answer::TrueFix | Answer::TrueFiles)
    }

    pub fn text(self, case: &Prepared, repo: &Repo) -> String {
        let head = Head { repo };
        let say = |edits: &[Edit]| format!("The push lost a condition.\n\n{}", head.blocks(edits));
        match self {
            Answer::TrueFix => say(&repo.true_fix),
            Answer::FirstHunk => say(&[head.first_hunk(&repo.true_fix)]),
            Answer::TrueFiles => format!("Back to what works.\n\n{}", whole(&repo.true_fix)),
            Answer::Plausible => say(&[case.wrong_plausible().expect("a wrong answer")]),
            Answer::Cheat => say(&case.cheat().expect("tests of the old release")),
            Answer::NoFix => "NO_FIX: the tests contradict what the push was made for".into(),
            Answer::Nothing => "The cause is not clear to me from what I was shown.".into(),
        }
    }
}

/// A model that tells the variants apart by what they ask for.
pub fn script(case: &Prepared, repo: &Repo, minimal: Answer, robust: Answer) -> Script {
    let minimal = minimal.text(case, repo);
    let robust = robust.text(case, repo);
    Script::from_fn(move |request| match lens(request) {
        task if task.contains("smallest change") => Reply::text(minimal.clone()),
        task if task.contains("sturdy repair") => Reply::text(robust.clone()),
        task => panic!("nobody in this tournament asks like that: {task}"),
    })
}

fn lens(request: &RecordedRequest) -> String {
    request.body["messages"][0]["content"].to_string()
}

/// The failing commit, as the model sees it.
struct Head<'a> {
    repo: &'a Repo,
}

impl Head<'_> {
    fn read(&self, path: &str) -> Option<String> {
        let shown = git(
            &self.repo.origin,
            &["show", &format!("{}:{path}", self.repo.head)],
        );
        let text = || String::from_utf8(shown.stdout).expect("sources are UTF-8");
        shown.status.success().then(text)
    }

    fn blocks(&self, edits: &[Edit]) -> String {
        edits.iter().map(|edit| self.block(edit)).collect()
    }

    /// The first file that is changed, with its first change alone.
    fn first_hunk(&self, edits: &[Edit]) -> Edit {
        let changed = edits
            .iter()
            .find_map(|(path, new)| Some((path.clone(), self.read(path)?, new.clone()?)));
        let (path, old, new) = changed.expect("the true fix changes a file");
        (path, Some(with_first_hunk(&old, &new)))
    }

    /// Hunks with as much context as makes them unambiguous; the whole file where no context does.
    fn block(&self, (path, text): &Edit) -> String {
        let (Some(old), Some(new)) = (self.read(path), text) else {
            return whole(&[(path.clone(), text.clone())]);
        };
        let says_it = |answer: &String| {
            let read = |asked: &str| (asked == path).then(|| old.clone());
            let applied = apply(read, &parse(answer).blocks);
            applied.is_ok_and(|a| a.files == BTreeMap::from([(path.clone(), Some(new.clone()))]))
        };
        (1..12)
            .map(|context| search_and_replace(path, &old, new, context))
            .find(says_it)
            .unwrap_or_else(|| whole(&[(path.clone(), Some(new.clone()))]))
    }
}

fn whole(edits: &[Edit]) -> String {
    let one = |(path, text): &Edit| match text {
        Some(text) => format!(
            "{path}\n<<<<<<< FILE\n{}\n>>>>>>> FILE\n\n",
            text.trim_end()
        ),
        None => format!("{path}\n<<<<<<< DELETE\n>>>>>>> DELETE\n\n"),
    };
    edits.iter().map(one).collect()
}

fn search_and_replace(path: &str, old: &str, new: &str, context: usize) -> String {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text);
    write("old", old).expect("a file can be written");
    write("new", new).expect("a file can be written");
    let mut answer = String::new();
    for hunk in diff(dir.path(), context).split("\n@@ ").skip(1) {
        let side = |skipped: char| -> String {
            let lines = hunk.lines().skip(1);
            let kept = lines.filter(|line| !line.starts_with([skipped, '\\']));
            kept.map(|line| format!("{}\n", &line[1..])).collect()
        };
        let (search, replacement) = (side('+'), side('-'));
        answer +=
            &format!("{path}\n<<<<<<< SEARCH\n{search}=======\n{replacement}>>>>>>> REPLACE\n\n");
    }
    answer
}

/// The old text as far as the first change to it, done.
fn with_first_hunk(old: &str, new: &str) -> String {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text);
    write("old", old).expect("a file can be written");
    write("new", new).expect("a file can be written");
    let diff = diff(dir.path(), 0);
    let hunk = diff.split("\n@@ ").nth(1).expect("the texts differ");
    let (place, lines) = hunk.split_once('\n').expect("a hunk has lines");
    let range = place
        .trim_start_matches('-')
        .split(' ')
        .next()
        .unwrap_or_default();
    let (start, count) = range.split_once(',').unwrap_or((range, "1"));
    let (start, count): (usize, usize) = (
        start.parse().expect("a line's number"),
        count.parse().expect("a number of lines"),
    );
    // Where nothing goes, it is put behind the line that is named.
    let before = if count == 0 { start } else { start - 1 };
    let added = lines.lines().filter_map(|line| line.strip_prefix('+'));
    let kept: Vec<&str> = old.lines().collect();
    let all = kept[..before]
        .iter()
        .copied()
        .chain(added)
        .chain(kept[before + count..].iter().copied());
    all.map(|line| format!("{line}\n")).collect()
}

fn diff(dir: &Path, context: usize) -> String {
    let context = format!("-U{context}");
    let output = git(
        dir,
        &["diff", "--no-index", "--no-color", &context, "old", "new"],
    );
    String::from_utf8(output.stdout).expect("sources are UTF-8")
}
