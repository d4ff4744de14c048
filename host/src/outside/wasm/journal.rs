//! The journal of one call: every answer the guest was given, so that the call can be had again without anything
//! but the component.
//!
//! Touches: nothing.
//! Change here: when more than a call's imports decides what a guest does. Raise `FORMAT` when lines change.
//!
//! One JSON object a line: a head, one line an import (`call`, `asked`, and `answer` or `fault`), and how it
//! ended (`returned` or `failed`). Calls that only build something up on the host's side (a prompt, a patch) are
//! not in it: what was built stands in `asked` where it is used.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::PluginKind;
use super::limits::cut;
use crate::event::{Fault, PluginFailure, PluginRef};

const FORMAT: u32 = 1;
/// Version of the interfaces that the journaled calls belong to.
const INTERFACE: &str = "0.1.1";
/// Level of the compression: the fastest that is worth it.
const LEVEL: i32 = 3;
/// Most that a journal may unfold to, so that a damaged one cannot fill the memory.
const LARGEST: usize = 512 << 20;
/// Of what was asked then and now, as a divergence quotes it, in bytes.
const QUOTE: usize = 300;

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("the journal is damaged: it does not unfold")]
    Packed(#[source] std::io::Error),
    #[error("line {line} of the journal cannot be read")]
    Line {
        line: usize,
        #[source]
        source: serde_json::Error,
    },
    #[error("the journal has no line {0}")]
    Short(&'static str),
    #[error("the journal is of format {0}, this host reads {FORMAT}")]
    Format(u32),
}

/// A finished journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal(Vec<u8>);

/// What a journal is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    journal: u32,
    pub kind: PluginKind,
    pub plugin: PluginRef,
    pub interface: String,
}

/// One answered import.
#[derive(Debug, Deserialize)]
pub struct Line {
    pub call: String,
    pub asked: Box<RawValue>,
    #[serde(default)]
    pub answer: Option<Box<RawValue>>,
    #[serde(default)]
    pub fault: Option<Fault>,
}

/// How a journaled call ended, in the journal's own words.
#[derive(Debug, Deserialize)]
struct Last {
    #[serde(default)]
    returned: Option<Box<RawValue>>,
    #[serde(default)]
    failed: Option<PluginFailure>,
}

/// A journal taken apart.
#[derive(Debug)]
pub struct Read {
    pub head: Head,
    pub lines: Vec<Line>,
    /// The guest's answer as JSON, or how it failed.
    pub ended: Result<String, PluginFailure>,
}

impl Journal {
    /// SHA-256 of the unpacked journal, hex.
    pub fn digest(&self) -> String {
        let digest = Sha256::digest(&self.0);
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Compressed, as the store keeps it.
    pub fn pack(&self) -> Result<Vec<u8>, JournalError> {
        zstd::bulk::compress(&self.0, LEVEL).map_err(JournalError::Packed)
    }

    pub fn unpack(packed: &[u8]) -> Result<Journal, JournalError> {
        let size = zstd::bulk::Decompressor::upper_bound(packed).unwrap_or(LARGEST);
        zstd::bulk::decompress(packed, size.min(LARGEST))
            .map(Journal)
            .map_err(JournalError::Packed)
    }

    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    pub fn read(&self) -> Result<Read, JournalError> {
        let all: Vec<&[u8]> = self.0.split(|b| *b == b'\n').collect();
        let all: Vec<&[u8]> = all.into_iter().filter(|line| !line.is_empty()).collect();
        let [first, middle @ .., last] = all.as_slice() else {
            return Err(JournalError::Short("at its end"));
        };
        let head: Head = line(1, first)?;
        if head.journal != FORMAT {
            return Err(JournalError::Format(head.journal));
        }
        let lines = middle.iter().enumerate();
        let lines = lines
            .map(|(n, text)| line(n + 2, text))
            .collect::<Result<Vec<Line>, _>>()?;
        let last: Last = line(all.len(), last)?;
        let ended = match (last.returned, last.failed) {
            (Some(answer), _) => Ok(answer.get().to_owned()),
            (None, Some(failure)) => Err(failure),
            (None, None) => return Err(JournalError::Short("that tells how it ended")),
        };
        Ok(Read { head, lines, ended })
    }
}

fn line<T: DeserializeOwned>(line: usize, text: &[u8]) -> Result<T, JournalError> {
    serde_json::from_slice(text).map_err(|source| JournalError::Line { line, source })
}

/// Where a replay left its journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Divergence {
    /// Number of the import, from 1.
    pub call: usize,
    /// What the journal holds there, and what the guest did.
    pub then: String,
    pub now: String,
}

