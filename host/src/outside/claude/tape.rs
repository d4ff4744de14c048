//! Recorded answers in place of the model: what was answered once is answered again, for nothing and in the same words.
//!
//! Touches: files, clock.
//! Change here: when an answer should be recognised by something else, or be kept in another form.
//!
//! An answer belongs to a request as the strategy made it, but for what differs from run to run: how long a test took, where
//! something lay in memory. A request that is made again gets the next of its answers.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use regex::Regex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::models::undated;
use crate::event::{Fault, FaultKind, ModelAnswer, ModelRequest, Usage};

/// The code of a request nobody has answered yet.
pub const NOT_RECORDED: &str = "llm.not-recorded";

/// A line of `answers.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// Of the request, see [`digest`].
    pub request: String,
    /// From 0: how often it had been made in that run before.
    pub nth: usize,
    pub reply: Reply,
    /// How long it took.
    pub seconds: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    Answer(ModelAnswer),
    Fault(Fault),
}

impl Recorded {
    /// What it cost when it was given.
    pub fn usage(&self) -> Usage {
        match &self.reply {
            Reply::Answer(answer) => answer.usage,
            Reply::Fault(fault) => fault.usage.map(Usage::from).unwrap_or_default(),
        }
    }
}

impl Reply {
    pub fn of(answer: Result<ModelAnswer, Fault>) -> Reply {
        match answer {
            Ok(answer) => Reply::Answer(answer),
            Err(fault) => Reply::Fault(fault),
        }
    }

    fn answer(self) -> Result<ModelAnswer, Fault> {
        match self {
            Reply::Answer(answer) => Ok(answer),
            Reply::Fault(fault) => Err(fault),
        }
    }
}

/// Whether what was never answered may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Nothing,
    WhatIsNew,
}

/// The answers of one run at a time; clones are the same tape.
#[derive(Clone)]
pub struct Tape {
    ask: Ask,
    reel: Arc<Mutex<Reel>>,
}

#[derive(Default)]
struct Reel {
    recorded: BTreeMap<(String, usize), (Reply, f64)>,
    asked: BTreeMap<String, usize>,
    new: Vec<Recorded>,
    seconds: f64,
}

impl Tape {
    pub fn new(ask: Ask) -> Tape {
        Tape {
            ask,
            reel: Arc::default(),
        }
    }

    /// From the beginning, with these answers; of two to the same request the first counts.
    pub fn wind<'a>(&self, recorded: impl IntoIterator<Item = &'a Recorded>) {
        let mut reel = Reel::default();
        for line in recorded {
            let key = (line.request.clone(), line.nth);
            let reply = (line.reply.clone(), line.seconds);
            reel.recorded.entry(key).or_insert(reply);
        }
        *self.reel() = reel;
    }

    /// Answers the model gave just now, each once.
    pub fn take_new(&self) -> Vec<Recorded> {
        std::mem::take(&mut self.reel().new)
    }

    /// What all answers since it was wound took when they were given.
    pub fn seconds(&self) -> f64 {
        self.reel().seconds
    }

    /// The recorded answer, or what comes of `asking`; `model` is the one that is asked where the request names none.
    pub async fn reply(
        &self,
        request: &ModelRequest,
        model: &str,
        asking: impl Future<Output = Result<ModelAnswer, Fault>>,
    ) -> Result<ModelAnswer, Fault> {
        let digest = digest(request, model);
        let (nth, known) = self.next(&digest);
        if let Some(known) = known {
            return known.answer();
        }
        if self.ask == Ask::Nothing {
            return Err(not_recorded());
        }
        let started = Instant::now();
        let reply = asking.await;
        let seconds = started.elapsed().as_secs_f64();
        if is_an_answer(&reply) {
            let mut reel = self.reel();
            reel.seconds += seconds;
            reel.new.push(Recorded {
                request: digest,
                nth,
                reply: Reply::of(reply.clone()),
                seconds,
            });
        }
        reply
    }

    fn next(&self, digest: &str) -> (usize, Option<Reply>) {
        let mut reel = self.reel();
        let asked = reel.asked.entry(digest.to_owned()).or_default();
        let nth = *asked;
        *asked += 1;
        let known = reel.recorded.get(&(digest.to_owned(), nth)).cloned();
        reel.seconds += known.as_ref().map_or(0.0, |(_, seconds)| *seconds);
        (nth, known.map(|(reply, _)| reply))
    }

    fn reel(&self) -> MutexGuard<'_, Reel> {
        // It is whole after every statement; a panic elsewhere does not spoil it.
        self.reel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_recorded() -> Fault {
    let why = "no answer to this request is recorded; have the model asked with --live";
    Fault::new(FaultKind::Unavailable, NOT_RECORDED, why)
}

