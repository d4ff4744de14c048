//! A tape of random bytes that a guest plays: numbers, texts and choices are read off it until it ends.
//!
//! Touches: nothing.
//! Change here: when a kind of value should be tried that no tape leads to.

/// Texts that have broken somebody's parser before.
const WORDS: [&str; 20] = [
    "",
    "A",
    "t::one",
    "a.txt",
    "../../etc/passwd",
    "/etc/passwd",
    ".git/config",
    "a\0b",
    "\u{1b}[2J",
    "\u{202e}\u{200b}\u{feff}",
    "<script>alert(1)</script>",
    "--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-Hello\n+Bye\n",
    "@@ -99999999999999999999 +0,0 @@",
    "NaN",
    "{\"a\":[1e999,",
    "llm.calls",
    "**/[!a-\\",
    "(((((a*)*)*)*)*",
    "\u{10ffff}\u{1f9ff}é",
    "model",
];
const NUMBERS: [f64; 10] = [
    0.0,
    -0.0,
    1.0,
    0.5,
    100.0,
    100.000_000_1,
    -1.0,
    f64::NAN,
    f64::INFINITY,
    f64::MIN_POSITIVE,
];

pub struct Tape(std::vec::IntoIter<u8>);

impl Tape {
    /// From pairs of hexadecimal digits; anything else ends it.
    pub fn new(hex: &str) -> Tape {
        let pairs = hex.as_bytes().chunks(2);
        let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        Tape(pairs.map_while(byte).collect::<Vec<_>>().into_iter())
    }

    pub fn over(&self) -> bool {
        self.0.len() == 0
    }

    /// 0 once the tape is over.
    pub fn byte(&mut self) -> u8 {
        self.0.next().unwrap_or_default()
    }

    pub fn below(&mut self, n: u8) -> u8 {
        self.byte() % n
    }

    /// Small, huge or anything.
    pub fn number(&mut self) -> u32 {
        match self.below(4) {
            0 => u32::from(self.byte()),
            1 => u32::MAX - u32::from(self.byte()),
            _ => u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()]),
        }
    }

    pub fn float(&mut self) -> f64 {
        match self.below(3) {
            0 => f64::from_bits(u64::from(self.number()) << 32 | u64::from(self.number())),
            _ => NUMBERS[usize::from(self.byte()) % NUMBERS.len()],
        }
    }

    /// A word, several in a row, one repeated often, or bytes off the tape.
    pub fn text(&mut self) -> String {
        let word = WORDS[usize::from(self.byte()) % WORDS.len()];
        match self.below(8) {
            0 => word.repeat(1 + usize::from(self.byte()) * 64),
            1 => word.to_owned() + WORDS[usize::from(self.byte()) % WORDS.len()],
            2 => (0..self.below(32))
                .map(|_| char::from(self.byte()))
                .collect(),
            _ => word.to_owned(),
        }
    }

    pub fn maybe_text(&mut self) -> Option<String> {
        (self.below(2) == 0).then(|| self.text())
    }

    pub fn pairs(&mut self) -> Vec<(String, String)> {
        (0..self.below(6))
            .map(|_| (self.text(), self.text()))
            .collect()
    }
}
