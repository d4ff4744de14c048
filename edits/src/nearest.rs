//! Names the lines of a file that look most like a search text that stands nowhere, for people and re-asks.
//!
//! Touches: nothing.
//! Change here: when the lines shown after a miss are not the ones a reader would have looked for.

use std::collections::BTreeSet;

use crate::small::one_by_one;
use crate::text::Line;

/// Search lines that are compared; a longer block is recognised by its beginning.
const COMPARED: usize = 40;
/// Lines shown before and after the likeliest place.
const AROUND: usize = 2;
/// Below this share of likeness nothing is named: a wrong hint costs more than none.
const LIKE_ENOUGH: f64 = 0.35;

pub(crate) fn nearest(file: &[Line], search: &[Line]) -> Vec<(usize, String)> {
    let wanted: Vec<Words> = search
        .iter()
        .filter(|l| !l.is_blank())
        .take(COMPARED)
        .map(words)
        .collect();
    let there: Vec<(usize, Words)> = file
        .iter()
        .enumerate()
        .filter(|(_, l)| !l.is_blank())
        .map(|(at, l)| (at, words(l)))
        .collect();
    let Some((best, likeness)) = likeliest(&there, &wanted) else {
        return vec![];
    };
    if likeness < LIKE_ENOUGH * wanted.len() as f64 {
        return vec![];
    }
    let last = there[(best + wanted.len() - 1).min(there.len() - 1)].0;
    let from = there[best].0.saturating_sub(AROUND);
    let to = (last + AROUND + 1).min(file.len());
    (from..to)
        .map(|at| (at + 1, file[at].text.to_owned()))
        .collect()
}

type Words<'a> = BTreeSet<&'a str>;

fn words<'a>(line: &Line<'a>) -> Words<'a> {
    let words = line
        .text
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .chain(line.text.split_whitespace());
    one_by_one(words.filter(|w| !w.is_empty()))
}

/// Where the sum of the lines' likeness is greatest; the first of equals.
fn likeliest(there: &[(usize, Words)], wanted: &[Words]) -> Option<(usize, f64)> {
    let mut best: Option<(usize, f64)> = None;
    for at in 0..there.len() {
        let sum = wanted
            .iter()
            .zip(&there[at..])
            .map(|(w, (_, t))| likeness(w, t))
            .sum();
        if best.is_none_or(|(_, most)| sum > most) {
            best = Some((at, sum));
        }
    }
    best
}

fn likeness(a: &Words, b: &Words) -> f64 {
    let both = a.intersection(b).count() as f64;
    2.0 * both / (a.len() + b.len()).max(1) as f64
}
