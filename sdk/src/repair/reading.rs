//! Takes a model's answer apart: edits that apply, edits that do not and why, and what stands beside them.
//!
//! Touches: nothing.
//! Change here: when an answer should be read or complained about otherwise. What is asked next is the asker's.

use std::collections::BTreeSet;

use crate::edits::{Block, BlockMiss, Kind, Miss, Parsed, apply, in_style_of, one_by_one, parse};
use crate::shares::clip;
use crate::untrusted::{Fence, one_line, visible};
use crate::{Failure, Report, Tree};

const RATIONALE: usize = 2000;

/// Edits that apply, and what the model says about them.
pub struct Draft {
    pub blocks: Vec<Block>,
    pub prose: String,
    /// Edits of protected paths that were dropped.
    pub dropped: Vec<String>,
}

/// An answer, taken apart.
pub struct Reading {
    pub draft: Draft,
    /// What the model has to mend, as a list; empty where the answer changes nothing at all. None where the draft
    /// stands.
    pub complaint: Option<String>,
    /// Why there is no draft, where the complaint stays unanswered.
    pub unusable: Option<String>,
    /// The reason of a refusal.
    pub no_fix: Option<String>,
}

/// Holds answers against the tree they are to change.
pub struct Reader<'a, F: Failure, T: Tree> {
    pub failure: &'a F,
    pub tree: &'a T,
    pub fence: Fence,
}

impl<F: Failure, T: Tree> Reader<'_, F, T> {
    /// Takes an answer apart; `kept` are blocks of the answer before that applied.
    pub fn read(&self, answer: &str, kept: Vec<Block>) -> Reading {
        let Parsed {
            blocks,
            no_fix,
            problems,
            prose,
        } = parse(answer);
        let (allowed, forbidden): (Vec<Block>, Vec<Block>) = blocks
            .into_iter()
            .partition(|block| self.failure.protected(&block.path).is_none());
        let dropped: Vec<String> = forbidden.into_iter().map(|block| block.path).collect();
        let no_fix = no_fix.filter(|_| allowed.is_empty() && problems.is_empty());
        let mut blocks = without_repeats(kept, &allowed);
        blocks.extend(allowed.into_iter().map(|block| self.styled(block)));
        let applied = apply(|path| self.tree.read_text(path).ok(), &blocks);
        let misses = applied.as_ref().err().cloned().unwrap_or_default();
        let changes = applied.is_ok_and(|applied| {
            applied
                .files
                .iter()
                .any(|(path, text)| self.differs(path, text.as_deref()))
        });
        let complaint = self.complaint(&problems, &misses, &dropped, &blocks, changes);
        let unusable = unusable(&problems, &misses, changes).map(|why| self.and_why(why, &dropped));
        let missed = |at: &usize| misses.iter().any(|miss| miss.block == *at);
        let good = blocks
            .into_iter()
            .enumerate()
            .filter(|(at, _)| !missed(at))
            .map(|(_, block)| block)
            .collect();
        let draft = Draft {
            blocks: good,
            prose: clip(&visible(&prose), RATIONALE),
            dropped,
        };
        Reading {
            draft,
            complaint: complaint.filter(|_| no_fix.is_none()),
            unusable,
            no_fix,
        }
    }

    /// Edits that were dropped explain best why nothing is left.
    fn and_why(&self, unusable: String, dropped: &[String]) -> String {
        let paths: BTreeSet<&String> = one_by_one(dropped);
        let Some(path) = paths.first() else {
            return unusable;
        };
        let why = self.failure.protected(path).unwrap_or_default();
        let more = match paths.len() {
            1 => String::new(),
            n => format!(" and {} more files", n - 1),
        };
        format!(
            "{unusable}; what it would do to `{}`{more} was dropped: {}",
            one_line(path, 200),
            one_line(&why, 200)
        )
    }

    fn differs(&self, path: &str, text: Option<&str>) -> bool {
        self.tree.read_text(path).ok().as_deref() != text
    }

    /// A model that rewrites a whole file cannot know its line ends.
    fn styled(&self, block: Block) -> Block {
        let old = self.tree.read_text(&block.path).ok();
        match (block.kind, old) {
            (Kind::Write { content }, Some(old)) => {
                let content = in_style_of(&old, &content);
                Block {
                    path: block.path,
                    kind: Kind::Write { content },
                }
            }
            (kind, _) => Block {
                path: block.path,
                kind,
            },
        }
    }

    fn complaint(
        &self,
        problems: &[String],
        misses: &[BlockMiss],
        dropped: &[String],
        blocks: &[Block],
        changes: bool,
    ) -> Option<String> {
        if problems.is_empty() && misses.is_empty() && changes {
            return None;
        }
        let mut text = String::new();
        for problem in problems {
            text.push_str(&format!("- A block could not be read: {problem}.\n"));
        }
        for miss in misses {
            text.push_str(&self.about_miss(miss, &blocks[miss.block]));
        }
        for path in dropped {
            let why = self.failure.protected(path).unwrap_or_default();
            text.push_str(&format!(
                "- `{}` may not be edited ({}); leave it as it is.\n",
                one_line(path, 200),
                one_line(&why, 200)
            ));
        }
        Some(text)
    }

    fn about_miss(&self, miss: &BlockMiss, block: &Block) -> String {
        let path = one_line(&miss.path, 200);
        let mut text = format!("- `{path}`: {}.\n", miss.miss);
        if let Kind::Replace { search, .. } = &block.kind {
            text.push_str(&format!(
                "  The search text was:\n{}",
                self.fence
                    .around(&[("what", "your search text")], &clip(search, 2000))
            ));
        }
        if let Miss::NotFound { nearest } = &miss.miss
            && !nearest.is_empty()
        {
            let lines: String = nearest
                .iter()
                .map(|(_, line)| format!("{line}\n"))
                .collect();
            let from = nearest[0].0.to_string();
            let attributes = [
                ("what", "lines of the file"),
                ("path", path.as_str()),
                ("from-line", from.as_str()),
            ];
            text.push_str(&format!(
                "  What stands there instead:\n{}",
                self.fence.around(&attributes, &clip(&lines, 4000))
            ));
        }
        text
    }
}

