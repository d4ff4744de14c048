//! What a package brings that goes from one version to another, for whoever has to adapt code to it.
//!
//! Touches: nothing.
//! Change here: when something else of a package should be told, or in another order. How each part is found stands in the
//! files beside `brings/`; what is read of a package, in `outside/deps/contents.rs`.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{PACKAGE_BYTES, PACKAGE_FILE_BYTES, PACKAGE_FILES, Step};

mod changelog;
mod diff;
mod kinds;
mod lines;
mod metadata;
mod names;

/// All that is told, in bytes, and the most of it that each part but the last may take.
const MOST: usize = 16 << 10;
const MOST_CHANGELOG: usize = 6 << 10;
const MOST_NAMES: usize = 3 << 10;
const MOST_METADATA: usize = 2 << 10;
const LONGEST_LINE: usize = 400;

type Texts = BTreeMap<String, String>;

/// Plain text, the most telling first; `before` and `after` are the files of the two versions by path, and the words those
/// that failures are told in.
pub fn brings(step: &Step, before: &Texts, after: &Texts, failing_words: &[String]) -> String {
    let words: BTreeSet<&str> = failing_words.iter().map(String::as_str).collect();
    let mut told = Told(format!("{} from {} to {}\n", step.name, step.from, step.to));
    let gained = changelog::gained(&step.from, before, after, &words, MOST_CHANGELOG);
    told.part("New in its changelog", &gained, MOST_CHANGELOG);
    told.part(
        "Public names that are gone",
        &names::gone(before, after, &words),
        MOST_NAMES,
    );
    told.part(
        "Changed in what it says of itself",
        &metadata::changed(before, after),
        MOST_METADATA,
    );
    let changes = diff::changes(before, after, &words, told.room());
    told.part("Changed in its code", &changes, MOST);
    told.0
}

struct Told(String);

impl Told {
    fn room(&self) -> usize {
        MOST.saturating_sub(self.0.len())
    }

    /// Whole lines under a heading, as far as there is room for them.
    fn part(&mut self, heading: &str, lines: &[String], most: usize) {
        let heading = format!("\n{heading}:\n");
        let mut room = self.room().min(most).saturating_sub(heading.len());
        if lines.first().is_none_or(|line| clipped(line).len() >= room) {
            return;
        }
        self.0.push_str(&heading);
        for line in lines {
            let line = clipped(line);
            if line.len() >= room {
                return;
            }
            room -= line.len() + 1;
            self.0.push_str(line);
            self.0.push('\n');
        }
    }
}

fn clipped(line: &str) -> &str {
    &line[..line.floor_char_boundary(LONGEST_LINE)]
}

/// What each word is worth: one that stands everywhere tells nothing.
struct Worth<'w>(BTreeMap<&'w str, usize>);

impl<'w> Worth<'w> {
    const WHOLE: usize = 1000;

    fn of<'t>(words: &BTreeSet<&'w str>, texts: impl Iterator<Item = &'t str>) -> Worth<'w> {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for text in texts {
            let own: BTreeSet<&str> = identifiers(text).collect();
            for word in words.iter().filter(|word| own.contains(**word)) {
                *seen.entry(word).or_default() += 1;
            }
        }
        Worth(seen)
    }

    fn score(&self, text: &str) -> usize {
        let own: BTreeSet<&str> = identifiers(text).collect();
        let seen = own.iter().filter_map(|word| self.0.get(word));
        seen.map(|texts| Worth::WHOLE / texts).sum()
    }
}

/// Words as code is written in them.
pub fn identifiers(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with(|c: char| c.is_alphabetic() || c == '_'))
}

/// Whether there may be more files than are known here, so that one that is not there need not be gone.
fn may_be_cut(files: &Texts) -> bool {
    let bytes: u64 = files.values().map(|text| text.len() as u64).sum();
    files.len() >= PACKAGE_FILES || bytes + PACKAGE_FILE_BYTES >= PACKAGE_BYTES
}

#[cfg(test)]
mod tests;
