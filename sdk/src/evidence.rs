//! Gathers what a model has to know about a failure, within a budget of bytes, the same for every variant.
//!
//! Touches: nothing.
//! Change here: when a model lacked something to find the cause, or was shown what it did not need.
//!
//! The text depends on nothing but the failure, the tree and the budget, so that all variants of a tournament
//! send the very same block and the provider caches it. Everything in it that comes from the repository or the
//! tests is made visible and fenced, see [`crate::untrusted`].

use std::collections::{BTreeMap, BTreeSet};

use names::{DEFINING, defined_in, identifiers};

use crate::edits::one_by_one;
use crate::frames::{Place, Resolver, places};
use crate::shares::{clip, clip_end, fair_shares};
use crate::untrusted::{Fence, one_line, visible};
use crate::{Episode, Failure, Hit, SearchOpts, Services, Tree};

mod names;

/// Failing tests that are shown; the rest is counted.
const TESTS: usize = 12;
const DETAIL: u32 = 8 << 10;
/// Of one path.
const DIFF: u32 = 24 << 10;
/// Files up to this size are shown whole: an edit needs its surroundings word for word.
const WHOLE: usize = 6 << 10;
/// Lines shown around a place in a longer file.
const AROUND: u32 = 20;
/// Lines shown of a test from its beginning.
const TEST_BODY: u32 = 45;
/// Changed paths that are looked into; a push that moves thousands of files is not told file by file.
const CHANGED: usize = 60;
const SYMBOLS: usize = 16;
const USES: u32 = 24;
/// Figures about earlier work say nothing below this many cases.
const ENOUGH_CASES: f64 = 10.0;
/// Earlier failures and rejections that are shown.
const EPISODES: u32 = 3;
const REJECTIONS: u32 = 5;

/// What was found about a failure.
pub struct Evidence {
    /// Ready to be sent as a system block.
    pub text: String,
    /// The name of the tags around text that is not ours.
    pub mark: String,
}

/// Gathers evidence of about `bytes` bytes. The parts, in this order: the change and its commits; the failing
/// tests with what they said; the push's diff; the tests' source; code around the places the tests name, the
/// push changed, or where named symbols are defined; uses of what the push changed; and, from `past`, what was learned
/// from earlier fixes. What one part does not need, the others get.
pub fn gather(
    failure: &impl Failure,
    tree: &impl Tree,
    past: Option<&impl Services>,
    bytes: usize,
) -> Evidence {
    let scene = Scene::look(failure, tree);
    let parts = [
        scene.change(failure),
        scene.tests(failure),
        scene.diffs(failure),
        scene.test_sources(tree),
        scene.code(tree),
        scene.uses(tree),
        scene.output(failure),
        past.map_or(Part::new("", 0), |services| self::past(failure, services)),
    ];
    let wants: Vec<(usize, usize)> = parts.iter().map(|part| (part.len(), part.weight)).collect();
    let shares = fair_shares(bytes, &wants);
    let text: String = parts
        .iter()
        .zip(shares)
        .map(|(part, share)| part.text(share, &scene.fence))
        .collect();
    Evidence {
        text,
        mark: scene.fence.mark().to_owned(),
    }
}

/// One heading, and pieces of text that share its bytes evenly.
struct Part {
    heading: &'static str,
    weight: usize,
    pieces: Vec<Piece>,
}

struct Piece {
    attributes: Vec<(&'static str, String)>,
    text: String,
    /// Keep the end as well as the beginning when it is cut.
    both_ends: bool,
}

impl Part {
    fn new(heading: &'static str, weight: usize) -> Part {
        Part {
            heading,
            weight,
            pieces: vec![],
        }
    }

    fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.text.len()).sum()
    }

    fn push(&mut self, attributes: &[(&'static str, &str)], text: String, both_ends: bool) {
        if text.trim().is_empty() {
            return;
        }
        let attributes = attributes
            .iter()
            .map(|(key, value)| (*key, value.to_string()))
            .collect();
        self.pieces.push(Piece {
            attributes,
            text,
            both_ends,
        });
    }

    fn text(&self, share: usize, fence: &Fence) -> String {
        let wants: Vec<(usize, usize)> = self.pieces.iter().map(|p| (p.text.len(), 1)).collect();
        let mut text = String::new();
        for (piece, share) in self.pieces.iter().zip(fair_shares(share, &wants)) {
            let attributes: Vec<(&str, &str)> = piece
                .attributes
                .iter()
                .map(|(k, v)| (*k, v.as_str()))
                .collect();
            let cut = if piece.both_ends {
                clip(&piece.text, share)
            } else {
                clip_end(&piece.text, share)
            };
            text.push_str(&fence.around(&attributes, &cut));
        }
        match text.is_empty() {
            true => text,
            false => format!("## {}\n\n{text}\n", self.heading),
        }
    }
}

/// A failing test as far as it is known.
struct Test {
    id: String,
    message: String,
    detail: String,
    /// Path in the tree, and line or 0.
    at: Option<(String, u32)>,
}

/// Everything that more than one part is made of.
struct Scene {
    fence: Fence,
    tests: Vec<Test>,
    more_tests: usize,
    /// Changed paths, those that may be edited first; with the reason why not.
    changed: Vec<(String, Option<String>)>,
    more_changed: usize,
    /// By changed path.
    diffs: BTreeMap<String, String>,
    /// Places in the tree that the tests' details name, in order of appearance, and whether they may be edited.
    named: Vec<(Place, Option<String>)>,
    symbols: Vec<Hit>,
    /// Names that the push defines, changes or removes.
    touched_names: BTreeSet<String>,
}

impl Scene {
    fn look(failure: &impl Failure, tree: &impl Tree) -> Scene {
        let mut resolver = Resolver::new(tree);
        let ids = failure.failing_tests();
        let tests: Vec<Test> = ids
            .iter()
            .take(TESTS)
            .map(|id| test(failure, tree, &mut resolver, id))
            .collect();
        let (changed, more_changed) = changed_paths(failure);
        let shown = changed
            .iter()
            .map(|(path, _)| (path.clone(), visible(&failure.diff(Some(path), 3, DIFF))));
        let diffs: BTreeMap<String, String> = one_by_one(shown);
        let editable = |path: &String| changed.iter().any(|(p, why)| p == path && why.is_none());
        let touched = diffs
            .iter()
            .filter(|(path, _)| editable(path))
            .flat_map(|(_, diff)| defined_in(diff));
        let touched_names = one_by_one(touched);
        let mut scene = Scene {
            fence: Fence::new(&failure.head()),
            named: named(failure, &mut resolver, &tests),
            more_tests: ids.len() - tests.len(),
            tests,
            changed,
            more_changed,
            diffs,
            symbols: vec![],
            touched_names,
        };
        scene.symbols = scene.definitions(tree);
        scene
    }

    fn change(&self, failure: &impl Failure) -> Part {
        let mut part = Part::new("The change", 4);
        let mut facts = format!("project: {}\n", failure.project());
        for key in [
            "language",
            "class",
            "test-command",
            "update",
            "update.manifest",
        ] {
            if let Some(value) = failure.attribute(key) {
                facts.push_str(&format!("{key}: {}\n", one_line(&value, 300)));
            }
        }
        for (path, why) in &self.changed {
            let note = why
                .as_ref()
                .map(|why| format!("  (may not be edited: {})", one_line(why, 120)));
            facts.push_str(&format!("changes {path}{}\n", note.unwrap_or_default()));
        }
        if self.more_changed > 0 {
            facts.push_str(&format!("changes {} more files\n", self.more_changed));
        }
        part.push(&[("what", "facts")], facts, false);
        if let Some(brings) = failure.attribute("update.changes") {
            part.push(&[("what", "changes of the package")], brings, false);
        }
        for commit in failure.commits(8) {
            let id: String = commit.id.chars().take(12).collect();
            part.push(
                &[("what", "commit message"), ("id", &id)],
                commit.message,
                false,
            );
        }
        part
    }

    fn tests(&self, failure: &impl Failure) -> Part {
        let mut part = Part::new("Tests that passed before the change and fail now", 24);
        for test in &self.tests {
            let text = format!("{}\n{}", test.message, test.detail);
            part.push(&[("what", "failing test"), ("id", &test.id)], text, true);
        }
        if self.more_tests > 0 {
            let ids: Vec<String> = failure
                .failing_tests()
                .into_iter()
                .skip(TESTS)
                .take(60)
                .collect();
            let text = format!("{} more:\n{}\n", self.more_tests, ids.join("\n"));
            part.push(&[("what", "further failing tests")], text, false);
        }
        part
    }

    fn diffs(&self, failure: &impl Failure) -> Part {
        let mut part = Part::new(
            "The push that broke them, as a diff from the last good commit",
            24,
        );
        for (path, why) in &self.changed {
            let diff = self.diffs.get(path).cloned().unwrap_or_default();
            let mut attributes = vec![("what", "diff"), ("path", path.as_str())];
            attributes.extend(why.as_ref().map(|why| ("may-not-be-edited", why.as_str())));
            part.push(&attributes, diff, false);
        }
        if self.changed.is_empty() {
            part.push(&[("what", "diff")], failure.diff(None, 3, DIFF), false);
        }
        part
    }

    fn test_sources(&self, tree: &impl Tree) -> Part {
        let mut part = Part::new(
            "What the failing tests assert (these files may not be edited)",
            14,
        );
        let mut wanted: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
        for (path, line) in self.tests.iter().filter_map(|test| test.at.as_ref()) {
            let first = line.saturating_sub(2).max(1);
            wanted
                .entry(path)
                .or_default()
                .extend(first..first + TEST_BODY);
        }
        for (place, _) in self.named.iter().filter(|(_, why)| why.is_some()) {
            wanted
                .entry(&place.path)
                .or_default()
                .extend(around(place.line));
        }
        for (path, lines) in wanted {
            push_code(&mut part, tree, path, &lines, "test source");
        }
        part
    }

    /// Files in the order of their likely worth: named by a test and changed, named, changed, defining a symbol.
    fn code(&self, tree: &impl Tree) -> Part {
        let mut part = Part::new("Code as it stands now (edits apply to this)", 30);
        let mut wanted: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
        let mut order: Vec<&str> = vec![];
        let is_changed = |path: &str| self.changed.iter().any(|(p, _)| p == path);
        let named = self
            .named
            .iter()
            .filter(|(_, why)| why.is_none())
            .map(|(place, _)| place);
        order.extend(
            named
                .clone()
                .map(|p| p.path.as_str())
                .filter(|path| is_changed(path)),
        );
        for place in named {
            wanted
                .entry(&place.path)
                .or_default()
                .extend(around(place.line));
            order.push(&place.path);
        }
        for (path, _) in self.changed.iter().filter(|(_, why)| why.is_none()) {
            let diff = self.diffs.get(path).map(String::as_str).unwrap_or_default();
            wanted
                .entry(path)
                .or_default()
                .extend(new_lines(diff).into_iter().flat_map(around));
            order.push(path);
        }
        for hit in &self.symbols {
            wanted
                .entry(&hit.path)
                .or_default()
                .extend(hit.line.saturating_sub(3).max(1)..hit.line + AROUND);
            order.push(&hit.path);
        }
        let mut shown = BTreeSet::new();
        for path in order.into_iter().filter(|path| shown.insert(*path)) {
            push_code(&mut part, tree, path, &wanted[path], "code");
        }
        part
    }

    /// Where the names stand that the push touched: whoever changes them must know who calls them.
    fn uses(&self, tree: &impl Tree) -> Part {
        let mut part = Part::new("Uses of what the push touched", 4);
        let mut lines = String::new();
        for hit in search_names(tree, &self.touched_names, "", USES) {
            lines.push_str(&format!(
                "{}:{}: {}\n",
                hit.path,
                hit.line,
                one_line(&hit.text, 160)
            ));
        }
        part.push(&[("what", "uses")], lines, false);
        part
    }

    /// Only where the tests themselves said nothing, as when a file cannot be collected or compiled.
    fn output(&self, failure: &impl Failure) -> Part {
        let mut part = Part::new("The end of what the test command printed", 10);
        if self.tests.iter().all(|test| test.detail.trim().is_empty()) {
            part.push(&[("what", "output")], failure.suite_output(DETAIL), true);
        }
        part
    }

    /// Where the names are defined that the failing tests and the lines they name speak of.
    fn definitions(&self, tree: &impl Tree) -> Vec<Hit> {
        let mut names: Vec<String> = vec![];
        let mut add = |text: &str| {
            for name in identifiers(text) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        };
        for test in &self.tests {
            add(&test.message);
            if let Some((path, line)) = &test.at {
                add(&source_lines(tree, path, *line, 12));
            }
        }
        for (place, _) in self.named.iter().take(20) {
            add(&source_lines(tree, &place.path, place.line, 1));
        }
        names.truncate(SYMBOLS);
        let touched = self.touched_names.iter().take(SYMBOLS).cloned();
        let names: BTreeSet<String> = one_by_one(names.into_iter().chain(touched));
        let is_test = |hit: &Hit| {
            self.tests
                .iter()
                .filter_map(|t| t.at.as_ref())
                .any(|(path, _)| *path == hit.path)
        };
        search_names(tree, &names, DEFINING, 40)
            .into_iter()
            .filter(|hit| !is_test(hit))
            .collect()
    }
}

/// Those that may be edited first, then those that may not; and how many are left out.
fn changed_paths(failure: &impl Failure) -> (Vec<(String, Option<String>)>, usize) {
    let paths = failure.changed_paths().into_iter();
    let mut changed: Vec<(String, Option<String>)> = paths
        .map(|path| {
            let why = failure.protected(&path);
            (path, why)
        })
        .collect();
    changed.sort_by_key(|(_, why)| why.is_some());
    let more = changed.len().saturating_sub(CHANGED);
    changed.truncate(CHANGED);
    (changed, more)
}

fn test<T: Tree>(failure: &impl Failure, tree: &T, resolver: &mut Resolver<T>, id: &str) -> Test {
    let message = visible(&failure.message(id).unwrap_or_default());
    let detail = visible(&failure.detail(id, DETAIL).unwrap_or_default());
    let told = failure
        .location(id)
        .and_then(|(path, line)| Some((resolver.resolve(&path)?, line)));
    let at = told
        .filter(|(_, line)| *line > 0)
        .or_else(|| find_test(failure, tree, id));
    Test {
        id: id.to_owned(),
        message,
        detail,
        at,
    }
}

/// Looks for the test's own name where only protected files may define it.
fn find_test(failure: &impl Failure, tree: &impl Tree, id: &str) -> Option<(String, u32)> {
    let name = id
        .rsplit(['.', ':', '/', '>', '#', '$'])
        .map(str::trim)
        .find(|part| !part.is_empty())?;
    let name = name
        .split(['[', '('])
        .next()
        .map(str::trim)
        .filter(|name| name.len() >= 3)?;
    let hits = tree.search(name, SearchOpts::default(), None, 20).ok()?;
    let hit = hits
        .into_iter()
        .find(|hit| failure.protected(&hit.path).is_some() || id.contains(&stem(&hit.path)))?;
    Some((hit.path, hit.line))
}

fn stem(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.split('.').next().unwrap_or(name).to_owned()
}

fn named<T: Tree>(
    failure: &impl Failure,
    resolver: &mut Resolver<T>,
    tests: &[Test],
) -> Vec<(Place, Option<String>)> {
    let mut found: Vec<(Place, Option<String>)> = vec![];
    for place in tests
        .iter()
        .flat_map(|test| places(&format!("{}\n{}", test.message, test.detail)))
    {
        let Some(path) = resolver.resolve(&place.path) else {
            continue;
        };
        let place = Place {
            path,
            line: place.line,
        };
        if !found.iter().any(|(known, _)| *known == place) {
            let why = failure.protected(&place.path);
            found.push((place, why));
        }
    }
    found
}

fn around(line: u32) -> std::ops::Range<u32> {
    line.saturating_sub(AROUND).max(1)..line + AROUND + 1
}

fn source_lines(tree: &impl Tree, path: &str, from: u32, count: usize) -> String {
    let text = tree.read_text(path).unwrap_or_default();
    let lines: Vec<&str> = text
        .lines()
        .skip(from.saturating_sub(1) as usize)
        .take(count)
        .collect();
    lines.join("\n")
}

/// Small files whole, else the wanted lines with what lies between them left out.
fn push_code(
    part: &mut Part,
    tree: &impl Tree,
    path: &str,
    wanted: &BTreeSet<u32>,
    what: &'static str,
) {
    let Ok(text) = tree.read_text(path) else {
        return;
    };
    let lines: Vec<&str> = text.lines().collect();
    if text.len() <= WHOLE {
        part.push(
            &[("what", what), ("path", path), ("lines", "all")],
            text,
            false,
        );
        return;
    }
    for (from, to) in ranges(wanted, lines.len()) {
        let span = format!("{from} to {to} of {}", lines.len());
        let code = lines[from - 1..to].join("\n");
        part.push(
            &[("what", what), ("path", path), ("lines", &span)],
            code + "\n",
            false,
        );
    }
}

/// Wanted lines as ranges from 1, both ends included; small gaps are closed.
fn ranges(wanted: &BTreeSet<u32>, count: usize) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = vec![];
    for line in wanted
        .iter()
        .map(|&line| line as usize)
        .filter(|&line| line <= count)
    {
        match found.last_mut() {
            Some((_, to)) if line <= *to + 5 => *to = line,
            _ => found.push((line, line)),
        }
    }
    found
}

