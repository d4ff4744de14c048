//! Finds the one place where a search text stands, and replaces it.
//!
//! Touches: nothing.
//! Change here: when a search text may differ from the file in one more harmless way. Every step must stay an
//! equality after a stated normalisation, and unique; likeness is for `nearest.rs` and for reading only.

use std::ops::Range;

use crate::nearest::nearest;
use crate::text::{Line, line_end, lines, split_bom};

/// How a search text matched, best first. What applied a file or a patch as a whole is the greatest of its edits'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Match {
    /// Byte for byte: whole lines, or, where no whole lines match at all, a part of them.
    Exact,
    /// Line ends, trailing blanks, or blank lines around the block differed.
    Whitespace,
    /// The block was shifted as a whole; the replacement was shifted with it.
    Indent,
    /// Lines left out as `...` on both sides stayed as they are.
    Elided,
}

/// Why a search text could not be applied. Line numbers are from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    /// It stands nowhere; the lines of the file that look most like it, none where nothing does.
    NotFound { nearest: Vec<(usize, String)> },
    /// It stands in more than one place; the first line of each.
    Ambiguous { lines: Vec<usize> },
    /// The file is not there.
    NoFile,
}

impl std::fmt::Display for Miss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Miss::NotFound { nearest } => match nearest.first() {
                Some((line, _)) => {
                    write!(f, "the search text stands nowhere; nearest at line {line}")
                }
                None => f.write_str("the search text stands nowhere, nor anything like it"),
            },
            Miss::Ambiguous { lines } => {
                let places: Vec<_> = lines.iter().map(usize::to_string).collect();
                write!(
                    f,
                    "the search text stands {} times, at lines {}; add lines to make it unique",
                    lines.len(),
                    places.join(", ")
                )
            }
            Miss::NoFile => f.write_str("there is no such file"),
        }
    }
}

/// Replaces the one place in `content` where `search` stands, and says how closely it matched.
///
/// Whole lines come first; then whole lines up to trailing blanks; then up to one indent for all lines; then
/// with `...` for what is left out; and only then a part of a line, byte for byte. The first step that finds
/// anything decides: one place is applied, more are [`Miss::Ambiguous`]. Byte order mark, line ends and a
/// missing final newline stay as they were, and lines that search and replacement share are not touched.
pub fn apply_one(content: &str, search: &str, replacement: &str) -> Result<(String, Match), Miss> {
    let (bom, body) = split_bom(content);
    let edit = Edit {
        file: lines(body),
        search: lines(split_bom(search).1),
        replacement: lines(split_bom(replacement).1),
    };
    let (text, how) = edit.climb(body, search, replacement)?;
    Ok((format!("{bom}{text}"), how))
}

struct Edit<'a> {
    file: Vec<Line<'a>>,
    search: Vec<Line<'a>>,
    replacement: Vec<Line<'a>>,
}

/// One step's finding: nothing, the result, or too many places.
type Step = Option<Result<String, Miss>>;

