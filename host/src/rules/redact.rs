//! Takes secrets out of text before it is stored, shown or sent to a model.
//!
//! Touches: nothing.
//! Change here: when another shape of secret becomes known.

use std::sync::LazyLock;

use regex::Regex;

const PLACEHOLDER: &str = "[redacted]";
/// Shorter values would redact half of every text.
const SHORTEST: usize = 8;

/// Shapes that are secrets wherever they stand.
static KNOWN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"sk-ant-[A-Za-z0-9_\-]{10,}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|glpat-[A-Za-z0-9_\-]{20,}",
        r"|AKIA[0-9A-Z]{16}|xox[abprs]-[A-Za-z0-9\-]{10,}|eyJ[A-Za-z0-9_\-]{10,}\.eyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]+",
        r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----",
        r"|(?:https?|ssh|git)://[^\s/:@]+:[^\s/@]+@",
    ))
    .expect("the pattern above is a constant")
});

/// Knows the values that must never leave the host, plain and base64.
#[derive(Clone, Default)]
pub struct Redactor {
    values: Vec<String>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} values)", self.values.len())
    }
}

impl Redactor {
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Redactor {
        let long = secrets.into_iter().filter(|s| s.len() >= SHORTEST);
        let mut values: Vec<String> = long
            .flat_map(|s| [base64(s.as_bytes()), hex(s.as_bytes()), s])
            .collect();
        // Longest first, so that no part of a longer value is left standing.
        values.sort_by_key(|v| std::cmp::Reverse(v.len()));
        Redactor { values }
    }

    pub fn clean(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for value in self.values.iter().filter(|v| text.contains(v.as_str())) {
            clean = clean.replace(value, PLACEHOLDER);
        }
        KNOWN.replace_all(&clean, PLACEHOLDER).into_owned()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Without padding: a secret inside a longer encoded text has none either.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |n: u32| DIGITS[(n & 63) as usize] as char;
    let group = |chunk: &[u8]| {
        let bits =
            chunk.iter().fold(0u32, |acc, b| acc << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        [18, 12, 6, 0]
            .into_iter()
            .take(chunk.len() + 1)
            .map(|shift| digit(bits >> shift))
            .collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_value_goes_in_every_dress() {
        let redactor = Redactor::new(["correct-horse-battery".to_owned()]);
        for dressed in [
            "correct-horse-battery",
            "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5",
            "636f72726563742d686f7273652d62617474657279",
        ] {
            let clean = redactor.clean(&format!("before {dressed} after"));
            assert_eq!(clean, "before [redacted] after");
        }
    }

    #[test]
    fn known_shapes_go_without_being_known() {
        let key = format!("sk-{}-{}", "ant", "a".repeat(24));
        let clean =
            Redactor::default().clean(&format!("key {key} and https://user:pass@example.org/x"));
        assert_eq!(clean, "key [redacted] and [redacted]example.org/x");
    }

    #[test]
    fn short_values_are_not_hunted() {
        assert_eq!(Redactor::new(["abc".to_owned()]).clean("abcdef"), "abcdef");
    }
}
