//! Figures as pictures: shares with their intervals, and whether promises were kept.
//!
//! Touches: nothing.
//! Change here: when a figure should be drawn otherwise. The colours are those of whoever shows it (`currentColor`), so
//! that a picture reads in light and in dark.

use std::fmt::Write as _;

use super::text::line;

/// One of several shares, 0 to 1.
pub struct Bar<'a> {
    pub name: &'a str,
    pub share: f64,
    pub low: f64,
    pub high: f64,
    /// Beside it.
    pub note: String,
}

const WIDTH: f64 = 560.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 110.0;
const ROW: f64 = 24.0;

/// Points with whiskers on one scale from 0 to 100 %. `title` says to those who cannot see it what it is.
pub fn shares(title: &str, bars: &[Bar<'_>]) -> String {
    let height = ROW * bars.len() as f64 + 26.0;
    let x = |share: f64| LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT);
    let mut out = open(title, WIDTH, height);
    for tenth in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let at = x(tenth);
        let bottom = height - 20.0;
        let _ = write!(
            out,
            "<line stroke=\"currentColor\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"0\" y2=\"{bottom:.1}\" stroke-opacity=\"0.2\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.0} %</text>",
            height - 6.0,
            tenth * 100.0
        );
    }
    for (nth, bar) in bars.iter().enumerate() {
        let y = ROW * nth as f64 + ROW / 2.0;
        let _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <line stroke=\"currentColor\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke-width=\"2\" stroke-opacity=\"0.6\"/>\
             <circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"currentColor\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT - 10.0,
            y + 4.0,
            plain(&line(bar.name, 20)),
            x(bar.low),
            x(bar.high),
            x(bar.share),
            WIDTH - RIGHT + 10.0,
            y + 4.0,
            plain(&bar.note)
        );
    }
    out + "</svg>"
}

/// What was promised along the bottom, what came of it upwards; on the diagonal promises are kept. The larger a point, the
/// more promises.
pub fn reliability(title: &str, bins: &[(f64, f64, usize)]) -> String {
    const SIZE: f64 = 260.0;
    const EDGE: f64 = 40.0;
    let (x, y) = (
        |v: f64| EDGE + v * (SIZE - 2.0 * EDGE),
        |v: f64| SIZE - EDGE - v * (SIZE - 2.0 * EDGE),
    );
    let mut out = open(title, SIZE, SIZE);
    let _ = write!(
        out,
        "<rect stroke=\"currentColor\" x=\"{0:.1}\" y=\"{0:.1}\" width=\"{1:.1}\" height=\"{1:.1}\" fill=\"none\" stroke-opacity=\"0.3\"/>\
         <line stroke=\"currentColor\" x1=\"{2:.1}\" y1=\"{3:.1}\" x2=\"{3:.1}\" y2=\"{2:.1}\" stroke-dasharray=\"4 4\" stroke-opacity=\"0.5\"/>",
        EDGE,
        SIZE - 2.0 * EDGE,
        x(0.0),
        x(1.0)
    );
    for value in [0.0, 0.5, 1.0] {
        let _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{value}</text>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            x(value),
            SIZE - EDGE + 16.0,
            EDGE - 6.0,
            y(value) + 4.0
        );
    }
    let all: usize = bins.iter().map(|(_, _, count)| count).sum();
    for (promised, came, count) in bins {
        let part = *count as f64 / all.max(1) as f64;
        let _ = write!(
            out,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{:.1}\" fill=\"currentColor\" fill-opacity=\"0.7\"><title>{count}</title></circle>",
            x(*promised),
            y(*came),
            3.0 + 9.0 * part.sqrt()
        );
    }
    let _ = write!(
        out,
        "<text x=\"{0:.1}\" y=\"{1:.1}\" text-anchor=\"middle\">promised</text>\
         <text x=\"12\" y=\"{0:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 12 {0:.1})\">came</text>",
        SIZE / 2.0,
        SIZE - 6.0
    );
    out + "</svg>"
}

fn open(title: &str, width: f64, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" font-size=\"12\" font-family=\"sans-serif\" fill=\"currentColor\"><title>{}</title>",
        plain(title)
    )
}

/// As text of XML.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_strangers_chose_is_text_and_every_share_is_within_the_picture() {
        let bar = Bar {
            name: "<script>&",
            share: 1.4,
            low: -1.0,
            high: 2.0,
            note: "3 of 4".to_owned(),
        };
        let drawn = shares("Wins", &[bar]);
        assert!(
            drawn.contains("&lt;script&gt;&amp;") && !drawn.contains("<script"),
            "{drawn}"
        );
        assert!(
            drawn.contains("x1=\"150.0\" x2=\"450.0\" y1=\"12.0\""),
            "{drawn}"
        );
        assert!(reliability("Kept", &[(0.5, 0.25, 3)]).ends_with("</svg>"));
    }
}
