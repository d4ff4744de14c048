//! What a plugin made of a case, as it is kept in `expected.json` and held against the next time.
//!
//! Touches: git.
//! Change here: when something else about an answer repeats exactly and is worth noticing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::event::{Advice, Ledger, PluginFailure, PluginFailureKind, Score};
use crate::outside::git;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    #[serde(flatten)]
    pub came_of_it: CameOfIt,
    pub used: Used,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum CameOfIt {
    Propose {
        /// As git tells it, whatever the strategy's own words.
        patch: String,
        rationale: String,
        confidence: f64,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        notes: Vec<(String, String)>,
    },
    /// It proposed what cannot be applied.
    BadPatch {
        why: String,
    },
    Decline {
        why: String,
    },
    Scores {
        scores: BTreeMap<String, Score>,
    },
    Advice {
        advice: Advice,
    },
    Failed {
        kind: PluginFailureKind,
        why: String,
    },
}

/// The part of the ledger that repeats: what depends on the machine is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    pub host_calls: u64,
    pub llm_calls: u64,
    pub llm_tokens: u64,
    pub probes: u64,
    /// Code and how often.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub denials: BTreeMap<String, u64>,
}

impl From<&Ledger> for Used {
    fn from(ledger: &Ledger) -> Used {
        Used {
            host_calls: ledger.host_calls,
            llm_calls: ledger.llm_calls,
            llm_tokens: ledger.llm_tokens,
            probes: ledger.probes,
            denials: ledger
                .denials
                .iter()
                .map(|d| (d.code.clone(), d.times))
                .collect(),
        }
    }
}

impl From<PluginFailure> for CameOfIt {
    fn from(failure: PluginFailure) -> CameOfIt {
        CameOfIt::Failed {
            kind: failure.kind,
            why: failure.why,
        }
    }
}

impl Snapshot {
    /// A line for a list.
    pub fn line(&self) -> String {
        let what = match &self.came_of_it {
            CameOfIt::Propose { patch, .. } => {
                let changed = |sign: char| {
                    let of_file = [sign; 3].iter().collect::<String>();
                    patch
                        .lines()
                        .filter(|l| l.starts_with(sign) && !l.starts_with(&of_file))
                        .count()
                };
                format!("proposes +{} -{}", changed('+'), changed('-'))
            }
            CameOfIt::BadPatch { why } => format!("proposes what cannot be applied: {why}"),
            CameOfIt::Decline { why } => format!("declines: {why}"),
            CameOfIt::Scores { scores } => {
                let all = scores.iter().map(|(id, s)| format!("{id} {:.1}", s.total));
                format!("scores {}", all.collect::<Vec<_>>().join(", "))
            }
            CameOfIt::Advice { advice } => format!("says {:?}", advice.action).to_lowercase(),
            CameOfIt::Failed { why, .. } => format!("fails: {why}"),
        };
        format!("{} [{}]", clean(&what), self.used.line())
    }

    /// What is different now, as a patch of the two texts; none where nothing is.
    pub fn difference(then: &Snapshot, now: &Snapshot) -> anyhow::Result<Option<String>> {
        if then == now {
            return Ok(None);
        }
        Ok(Some(git::text_diff(&then.text(), &now.text())?))
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if let Ok(value) = serde_json::to_value(self) {
            tell(&mut text, "", &value);
        }
        text
    }
}

impl Used {
    fn line(&self) -> String {
        let counts = [
            (self.host_calls, "host call"),
            (self.llm_calls, "model call"),
            (self.llm_tokens, "token"),
            (self.probes, "probe"),
            (self.denials.values().sum(), "refusal"),
        ];
        let told = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| match count {
                1 => format!("1 {what}"),
                count => format!("{count} {what}s"),
            });
        told.collect::<Vec<_>>().join(", ")
    }
}

/// One key a line; a text of several lines is told line by line, so that a difference shows where it is.
fn tell(text: &mut String, key: &str, value: &serde_json::Value) {
    use serde_json::Value::{Array, Object, String as Text};
    let under = |name: &str| match key {
        "" => name.to_owned(),
        key => format!("{key}.{name}"),
    };
    match value {
        Object(fields) => fields
            .iter()
            .for_each(|(name, value)| tell(text, &under(name), value)),
        Array(items) if items.iter().any(|i| i.is_array() || i.is_object()) => {
            items
                .iter()
                .enumerate()
                .for_each(|(i, value)| tell(text, &under(&i.to_string()), value));
        }
        Text(lines) if lines.contains('\n') => {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{key}:");
            for line in lines.lines() {
                let _ = writeln!(text, "    {}", clean(line));
            }
        }
        Text(line) => {
            let _ = writeln!(text, "{key}: {}", clean(line));
        }
        other => {
            let _ = writeln!(text, "{key}: {other}");
        }
    }
}

/// A plugin's words must not drive the terminal.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposing(patch: &str) -> Snapshot {
        Snapshot {
            came_of_it: CameOfIt::Propose {
                patch: patch.to_owned(),
                rationale: "because".to_owned(),
                confidence: 0.5,
                notes: vec![],
            },
            used: Used {
                host_calls: 3,
                ..Used::default()
            },
        }
    }

    #[test]
    fn a_difference_shows_the_very_line() {
        let (then, now) = (proposing("@@\n-a\n+b\n"), proposing("@@\n-a\n+c\n"));
        let difference = Snapshot::difference(&then, &now).expect("a difference can be told");
        let difference = difference.expect("there is one");
        assert!(difference.contains("-    +b\n+    +c\n"), "{difference}");
        assert_eq!(
            Snapshot::difference(&then, &then).expect("it can be told"),
            None
        );
    }

    #[test]
    fn what_is_kept_is_read_back_as_it_was() {
        let text = serde_json::to_string(&proposing("@@\n-a\n+b\n")).expect("it can be written");
        let back: Snapshot = serde_json::from_str(&text).expect("it can be read");
        assert_eq!(back, proposing("@@\n-a\n+b\n"));
    }

    #[test]
    fn a_plugins_words_do_not_reach_the_terminal_as_commands() {
        let snapshot = Snapshot {
            came_of_it: CameOfIt::Decline {
                why: "\u{1b}[31mno".to_owned(),
            },
            used: Used::default(),
        };
        assert!(!snapshot.line().contains('\u{1b}') && !snapshot.text().contains('\u{1b}'));
    }
}