/// Whether the model said this, of which the same may be expected again: not that it was out of reach.
fn is_an_answer(reply: &Result<ModelAnswer, Fault>) -> bool {
    match reply {
        Ok(_) => true,
        Err(fault) => !is_out_of_reach(fault),
    }
}

/// Whether a fault says that the model was not to be had, rather than what it said.
pub fn is_out_of_reach(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::Unavailable | FaultKind::Denied)
}

/// What a request is recognised by: all of it, without what differs each time. `model` is the one that is asked where it
/// names none.
pub fn digest(request: &ModelRequest, model: &str) -> String {
    let mut steady = request.clone();
    let model = steady.model.as_deref().unwrap_or(model);
    steady.model = Some(undated(model).to_owned());
    let texts = steady.system.iter_mut().map(|block| &mut block.text);
    let texts = texts.chain(steady.messages.iter_mut().map(|m| &mut m.text));
    texts.for_each(|text| *text = without_chance(text));
    let bytes = serde_json::to_vec(&steady).unwrap_or_default();
    let digest = Sha256::digest(bytes);
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

/// Durations, addresses, and the numbers of threads, as runners print them.
fn without_chance(text: &str) -> String {
    static CHANCE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r"(?x)
            \b \d+ (?: \.\d+ )? \s? (?: s | ms | us | µs | ns | sec | secs | second | seconds ) \b
            | \b 0x [0-9a-fA-F]+ \b
            | \b duration_ms [:\ ]+ [0-9.]+
            | \( \d+ \) \s panicked
            ",
        )
        .expect("it is a regular expression")
    });
    CHANCE.replace_all(text, "#").into_owned()
}

/// The lines of a file; none where there is no such file.
///
/// # Errors
/// With the line that is none.
pub fn read(path: &Path) -> Result<Vec<Recorded>, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
    };
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(n, line)| {
            let bad = |e| format!("{}:{}: is no recorded answer: {e}", path.display(), n + 1);
            serde_json::from_str(line).map_err(bad)
        })
        .collect()
}

