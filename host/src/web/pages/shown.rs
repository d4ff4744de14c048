//! Makes what tests, models and strangers wrote fit to stand on a page: clean, and not too much of it.
//!
//! Touches: nothing.
//! Change here: when the page should show more of a text, or a diff otherwise. What is clean is in `story/text.rs`;
//! that nothing is markup is the templates' business.

use jiff::Timestamp;

use crate::story::text;

/// Bytes of a log, a prompt or an answer.
const MOST: usize = 16 * 1024;
/// Bytes and lines of a diff.
const MOST_DIFF: usize = 128 * 1024;
const MOST_DIFF_LINES: usize = 1500;
/// Columns of one line of it.
const WIDEST: usize = 400;
/// Columns of a name, a title, a sentence.
const LINE: usize = 300;

/// On one line.
pub fn line(words: &str) -> String {
    text::line(words, LINE)
}

/// In several lines, the beginning of it.
pub fn block(words: &str) -> String {
    text::clean(&text::beginning(words, MOST))
}

/// The end of what a command printed says most.
pub fn end(words: &str) -> String {
    let from = words.ceil_char_boundary(words.len().saturating_sub(MOST));
    let cut = if from > 0 { "[...]\n" } else { "" };
    format!("{cut}{}", text::clean(&words[from..]))
}

pub struct DiffLine {
    /// What the style sheet calls it.
    pub class: &'static str,
    pub text: String,
}

/// A unified diff line by line. What would be hidden in it is spelled out.
pub fn diff(patch: &str) -> Vec<DiffLine> {
    let near = &patch[..patch.floor_char_boundary(MOST_DIFF)];
    let mut lines: Vec<DiffLine> = near.lines().take(MOST_DIFF_LINES).map(diff_line).collect();
    let all = patch.lines().count();
    if lines.len() < all || near.len() < patch.len() {
        let left = all.saturating_sub(lines.len());
        lines.push(DiffLine {
            class: "cut",
            text: format!("[... {left} more lines; `changebus show` has them]"),
        });
    }
    lines
}

fn diff_line(line: &str) -> DiffLine {
    let class = match line.as_bytes().first() {
        _ if line.starts_with("+++") || line.starts_with("---") || line.starts_with("diff ") => {
            "file"
        }
        Some(b'+') => "add",
        Some(b'-') => "del",
        Some(b'@') => "hunk",
        _ => "same",
    };
    let near = &line[..line.floor_char_boundary(WIDEST * 4)];
    DiffLine {
        class,
        text: text::cut(&text::reveal(near), WIDEST),
    }
}

/// As people read it.
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_megabytes_become_a_page() {
        let log = "x\n".repeat(2_500_000);
        assert!(block(&log).len() < MOST + 100);
        assert!(end(&log).len() < MOST + 100);
        let one_line = "ä".repeat(2_500_000);
        for shown in [block(&one_line), end(&one_line), line(&one_line)] {
            assert!(shown.len() < MOST + 100, "{}", shown.len());
        }
        let patch = format!("{}{}\n", "+new\n".repeat(1_000_000), one_line);
        let shown = diff(&patch);
        assert!(shown.len() <= MOST_DIFF_LINES + 1);
        let last = &shown[shown.len() - 1];
        assert_eq!((last.class, &last.text[..11]), ("cut", "[... 998501"));
        assert!(diff(&one_line)[0].text.chars().count() <= WIDEST);
    }

    #[test]
    fn lines_of_a_diff_are_told_apart_and_hide_nothing() {
        let shown =
            diff("diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\u{202e}\x1b[2K\n c");
        let classes: Vec<_> = shown.iter().map(|l| l.class).collect();
        assert_eq!(
            classes,
            ["file", "file", "file", "hunk", "del", "add", "same"]
        );
        assert_eq!(shown[5].text, "+b‹U+202E›‹U+001B›[2K");
    }
}
