//! What the model may do in a turn, read from its answer.
//!
//! Touches: nothing.
//! Change here: when there is another action. Say it in `prompt.rs` too; a test holds the two together.

/// One action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Lines count from 1, both ends included.
    Read {
        path: String,
        lines: Option<(u32, u32)>,
    },
    Search {
        pattern: String,
        regex: bool,
        glob: Option<String>,
    },
    List {
        glob: String,
    },
    Diff {
        path: Option<String>,
    },
    Test {
        id: String,
    },
    /// Try the edits that follow.
    Probe,
    /// Hand in the edits that follow.
    Propose,
}

/// A turn as the model wrote it, but for its edits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    pub action: Option<Action>,
    /// What it believes now.
    pub hypothesis: Option<String>,
    /// What is left when hypothesis and action are taken out.
    pub prose: String,
}

const HYPOTHESIS: &str = "HYPOTHESIS:";

/// Reads an answer whose edits were taken out. The first action counts: nothing after it was written knowing its result.
pub fn turn(prose: &str) -> Turn {
    let mut turn = Turn::default();
    let mut rest = vec![];
    for line in prose.lines() {
        let plain = undecorated(line);
        if let Some(belief) = plain.strip_prefix(HYPOTHESIS) {
            turn.hypothesis = Some(belief.trim_start_matches('*').trim().to_owned());
        } else if let Some(action) = action(plain) {
            turn.action.get_or_insert(action);
        } else {
            rest.push(line);
        }
    }
    turn.prose = rest.join("\n").trim().to_owned();
    turn
}

/// Without the marks of a quotation, a list, emphasis or code.
fn undecorated(line: &str) -> &str {
    let mut line = line.trim();
    for mark in ["> ", "- ", "* "] {
        line = line.strip_prefix(mark).unwrap_or(line).trim_start();
    }
    for pair in ["**", "`"] {
        let inner = line.strip_prefix(pair).and_then(|l| l.strip_suffix(pair));
        line = inner.unwrap_or(line);
    }
    line.strip_prefix("**").unwrap_or(line)
}

fn action(line: &str) -> Option<Action> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim();
    match verb.trim_end_matches(':') {
        "READ" => read(rest),
        "SEARCH" => search(rest, false),
        "GREP" => search(rest, true),
        "LIST" => word(rest).map(|glob| Action::List { glob }),
        "DIFF" if rest.is_empty() => Some(Action::Diff { path: None }),
        "DIFF" => word(rest).map(|path| Action::Diff { path: Some(path) }),
        "TEST" if !rest.is_empty() => Some(Action::Test {
            id: unquoted(rest).to_owned(),
        }),
        "PROBE" if rest.is_empty() => Some(Action::Probe),
        "PROPOSE" if rest.is_empty() => Some(Action::Propose),
        _ => None,
    }
}

/// `path`, `path 10-90` or `path:10-90`.
fn read(rest: &str) -> Option<Action> {
    let (path, range) = match rest.rsplit_once([' ', ':']) {
        Some((path, range)) if range.starts_with(|c: char| c.is_ascii_digit() || c == 'L') => {
            (path, Some(range))
        }
        _ => (rest, None),
    };
    let lines = match range {
        Some(range) => Some(lines(range)?),
        None => None,
    };
    word(path).map(|path| Action::Read { path, lines })
}

fn lines(range: &str) -> Option<(u32, u32)> {
    let number = |text: &str| text.trim_start_matches('L').parse::<u32>().ok();
    let (from, to) = match range.split_once('-') {
        Some((from, to)) => (number(from)?, number(to)?),
        None => (number(range)?, number(range)?.saturating_add(60)),
    };
    (from <= to).then_some((from.max(1), to.max(1)))
}

fn search(rest: &str, regex: bool) -> Option<Action> {
    let (pattern, glob) = match rest.rsplit_once(" IN ") {
        Some(_) if unquoted(rest) != rest => (rest, None),
        Some((pattern, glob)) => (pattern, Some(word(glob)?)),
        None => (rest, None),
    };
    let pattern = unquoted(pattern.trim());
    (!pattern.is_empty()).then(|| Action::Search {
        pattern: pattern.to_owned(),
        regex,
        glob,
    })
}

