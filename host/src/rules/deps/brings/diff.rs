//! What changed in a package's code, as a unified diff in which what failures tell of comes first.
//!
//! Touches: nothing.
//! Change here: when other changes should be shown first, or cut otherwise.

use std::collections::{BTreeMap, BTreeSet};

use super::lines::{self, Block};
use super::{Texts, Worth, kinds, may_be_cut};

const CONTEXT: usize = 3;
/// Of one hunk; more of it tells little.
const MOST_LINES: usize = 60;
const LONGEST_LINE: usize = 300;
/// Nobody writes longer lines, but machines that shorten code do.
const SHORTENED: usize = 2000;

/// As many hunks as there is room for, those with the most telling words first, then by path; lines of a file are together.
pub fn changes(before: &Texts, after: &Texts, words: &BTreeSet<&str>, room: usize) -> Vec<String> {
    let files: Vec<File<'_>> = changed(before, after).collect();
    let texts: Vec<String> = files.iter().map(File::changed_text).collect();
    let worth = Worth::of(words, texts.iter().map(String::as_str));
    let mut hunks: Vec<(usize, bool, &File<'_>, usize)> = Vec::new();
    for file in &files {
        for (number, hunk) in file.hunks.iter().enumerate() {
            hunks.push((worth.score(&hunk.changed), file.is_whole(), file, number));
        }
    }
    hunks.sort_by_key(|(score, is_whole, ..)| (std::cmp::Reverse(*score), *is_whole));
    let (mut room, mut order) = (room, Vec::new());
    let mut taken: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for (_, _, file, number) in hunks {
        let is_new = !taken.contains_key(file.path);
        let head = if is_new { file.head().len() + 2 } else { 0 };
        let bytes = head + file.hunks[number].bytes();
        if bytes > room {
            continue;
        }
        room -= bytes;
        if is_new {
            order.push(file);
        }
        taken.entry(file.path).or_default().insert(number);
    }
    let mut told = Vec::new();
    for file in order {
        told.extend(file.head().lines().map(str::to_owned));
        let numbers = taken.get(file.path).into_iter().flatten();
        told.extend(numbers.flat_map(|number| file.hunks[*number].lines.clone()));
    }
    told
}

struct File<'t> {
    path: &'t str,
    is_there: (bool, bool),
    hunks: Vec<Hunk>,
}

struct Hunk {
    lines: Vec<String>,
    /// What came and went, without what stayed.
    changed: String,
}

fn changed<'t>(before: &'t Texts, after: &'t Texts) -> impl Iterator<Item = File<'t>> {
    let is_shown = |path: &&String| kinds::language(path).is_some() && !kinds::is_compiled(path);
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let is_cut = may_be_cut(before) || may_be_cut(after);
    paths.into_iter().filter(is_shown).filter_map(move |path| {
        let (old, new) = (before.get(path), after.get(path));
        let may_be_there = is_cut && (old.is_none() || new.is_none());
        let is_told = old != new && !may_be_there && !is_shortened(old) && !is_shortened(new);
        is_told.then(|| File {
            path,
            is_there: (old.is_some(), new.is_some()),
            hunks: hunks(&split(old), &split(new)),
        })
    })
}

fn is_shortened(text: Option<&String>) -> bool {
    text.is_some_and(|text| text.lines().any(|line| line.len() > SHORTENED))
}

fn split(text: Option<&String>) -> Vec<&str> {
    text.map(|text| text.lines().collect()).unwrap_or_default()
}

impl File<'_> {
    fn is_whole(&self) -> bool {
        self.is_there != (true, true)
    }

    fn head(&self) -> String {
        let name = |side: &str, is_there: bool| match is_there {
            true => format!("{side}/{}", self.path),
            false => "/dev/null".to_owned(),
        };
        let (old, new) = self.is_there;
        format!("--- {}\n+++ {}", name("a", old), name("b", new))
    }

    fn changed_text(&self) -> String {
        let changed: Vec<&str> = self
            .hunks
            .iter()
            .map(|hunk| hunk.changed.as_str())
            .collect();
        changed.join("\n")
    }
}

impl Hunk {
    fn bytes(&self) -> usize {
        self.lines.iter().map(|line| line.len() + 1).sum()
    }
}

fn hunks(old: &[&str], new: &[&str]) -> Vec<Hunk> {
    let mut groups: Vec<Vec<Block>> = Vec::new();
    for block in lines::differences(old, new) {
        let last = groups.last_mut().filter(|group| {
            let end = group.last().map_or(0, |last| last.old.end);
            block.old.start - end <= 2 * CONTEXT
        });
        match last {
            Some(group) => group.push(block),
            None => groups.push(vec![block]),
        }
    }
    groups
        .iter()
        .filter_map(|group| hunk(old, new, group))
        .collect()
}

fn hunk(old: &[&str], new: &[&str], blocks: &[Block]) -> Option<Hunk> {
    let (first, last) = (blocks.first()?, blocks.last()?);
    let lead = first.old.start.min(CONTEXT);
    let tail = (old.len() - last.old.end).min(CONTEXT);
    let (from, to) = (first.old.start - lead, last.old.end + tail);
    let (new_from, new_to) = (first.new.start - lead, last.new.end + tail);
    let place = |from: usize, to: usize| match to - from {
        0 => format!("{from},0"),
        many => format!("{},{many}", from + 1),
    };
    let mut lines = vec![format!(
        "@@ -{} +{} @@",
        place(from, to),
        place(new_from, new_to)
    )];
    let (mut changed, mut at) = (String::new(), from);
    for block in blocks {
        lines.extend(
            old[at..block.old.start]
                .iter()
                .map(|line| marked(' ', line)),
        );
        for (mark, part) in [
            ('-', &old[block.old.clone()]),
            ('+', &new[block.new.clone()]),
        ] {
            lines.extend(part.iter().map(|line| marked(mark, line)));
            changed.extend(part.iter().flat_map(|line| [line, "\n"]));
        }
        at = block.old.end;
    }
    lines.extend(old[at..to].iter().map(|line| marked(' ', line)));
    let more = lines.len().saturating_sub(MOST_LINES);
    if more > 0 {
        lines.truncate(MOST_LINES);
        lines.push(format!("[{more} more lines]"));
    }
    Some(Hunk { lines, changed })
}

fn marked(mark: char, line: &str) -> String {
    format!("{mark}{}", &line[..line.floor_char_boundary(LONGEST_LINE)])
}
