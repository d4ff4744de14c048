//! What a package's authors tell of a new version.
//!
//! Touches: nothing.
//! Change here: when authors write their changelogs in another way, or other words of theirs announce a break.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use super::{Texts, Worth, kinds, lines};

/// What an entry is worth that announces a break; a word of the failure that stands nowhere else is worth 1000.
const BREAK: usize = 500;
const LEFT_OUT: &str = "[entries that tell less are left out]";

static ANNOUNCES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(remov\w*|break\w*|breaking|drop\w*|no longer|renam\w*|replac\w*|deprecat\w*|incompatib\w*|requires?|minimum|instead|moved|now raises?|must)\b",
    )
});
static BULLET: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\s*(?:[-*+•]|\d+\.)\s+\S"));
static UNDERLINE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?:=+|-+|~+|\^+)\s*$"));
static OF_CHANGES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^[#=*\s]*(?:change\s?log|changes|(?:release )?history|news|release notes|what's new)\b",
    )
});

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is fixed")
}

/// The lines that changelogs gained; where that is more than `most` bytes, the entries that matter.
pub fn gained(
    from: &str,
    before: &Texts,
    after: &Texts,
    words: &BTreeSet<&str>,
    most: usize,
) -> Vec<String> {
    let (old, new) = (told(before), told(after));
    let all_before: Vec<&str> = old.iter().flat_map(|(_, text)| text.lines()).collect();
    let mut gained = Vec::new();
    for (path, text) in &new {
        let own = old.iter().find(|(before, _)| before == path);
        let own: Vec<&str> = match own {
            Some((_, text)) => text.lines().collect(),
            None => all_before.clone(),
        };
        let text: Vec<&str> = text.lines().collect();
        let above = came(&own, until(&text, from));
        // The oldest may stand first.
        match above.iter().all(|line| line.trim().is_empty()) {
            true if !own.is_empty() => gained.extend(came(&own, &text)),
            _ => gained.extend(above),
        }
    }
    chosen(&gained, words, most)
}

/// A description often repeats what a changelog tells, so it counts where there is none.
fn told(texts: &Texts) -> Vec<(&str, &str)> {
    let has_own = texts.keys().any(|path| kinds::is_changelog(path));
    let all = texts
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()));
    let all = all.filter(|(path, _)| !has_own || kinds::is_changelog(path));
    let part = |(path, text)| Some((path, of_changes(path, text)?));
    all.filter_map(part).collect()
}

fn of_changes<'t>(path: &str, text: &'t str) -> Option<&'t str> {
    if kinds::is_changelog(path) {
        return Some(text);
    }
    if !kinds::is_python_metadata(path) {
        return None;
    }
    let (_, description) = text.split_once("\n\n")?;
    let mut at = 0;
    for line in description.split_inclusive('\n') {
        if OF_CHANGES.is_match(line) && line.len() < 40 {
            return Some(&description[at..]);
        }
        at += line.len();
    }
    None
}

fn came<'t>(old: &[&str], new: &[&'t str]) -> Vec<&'t str> {
    let known: BTreeSet<&str> = old.iter().map(|line| line.trim()).collect();
    let blocks = lines::differences(old, new).into_iter();
    let came = blocks.flat_map(|block| new[block.new].iter().copied());
    came.filter(|line| line.trim().len() < 20 || !known.contains(line.trim()))
        .collect()
}

/// What is told above the version that was there before: of that much may have been written anew.
fn until<'l, 't>(lines: &'l [&'t str], from: &str) -> &'l [&'t str] {
    let names_it = |line: &&str| {
        let mut words = line.split(|c: char| c.is_whitespace() || "[](),:#*".contains(c));
        line.len() < 60 && words.any(|word| word.trim_start_matches('v') == from)
    };
    let end = lines.iter().position(names_it);
    &lines[..end.unwrap_or(lines.len())]
}

struct Entry<'t> {
    /// The number of the heading it stands under.
    heading: Option<usize>,
    lines: Vec<&'t str>,
    is_heading: bool,
}

impl Entry<'_> {
    fn bytes(&self) -> usize {
        self.lines.iter().map(|line| line.len() + 1).sum()
    }
}

fn chosen(gained: &[&str], words: &BTreeSet<&str>, most: usize) -> Vec<String> {
    let entries = entries(gained);
    let bytes: usize = entries.iter().map(Entry::bytes).sum();
    let chosen: BTreeSet<usize> = match bytes < most {
        true => (0..entries.len()).collect(),
        false => most_telling(&entries, words, most),
    };
    let is_left_out = chosen.len() < entries.len();
    let first = is_left_out.then(|| LEFT_OUT.to_owned());
    let lines = chosen.iter().flat_map(|at| &entries[*at].lines);
    first
        .into_iter()
        .chain(lines.map(|line| (*line).to_owned()))
        .collect()
}

/// The numbers of the best for which there is room, with their headings, in order.
fn most_telling(entries: &[Entry<'_>], words: &BTreeSet<&str>, most: usize) -> BTreeSet<usize> {
    let texts: Vec<String> = entries.iter().map(|entry| entry.lines.join("\n")).collect();
    let worth = Worth::of(words, texts.iter().map(String::as_str));
    let score = |at: &usize| {
        let announces = ANNOUNCES.is_match(&texts[*at]);
        worth.score(&texts[*at]) + if announces { BREAK } else { 0 }
    };
    let mut order: Vec<usize> = (0..entries.len())
        .filter(|at| !entries[*at].is_heading)
        .collect();
    order.sort_by_key(|at| std::cmp::Reverse(score(at)));
    // The heading of the part and what says that something is left out stand there too.
    let mut room = most.saturating_sub(100);
    let mut chosen = BTreeSet::new();
    for at in order {
        let heading = entries[at]
            .heading
            .filter(|heading| !chosen.contains(heading));
        let both = [Some(at), heading];
        let needed: usize = both.iter().flatten().map(|at| entries[*at].bytes()).sum();
        if needed <= room {
            room -= needed;
            chosen.extend(both.into_iter().flatten());
        }
    }
    chosen
}

/// Bullets and paragraphs with the headings between them; blank lines separate, and go.
fn entries<'t>(gained: &[&'t str]) -> Vec<Entry<'t>> {
    let mut entries: Vec<Entry<'t>> = Vec::new();
    let (mut heading, mut goes_on) = (None, false);
    for (number, line) in gained.iter().copied().enumerate() {
        let next = gained.get(number + 1).copied().unwrap_or_default();
        if line.trim().is_empty() {
            goes_on = false;
        } else if UNDERLINE.is_match(line) {
            if let Some(last) = entries.last_mut() {
                last.lines.push(line);
            }
        } else if line.starts_with('#') || UNDERLINE.is_match(next) {
            heading = Some(entries.len());
            entries.push(Entry {
                heading: None,
                lines: vec![line],
                is_heading: true,
            });
            goes_on = false;
        } else if goes_on && !BULLET.is_match(line) {
            if let Some(last) = entries.last_mut() {
                last.lines.push(line);
            }
        } else {
            entries.push(Entry {
                heading,
                lines: vec![line],
                is_heading: false,
            });
            goes_on = true;
        }
    }
    entries
}
