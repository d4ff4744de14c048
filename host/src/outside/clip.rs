//! Shortens text so that what matters stays, at character boundaries, and makes one line of text that strangers wrote.
//!
//! Touches: nothing.
//! Change here: when shortened text must look different.

/// At most `limit` bytes: a third from the start, the rest from the end, and a mark between them.
pub fn clip(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mark = " [...] ";
    let room = limit.saturating_sub(mark.len());
    let head = text.floor_char_boundary(room / 3);
    let end = text.ceil_char_boundary(text.len() - (room - room / 3));
    format!("{}{mark}{}", &text[..head], &text[end..])
}

/// The last whole lines that fit into `limit` bytes; part of a line where not even the last one fits.
pub fn tail(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let cut = text.ceil_char_boundary(text.len() - limit);
    let end = &text[cut..];
    match end.split_once('\n') {
        Some((_, lines)) if !lines.is_empty() => lines,
        _ => end,
    }
}

/// Text in one line in which nothing hides, steers a terminal or looks like a line of somebody else's: what cannot
/// be seen is spelled out, as `\\n` and `\\u{202e}`.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => line.push(c),
            _ => line.extend(c.escape_debug()),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clipped_text_keeps_both_ends_and_stays_within_its_limit() {
        let text = format!("start {} end", "ü".repeat(1000));
        let clipped = clip(&text, 100);
        assert!(
            clipped.starts_with("start ") && clipped.ends_with(" end") && clipped.contains("[...]")
        );
        assert!(clipped.len() <= 100, "{}", clipped.len());
        assert_eq!(clip("short", 100), "short");
    }

    #[test]
    fn a_line_of_a_stranger_stays_one_line_and_shows_what_would_hide() {
        let line = one_line("it's \"ü\"\r\n\u{1b}[2J\u{202e}gnp\u{200b}");
        let shown = r#"it's "ü"\r\n\u{1b}[2J\u{202e}gnp\u{200b}"#;
        assert_eq!(line, shown);
    }

    #[test]
    fn a_tail_starts_at_a_line() {
        assert_eq!(tail("one\ntwo\nthree\n", 10), "three\n");
        assert_eq!(tail("short", 10), "short");
        assert_eq!(tail("ünbroken line", 6), "n line");
    }
}