/// Adds lines to a file, which is made where it is missing.
pub fn add(path: &Path, new: &[Recorded]) -> std::io::Result<()> {
    if new.is_empty() {
        return Ok(());
    }
    let mut lines = Vec::new();
    for line in new {
        serde_json::to_writer(&mut lines, line)?;
        lines.push(b'\n');
    }
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)?;
    file.write_all(&lines)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ModelMessage, ModelRole, Usage};

    const MODEL: &str = "claude-sonnet-5-5";

    fn request(text: &str) -> ModelRequest {
        ModelRequest {
            model: None,
            max_output_tokens: 100,
            system: vec![],
            messages: vec![ModelMessage {
                role: ModelRole::User,
                text: text.into(),
            }],
            effort: None,
            temperature: None,
        }
    }

    fn answer(text: &str) -> ModelAnswer {
        ModelAnswer {
            text: text.into(),
            model: "m".into(),
            stop_reason: "end_turn".into(),
            usage: Usage::default(),
            request_id: None,
            notes: vec![],
        }
    }

    async fn says(text: &str) -> Result<ModelAnswer, Fault> {
        Ok(answer(text))
    }

    async fn nobody() -> Result<ModelAnswer, Fault> {
        panic!("the model was asked")
    }

    #[tokio::test]
    async fn what_was_answered_once_is_answered_again_in_its_order() {
        let tape = Tape::new(Ask::WhatIsNew);
        tape.wind([]);
        for said in ["one", "two"] {
            let answered = tape.reply(&request("mend it"), MODEL, says(said)).await;
            assert_eq!(answered.expect("an answer").text, said);
        }
        let new = tape.take_new();
        assert_eq!(new.len(), 2);
        let again = Tape::new(Ask::Nothing);
        again.wind(&new);
        for said in ["one", "two"] {
            let answered = again.reply(&request("mend it"), MODEL, nobody()).await;
            assert_eq!(answered.expect("an answer").text, said);
        }
        assert!(again.take_new().is_empty());
        let third = again.reply(&request("mend it"), MODEL, nobody()).await;
        assert_eq!(third.expect_err("no answer").code, NOT_RECORDED);
    }

    #[tokio::test]
    async fn what_is_not_recorded_is_told_with_the_way_to_get_it() {
        let tape = Tape::new(Ask::Nothing);
        let fault = tape.reply(&request("new"), MODEL, nobody()).await;
        assert!(fault.expect_err("no answer").message.contains("--live"));
    }

    #[tokio::test]
    async fn that_the_model_was_out_of_reach_is_no_answer() {
        let tape = Tape::new(Ask::WhatIsNew);
        let away = Fault::new(FaultKind::Unavailable, "llm.unreachable", "no way");
        let said = Fault::new(FaultKind::Internal, "llm.refused", "no");
        for fault in [&away, &said] {
            let got = tape
                .reply(&request("x"), MODEL, async { Err(fault.clone()) })
                .await;
            assert_eq!(got.as_ref(), Err(fault));
        }
        let new = tape.take_new();
        assert_eq!(new.len(), 1);
        assert_eq!(new[0].reply, Reply::Fault(said));
    }

    #[test]
    fn requests_that_differ_by_chance_alone_are_the_same() {
        let of = |text: &str| digest(&request(text), MODEL);
        for (one, two) in [
            ("1 failed in 0.03s", "1 failed in 12.40s"),
            ("<Shop at 0x7f01>", "<Shop at 0x7fa2>"),
            (
                "thread 'a' (23) panicked at",
                "thread 'a' (1041) panicked at",
            ),
            ("✔ pays (12ms)", "✔ pays (3 ms)"),
            ("duration_ms: 1.25", "duration_ms: 0.5"),
        ] {
            assert_eq!(of(one), of(two), "{one}");
        }
        for (one, two) in [("assert 3 == 4", "assert 3 == 5"), ("pay(10)", "pay(20)")] {
            assert_ne!(of(one), of(two), "{one}");
        }
        let dearer = ModelRequest {
            effort: Some("high".into()),
            ..request("x")
        };
        assert_ne!(digest(&dearer, MODEL), of("x"));
        assert_ne!(digest(&request("x"), "claude-other"), of("x"));
        let named = ModelRequest {
            model: Some(MODEL.into()),
            ..request("x")
        };
        assert_eq!(digest(&named, "claude-other"), of("x"));
    }

    #[test]
    fn a_file_of_answers_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("answers.jsonl");
        assert_eq!(read(&path), Ok(vec![]));
        let line = |nth| Recorded {
            request: "ab".into(),
            nth,
            reply: Reply::of(Ok(answer("yes"))),
            seconds: 1.5,
        };
        add(&path, &[line(0)]).expect("it can be written");
        add(&path, &[line(1)]).expect("it can be written");
        assert_eq!(read(&path), Ok(vec![line(0), line(1)]));
        std::fs::write(&path, "{}\n").expect("it can be written");
        let why = read(&path).expect_err("it is no answer");
        assert!(
            why.contains("answers.jsonl:1: is no recorded answer"),
            "{why}"
        );
    }
}
