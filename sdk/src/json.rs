//! Writes JSON while the compiler runs: first to learn how long it is, then into an array of that length.
//!
//! Touches: nothing.
//! Change here: when the manifest or a schema needs another form of JSON.

/// `N` bytes of JSON; with `N` = 0 nothing is kept and only the length is counted.
pub(crate) struct Json<const N: usize> {
    bytes: [u8; N],
    len: usize,
    /// Whether the value that is open has a member before the next one.
    follows: bool,
}

impl<const N: usize> Json<N> {
    pub(crate) const fn new() -> Json<N> {
        Json {
            bytes: [0; N],
            len: 0,
            follows: false,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn bytes(self) -> [u8; N] {
        assert!(self.len == N, "measured and written are of the same length");
        self.bytes
    }

    #[cfg(test)]
    pub(crate) fn written(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    const fn byte(&mut self, byte: u8) {
        if N > 0 {
            self.bytes[self.len] = byte;
        }
        self.len += 1;
    }

    /// `{` or `[`.
    pub(crate) const fn open(&mut self, bracket: u8) {
        self.byte(bracket);
        self.follows = false;
    }

    /// `}` or `]`.
    pub(crate) const fn close(&mut self, bracket: u8) {
        self.byte(bracket);
        self.follows = true;
    }

    /// The place of the next item of a list.
    pub(crate) const fn item(&mut self) {
        if self.follows {
            self.byte(b',');
        }
        self.follows = true;
    }

    pub(crate) const fn key(&mut self, name: &str) {
        self.item();
        self.text(name);
        self.byte(b':');
    }

    pub(crate) const fn pair(&mut self, name: &str, text: &str) {
        self.key(name);
        self.text(text);
    }

    /// A number, `true` or `false`, as it stands.
    pub(crate) const fn plain(&mut self, literal: &str) {
        let bytes = literal.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            self.byte(bytes[at]);
            at += 1;
        }
    }

    pub(crate) const fn text(&mut self, text: &str) {
        self.byte(b'"');
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            self.letter(bytes[at]);
            at += 1;
        }
        self.byte(b'"');
    }

    const fn letter(&mut self, byte: u8) {
        match byte {
            b'"' | b'\\' => {
                self.byte(b'\\');
                self.byte(byte);
            }
            0..0x20 => {
                self.plain("\\u00");
                self.byte(HEX[(byte >> 4) as usize]);
                self.byte(HEX[(byte & 15) as usize]);
            }
            _ => self.byte(byte),
        }
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";