/// A path or a glob. One that holds a blank has to be quoted, or a sentence would be one.
fn word(text: &str) -> Option<String> {
    let text = text.trim();
    let plain = unquoted(text);
    let is_word = !plain.is_empty() && (plain != text || !plain.contains(char::is_whitespace));
    is_word.then(|| plain.trim_start_matches("./").to_owned())
}

fn unquoted(text: &str) -> &str {
    for quote in ['"', '\'', '`'] {
        let inner = text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote));
        if let Some(inner) = inner.filter(|inner| !inner.contains(quote)) {
            return inner;
        }
    }
    text
}

impl std::fmt::Display for Action {
    /// As the model would write it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Action::Read { path, lines: None } => write!(f, "READ {path}"),
            Action::Read {
                path,
                lines: Some((from, to)),
            } => write!(f, "READ {path} {from}-{to}"),
            Action::Search {
                pattern,
                regex,
                glob,
            } => {
                let verb = if *regex { "GREP" } else { "SEARCH" };
                write!(f, "{verb} {pattern}")?;
                glob.iter().try_for_each(|glob| write!(f, " IN {glob}"))
            }
            Action::List { glob } => write!(f, "LIST {glob}"),
            Action::Diff { path: None } => f.write_str("DIFF"),
            Action::Diff { path: Some(path) } => write!(f, "DIFF {path}"),
            Action::Test { id } => write!(f, "TEST {id}"),
            Action::Probe => f.write_str("PROBE"),
            Action::Propose => f.write_str("PROPOSE"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(answer: &str) -> String {
        turn(answer)
            .action
            .map_or_else(|| "nothing".to_owned(), |action| action.to_string())
    }

    #[test]
    fn an_action_is_read_however_it_is_dressed() {
        for (answer, action) in [
            ("READ src/a.py", "READ src/a.py"),
            ("I look.\n\nREAD src/a.py 10-90\n", "READ src/a.py 10-90"),
            ("READ: ./src/a.py:L10-L90", "READ src/a.py 10-90"),
            ("- `READ src/a.py 5`", "READ src/a.py 5-65"),
            ("READ \"a b.py\" 1-2", "READ a b.py 1-2"),
            ("**SEARCH** def total(", "nothing"),
            ("**SEARCH def total(**", "SEARCH def total("),
            (
                "SEARCH 'a IN b' IN src/**/*.py",
                "SEARCH a IN b IN src/**/*.py",
            ),
            (r"GREP def \w+_total\b", r"GREP def \w+_total\b"),
            ("SEARCH 'x IN y'", "SEARCH x IN y"),
            ("GREP total.*", "GREP total.*"),
            ("LIST src/**", "LIST src/**"),
            ("* LIST src/**/*.py", "LIST src/**/*.py"),
            ("DIFF", "DIFF"),
            ("> DIFF src/a.py", "DIFF src/a.py"),
            (
                "TEST tests/a.py::test_b[x y]",
                "TEST tests/a.py::test_b[x y]",
            ),
            ("PROBE", "PROBE"),
            ("PROPOSE:", "PROPOSE"),
            ("READ a\nREAD b", "READ a"),
        ] {
            assert_eq!(told(answer), action, "{answer}");
        }
    }

    #[test]
    fn a_sentence_is_no_action() {
        for answer in [
            "READ the file first",
            "Read src/a.py",
            "READ",
            "READ a.py 9-3",
            "PROBE this idea later",
            "LIST",
            "TEST",
            "SEARCH",
            "DIFF of the two",
            "",
        ] {
            assert_eq!(told(answer), "nothing", "{answer}");
        }
    }

    #[test]
    fn belief_and_explanation_are_kept_apart_from_the_action() {
        let turn = turn("The total is wrong.\n**HYPOTHESIS:** the loop assigns\nREAD a.py\n");
        assert_eq!(turn.prose, "The total is wrong.");
        assert_eq!(turn.hypothesis.as_deref(), Some("the loop assigns"));
    }
}
