//! A notice as messages for a webhook of Discord, within its limits, and harmless whatever strangers wrote.
//!
//! Touches: nothing.
//! Change here: when a notice should look otherwise there. Limits: Discord's documentation of messages and embeds.
//!
//! Nobody is ever mentioned: `allowed_mentions` allows none, and what looks like one is text. Lengths are counted in
//! UTF-16 units, which is never less than what Discord counts.

use serde_json::{Value, json};

use super::hidden::is_hidden;
use super::notices::{Notice, Urgency};

/// Discord allows 256 and 4096, and 6000 over all.
const TITLE: usize = 240;
const TEXT: usize = 3500;
/// Messages for one notice; what does not fit is in ChangeBus itself.
const MOST: usize = 5;
/// Of one line, such as the output of a test.
const LINE: usize = 1000;

/// What to post, in this order.
pub fn messages(notice: &Notice) -> Vec<Value> {
    let mut pages = vec![String::new()];
    for line in lines(notice) {
        let page = pages.last().map_or(0, |page| units(page));
        if page + units(&line) + 1 > TEXT {
            pages.push(String::new());
        }
        if let Some(page) = pages.last_mut() {
            page.push_str(&line);
            page.push('\n');
        }
    }
    if pages.len() > MOST {
        pages.truncate(MOST);
        if let Some(last) = pages.last_mut() {
            last.push_str("… and more, in ChangeBus itself");
        }
    }
    let count = pages.len();
    let one = |(nth, text): (usize, String)| {
        let mut embed = json!({ "description": text.trim_end(), "color": colour(notice.urgency) });
        let title = cut(&harmless(&notice.title), TITLE);
        embed["title"] = match count {
            1 => title.into(),
            _ => format!("{title} ({}/{count})", nth + 1).into(),
        };
        json!({ "embeds": [embed], "allowed_mentions": { "parse": [] }, "username": "ChangeBus" })
    };
    pages.into_iter().enumerate().map(one).collect()
}

fn lines(notice: &Notice) -> Vec<String> {
    let line = |text: &String| cut(&harmless(text), LINE);
    let mut all: Vec<String> = notice.lines.iter().map(line).collect();
    for (heading, lines) in &notice.parts {
        all.push(format!("**{}**", cut(&harmless(heading), TITLE)));
        all.extend(lines.iter().map(|text| format!("- {}", line(text))));
    }
    all
}

fn colour(urgency: Urgency) -> u32 {
    match urgency {
        Urgency::Needed => 0xd9_3f_0b,
        Urgency::Good => 0x2d_a4_4e,
        Urgency::Plain => 0x6e_77_81,
    }
}

/// Text on one line that is nothing but text: no markup, no mention, no link with another face, nothing unseen.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // A long one is cut anyway; it need not be gone through first.
    for c in text.chars().take(2 * LINE) {
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            c if is_hidden(c) => {}
            '\\' | '*' | '_' | '~' | '`' | '|' | '>' | '<' | '#' | '[' | ']' | '(' | ')' | '@'
            | ':' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

fn cut(text: &str, most: usize) -> String {
    if units(text) <= most {
        return text.to_owned();
    }
    let (mut out, mut length) = (String::new(), 0);
    for c in text.chars() {
        length += c.len_utf16();
        if length >= most {
            break;
        }
        out.push(c);
    }
    // Half of an escape would escape what follows.
    let odd = out.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1;
    if odd {
        out.pop();
    }
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::notices::NoticeKind;

    fn notice(title: &str, lines: &[&str]) -> Notice {
        Notice {
            id: "1".to_owned(),
            kind: NoticeKind::Alert,
            project: "shop".to_owned(),
            title: title.to_owned(),
            lines: lines.iter().map(|l| (*l).to_owned()).collect(),
            parts: vec![],
            urgency: Urgency::Needed,
        }
    }

    fn within_limits(message: &Value) {
        let embeds = message["embeds"].as_array().expect("a list");
        assert!(embeds.len() <= 10);
        let mut all = 0;
        for embed in embeds {
            for (field, most) in [("title", 256), ("description", 4096)] {
                let length = units(embed[field].as_str().expect("a text"));
                assert!(length <= most, "{field}: {length}");
                all += length;
            }
        }
        assert!(all <= 6000);
        assert_eq!(message["allowed_mentions"], json!({ "parse": [] }));
    }

    #[test]
    fn logs_of_any_length_stay_within_the_limits() {
        for length in [0, 1, 1999, 2000, 2001, 5_000_000] {
            for c in ["x", "😀", "`", "\\", "@"] {
                let log = c.repeat(length / c.len());
                for message in messages(&notice(&log, &[&log, &log, &log, &log, &log])) {
                    within_limits(&message);
                }
            }
        }
        let many: Vec<String> = (0..10_000).map(|n| format!("line {n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let told = messages(&notice("t", &many));
        assert_eq!(told.len(), MOST);
        told.iter().for_each(within_limits);
    }

    #[test]
    fn nobody_is_pinged_and_nothing_is_more_than_text() {
        let evil = "@everyone <@1> <#2> [click](http://evil) ```x``` \u{202e}cod.exe \u{1b}[31m ||spoiler|| # big";
        let told = messages(&notice(evil, &[evil])).remove(0).to_string();
        for bad in ["<@1>", "[click]", "```", "\u{202e}", "\u{1b}", "||sp"] {
            assert!(!told.contains(bad), "{bad} in {told}");
        }
        assert!(told.contains("\\\\@everyone"), "{told}");
    }
}
