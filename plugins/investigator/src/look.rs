//! Looks at the repository, the push and the tests for the model, within a fixed number of bytes a look.
//!
//! Touches: nothing.
//! Change here: when a look should show more, less, or help further where it finds nothing.

use changebus_sdk::shares::{clip, clip_end};
use changebus_sdk::untrusted::{Fence, one_line};
use changebus_sdk::{Failure, SearchOpts, Tree};

use crate::action::Action;

/// Of one look.
const MOST: usize = 12 << 10;
const LINES: u32 = 220;
const HITS: u32 = 40;
const PATHS: u32 = 150;
const NEAR: usize = 8;

/// What was seen, fenced and ready to be sent.
pub fn look<F: Failure, T: Tree>(
    action: &Action,
    failure: &F,
    tree: &T,
    fence: &Fence,
) -> Option<String> {
    let looker = Looker {
        failure,
        tree,
        fence,
    };
    Some(match action {
        Action::Read { path, lines } => looker.read(path, *lines),
        Action::Search {
            pattern,
            regex,
            glob,
        } => looker.search(pattern, *regex, glob.as_deref()),
        Action::List { glob } => looker.list(glob),
        Action::Diff { path } => looker.diff(path.as_deref()),
        Action::Test { id } => looker.test(id),
        Action::Probe | Action::Propose => return None,
    })
}

struct Looker<'a, F: Failure, T: Tree> {
    failure: &'a F,
    tree: &'a T,
    fence: &'a Fence,
}

impl<F: Failure, T: Tree> Looker<'_, F, T> {
    fn read(&self, path: &str, lines: Option<(u32, u32)>) -> String {
        let text = match self.tree.read_text(path) {
            Ok(text) => text,
            Err(fault) => return self.no_such(path, &one_line(&fault.message, 200)),
        };
        let count = text.lines().count();
        let (from, to) = lines.unwrap_or((1, LINES));
        let to = to.min(from.saturating_add(LINES - 1)).min(count as u32);
        if from > to {
            let path = one_line(path, 200);
            return format!("{path} has {count} lines; there is none at {from}.\n");
        }
        let skipped = (from - 1) as usize;
        let taken = text.lines().skip(skipped).take(to as usize - skipped);
        let shown: String = taken.flat_map(|line| [line, "\n"]).collect();
        let span = format!("{from} to {to} of {count}");
        let why = self.failure.protected(path);
        let mut attributes = vec![("what", "file"), ("path", path), ("lines", &span)];
        attributes.extend(why.iter().map(|why| ("may-not-be-edited", why.as_str())));
        self.fence.around(&attributes, &clip_end(&shown, MOST))
    }

    /// Where a file of that name does stand.
    fn no_such(&self, path: &str, why: &str) -> String {
        let name = path.rsplit('/').next().unwrap_or(path);
        let near = self
            .tree
            .glob(&format!("**/{name}"), NEAR as u32)
            .unwrap_or_default();
        let mut told = format!("That cannot be read: {why}.\n");
        if !near.is_empty() {
            told.push_str("Files of that name:\n");
            told.push_str(&self.fence.around(&[("what", "paths")], &near.join("\n")));
        }
        told
    }

    fn search(&self, pattern: &str, regex: bool, glob: Option<&str>) -> String {
        let opts = SearchOpts {
            regex,
            ..SearchOpts::default()
        };
        let hits = match self.tree.search(pattern, opts, glob, HITS) {
            Ok(hits) => hits,
            Err(fault) => {
                let why = one_line(&fault.message, 300);
                return format!("That cannot be searched for: {why}.\n");
            }
        };
        if hits.is_empty() {
            return match glob {
                Some(_) => "No line matches in these files; search without IN, or LIST the glob.\n",
                None => {
                    "No line matches. Letter case counts, and GREP takes a regular expression.\n"
                }
            }
            .to_owned();
        }
        let lines: String = hits
            .iter()
            .map(|hit| format!("{}:{}: {}\n", hit.path, hit.line, one_line(&hit.text, 200)))
            .collect();
        let mut told = self
            .fence
            .around(&[("what", "matching lines")], &clip_end(&lines, MOST));
        if hits.len() as u32 == HITS {
            told.push_str(&format!("These are the first {HITS}; there may be more.\n"));
        }
        told
    }

    fn list(&self, glob: &str) -> String {
        let paths = match self.tree.glob(glob, PATHS) {
            Ok(paths) => paths,
            Err(fault) => return format!("That is no glob: {}.\n", one_line(&fault.message, 300)),
        };
        if paths.is_empty() {
            return "No file matches; `*` stays within a directory, `**/` goes through all.\n"
                .to_owned();
        }
        let mut told = self.fence.around(
            &[("what", "paths")],
            &clip_end(&(paths.join("\n") + "\n"), MOST),
        );
        if paths.len() as u32 == PATHS {
            told.push_str(&format!(
                "These are the first {PATHS}; there may be more.\n"
            ));
        }
        told
    }

    fn diff(&self, path: Option<&str>) -> String {
        let diff = self.failure.diff(path, 12, MOST as u32);
        if diff.trim().is_empty() {
            let changed = self.failure.changed_paths();
            let shown = changed.iter().take(40).cloned().collect::<Vec<_>>();
            let paths = self.fence.around(&[("what", "paths")], &shown.join("\n"));
            return format!("The push does not change that. It changes:\n{paths}");
        }
        let attributes = [
            ("what", "diff of the push"),
            ("path", path.unwrap_or("all")),
        ];
        self.fence.around(&attributes, &clip_end(&diff, MOST))
    }

    fn test(&self, id: &str) -> String {
        let ids = self.failure.failing_tests();
        let meant = ids.iter().find(|known| *known == id);
        let meant = meant.or_else(|| ids.iter().find(|known| known.contains(id)));
        let Some(id) = meant else {
            let known = ids.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
            let known = self.fence.around(&[("what", "failing tests")], &known);
            return format!("No failing test is called that. There are:\n{known}");
        };
        let message = self.failure.message(id).unwrap_or_default();
        let detail = self.failure.detail(id, MOST as u32).unwrap_or_default();
        let place = self
            .failure
            .location(id)
            .map(|(path, line)| format!("{path}:{line}"));
        let mut attributes = vec![("what", "failing test"), ("id", id.as_str())];
        attributes.extend(place.iter().map(|place| ("at", place.as_str())));
        let text = format!("{message}\n{detail}");
        self.fence.around(&attributes, &clip(&text, MOST))
    }
}
