//! Public names that a package had and has no more, as far as patterns see them.
//!
//! Touches: nothing.
//! Change here: when a language writes public names in another way. Nothing is parsed: a name that is not seen is not told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use super::kinds::{self, Language};
use super::{Texts, may_be_cut};

/// Of one file.
const MOST_NAMES: usize = 30;

type Names = BTreeSet<String>;

/// A line for each file that lost some, those that failures tell of first; then what only moved.
pub fn gone(before: &Texts, after: &Texts, words: &BTreeSet<&str>) -> Vec<String> {
    let (old, new) = (Places::of(before), Places::of(after));
    let mut lost: Vec<Lost> = Vec::new();
    let mut moved = Vec::new();
    for (path, names) in &old.0 {
        let Some(left) = left(path, names, after) else {
            continue;
        };
        let mut one = Lost::default();
        let mut elsewhere: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for name in left {
            match new.only(&name).filter(|_| old.only(&name).is_some()) {
                Some(place) => elsewhere.entry(place).or_default().push(name),
                None if words.contains(name.as_str()) => one.told_of.push(name),
                None => one.others.push(name),
            }
        }
        one.file = match after.contains_key(*path) {
            true => (*path).to_owned(),
            false => format!("{path}, which is gone itself"),
        };
        if !one.is_empty() || !after.contains_key(*path) {
            lost.push(one);
        }
        let to = |(place, names)| format!("{path}: {}: in {place} now", listed(names));
        moved.extend(elsewhere.into_iter().map(to));
    }
    lost.sort_by_key(|one| (std::cmp::Reverse(one.told_of.len()), one.is_empty()));
    lost.into_iter().map(Lost::line).chain(moved).collect()
}

/// What one file lost.
#[derive(Default)]
struct Lost {
    file: String,
    /// Failures tell of these.
    told_of: Vec<String>,
    others: Vec<String>,
}

impl Lost {
    fn is_empty(&self) -> bool {
        self.told_of.is_empty() && self.others.is_empty()
    }

    fn line(mut self) -> String {
        self.told_of.extend(self.others);
        match self.told_of.is_empty() {
            true => self.file,
            false => format!("{}: {}", self.file, listed(self.told_of)),
        }
    }
}

fn listed(mut names: Vec<String>) -> String {
    let more = names.len().saturating_sub(MOST_NAMES);
    names.truncate(MOST_NAMES);
    let more = (more > 0).then(|| format!(" and {more} more"));
    names.join(", ") + &more.unwrap_or_default()
}

/// The names that a file had and has no more; None where that cannot be told.
fn left(path: &str, names: &Names, after: &Texts) -> Option<Names> {
    let Some(text) = after.get(path) else {
        return (!may_be_cut(after)).then(|| names.clone());
    };
    let seen = Seen::in_file(path, text)?;
    let is_gone = |name: &&String| !seen.offered.contains(*name) && !seen.used.contains(*name);
    Some(names.iter().filter(is_gone).cloned().collect())
}

/// What each file offers.
struct Places<'t>(BTreeMap<&'t str, Names>);

impl<'t> Places<'t> {
    fn of(texts: &'t Texts) -> Places<'t> {
        let offered = |(path, text): (&'t String, &String)| {
            Some((path.as_str(), Seen::in_file(path, text)?.offered))
        };
        Places(texts.iter().filter_map(offered).collect())
    }

    /// The one file that offers it.
    fn only(&self, name: &str) -> Option<&'t str> {
        let mut having = self.0.iter().filter(|(_, names)| names.contains(name));
        let (path, _) = having.next()?;
        having.next().is_none().then_some(path)
    }
}

#[derive(Default)]
struct Seen {
    offered: Names,
    /// What can be had of the file though it is not offered there.
    used: Names,
}

impl Seen {
    fn in_file(path: &str, text: &str) -> Option<Seen> {
        match kinds::language(path)? {
            Language::Python => Some(Seen::python(text, path.ends_with("__init__.py"))),
            Language::JavaScript => Some(Seen::of(javascript(text))),
            Language::Rust => Some(Seen::of(rust(text))),
            Language::Other => None,
        }
    }

    fn of(offered: Names) -> Seen {
        Seen {
            offered,
            ..Seen::default()
        }
    }