/// First lines of the hunks on the side of the failing commit.
fn new_lines(diff: &str) -> Vec<u32> {
    let starts = diff.lines().filter_map(|line| {
        line.strip_prefix("@@ -")?
            .split_once('+')?
            .1
            .split([',', ' '])
            .next()
    });
    starts
        .filter_map(|number| number.parse().ok())
        .map(|line: u32| line.max(1) + 3)
        .collect()
}

fn search_names(tree: &impl Tree, names: &BTreeSet<String>, before: &str, limit: u32) -> Vec<Hit> {
    if names.is_empty() {
        return vec![];
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let pattern = format!(r"{before}\b(?:{})\b", names.join("|"));
    let opts = SearchOpts {
        regex: true,
        ..SearchOpts::default()
    };
    tree.search(&pattern, opts, None, limit).unwrap_or_default()
}

/// Figures about what became of earlier fixes, for failures of this class, in this project, and by strategy.
fn figures(failure: &impl Failure, services: &impl Services) -> String {
    let mut facts = String::new();
    let project = failure.project();
    facts.extend(figure(
        services,
        "project",
        &project,
        "merged",
        "fixes in this project",
    ));
    if let Some(class) = failure.attribute("class") {
        let of = |place: &str| format!("fixes of {class} failures {place}");
        let here = figure(services, "class", &class, "aged", &of("in this project"));
        let known = here.or_else(|| {
            let everywhere = of("in all projects");
            figure(services, "class-anywhere", &class, "aged", &everywhere)
        });
        facts.extend(known);
    }
    facts
}

fn figure(
    services: &impl Services,
    scope: &str,
    key: &str,
    all: &str,
    what: &str,
) -> Option<String> {
    let number = |metric| services.history(scope, key, metric);
    let all = number(all).filter(|n| *n >= ENOUGH_CASES)?;
    let count = |metric, word: &str| number(metric).map(|n| format!("{n:.0} {word}"));
    let parts: Vec<String> = [
        count("survived", "lasted"),
        count("reverted", "were reverted"),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!parts.is_empty()).then(|| format!("Of {all:.0} {what}, {}.\n", parts.join(" and ")))
}

/// What was made of failures like this one, and what people said of fixes they did not want.
fn past(failure: &impl Failure, services: &impl Services) -> Part {
    let mut part = Part::new("What was learned from earlier fixes here", 8);
    part.push(&[("what", "figures")], figures(failure, services), false);
    for episode in services.similar(EPISODES) {
        let likeness = format!("{:.0} %", episode.likeness * 100.0);
        let attributes = [
            ("what", "an earlier failure and its fix"),
            ("run", episode.run.as_str()),
            ("alike", likeness.as_str()),
        ];
        part.push(&attributes, told(&episode), true);
    }
    let rejections = services.rejections(REJECTIONS).into_iter();
    let said: String = rejections
        .map(|reason| format!("- {}\n", one_line(&reason, 500)))
        .collect();
    part.push(
        &[("what", "why people did not want earlier fixes")],
        said,
        false,
    );
    part
}

fn told(episode: &Episode) -> String {
    let mut text = format!("class: {}\n", episode.class);
    for id in &episode.failing {
        text.push_str(&format!("failed: {}\n", one_line(id, 200)));
    }
    text.push_str(&format!("said: {}\n", one_line(&episode.message, 300)));
    match &episode.strategy {
        Some(strategy) => text.push_str(&format!(
            "fix by {strategy}: {}\n{}",
            fate(episode.fate.as_deref()),
            episode.rationale
        )),
        None => text.push_str("nobody came through with a fix"),
    }
    for reason in &episode.rejections {
        text.push_str(&format!(
            "\npeople did not want it: {}",
            one_line(reason, 500)
        ));
    }
    if !episode.diff.is_empty() {
        text.push_str(&format!("\n{}", episode.diff));
    }
    text
}

/// In words a model cannot take for an instruction.
fn fate(fate: Option<&str>) -> &'static str {
    match fate {
        Some("survived") => "it was merged, and lasted",
        Some("merged") => "it was merged; whether it lasts is not known yet",
        Some("reverted") => "it was merged, and REVERTED later: do not repeat it as it was",
        Some("edited") => "people merged it with changes of their own",
        Some("overridden") => "people mended it in another way instead",
        Some("unmerged") => "people did not merge it",
        _ => "what became of it is not known",
    }
}

#[cfg(test)]
mod tests;
