//! How a screen looks: its width, and whether it has colours.
//!
//! Touches: nothing.
//! Change here: when something shall stand out in another way.

/// How to draw for one terminal, or for a file.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub colours: bool,
    /// Columns a line may take.
    pub width: usize,
}

/// What a piece of text is to the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Heading,
    Good,
    Bad,
    Open,
    Faint,
}

impl Look {
    /// 100 columns, no colours.
    pub fn plain() -> Look {
        Look {
            colours: false,
            width: 100,
        }
    }

    pub(super) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.colours => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Heading => "1",
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Open => "33",
            Tone::Faint => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}