impl Edit<'_> {
    fn climb(&self, body: &str, search: &str, replacement: &str) -> Result<(String, Match), Miss> {
        if self.search.iter().all(Line::is_blank) {
            return Err(Miss::NotFound { nearest: vec![] });
        }
        let found = |how| move |step: Result<String, Miss>| step.map(|text| (text, how));
        self.whole_lines(same_bytes)
            .map(found(Match::Exact))
            .or_else(|| {
                self.whole_lines(same_but_for_trailing_blanks)
                    .map(found(Match::Whitespace))
            })
            .or_else(|| self.without_blank_edges().map(found(Match::Whitespace)))
            .or_else(|| self.shifted().map(found(Match::Indent)))
            .or_else(|| self.elided().map(found(Match::Elided)))
            .or_else(|| part_of_a_line(body, search, replacement).map(found(Match::Exact)))
            .unwrap_or_else(|| {
                Err(Miss::NotFound {
                    nearest: nearest(&self.file, &self.search),
                })
            })
    }

    fn whole_lines(&self, same: fn(&[Line], &[Line]) -> bool) -> Step {
        let places = windows(&self.file, &self.search, same);
        one_place(&places).map(|place| {
            let at = place?;
            Ok(self.spliced(
                at..at + self.search.len(),
                &self.search,
                &self.replacement,
                &Shift::None,
            ))
        })
    }

    /// Models like to open or close a block with a blank line that is not in the file.
    fn without_blank_edges(&self) -> Step {
        let search = without_blank_edges(&self.search);
        if search.len() == self.search.len() {
            return None;
        }
        let inner = Edit {
            file: self.file.clone(),
            search: search.to_vec(),
            replacement: without_blank_edges(&self.replacement).to_vec(),
        };
        inner.whole_lines(same_but_for_trailing_blanks)
    }

    fn shifted(&self) -> Step {
        let search = without_blank_edges(&self.search);
        let replacement = without_blank_edges(&self.replacement);
        let places: Vec<(usize, Shift)> = starts(&self.file, search)
            .filter_map(|at| Some((at, shift(&self.file[at..at + search.len()], search)?)))
            .filter(|(_, shift)| replacement.iter().all(|l| shift.fits(l)))
            .collect();
        let lines: Vec<usize> = places.iter().map(|(at, _)| *at).collect();
        one_place(&lines).map(|place| {
            let at = place?;
            Ok(self.spliced(at..at + search.len(), search, replacement, &places[0].1))
        })
    }

    /// Every piece between the `...` must stand in the file exactly once, and in the order of the block.
    fn elided(&self) -> Step {
        let pieces = pieces(&self.search);
        let replacements = self::pieces(&self.replacement);
        if pieces.len() < 2 || pieces.len() != replacements.len() {
            return None;
        }
        let mut edits = vec![];
        for (piece, replacement) in pieces.iter().zip(&replacements) {
            if piece.iter().all(Line::is_blank) {
                // Nothing to hold on to: what is left out here must be left out on both sides.
                if replacement.iter().any(|l| !l.is_blank()) {
                    return None;
                }
                continue;
            }
            let places = windows(&self.file, piece, same_but_for_trailing_blanks);
            match one_place(&places)? {
                Ok(at) => edits.push((at..at + piece.len(), *piece, *replacement)),
                Err(miss) => return Some(Err(miss)),
            }
        }
        let in_order = edits.windows(2).all(|w| w[0].0.end <= w[1].0.start);
        (in_order && !edits.is_empty()).then(|| Ok(self.spliced_all(&edits)))
    }

    fn spliced_all(&self, edits: &[(Range<usize>, &[Line], &[Line])]) -> String {
        let mut text = String::new();
        let mut from = 0;
        for (place, search, replacement) in edits {
            push_all(&mut text, &self.file[from..place.start]);
            self.push_replaced(&mut text, place.clone(), search, replacement, &Shift::None);
            from = place.end;
        }
        push_all(&mut text, &self.file[from..]);
        text
    }

    fn spliced(
        &self,
        place: Range<usize>,
        search: &[Line],
        replacement: &[Line],
        shift: &Shift,
    ) -> String {
        let mut text = String::new();
        push_all(&mut text, &self.file[..place.start]);
        self.push_replaced(&mut text, place.clone(), search, replacement, shift);
        push_all(&mut text, &self.file[place.end..]);
        text
    }

    /// Writes what stands at `place` afterwards. Lines shared by search and replacement at either edge are taken
    /// from the file, so that its own blanks and line ends survive.
    fn push_replaced(
        &self,
        text: &mut String,
        place: Range<usize>,
        search: &[Line],
        replacement: &[Line],
        shift: &Shift,
    ) {
        let head = shared(search.iter(), replacement.iter());
        let tail = shared(
            search[head..].iter().rev(),
            replacement[head..].iter().rev(),
        );
        let file = &self.file[place.clone()];
        let end = self.end_at(&place);
        push_all(text, &file[..head]);
        for line in &replacement[head..replacement.len() - tail] {
            close(text, end);
            text.push_str(&shift.applied(line.text));
            text.push_str(end);
        }
        if tail > 0 {
            close(text, end);
        }
        push_all(text, &file[file.len() - tail..]);
        let ends_open =
            place.end == self.file.len() && file.last().is_some_and(|l| l.end.is_empty());
        if ends_open && !replacement.is_empty() && text.ends_with(end) {
            text.truncate(text.len() - end.len());
        }
    }

    fn end_at(&self, place: &Range<usize>) -> &str {
        match self.file[place.start].end {
            "" => line_end(&self.file),
            end => end,
        }
    }
}

/// Ends the last line, where the file's last line stood open and something follows now.
fn close(text: &mut String, end: &str) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push_str(end);
    }
}

fn push_all(text: &mut String, lines: &[Line]) {
    for line in lines {
        text.push_str(line.text);
        text.push_str(line.end);
    }
}

fn shared<'a>(
    a: impl Iterator<Item = &'a Line<'a>>,
    b: impl Iterator<Item = &'a Line<'a>>,
) -> usize {
    a.zip(b).take_while(|(a, b)| a.text == b.text).count()
}

fn one_place(places: &[usize]) -> Option<Result<usize, Miss>> {
    match places {
        [] => None,
        [at] => Some(Ok(*at)),
        many => Some(Err(Miss::Ambiguous {
            lines: many.iter().map(|at| at + 1).collect(),
        })),
    }
}

