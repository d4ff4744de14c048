//! Reads edits out of a model's answer.
//!
//! Touches: nothing.
//! Change here: when models wrap their blocks in yet another noise. Noise around a block may be stripped; what a
//! block means may not be guessed: say it in `problems` and let the asker ask again.

/// One edit of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// From the root of the tree, with `/`.
    pub path: String,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Replace {
        search: String,
        replacement: String,
    },
    /// The whole file.
    Write {
        content: String,
    },
    Delete,
}

/// What an answer holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// In the order of the answer.
    pub blocks: Vec<Block>,
    /// The reason of a `NO_FIX:` line.
    pub no_fix: Option<String>,
    /// What looked like a block and could not be read, as sentences for the next question.
    pub problems: Vec<String>,
    /// The answer without its blocks and fences: what a model says about its edits.
    pub prose: String,
}

/// Reads an answer. Blocks look like this, in or out of code fences, with the path on the line above:
///
/// ```text
/// src/sum.py
/// <<<<<<< SEARCH
/// return a - b
/// =======
/// return a + b
/// >>>>>>> REPLACE
/// ```
///
/// `<<<<<<< FILE` ... `>>>>>>> FILE` holds a whole file, `<<<<<<< DELETE` removes one, and a line
/// `NO_FIX: reason` says that nothing should change.
pub fn parse(answer: &str) -> Parsed {
    let lines: Vec<&str> = answer.lines().collect();
    let mut reader = Reader {
        lines: &lines,
        at: 0,
        above: vec![],
        last_path: None,
        parsed: Parsed::default(),
    };
    reader.read();
    let mut parsed = reader.parsed;
    parsed.prose = parsed.prose.trim().to_owned();
    if parsed.no_fix.is_some() && !parsed.blocks.is_empty() {
        let both = "the answer holds NO_FIX and edits; give one or the other";
        parsed.problems.push(both.to_owned());
    }
    parsed
}

struct Reader<'a> {
    lines: &'a [&'a str],
    at: usize,
    /// Lines since the last block: where a path is looked for.
    above: Vec<&'a str>,
    /// The path of the block before, as long as nothing but blanks and fences followed it.
    last_path: Option<String>,
    parsed: Parsed,
}

enum Marker {
    Search(usize),
    File,
    Delete,
}

impl<'a> Reader<'a> {
    fn read(&mut self) {
        while let Some(&line) = self.lines.get(self.at) {
            self.at += 1;
            match opening(line) {
                Some(marker) => self.block(marker),
                None => self.outside(line),
            }
        }
    }

    fn outside(&mut self, line: &'a str) {
        if let Some(reason) = no_fix(line) {
            self.parsed.no_fix = Some(self.whole_reason(reason));
            return;
        }
        self.above.push(line);
        if !is_fence(line) {
            self.parsed.prose.push_str(line);
            self.parsed.prose.push('\n');
        }
    }

    /// The rest of the paragraph belongs to the reason.
    fn whole_reason(&mut self, first: &str) -> String {
        let mut reason = first.trim().to_owned();
        while let Some(&line) = self.lines.get(self.at) {
            if line.trim().is_empty() || is_fence(line) || opening(line).is_some() {
                break;
            }
            reason.push(' ');
            reason.push_str(line.trim());
            self.at += 1;
        }
        reason.trim().to_owned()
    }

    fn block(&mut self, marker: Marker) {
        let opened_at = self.at;
        let path = self.path();
        self.drop_path_from_prose();
        self.above.clear();
        let kind = match marker {
            Marker::Search(width) => self.replace(width),
            Marker::File => self.body("FILE").map(|body| Kind::Write {
                content: joined(&body),
            }),
            Marker::Delete => Ok(self.delete()),
        };
        match (path, kind) {
            (Ok(path), Ok(kind)) => {
                self.last_path = Some(path.clone());
                let kind = without_inner_fences(&path, kind);
                self.parsed.blocks.push(Block { path, kind });
            }
            (Err(why), _) | (_, Err(why)) => {
                self.last_path = None;
                self.parsed
                    .problems
                    .push(format!("line {opened_at} of the answer: {why}"));
            }
        }
    }

    fn replace(&mut self, width: usize) -> Result<Kind, String> {
        let body = self.body("REPLACE")?;
        let divider = divider(&body, width)?;
        Ok(Kind::Replace {
            search: joined(&body[..divider]),
            replacement: joined(&body[divider + 1..]),
        })
    }

    /// The lines up to the closing marker. An opening marker before it means that the block never closed.
    fn body(&mut self, word: &str) -> Result<Vec<&'a str>, String> {
        let from = self.at;
        while let Some(&line) = self.lines.get(self.at) {
            if is_closing(line, word) {
                self.at += 1;
                return Ok(self.lines[from..self.at - 1].to_vec());
            }
            if opening(line).is_some() {
                break;
            }
            self.at += 1;
        }
        // What follows may hold the path of a block that is whole.
        self.at = from;
        Err(format!("the block is not closed with `>>>>>>> {word}`"))
    }

    fn delete(&mut self) -> Kind {
        if self
            .lines
            .get(self.at)
            .is_some_and(|line| is_closing(line, "DELETE"))
        {
            self.at += 1;
        }
        Kind::Delete
    }

    /// The path stands on the last line above that is neither blank nor a bare fence; or in the fence itself; or
    /// it is the path of the block before, if nothing else stands between the two.
    fn path(&self) -> Result<String, String> {
        let missing = || "the path of the file must stand on the line above the block".to_owned();
        for line in self.above.iter().rev() {
            if line.trim().is_empty() {
                continue;
            }
            if is_fence(line) {
                match path_in_fence(line) {
                    Some(path) => return checked(path),
                    None => continue,
                }
            }
            return path_in_line(line).map_or_else(|| Err(missing()), checked);
        }
        self.last_path.clone().ok_or_else(missing)
    }

    fn drop_path_from_prose(&mut self) {
        let said = |line: &&&str| !line.trim().is_empty() && !is_fence(line);
        let prose = self.parsed.prose.trim_end();
        let start = prose.rfind('\n').map_or(0, |at| at + 1);
        if self.above.iter().any(|line| said(&line)) && path_in_line(&prose[start..]).is_some() {
            self.parsed.prose.truncate(start);
        }
    }
}

