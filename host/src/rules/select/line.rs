//! Reads a shell line as far as it is plain, and puts words in and takes words out without touching the rest.
//!
//! Touches: nothing.
//! Change here: when a test command that is plain to people is not understood, or another wrapper of commands.

use std::ops::Range;

/// One word as it stands in the line.
#[derive(Debug)]
pub struct Word<'a> {
    pub at: Range<usize>,
    pub raw: &'a str,
    /// What the shell makes of it; none where that depends on variables or files.
    pub plain: Option<String>,
}

impl Word<'_> {
    /// The command this word names, without the directory it lies in.
    pub fn command(&self) -> Option<&str> {
        self.plain.as_deref()?.rsplit('/').next()
    }

    pub fn is(&self, text: &str) -> bool {
        self.plain.as_deref() == Some(text)
    }

    /// An option, as far as one can tell without knowing what a variable holds.
    pub fn is_option(&self) -> bool {
        self.raw.starts_with('-')
    }

    fn is_assignment(&self) -> bool {
        let name = self.raw.split_once('=').map_or("", |(name, _)| name);
        let of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        !name.is_empty() && name.chars().all(of_a_name) && !name.starts_with(char::is_numeric)
    }
}

/// One command of a line. Where its output goes is not among its words.
#[derive(Debug, Default)]
pub struct Segment<'a> {
    pub words: Vec<Word<'a>>,
}

impl<'a> Segment<'a> {
    /// From the command on: without what sets variables for it, and what merely starts it.
    pub fn unwrapped(&self) -> Option<&[Word<'a>]> {
        let mut words = self.words.as_slice();
        loop {
            let assigned = words.iter().take_while(|w| w.is_assignment()).count();
            words = &words[assigned..];
            let taken = wrapper(words)?;
            if taken == 0 {
                return Some(words);
            }
            words = words.get(taken..)?;
        }
    }

    /// It copies a report about, or minds an exit code.
    fn only_clears_up(&self) -> bool {
        const HARMLESS: [&str; 7] = ["cp", "mv", "mkdir", "rm", "true", "exit", ":"];
        match self.words.first() {
            Some(first) if first.is_assignment() => self.words.len() == 1,
            Some(first) => first
                .plain
                .as_deref()
                .is_some_and(|w| HARMLESS.contains(&w)),
            None => false,
        }
    }
}

/// How many words only start the command that follows them. None where an option cannot be read.
fn wrapper(words: &[Word<'_>]) -> Option<usize> {
    let Some(first) = words.first().and_then(Word::command) else {
        return Some(0);
    };
    let second = words.get(1).and_then(|w| w.plain.as_deref()).unwrap_or("");
    let head = match (first, second) {
        ("env" | "time" | "exec" | "nice" | "npx" | "bunx", _) => 1,
        ("uv" | "poetry" | "pipenv" | "pdm" | "rye" | "hatch", "run") => 2,
        ("pnpm" | "yarn", "exec" | "run") => 2,
        ("pnpm" | "yarn", "jest" | "vitest") => 1,
        ("timeout", limit) if limit.starts_with(|c: char| c.is_ascii_digit()) => 2,
        _ => return Some(0),
    };
    const WITHOUT_VALUE: [&str; 11] = [
        "--frozen",
        "--locked",
        "--no-sync",
        "--offline",
        "--isolated",
        "--all-extras",
        "--no-install",
        "--no",
        "--yes",
        "-y",
        "--silent",
    ];
    let options = words[head..].iter().take_while(|w| w.is_option());
    let known = |w: &Word<'_>| {
        w.plain
            .as_deref()
            .is_some_and(|p| WITHOUT_VALUE.contains(&p))
    };
    let mut taken = head;
    for option in options {
        if !known(option) {
            return None;
        }
        taken += 1;
    }
    Some(taken)
}

/// The one command that runs tests, where everything else in the line only clears up after it.
pub fn the_runner<'a, 'b>(
    segments: &'b [Segment<'a>],
    is_runner: fn(&Segment<'a>) -> bool,
) -> Option<&'b Segment<'a>> {
    let mut found = None;
    for segment in segments {
        if segment.only_clears_up() {
            continue;
        }
        if found.is_some() || !is_runner(segment) {
            return None;
        }
        found = Some(segment);
    }
    found
}

/// The commands of a line. None where it holds more than commands one after another.
pub fn read(line: &str) -> Option<Vec<Segment<'_>>> {
    let mut reader = Reader {
        line,
        at: 0,
        segments: vec![Segment::default()],
    };
    reader.all()?;
    let mut segments = reader.segments;
    // A line may end in `;`.
    if segments.len() > 1 && segments.last().is_some_and(|s| s.words.is_empty()) {
        segments.pop();
    }
    segments
        .iter()
        .all(|s| !s.words.is_empty())
        .then_some(segments)
}

