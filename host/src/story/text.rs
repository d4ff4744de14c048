//! Makes text that tests, models and strangers wrote fit to be shown: on a terminal and in Markdown.
//!
//! Touches: nothing.
//! Change here: when a terminal or a forge learns another trick.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::rules::hidden::is_hidden;

/// Text without anything that steers a terminal or hides from a reader: no escape sequences, no control
/// characters but newline and tab, nothing invisible, nothing that turns the reading direction.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for_each_shown(text, |c| out.push(c), |_| {});
    out
}

/// As `clean`, but what would be hidden is spelled out: `‹U+202E›`. For diffs, where it may matter.
pub fn reveal(text: &str) -> String {
    let out = std::cell::RefCell::new(String::with_capacity(text.len()));
    for_each_shown(
        text,
        |c| out.borrow_mut().push(c),
        |hidden| {
            for c in hidden.chars() {
                let spelled = match c {
                    ' '..='~' => c.to_string(),
                    _ => format!("‹U+{:04X}›", c as u32),
                };
                out.borrow_mut().push_str(&spelled);
            }
        },
    );
    out.into_inner()
}

fn for_each_shown(text: &str, mut show: impl FnMut(char), mut hide: impl FnMut(&str)) {
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let sequence = escape_sequence(rest);
        let taken = match c {
            _ if sequence > 0 => {
                hide(&rest[..sequence]);
                sequence
            }
            '\r' if rest.starts_with("\r\n") => c.len_utf8(),
            '\r' | '\u{2028}' | '\u{2029}' => {
                show('\n');
                c.len_utf8()
            }
            _ if is_hidden(c) => {
                hide(&rest[..c.len_utf8()]);
                c.len_utf8()
            }
            _ => {
                show(c);
                c.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
}

/// Bytes of the terminal escape sequence `text` begins with; 0 where it begins with none.
fn escape_sequence(text: &str) -> usize {
    let (introducer, rest) = if let Some(rest) = text.strip_prefix('\u{1b}') {
        let Some(kind) = rest.chars().next() else {
            return 1;
        };
        (kind, &rest[kind.len_utf8()..])
    } else {
        // The same introducers in one character.
        let (kind, length) = match text.chars().next() {
            Some('\u{90}') => ('P', 2),
            Some('\u{9b}') => ('[', 2),
            Some('\u{9d}') => (']', 2),
            _ => return 0,
        };
        (kind, &text[length..])
    };
    let head = text.len() - rest.len();
    match introducer {
        '[' => {
            let parameters = rest.bytes().take_while(|b| (0x20..=0x3f).contains(b));
            let parameters = parameters.count();
            let ended = rest[parameters..].starts_with(|c| ('@'..='~').contains(&c));
            head + parameters + usize::from(ended)
        }
        ']' | 'P' | 'X' | '^' | '_' => head + string_end(rest),
        ' '..='/' => head + usize::from(rest.starts_with(|c| ('0'..='~').contains(&c))),
        '0'..='~' => head,
        // No sequence after all: the escape goes, what follows stays.
        _ => 1,
    }
}

/// Where a control string ends. One that does not, nearby, hides nothing but its introducer.
fn string_end(text: &str) -> usize {
    let nearby = &text[..text.floor_char_boundary(2048)];
    let terminators = ["\u{7}", "\u{1b}\\", "\u{9c}"];
    let ends = terminators
        .iter()
        .filter_map(|end| nearby.find(end).map(|at| at + end.len()));
    ends.min().unwrap_or(0)
}

/// Clean text on one line of at most `columns`, cut with `…`.
pub fn line(text: &str, columns: usize) -> String {
    let words = clean(needed(text, columns));
    let joined = words.split_whitespace().collect::<Vec<_>>().join(" ");
    cut(&joined, columns)
}

/// As much of the text as can matter to so many columns: a megabyte need not be cleaned for one line.
fn needed(text: &str, columns: usize) -> &str {
    &text[..text.floor_char_boundary(columns * 16 + 4096)]
}

/// Clean text cut to at most `columns`, blanks kept.
pub fn cut(text: &str, columns: usize) -> String {
    // Marks that stand above others take no column, and there can be any number of them.
    let most_chars = columns * 4;
    if text.width() <= columns && text.chars().count() <= most_chars {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 1;
    for c in text.chars().take(most_chars) {
        used += c.width().unwrap_or(0);
        if used > columns {
            break;
        }
        out.push(c);
    }
    let mut out = out.trim_end().to_owned();
    if columns > 0 {
        out.push('…');
    }
    out
}

/// Clean text in lines of at most `columns`, at most `most` of them; the last one is cut if it must be.
pub fn wrap(text: &str, columns: usize, most: usize) -> Vec<String> {
    let words = clean(needed(text, columns * most));
    let mut lines: Vec<String> = vec![String::new()];
    for word in words.split_whitespace() {
        let last = lines.len() - 1;
        let used = lines[last].width();
        let fits = used == 0 || used + 1 + word.width() <= columns;
        if fits || lines.len() == most {
            join(&mut lines[last], word);
        } else {
            lines.push(word.to_owned());
        }
        if !fits && lines.len() == most && used > columns {
            // More than the last line can hold: the cut below shows it.
            break;
        }
    }
    lines.iter().map(|l| cut(l, columns)).collect()
}

fn join(line: &mut String, word: &str) {
    if !line.is_empty() {
        line.push(' ');
    }
    line.push_str(word);
}

/// Fills up with blanks to `columns`.
pub fn pad(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(text.width());
    format!("{text}{}", " ".repeat(missing))
}

/// Fills up with blanks on the left to `columns`.
pub fn pad_left(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(text.width());
    format!("{}{text}", " ".repeat(missing))
}

/// Columns the text takes on a terminal.
pub fn width(text: &str) -> usize {
    text.width()
}

/// At most `most` characters of a long text: its beginning and a remark on what is left out.
pub fn beginning(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let kept = &text[..text.floor_char_boundary(most)];
    let kept = kept.rsplit_once('\n').map_or(kept, |(lines, _)| lines);
    let left = text[kept.len()..].trim_start_matches('\n').lines().count();
    format!("{kept}\n[... {left} more lines]")
}

/// A Markdown code block that nothing inside can end.
pub fn fence(text: &str, language: &str) -> String {
    let marks = "`".repeat(longest_run_of_backticks(text).max(2) + 1);
    let text = text.trim_end_matches('\n');
    format!("{marks}{language}\n{text}\n{marks}\n")
}

/// One line of clean text as Markdown code that nothing inside can end; also fit for a table.
pub fn code(text: &str) -> String {
    let text = line(text, 300).replace('|', "\\|");
    if text.is_empty() {
        return "(empty)".to_owned();
    }
    let marks = "`".repeat(longest_run_of_backticks(&text) + 1);
    let space = if text.starts_with('`') || text.ends_with('`') {
        " "
    } else {
        ""
    };
    format!("{marks}{space}{text}{space}{marks}")
}

fn longest_run_of_backticks(text: &str) -> usize {
    let runs = text.split(|c| c != '`').map(str::len);
    runs.max().unwrap_or(0)
}

/// One line of clean text as Markdown prose in which nothing is a link, a tag, a mention or a reference.
pub fn prose(text: &str) -> String {
    let text = line(text, 600);
    let mut out = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let next = rest.peek().copied().unwrap_or(' ');
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '$' => out.extend(['\\', c]),
            // Forges look for these in what is shown, where a backslash is gone: keep them apart.
            '@' | '#' | '!' if next.is_alphanumeric() => out.extend([c, '\u{200b}']),
            ':' if next == '/' => out.extend([c, '\u{200b}']),
            '.' if out.to_ascii_lowercase().ends_with("www") => out.extend([c, '\u{200b}']),
            plain => out.push(plain),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_or_hides_is_gone() {
        for (dirty, cleaned) in [
            ("plain\ttext\n", "plain\ttext\n"),
            ("\x1b[1;31mred\x1b[0m", "red"),
            ("\u{9b}31mred", "red"),
            ("\x1b]0;title\x07after", "after"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1b]never ended: still here", "never ended: still here"),
            ("\x1bPdevice\x1b\\control", "control"),
            ("\x1bcreset", "reset"),
            ("\x1b(Bcharset", "charset"),
            ("\x1b", ""),
            ("\x1b[", ""),
            ("\x1b[31", ""),
            ("\x1b\u{e4}", "\u{e4}"),
            ("a\x08b\x00c\x7f", "abc"),
            ("user\u{202e}nimda", "usernimda"),
            ("zero\u{200b}width\u{feff}", "zerowidth"),
            ("tag\u{e0041}", "tag"),
            ("10%\r100%\r\nnext\u{2028}line", "10%\n100%\nnext\nline"),
            ("für 日本 🦀", "für 日本 🦀"),
        ] {
            assert_eq!(clean(dirty), cleaned, "{dirty:?}");
            assert_eq!(clean(cleaned), cleaned, "cleaning twice is cleaning once");
        }
    }

    #[test]
    fn a_diff_shows_what_it_would_hide() {
        let trojan = "+if admin\u{202e} {\u{200b}\x1b[2K";
        assert_eq!(reveal(trojan), "+if admin‹U+202E› {‹U+200B›‹U+001B›[2K");
    }

    #[test]
    fn lines_are_cut_by_columns_not_by_characters() {
        assert_eq!(line("  one\n two\t ", 20), "one two");
        assert_eq!(line("abcdef", 6), "abcdef");
        assert_eq!(line("abcdef", 5), "abcd…");
        assert_eq!(line("日本語の", 5), "日本…");
        assert_eq!(line("abc", 0), "");
        let marks = format!("a{}", "\u{301}".repeat(100_000));
        assert!(line(&marks, 10).chars().count() <= 41);
        assert_eq!(line(&"x".repeat(1_000_000), 3), "xx…");
        assert_eq!(pad("日本", 6), "日本  ");
        assert_eq!(pad_left("ab", 4), "  ab");
    }

    #[test]
    fn wrapping_fills_lines_and_cuts_the_last() {
        assert_eq!(
            wrap("one two three four", 9, 9),
            ["one two", "three", "four"]
        );
        assert_eq!(wrap("one two three four", 9, 2), ["one two", "three fo…"]);
        assert_eq!(wrap("immeasurably", 5, 3), ["imme…"]);
        assert_eq!(wrap("", 5, 3), [""]);
    }

    #[test]
    fn nothing_gets_out_of_a_fence_or_a_span() {
        assert_eq!(fence("a\n```\nb", "text"), "````text\na\n```\nb\n````\n");
        assert_eq!(fence("plain\n\n", ""), "```\nplain\n```\n");
        assert_eq!(code("plain"), "`plain`");
        assert_eq!(code("a`b``c"), "```a`b``c```");
        assert_eq!(code("`x"), "`` `x ``");
        assert_eq!(code("a|b\nc"), "`a\\|b c`");
        assert_eq!(code("\u{202e}"), "(empty)");
    }

    #[test]
    fn prose_is_no_markup() {
        let prose = |text| prose(text).replace('\u{200b}', "^");
        assert_eq!(
            prose("a *b* _c_ `d` [e](f)"),
            r"a \*b\* \_c\_ \`d\` \[e\](f)"
        );
        assert_eq!(
            prose("<b> & @me a@b # #12 !3"),
            "&lt;b&gt; &amp; @^me a@^b # #^12 !^3"
        );
        assert_eq!(prose("https://x 12:30 www.x"), "https:^//x 12:30 www.^x");
        assert_eq!(prose("ends with @"), "ends with @");
    }

    #[test]
    fn a_long_text_says_how_much_is_left_out() {
        assert_eq!(beginning("short", 10), "short");
        assert_eq!(
            beginning("one\ntwo\nthree\n", 9),
            "one\ntwo\n[... 1 more lines]"
        );
        assert_eq!(beginning("äöü", 3), "ä\n[... 1 more lines]");
    }
}
