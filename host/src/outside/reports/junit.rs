//! Reads JUnit XML as pytest, nextest, surefire, gotestsum, jest, vitest, mocha and node write it.
//!
//! Touches: nothing.
//! Change here: when a test tool writes something this does not understand; add its sample to the tests.
//!
//! The id of a test is `classname::name`; only `name` where there is no classname. Node says `test` as the
//! classname of everything: there the names of the enclosing suites take its place, and the file before
//! them where node tells it. Only `<testcase>` elements count: the totals in attributes are wrong too often.
//!
//! The same id twice in one suite is a rerun, and the last one counts: a bad end is bad, a good end is
//! flaky. In different suites or files it is two tests of the same name, and the worse one counts.

use std::collections::BTreeMap;

use quick_xml::XmlVersion;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;

use super::place::{panic_message, place, steady};
use super::{MOST_DETAIL, ReportError, Scrub, Tests, one_line, worse};
use crate::event::{Outcome, TestFailure};
use crate::outside::clip::clip;

const DEEPEST: usize = 64;

/// Reads one report. `scrub` takes the workspace's path out of ids, messages and places.
pub fn junit(report: &[u8], scrub: &Scrub) -> Result<Tests, ReportError> {
    let text = String::from_utf8_lossy(report);
    let mut xml = Reader::from_str(text.trim_start_matches('\u{feff}'));
    xml.config_mut().expand_empty_elements = true;
    let mut reading = Reading::new(scrub);
    loop {
        let event = xml.read_event();
        let malformed = |why: String| ReportError::Malformed {
            at: xml.error_position(),
            why,
        };
        match event.map_err(|e| malformed(e.to_string()))? {
            Event::Start(element) => reading.open(&element)?,
            Event::End(_) => reading.close(),
            Event::Text(text) => reading.text(&text.xml10_content()),
            Event::CData(text) => reading.text(&text.xml10_content()),
            Event::GeneralRef(reference) => {
                let resolved = resolve(&reference)
                    .ok_or_else(|| malformed(format!("unknown entity &{};", &*reference)))?;
                reading.text(&resolved);
            }
            Event::DocType(_) => return Err(ReportError::DocumentType),
            Event::Eof => return reading.end(xml.buffer_position()),
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

fn resolve(reference: &BytesRef<'_>) -> Option<String> {
    if let Some(character) = reference.resolve_char_ref().ok()? {
        return Some(character.to_string());
    }
    quick_xml::escape::resolve_predefined_entity(reference).map(str::to_owned)
}

/// An element that is open.
enum Open {
    Suites,
    Suite {
        name: String,
        serial: usize,
    },
    Case,
    /// A verdict on the open case, or on the open suite where no case is open.
    Verdict {
        kind: Verdict,
        message: String,
        text: String,
    },
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Failed,
    Errored,
    Skipped,
    /// An attempt failed, and the test passed in the end.
    FlakyAttempt,
    /// One more attempt failed of a test that failed in the end.
    FurtherAttempt,
}

fn verdict_of(element: &str) -> Option<Verdict> {
    match element {
        "failure" => Some(Verdict::Failed),
        "error" => Some(Verdict::Errored),
        "skipped" | "ignored" | "disabled" => Some(Verdict::Skipped),
        "flakyFailure" | "flakyError" => Some(Verdict::FlakyAttempt),
        "rerunFailure" | "rerunError" => Some(Verdict::FurtherAttempt),
        _ => None,
    }
}

/// Suite element and file a case stands in: two cases are reruns of one test only within the same.
type Scope = (usize, Option<String>);

/// A test case as it is being read.
struct Case {
    scope: Scope,
    id: String,
    file: Option<String>,
    line: Option<u32>,
    outcome: Outcome,
    complaint: Option<(String, String)>,
}

struct Reading<'a> {
    scrub: &'a Scrub,
    open: Vec<Open>,
    case: Option<Case>,
    suites: usize,
    root_seen: bool,
    /// Attempts of each test, in order, by id and then by where they stand.
    attempts: BTreeMap<String, BTreeMap<Scope, Vec<Outcome>>>,
    /// pytest-rerunfailures reports a failed attempt as an empty, that is passed, case.
    pytest: bool,
    tests: Tests,
}

impl<'a> Reading<'a> {
    fn new(scrub: &'a Scrub) -> Self {
        let (open, attempts, tests) = (vec![], BTreeMap::new(), Tests::default());
        Reading {
            scrub,
            open,
            case: None,
            suites: 0,
            root_seen: false,
            attempts,
            pytest: false,
            tests,
        }
    }

    fn open(&mut self, element: &BytesStart<'_>) -> Result<(), ReportError> {
        if self.open.len() >= DEEPEST {
            return Err(ReportError::TooDeep { limit: DEEPEST });
        }
        let name = element.local_name();
        let name: &str = name.as_ref();
        if !self.root_seen && name != "testsuites" && name != "testsuite" {
            return Err(ReportError::NotJunit {
                root: name.to_owned(),
            });
        }
        self.root_seen = true;
        let opened = match name {
            "testsuites" => Open::Suites,
            "testsuite" => self.open_suite(element),
            "testcase" if self.case.is_none() => {
                self.case = Some(self.open_case(element));
                Open::Case
            }
            other => match verdict_of(other) {
                Some(kind) => Open::Verdict {
                    kind,
                    message: message_of(element),
                    text: String::new(),
                },
                None => Open::Other,
            },
        };
        self.open.push(opened);
        Ok(())
    }

    fn open_suite(&mut self, element: &BytesStart<'_>) -> Open {
        self.suites += 1;
        let name = attribute(element, "name").unwrap_or_default();
        self.pytest |= name == "pytest";
        Open::Suite {
            name,
            serial: self.suites,
        }
    }

    fn open_case(&self, element: &BytesStart<'_>) -> Case {
        let file = attribute(element, "file")
            .or_else(|| attribute(element, "filepath"))
            .map(|f| self.scrub.clean(&f));
        let line = attribute(element, "line")
            .and_then(|l| l.parse().ok())
            .filter(|line| *line > 0);
        let name = attribute(element, "name").unwrap_or_default();
        let classname = attribute(element, "classname").filter(|c| !c.is_empty());
        let id = match classname.as_deref() {
            Some("test") => self.id_by_suites(file.as_deref(), &name),
            Some(classname) => format!("{classname}::{name}"),
            None => name,
        };
        let serial = self.suite().map_or(0, |(serial, _)| serial);
        let id = steady(&self.scrub.clean(&id));
        Case {
            scope: (serial, file.clone()),
            id,
            file,
            line,
            outcome: Outcome::Passed,
            complaint: None,
        }
    }

    fn id_by_suites(&self, file: Option<&str>, name: &str) -> String {
        let suites = self.open.iter().filter_map(|open| match open {
            Open::Suite { name, .. } => Some(name.as_str()),
            _ => None,
        });
        file.into_iter()
            .chain(suites)
            .chain([name])
            .collect::<Vec<_>>()
            .join("::")
    }

    fn suite(&self) -> Option<(usize, &str)> {
        self.open.iter().rev().find_map(|open| match open {
            Open::Suite { name, serial } => Some((*serial, name.as_str())),
            _ => None,
        })
    }

    fn text(&mut self, more: &str) {
        if let Some(Open::Verdict { text, .. }) = self.open.last_mut() {
            text.push_str(more);
        }
    }

    fn close(&mut self) {
        match self.open.pop() {
            Some(Open::Verdict {
                kind,
                message,
                text,
            }) => self.judge(kind, message, text),
            Some(Open::Case) => {
                if let Some(case) = self.case.take() {
                    self.record(case);
                }
            }
            _ => {}
        }
    }

    fn judge(&mut self, kind: Verdict, message: String, text: String) {
        match &mut self.case {
            Some(case) => case.judge(kind, message, text),
            // A suite that could not be run at all stands for its tests.
            None if matches!(kind, Verdict::Failed | Verdict::Errored) => {
                self.judge_suite(message, text)
            }
            None => {}
        }
    }

    fn judge_suite(&mut self, message: String, text: String) {
        let Some((serial, name)) = self.suite() else {
            return;
        };
        let id = steady(&self.scrub.clean(name));
        let complaint = Some((message, text));
        self.record(Case {
            scope: (serial, None),
            id,
            file: None,
            line: None,
            outcome: Outcome::Errored,
            complaint,
        });
    }

    fn record(&mut self, case: Case) {
        let scopes = self.attempts.entry(case.id.clone()).or_default();
        scopes
            .entry(case.scope.clone())
            .or_default()
            .push(case.outcome);
        if case.outcome.is_bad() {
            let failure = case.failure(self.scrub);
            self.tests.add_failure(failure);
        }
    }

    fn end(mut self, at: u64) -> Result<Tests, ReportError> {
        if !self.open.is_empty() || !self.root_seen {
            return Err(ReportError::Malformed {
                at,
                why: "it ends before it is complete".into(),
            });
        }
        for (id, scopes) in &self.attempts {
            // Node never reruns a test, and it puts the tests of all files into one element.
            let outcomes = scopes.iter().map(|((serial, _), attempts)| match serial {
                0 => attempts
                    .iter()
                    .copied()
                    .reduce(worse)
                    .unwrap_or(Outcome::Skipped),
                _ => of_attempts(attempts, self.pytest),
            });
            let outcome = outcomes.reduce(worse).unwrap_or(Outcome::Skipped);
            self.tests.outcomes.insert(id.clone(), outcome);
        }
        let outcomes = &self.tests.outcomes;
        self.tests
            .failures
            .retain(|f| outcomes.get(&f.id).is_some_and(|o| o.is_bad()));
        Ok(self.tests)
    }
}

/// What became of a test over its attempts within one suite, in order.
fn of_attempts(attempts: &[Outcome], pytest: bool) -> Outcome {
    let last = attempts.last().copied().unwrap_or(Outcome::Skipped);
    if last.is_bad() {
        // A failure followed by an error in the teardown is first of all a failure.
        return if attempts.contains(&Outcome::Failed) {
            Outcome::Failed
        } else {
            last
        };
    }
    let rerun = pytest && attempts.len() > 1 && last == Outcome::Passed;
    let recovered = attempts.iter().any(|o| o.is_bad() || *o == Outcome::Flaky);
    if rerun || recovered {
        Outcome::Flaky
    } else {
        last
    }
}

impl Case {
    fn judge(&mut self, kind: Verdict, message: String, text: String) {
        let outcome = match kind {
            Verdict::Failed => Outcome::Failed,
            Verdict::Errored => Outcome::Errored,
            Verdict::Skipped => Outcome::Skipped,
            Verdict::FlakyAttempt => Outcome::Flaky,
            Verdict::FurtherAttempt => return,
        };
        if outcome == Outcome::Skipped && self.outcome == Outcome::Passed {
            self.outcome = Outcome::Skipped;
        } else if outcome != Outcome::Skipped {
            self.outcome = worse(self.outcome, outcome);
        }
        if outcome.is_bad() && self.complaint.is_none() {
            self.complaint = Some((message, text));
        }
    }

    fn failure(&self, scrub: &Scrub) -> TestFailure {
        let (message, detail) = self.complaint.clone().unwrap_or_default();
        let (message, detail) = (
            steady(&scrub.clean(&message)),
            steady(&scrub.clean(detail.trim())),
        );
        let first_line = detail
            .lines()
            .find(|l| !l.trim().is_empty())
            .unwrap_or("failed without a word");
        let says = if message.trim().is_empty() {
            first_line
        } else {
            message.as_str()
        };
        let says = panic_message(&detail).unwrap_or_else(|| says.to_owned());
        let found = place(&detail).or_else(|| place(&message));
        let (file, line) = match (&self.file, found) {
            (Some(file), Some((place, line))) if place.ends_with(file.as_str()) => {
                (Some(file.clone()), Some(line))
            }
            (Some(file), _) => (Some(file.clone()), self.line),
            (None, Some((place, line))) => (Some(place), Some(line)),
            (None, None) => (None, self.line),
        };
        TestFailure {
            id: self.id.clone(),
            message: one_line(&says),
            detail: clip(&detail, MOST_DETAIL),
            file,
            line,
        }
    }
}

fn message_of(element: &BytesStart<'_>) -> String {
    attribute(element, "message")
        .or_else(|| attribute(element, "type"))
        .unwrap_or_default()
}

/// Where an entity in it cannot be resolved, the attribute as it stands.
fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = element
        .attributes()
        .with_checks(false)
        .flatten()
        .find(|a| a.key.local_name().as_ref() == name)?;
    let raw = || attribute.value.to_string();
    Some(
        attribute
            .normalized_value(XmlVersion::Implicit1_0)
            .map_or_else(|_| raw(), |v| v.into_owned()),
    )
}

#[cfg(test)]
mod tests;