struct Reader<'a> {
    line: &'a str,
    at: usize,
    segments: Vec<Segment<'a>>,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.line[self.at..]
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t']).len();
    }

    fn all(&mut self) -> Option<()> {
        loop {
            self.blanks();
            if self.rest().is_empty() {
                return Some(());
            }
            let operator = ["&&", "||", ";"]
                .into_iter()
                .find(|op| self.rest().starts_with(op));
            if let Some(operator) = operator {
                self.at += operator.len();
                self.segments.push(Segment::default());
            } else if !self.redirection()? {
                let word = self.word()?;
                self.segments.last_mut()?.words.push(word);
            }
        }
    }

    /// Steps over `> file`, `2>&1` and the like. None for what is not plain.
    fn redirection(&mut self) -> Option<bool> {
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let after = &self.rest()[digits..];
        if !after.starts_with('>') {
            return Some(false);
        }
        let arrow = if after.starts_with(">>") { 2 } else { 1 };
        self.at += digits + arrow;
        if let Some(other) = self.rest().strip_prefix('&') {
            let number = other.bytes().take_while(u8::is_ascii_digit).count();
            self.at += 1 + number;
            return (number > 0).then_some(true);
        }
        self.blanks();
        self.word().map(|_| true)
    }

    /// None for an empty word, an open quote, and everything that starts something else than a word.
    fn word(&mut self) -> Option<Word<'a>> {
        let start = self.at;
        let mut plain = Some(String::new());
        let mut chars = self.rest().char_indices().peekable();
        let mut end = self.line.len();
        while let Some((offset, c)) = chars.next() {
            let at_start = offset == 0;
            match c {
                ' ' | '\t' | ';' | '>' => {
                    end = start + offset;
                    break;
                }
                '&' if self.line[start + offset..].starts_with("&&") => {
                    end = start + offset;
                    break;
                }
                '|' if self.line[start + offset..].starts_with("||") => {
                    end = start + offset;
                    break;
                }
                '&' | '|' | '<' | '(' | ')' | '`' | '\n' | '\r' => return None,
                '#' | '{' | '}' | '!' | '~' if at_start => return None,
                '*' | '?' | '[' | '{' => plain = None,
                '$' => {
                    variable(chars.peek().map(|(_, c)| *c))?;
                    plain = None;
                }
                '\\' => {
                    let (_, escaped) = chars.next()?;
                    (escaped != '\n').then_some(())?;
                    plain.iter_mut().for_each(|p| p.push(escaped));
                }
                '\'' => loop {
                    match chars.next()?.1 {
                        '\'' => break,
                        c => plain.iter_mut().for_each(|p| p.push(c)),
                    }
                },
                '"' => loop {
                    match chars.next()?.1 {
                        '"' => break,
                        '`' => return None,
                        '$' => {
                            variable(chars.peek().map(|(_, c)| *c))?;
                            plain = None;
                        }
                        '\\' => {
                            // Which of them the shell keeps is not worth knowing.
                            chars.next()?;
                            plain = None;
                        }
                        c => plain.iter_mut().for_each(|p| p.push(c)),
                    }
                },
                c => plain.iter_mut().for_each(|p| p.push(c)),
            }
        }
        self.at = end;
        (end > start).then(|| Word {
            at: start..end,
            raw: &self.line[start..end],
            plain,
        })
    }
}

/// `$NAME`, `${NAME}` and `$?` are let through; commands and sums are not.
fn variable(next: Option<char>) -> Option<()> {
    (next != Some('(')).then_some(())
}

/// Words taken out of a line, and words put in.
pub struct Edit {
    pub remove: Vec<Range<usize>>,
    /// Where `insert` goes, as it stands after what is before it.
    pub at: usize,
    /// Each becomes one word, whatever it holds.
    pub insert: Vec<String>,
}

impl Edit {
    pub fn of(&self, line: &str) -> String {
        let mut pieces: Vec<(Range<usize>, String)> = self
            .remove
            .iter()
            .map(|r| (r.clone(), String::new()))
            .collect();
        let words: String = self
            .insert
            .iter()
            .map(|w| format!(" {}", quote(w)))
            .collect();
        pieces.push((self.at..self.at, words));
        pieces.sort_by_key(|(range, _)| (range.start, range.end));
        let mut made = String::new();
        let mut from = 0;
        for (range, text) in pieces {
            made.push_str(&line[from..range.start]);
            made.push_str(&text);
            from = range.end;
        }
        made + &line[from..]
    }
}

/// One word of a shell line, whatever it holds.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
