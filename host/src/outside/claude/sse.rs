//! Splits a server-sent event stream into frames, whatever pieces the bytes arrive in.
//!
//! Touches: nothing.
//! Change here: when the event stream format itself is read differently; what frames mean is in `answer.rs`.

/// Longest line, and longest `data` of one frame, in bytes. A text delta is a few hundred; a signature of a
/// thinking block reaches tens of thousands.
pub const MOST_BYTES: usize = 1 << 20;

/// One event: its name (empty where the stream gave none) and its data, lines joined by `\n`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    pub event: String,
    pub data: String,
}

/// A line or a frame is longer than [`MOST_BYTES`]; nothing read after it can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oversized;

/// Reads frames out of bytes. What is unfinished waits inside, at most twice [`MOST_BYTES`].
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    frame: Frame,
    has_data: bool,
    after_cr: bool,
    past_first_line: bool,
}

impl Reader {
    /// Takes the next bytes and gives the frames they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Frame>, Oversized> {
        let mut frames = Vec::new();
        for &byte in bytes {
            let second_of_crlf = byte == b'\n' && std::mem::take(&mut self.after_cr);
            if second_of_crlf {
                continue;
            }
            self.after_cr = byte == b'\r';
            match byte {
                b'\r' | b'\n' => frames.extend(self.end_of_line()?),
                _ if self.line.len() == MOST_BYTES => return Err(Oversized),
                _ => self.line.push(byte),
            }
        }
        Ok(frames)
    }

    fn end_of_line(&mut self) -> Result<Option<Frame>, Oversized> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = self.without_byte_order_mark(&line);
        if line.is_empty() {
            return Ok(self.end_of_frame());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.frame.event = value.to_owned(),
            "data" => self.add_data(value)?,
            // Comments (an empty field name), `id`, `retry` and fields yet to come mean nothing here.
            _ => {}
        }
        Ok(None)
    }

    fn without_byte_order_mark<'a>(&mut self, line: &'a str) -> &'a str {
        let first = !std::mem::replace(&mut self.past_first_line, true);
        if first {
            line.strip_prefix('\u{feff}').unwrap_or(line)
        } else {
            line
        }
    }

    fn add_data(&mut self, value: &str) -> Result<(), Oversized> {
        if self.frame.data.len() + value.len() >= MOST_BYTES {
            return Err(Oversized);
        }
        if std::mem::replace(&mut self.has_data, true) {
            self.frame.data.push('\n');
        }
        self.frame.data.push_str(value);
        Ok(())
    }

    fn end_of_frame(&mut self) -> Option<Frame> {
        let frame = std::mem::take(&mut self.frame);
        std::mem::take(&mut self.has_data).then_some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\u{feff}event: message_start\ndata: {\"a\":1}\n\n: a comment\r\nevent:ping\r\ndata:{}\r\n\r\n\
        event: content_block_delta\rdata: gr\u{fc}\u{df} \u{1f980}\rdata:  second line\r\rid: 7\nretry: 10\nnonsense\n\n\
        data: nameless\n\ndata\n\nevent: unfinished\ndata: lost";

    fn expected() -> Vec<Frame> {
        let frame = |event: &str, data: &str| Frame {
            event: event.into(),
            data: data.into(),
        };
        vec![
            frame("message_start", "{\"a\":1}"),
            frame("ping", "{}"),
            frame(
                "content_block_delta",
                "gr\u{fc}\u{df} \u{1f980}\n second line",
            ),
            frame("", "nameless"),
            frame("", ""),
        ]
    }

    fn read(pieces: &[&[u8]]) -> Vec<Frame> {
        let mut reader = Reader::default();
        pieces
            .iter()
            .flat_map(|piece| reader.feed(piece).expect("the sample is small"))
            .collect()
    }

    #[test]
    fn every_kind_of_line_end_and_field_is_understood() {
        assert_eq!(read(&[SAMPLE.as_bytes()]), expected());
    }

    #[test]
    fn a_cut_at_any_byte_changes_nothing() {
        let bytes = SAMPLE.as_bytes();
        for cut in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(read(&[head, tail]), expected(), "cut at byte {cut}");
        }
    }

    #[test]
    fn one_byte_at_a_time_changes_nothing() {
        let pieces: Vec<&[u8]> = SAMPLE.as_bytes().chunks(1).collect();
        assert_eq!(read(&pieces), expected());
    }

    #[test]
    fn two_cuts_around_every_byte_change_nothing() {
        let bytes = SAMPLE.as_bytes();
        for at in 0..bytes.len() {
            assert_eq!(
                read(&[&bytes[..at], &bytes[at..=at], &[], &bytes[at + 1..]]),
                expected(),
                "byte {at}"
            );
        }
    }

    #[test]
    fn a_frame_without_its_blank_line_is_not_given_out() {
        assert_eq!(read(&[b"event: a\ndata: b\n"]), vec![]);
    }

    #[test]
    fn a_line_that_never_ends_is_given_up_on() {
        let mut reader = Reader::default();
        let piece = vec![b'x'; MOST_BYTES / 4];
        let outcomes: Vec<_> = (0..5).map(|_| reader.feed(&piece).map(|_| ())).collect();
        assert_eq!(outcomes, [Ok(()), Ok(()), Ok(()), Ok(()), Err(Oversized)]);
    }

    #[test]
    fn data_that_grows_line_by_line_is_given_up_on() {
        let mut reader = Reader::default();
        let line = format!("data: {}\n", "x".repeat(MOST_BYTES / 4));
        let outcome = (0..4).try_for_each(|_| reader.feed(line.as_bytes()).map(|_| ()));
        assert_eq!(outcome, Err(Oversized));
    }

    #[test]
    fn bytes_that_are_no_text_do_not_stop_the_reader() {
        let frames = read(&[b"data: \xff\xfe\n\ndata: ok\n\n"]);
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[1].data, "ok");
    }
}