/// `<<<<<<< SEARCH` with five to twelve signs, and how many.
fn opening(line: &str) -> Option<Marker> {
    let line = line.trim();
    let word = line.trim_start_matches('<');
    let width = line.len() - word.len();
    if !(5..=12).contains(&width) {
        return None;
    }
    match word.trim() {
        "SEARCH" => Some(Marker::Search(width)),
        "FILE" => Some(Marker::File),
        "DELETE" => Some(Marker::Delete),
        _ => None,
    }
}

fn is_closing(line: &str, word: &str) -> bool {
    let line = line.trim();
    let rest = line.trim_start_matches('>');
    (5..=12).contains(&(line.len() - rest.len())) && rest.trim() == word
}

/// The one line of `=` that parts search and replacement. Where a heading in the text looks like it, its width
/// decides; where that does not decide either, nobody does.
fn divider(body: &[&str], width: usize) -> Result<usize, String> {
    let is_divider =
        |line: &&&str| line.trim().len() >= 5 && line.trim().bytes().all(|b| b == b'=');
    let all: Vec<usize> = (0..body.len())
        .filter(|&at| is_divider(&&body[at]))
        .collect();
    let wide: Vec<usize> = all
        .iter()
        .copied()
        .filter(|&at| body[at].trim().len() == width)
        .collect();
    match (all.as_slice(), wide.as_slice()) {
        ([at], _) | (_, [at]) => Ok(*at),
        ([], _) => Err("the block has no `=======` line between search and replacement".to_owned()),
        _ => Err(
            "the block has more than one `=======` line; use markers of ten signs, such as `<<<<<<<<<< SEARCH` and `==========`"
                .to_owned(),
        ),
    }
}

fn joined(lines: &[&str]) -> String {
    lines.iter().flat_map(|line| [*line, "\n"]).collect()
}

fn is_fence(line: &str) -> bool {
    let line = line.trim();
    line.starts_with("```") || line.starts_with("~~~")
}

fn no_fix(line: &str) -> Option<&str> {
    let line = line.trim().trim_start_matches(['#', '*', '`', '>', ' ']);
    let reason = line.strip_prefix("NO_FIX")?.trim_start_matches(['*', '`']);
    let reason = reason.strip_prefix(':')?;
    Some(reason.trim().trim_matches(['*', '`']))
}

fn path_in_fence(line: &str) -> Option<String> {
    let info = line.trim().trim_start_matches(['`', '~']).trim();
    let word = info.rsplit([' ', ':', '=']).next().unwrap_or(info);
    word.contains(['/', '.'])
        .then(|| cleaned(word))
        .filter(|path| is_path(path))
}

/// A line that holds a path and nothing else but the usual decoration.
fn path_in_line(line: &str) -> Option<String> {
    let mut line = line.trim().trim_start_matches('#').trim();
    for label in ["File:", "file:", "Path:", "path:", "FILE:", "**File:**"] {
        line = line.strip_prefix(label).unwrap_or(line).trim();
    }
    let bare = line
        .trim_end_matches(':')
        .trim_matches('*')
        .trim_end_matches(':')
        .trim();
    let path = cleaned(bare);
    let quoted = bare.starts_with(['`', '"', '\'']);
    (is_path(&path) && (quoted || !path.contains(' '))).then_some(path)
}

fn cleaned(word: &str) -> String {
    let word = word.trim_matches(['`', '"', '\'', '*']).trim();
    word.strip_prefix("./").unwrap_or(word).to_owned()
}

fn is_path(path: &str) -> bool {
    let forbidden = |c: char| c.is_control() || "<>|*?\"`".contains(c);
    !path.is_empty()
        && path.len() <= 400
        && !path.contains(forbidden)
        && path.contains(char::is_alphanumeric)
}

fn checked(path: String) -> Result<String, String> {
    let leaves =
        path.starts_with('/') || path.split('/').any(|part| part == "..") || path.contains('\\');
    if leaves {
        return Err(format!(
            "`{path}` is not a path from the root of the repository"
        ));
    }
    Ok(path)
}

/// Some models fence the code inside the markers. In a file that has no fences of its own that is noise.
fn without_inner_fences(path: &str, kind: Kind) -> Kind {
    let may_hold_fences = [".md", ".markdown", ".mdx", ".rst", ".txt"]
        .iter()
        .any(|end| path.ends_with(end));
    match kind {
        Kind::Replace {
            search,
            replacement,
        } if !may_hold_fences => match (unfenced(&search), unfenced(&replacement)) {
            (Some(s), Some(r)) => Kind::Replace {
                search: s,
                replacement: r,
            },
            (Some(s), None) if replacement.trim().is_empty() => Kind::Replace {
                search: s,
                replacement,
            },
            _ => Kind::Replace {
                search,
                replacement,
            },
        },
        Kind::Write { content } if !may_hold_fences => Kind::Write {
            content: unfenced(&content).unwrap_or(content),
        },
        kind => kind,
    }
}

fn unfenced(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    match lines.as_slice() {
        [first, inner @ .., last] if is_fence(first) && last.trim() == "```" => Some(joined(inner)),
        _ => None,
    }
}