/// What the tests said of edits that do not hold, for the model.
pub fn told(report: &Report, fence: &Fence) -> String {
    let mut text = String::from("Your edits were applied and the tests were run on the result. ");
    for (what, tests) in [
        ("Still failing", &report.still_failing),
        ("Broken by your edits", &report.broken),
    ] {
        if tests.is_empty() {
            continue;
        }
        text.push_str(&format!("{what}: {}.\n", tests.len()));
        for id in tests.iter().take(8) {
            let said = report
                .messages
                .get(id)
                .map(String::as_str)
                .unwrap_or("(no message)");
            text.push_str(&fence.around(&[("what", "test"), ("id", id)], &clip(said, 1500)));
        }
    }
    if report.messages.is_empty() && !report.output.trim().is_empty() {
        text.push_str(&fence.around(&[("what", "output")], &clip(&report.output, 4000)));
    }
    text
}

/// A model that is asked for some of its blocks again likes to send all of them.
fn without_repeats(kept: Vec<Block>, new: &[Block]) -> Vec<Block> {
    let same_place = |a: &Block, b: &Block| {
        a.path == b.path
            && match (&a.kind, &b.kind) {
                (Kind::Replace { search: a, .. }, Kind::Replace { search: b, .. }) => a == b,
                (_, Kind::Write { .. } | Kind::Delete) => true,
                _ => false,
            }
    };
    kept.into_iter()
        .filter(|old| !new.iter().any(|new| same_place(old, new)))
        .collect()
}

fn unusable(problems: &[String], misses: &[BlockMiss], changes: bool) -> Option<String> {
    if let Some(miss) = misses.first() {
        return Some(format!(
            "the model's edits do not apply: {}",
            one_line(&miss.to_string(), 300)
        ));
    }
    if let Some(problem) = problems.first() {
        return Some(format!("the model's answer cannot be read: {problem}"));
    }
    (!changes).then(|| "the model's answer holds no edit that changes anything".to_owned())
}

/// The same in half a line, for people.
pub fn summary(report: &Report) -> String {
    let first = |tests: &[String]| {
        tests
            .first()
            .map(|id| one_line(id, 120))
            .unwrap_or_default()
    };
    match (report.still_failing.as_slice(), report.broken.as_slice()) {
        ([], []) => "the tests do not pass".to_owned(),
        ([], broken) => format!("{} broken, such as {}", broken.len(), first(broken)),
        (failing, _) => format!(
            "{} still failing, such as {}",
            failing.len(),
            first(failing)
        ),
    }
}