    /// A package's own file offers what it imports from its parts.
    fn python(text: &str, is_door: bool) -> Seen {
        let (mut offered, mut used) = (python_top(text), Names::new());
        for import in IMPORT.captures_iter(text) {
            let of_itself = import[1].starts_with('.');
            let names = imported(&import[2]);
            match is_door && of_itself {
                true => offered.extend(names),
                false => used.extend(names),
            }
        }
        offered.retain(|name| !name.starts_with('_'));
        for all in ALL.captures_iter(text) {
            offered.extend(QUOTED.captures_iter(&all[1]).map(|name| name[1].to_owned()));
        }
        Seen { offered, used }
    }
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is fixed")
}

static DEFINED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^(?:(?:async\s+)?def\s+|class\s+)(\w+)|^([A-Za-z_]\w*)\s*(?::[^=]*)?=(?:[^=]|$)")
});
static CONDITION: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(?:if|elif|else|try|except|finally|with)\b.*:"));
static IMPORT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?m)^[ \t]*from[ \t]+(\S+)[ \t]+import[ \t]+(\([^)]*\)|[^\n(]+)"));
static ALL: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?m)^__all__[^=\n]*=\s*[\[(]([^\])]*)[\])]"));
static QUOTED: LazyLock<Regex> = LazyLock::new(|| pattern(r#"["'](\w+)["']"#));

/// What is defined at the top, or under a condition at the top.
fn python_top(text: &str) -> Names {
    let mut names = Names::new();
    // None outside a condition; within, how far its first line is indented.
    let mut indent: Option<Option<usize>> = None;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let bare = line.trim_start();
        let depth = line.len() - bare.len();
        if depth == 0 {
            indent = CONDITION.is_match(line).then_some(None);
        } else if indent == Some(None) {
            indent = Some(Some(depth));
        }
        if (depth == 0 || indent == Some(Some(depth)))
            && let Some(found) = DEFINED.captures(bare)
        {
            let name = found.get(1).or_else(|| found.get(2));
            names.extend(name.map(|name| name.as_str().to_owned()));
        }
    }
    names
}

fn imported(list: &str) -> Names {
    let lines = list
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    let names = lines.flat_map(|line| line.split(','));
    names.filter_map(called).collect()
}

/// Of `a as b`, `a: b` and `type a` the name under which others see it.
fn called(item: &str) -> Option<String> {
    let item = item.trim_matches(|c: char| c.is_whitespace() || "()".contains(c));
    let name = item.rsplit(char::is_whitespace).next()?;
    let is_name = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || "_$".contains(c));
    is_name.then(|| name.to_owned())
}

static EXPORTED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?m)^\s*(?:(?:module\.)?exports\.([\w$]+)\s*=|Object\.defineProperty\(exports,\s*["']([\w$]+)["']|export\s+(?:declare\s+)?(?:default\s+)?(?:abstract\s+|async\s+)?(?:function\*?|class|const|let|var|interface|type|enum|namespace)\s+([\w$]+))"#,
    )
});
static EXPORTS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?m)^\s*(?:export\s*(?:type\s*)?|module\.exports\s*=\s*)\{([^}]*)\}")
});

fn javascript(text: &str) -> Names {
    let mut names = Names::new();
    for found in EXPORTED.captures_iter(text) {
        let name = found.iter().skip(1).flatten().next();
        names.extend(name.map(|name| name.as_str().to_owned()));
    }
    for list in EXPORTS.captures_iter(text) {
        let items = list[1].split(',');
        let key = |item: &str| called(item.split(':').next().unwrap_or_default());
        names.extend(items.filter_map(key));
    }
    names.remove("__esModule");
    names
}

static PUBLIC: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?m)^\s*pub\s+(?:(?:unsafe|async|const|extern\s+"[^"]*")\s+)*(?:fn|struct|enum|union|trait|mod|static|type|const)\s+(?:mut\s+)?(\w+)"#,
    )
});
static USED: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?m)^\s*pub\s+use\s+([^;]+);"));
static MACRO: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"#\[macro_export[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*macro_rules!\s+(\w+)"));

fn rust(text: &str) -> Names {
    let defined = PUBLIC.captures_iter(text).chain(MACRO.captures_iter(text));
    let mut names: Names = defined.map(|found| found[1].to_owned()).collect();
    for used in USED.captures_iter(text) {
        let items = used[1].split(['{', '}', ',']);
        let last = |item: &str| called(item.rsplit("::").next().unwrap_or_default());
        names.extend(items.filter_map(last));
    }
    names
}