fn starts(file: &[Line], search: &[Line]) -> Range<usize> {
    0..(file.len() + 1).saturating_sub(search.len())
}

fn windows(file: &[Line], search: &[Line], same: fn(&[Line], &[Line]) -> bool) -> Vec<usize> {
    starts(file, search)
        .filter(|&at| same(&file[at..at + search.len()], search))
        .collect()
}

/// The last line's end is nobody's business: a block always ends its last line, a file need not.
fn same_bytes(file: &[Line], search: &[Line]) -> bool {
    let mut ends = file.iter().zip(search).take(search.len() - 1);
    let mut texts = file.iter().zip(search);
    ends.all(|(f, s)| f.end == s.end) && texts.all(|(f, s)| f.text == s.text)
}

fn same_but_for_trailing_blanks(file: &[Line], search: &[Line]) -> bool {
    file.iter()
        .zip(search)
        .all(|(f, s)| f.text.trim_end() == s.text.trim_end())
}

fn without_blank_edges<'s, 'a>(lines: &'s [Line<'a>]) -> &'s [Line<'a>] {
    let Some(first) = lines.iter().position(|l| !l.is_blank()) else {
        return &[];
    };
    let last = lines.iter().rposition(|l| !l.is_blank()).unwrap_or(first);
    &lines[first..=last]
}

/// What all lines of a block have more or less than the file.
#[derive(Debug, PartialEq)]
enum Shift {
    None,
    Deeper(String),
    Shallower(String),
}

impl Shift {
    fn fits(&self, line: &Line) -> bool {
        match self {
            Shift::None | Shift::Deeper(_) => true,
            Shift::Shallower(indent) => line.is_blank() || line.text.starts_with(indent.as_str()),
        }
    }

    fn applied(&self, text: &str) -> String {
        match self {
            _ if text.trim().is_empty() => text.to_owned(),
            Shift::None => text.to_owned(),
            Shift::Deeper(indent) => format!("{indent}{text}"),
            Shift::Shallower(indent) => text
                .strip_prefix(indent.as_str())
                .unwrap_or(text)
                .to_owned(),
        }
    }
}

/// The one indent by which `file` differs from `search` in every line that is not blank.
fn shift(file: &[Line], search: &[Line]) -> Option<Shift> {
    let mut found: Option<Shift> = None;
    for (f, s) in file.iter().zip(search) {
        if f.is_blank() && s.is_blank() {
            continue;
        }
        let this = line_shift(f.text.trim_end(), s.text.trim_end())?;
        match &found {
            Some(shift) if *shift != this => return None,
            Some(_) => {}
            None => found = Some(this),
        }
    }
    found
}

fn line_shift(file: &str, search: &str) -> Option<Shift> {
    let is_indent = |s: &str| !s.is_empty() && s.chars().all(|c| c == ' ' || c == '\t');
    if let Some(more) = file.strip_suffix(search).filter(|m| is_indent(m)) {
        return Some(Shift::Deeper(more.to_owned()));
    }
    let less = search.strip_suffix(file).filter(|m| is_indent(m))?;
    Some(Shift::Shallower(less.to_owned()))
}

fn is_elision(line: &Line) -> bool {
    let text = line.text.trim();
    let bare = text.trim_start_matches(['#', '/', '-']).trim();
    bare == "..." || bare == "…"
}

fn pieces<'s, 'a>(lines: &'s [Line<'a>]) -> Vec<&'s [Line<'a>]> {
    lines.split(is_elision).map(without_blank_edges).collect()
}

/// The last resort is exact again: bytes that stand once in the file and do not cut a word in two.
fn part_of_a_line(body: &str, search: &str, replacement: &str) -> Step {
    let part = without_last_end(split_bom(search).1);
    let places: Vec<usize> = body
        .match_indices(part)
        .map(|(at, _)| at)
        .filter(|at| !cuts_a_word(body, *at, at + part.len()))
        .collect();
    let line_of = |at: &usize| body[..*at].matches('\n').count();
    match places.as_slice() {
        [] => None,
        [at] => Some(Ok(format!(
            "{}{}{}",
            &body[..*at],
            without_last_end(split_bom(replacement).1),
            &body[at + part.len()..]
        ))),
        many => one_place(&many.iter().map(line_of).collect::<Vec<_>>())
            .map(|p| p.map(|_| String::new())),
    }
}

fn without_last_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

fn cuts_a_word(body: &str, from: usize, to: usize) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let joined = |at: usize| {
        let before = body[..at].chars().next_back().is_some_and(is_word);
        let after = body[at..].chars().next().is_some_and(is_word);
        before && after
    };
    joined(from) || joined(to)
}