impl std::fmt::Display for Divergence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Divergence { call, then, now } = self;
        write!(f, "call {call}: then {then}, now {now}")
    }
}

/// A journal being written, or being read to a guest.
pub enum Tape {
    /// Of a call that nobody will want again.
    Off,
    Recording(Vec<u8>),
    Playing(Playing),
}

pub struct Playing {
    lines: std::vec::IntoIter<Line>,
    played: usize,
    diverged: Option<Divergence>,
}

impl Tape {
    pub fn record(kind: PluginKind, plugin: &PluginRef) -> Tape {
        let head = Head {
            journal: FORMAT,
            kind,
            plugin: plugin.clone(),
            interface: INTERFACE.to_owned(),
        };
        let mut text = Vec::with_capacity(512);
        put(&mut text, &head);
        text.push(b'\n');
        Tape::Recording(text)
    }

    pub fn play(lines: Vec<Line>) -> Tape {
        Tape::Playing(Playing {
            lines: lines.into_iter(),
            played: 0,
            diverged: None,
        })
    }

    /// Adds an import; returns the bytes of what was asked and of what was answered.
    pub fn keep<A: Serialize, T: Serialize>(
        &mut self,
        call: &str,
        asked: &A,
        answer: Result<&T, &Fault>,
    ) -> (usize, usize) {
        let Tape::Recording(text) = self else {
            return (0, 0);
        };
        text.extend_from_slice(b"{\"call\":\"");
        text.extend_from_slice(call.as_bytes());
        text.extend_from_slice(b"\",\"asked\":");
        let asked = put(text, asked);
        let answered = match answer {
            Ok(answer) => {
                text.extend_from_slice(b",\"answer\":");
                put(text, answer)
            }
            Err(fault) => {
                text.extend_from_slice(b",\"fault\":");
                put(text, fault)
            }
        };
        text.extend_from_slice(b"}\n");
        (asked, answered)
    }

    /// In a replay, the answer of the next import; `Err(())` where the guest asks for something else.
    pub fn replay<A: Serialize, T: DeserializeOwned>(
        &mut self,
        call: &str,
        asked: &A,
    ) -> Option<Result<Result<T, Fault>, ()>> {
        match self {
            Tape::Off | Tape::Recording(_) => None,
            Tape::Playing(playing) => Some(playing.next(call, asked)),
        }
    }

    /// Ends a recording.
    pub fn finish<T: Serialize>(&mut self, ended: Result<&T, &PluginFailure>) -> Option<Journal> {
        let Tape::Recording(text) = self else {
            return None;
        };
        let mut text = std::mem::take(text);
        match ended {
            Ok(answer) => {
                text.extend_from_slice(b"{\"returned\":");
                put(&mut text, answer);
            }
            Err(failure) => {
                text.extend_from_slice(b"{\"failed\":");
                put(&mut text, failure);
            }
        }
        text.extend_from_slice(b"}\n");
        Some(Journal(text))
    }

    /// Where a replay went another way, imports that were left over included.
    pub fn divergence(&mut self) -> Option<Divergence> {
        let Tape::Playing(playing) = self else {
            return None;
        };
        let unasked = |playing: &mut Playing| {
            let line = playing.lines.next()?;
            Some(Divergence {
                call: playing.played + 1,
                then: quote(&line.call, line.asked.get()),
                now: "it had ended".to_owned(),
            })
        };
        playing.diverged.take().or_else(|| unasked(playing))
    }
}

impl Playing {
    fn next<A: Serialize, T: DeserializeOwned>(
        &mut self,
        call: &str,
        asked: &A,
    ) -> Result<Result<T, Fault>, ()> {
        let mut now = Vec::new();
        put(&mut now, asked);
        let now = String::from_utf8_lossy(&now);
        let line = self.lines.next();
        self.played += 1;
        let same = line
            .as_ref()
            .filter(|line| line.call == call && line.asked.get() == now);
        let answer = same.and_then(|line| match &line.fault {
            Some(fault) => Some(Err(fault.clone())),
            None => serde_json::from_str(line.answer.as_ref().map_or("null", |a| a.get()))
                .ok()
                .map(Ok),
        });
        answer.ok_or_else(|| {
            let then = line.map_or("it had ended".to_owned(), |line| {
                quote(&line.call, line.asked.get())
            });
            let now = quote(call, &now);
            self.diverged.get_or_insert(Divergence {
                call: self.played,
                then,
                now,
            });
        })
    }
}

fn quote(call: &str, asked: &str) -> String {
    format!("{call}{}", cut(asked, QUOTE))
}

/// Appends a value; returns its length. Everything that crosses the boundary is plain data with text keys, which
/// always has a JSON form.
fn put<T: Serialize>(text: &mut Vec<u8>, value: &T) -> usize {
    let before = text.len();
    serde_json::to_writer(&mut *text, value).expect("plain data has a JSON form");
    text.len() - before
}

