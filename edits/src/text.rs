//! Text as lines that remember how they ended.
//!
//! Touches: nothing.
//! Change here: when another habit of a file (line ends, byte order mark) has to survive an edit.

pub(crate) const BOM: char = '\u{feff}';

/// A line and what ended it: `"\n"`, `"\r\n"`, or nothing at the end of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub text: &'a str,
    pub end: &'a str,
}

impl Line<'_> {
    pub fn is_blank(&self) -> bool {
        self.text.trim().is_empty()
    }
}

/// Splits without losing anything: the lines' texts and ends, joined, are `text` again.
pub(crate) fn lines(text: &str) -> Vec<Line<'_>> {
    text.split_inclusive('\n').map(line).collect()
}

fn line(whole: &str) -> Line<'_> {
    let text = match whole.strip_suffix('\n') {
        Some(text) => text.strip_suffix('\r').unwrap_or(text),
        None => whole,
    };
    Line {
        text,
        end: &whole[text.len()..],
    }
}

/// The file's byte order mark, if it has one, and the rest.
pub(crate) fn split_bom(text: &str) -> (&str, &str) {
    match text.strip_prefix(BOM) {
        Some(rest) => text.split_at(text.len() - rest.len()),
        None => ("", text),
    }
}

/// What most lines of a file end with; `"\n"` where none ends.
pub(crate) fn line_end<'a>(lines: &[Line<'a>]) -> &'a str {
    let crlf = lines.iter().filter(|l| l.end == "\r\n").count();
    let lf = lines.iter().filter(|l| l.end == "\n").count();
    if crlf > lf { "\r\n" } else { "\n" }
}

/// `new` with the byte order mark, line ends and final newline (or its lack) of `old`: what a model that
/// rewrites a whole file cannot know about it.
pub fn in_style_of(old: &str, new: &str) -> String {
    let (bom, old) = split_bom(old);
    let (_, new) = split_bom(new);
    let before = lines(old);
    let end = line_end(&before);
    let mut styled = String::from(bom);
    for line in lines(new) {
        styled.push_str(line.text);
        styled.push_str(end);
    }
    let ends_open = before.last().is_some_and(|l| l.end.is_empty());
    if ends_open && styled.ends_with(end) {
        styled.truncate(styled.len() - end.len());
    }
    styled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_joined_are_the_text_again() {
        for text in [
            "",
            "a",
            "a\n",
            "a\r\nb",
            "\n\n",
            "a\rb\n",
            "\r\n",
            "ä\r\n\u{2028}x\n",
        ] {
            let joined: String = lines(text).iter().flat_map(|l| [l.text, l.end]).collect();
            assert_eq!(joined, text);
        }
    }

    #[test]
    fn a_rewritten_file_keeps_the_habits_of_the_old_one() {
        for (old, new, styled) in [
            ("a\r\nb\r\n", "a\nc\n", "a\r\nc\r\n"),
            ("\u{feff}a\n", "b\n", "\u{feff}b\n"),
            ("a\nb", "a\nc\n", "a\nc"),
            ("a\n", "a\nc", "a\nc\n"),
            ("", "x\n", "x\n"),
            ("a\n", "", ""),
        ] {
            assert_eq!(in_style_of(old, new), styled, "{old:?} {new:?}");
        }
    }
}