/// Bytes that are text where they can be, so that a journal can be read.
pub mod bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// What a file or a draw of chance holds.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Bytes(pub Vec<u8>);

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Hex { hex: String },
    }

    impl Serialize for Bytes {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            match std::str::from_utf8(&self.0) {
                Ok(text) => text.serialize(to),
                Err(_) => {
                    let hex: String = self.0.iter().map(|b| format!("{b:02x}")).collect();
                    std::collections::BTreeMap::from([("hex", hex)]).serialize(to)
                }
            }
        }
    }

    impl<'de> Deserialize<'de> for Bytes {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
            let digits = |hex: &str| {
                let pair = |at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
                (0..hex.len())
                    .step_by(2)
                    .map(pair)
                    .collect::<Option<Vec<u8>>>()
            };
            match Either::deserialize(from)? {
                Either::Text(text) => Ok(Bytes(text.into_bytes())),
                Either::Hex { hex } => digits(&hex)
                    .map(Bytes)
                    .ok_or_else(|| serde::de::Error::custom("not pairs of hexadecimal digits")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::bytes::Bytes;
    use super::*;
    use crate::event::FaultKind;

    fn recorded() -> Journal {
        let plugin = PluginRef {
            name: "mine".into(),
            digest: "d1".into(),
        };
        let mut tape = Tape::record(PluginKind::Strategy, &plugin);
        tape.keep("tree.read", &("a.txt", 3), Ok(&Bytes(b"abc".to_vec())));
        let fault = Fault::new(FaultKind::Budget, "llm.budget", "nothing is left");
        tape.keep::<_, ()>("llm.send", &"hello", Err(&fault));
        tape.finish(Ok(&"done")).expect("it was recording")
    }

    fn playing() -> Tape {
        Tape::play(recorded().read().expect("it reads").lines)
    }

    #[test]
    fn a_journal_packs_and_unpacks_and_names_what_it_is_of() {
        let journal = recorded();
        let again = Journal::unpack(&journal.pack().expect("it packs")).expect("it unpacks");
        assert_eq!(again, journal);
        let read = again.read().expect("it reads");
        assert_eq!(read.head.plugin.name, "mine");
        assert_eq!(read.ended, Ok("\"done\"".to_owned()));
    }

    #[test]
    fn a_replay_gives_the_same_answers_and_faults() {
        let mut tape = playing();
        let read: Option<Result<Result<Bytes, Fault>, ()>> =
            tape.replay("tree.read", &("a.txt", 3));
        assert_eq!(read, Some(Ok(Ok(Bytes(b"abc".to_vec())))));
        let sent: Option<Result<Result<(), Fault>, ()>> = tape.replay("llm.send", &"hello");
        assert!(
            matches!(sent, Some(Ok(Err(fault))) if fault.code == "llm.budget"),
            "the fault comes back"
        );
        assert_eq!(tape.divergence(), None);
    }

    #[test]
    fn the_first_call_that_differs_is_told() {
        let mut tape = playing();
        let other: Option<Result<Result<Bytes, Fault>, ()>> =
            tape.replay("tree.read", &("b.txt", 3));
        assert_eq!(other, Some(Err(())));
        let told = tape.divergence().map(|d| d.to_string());
        let expected = "call 1: then tree.read[\"a.txt\",3], now tree.read[\"b.txt\",3]";
        assert_eq!(told.as_deref(), Some(expected));
    }

    #[test]
    fn a_replay_that_stops_early_has_diverged() {
        let mut tape = playing();
        let _: Option<Result<Result<Bytes, Fault>, ()>> = tape.replay("tree.read", &("a.txt", 3));
        let told = tape.divergence().map(|d| d.to_string());
        let expected = "call 2: then llm.send\"hello\", now it had ended";
        assert_eq!(told.as_deref(), Some(expected));
    }

    #[test]
    fn bytes_that_are_no_text_survive() {
        let bytes = Bytes(vec![0, 0xff, 7]);
        let json = serde_json::to_string(&bytes).expect("it has a JSON form");
        assert_eq!(json, r#"{"hex":"00ff07"}"#);
        assert_eq!(serde_json::from_str::<Bytes>(&json).ok(), Some(bytes));
    }

    #[test]
    fn a_damaged_journal_is_an_error() {
        assert!(matches!(
            Journal::unpack(b"no"),
            Err(JournalError::Packed(_))
        ));
        let unread = Journal(b"{}\n{}\n".to_vec()).read();
        assert!(matches!(unread, Err(JournalError::Line { line: 1, .. })));
    }
}
