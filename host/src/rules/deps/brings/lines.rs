//! Where two texts differ, line by line.
//!
//! Touches: nothing.
//! Change here: when differences are cut otherwise. It is Myers' greedy algorithm, with an end to its patience.

use std::ops::Range;

/// Lines that come and go; texts further apart are one difference.
const FARTHEST: usize = 1000;

/// Lines of the old text in whose place stand those of the new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub old: Range<usize>,
    pub new: Range<usize>,
}

pub fn differences(old: &[&str], new: &[&str]) -> Vec<Block> {
    let same = |(a, b): &(&&str, &&str)| a == b;
    let start = old.iter().zip(new).take_while(same).count();
    let rest = old[start..].iter().rev().zip(new[start..].iter().rev());
    let end = rest.take_while(same).count();
    let (old_end, new_end) = (old.len() - end, new.len() - end);
    let kept = kept(&old[start..old_end], &new[start..new_end]);
    let kept = kept.into_iter().map(|(a, b)| (a + start, b + start));
    let (mut blocks, mut at) = (Vec::new(), (start, start));
    for (a, b) in kept.chain([(old_end, new_end)]) {
        if (a, b) != at {
            blocks.push(Block {
                old: at.0..a,
                new: at.1..b,
            });
        }
        at = (a + 1, b + 1);
    }
    blocks
}

/// The lines that both have, as pairs of their numbers in order; none where they are too far apart.
fn kept(old: &[&str], new: &[&str]) -> Vec<(usize, usize)> {
    if old.is_empty() || new.is_empty() {
        return vec![];
    }
    let farthest = (old.len() + new.len()).min(FARTHEST);
    // How far down the old text each diagonal has come; they lie around the middle.
    let middle = farthest + 1;
    let mut reached = vec![0; 2 * farthest + 3];
    let mut trace = Vec::new();
    for steps in 0..=farthest {
        trace.push(reached[middle - steps - 1..=middle + steps + 1].to_vec());
        for diagonal in (middle - steps..=middle + steps).step_by(2) {
            let mut a = match goes_down(&reached, diagonal, middle, steps) {
                true => reached[diagonal + 1],
                false => reached[diagonal - 1] + 1,
            };
            let mut b = a + middle - diagonal;
            while a < old.len() && b < new.len() && old[a] == new[b] {
                (a, b) = (a + 1, b + 1);
            }
            reached[diagonal] = a;
            if a >= old.len() && b >= new.len() {
                return walked_back(&trace, a, b);
            }
        }
    }
    vec![]
}

/// Whether a line of the new text comes in, rather than one of the old text going.
fn goes_down(reached: &[usize], diagonal: usize, middle: usize, steps: usize) -> bool {
    diagonal == middle - steps
        || diagonal != middle + steps && reached[diagonal - 1] < reached[diagonal + 1]
}

fn walked_back(trace: &[Vec<usize>], mut a: usize, mut b: usize) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    for (steps, reached) in trace.iter().enumerate().rev() {
        let middle = steps + 1;
        let diagonal = a + middle - b;
        let before = match goes_down(reached, diagonal, middle, steps) {
            true => diagonal + 1,
            false => diagonal - 1,
        };
        let (from_a, from_b) = match steps {
            0 => (0, 0),
            _ => (reached[before], reached[before] + middle - before),
        };
        while a > from_a && b > from_b {
            (a, b) = (a - 1, b - 1);
            pairs.push((a, b));
        }
        (a, b) = (from_a, from_b);
    }
    pairs.reverse();
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<&str> {
        text.split_terminator(' ').collect()
    }

    #[test]
    fn what_comes_and_goes_is_found_where_it_stands() {
        let cases = [
            ("a b c", "a b c", ""),
            ("", "a", "0..0 0..1"),
            ("a b c", "a c", "1..2 1..1"),
            ("a b c d e", "a x c e f", "1..2 1..2, 3..4 3..3, 5..5 4..5"),
            (
                "a b c a b b a",
                "c b a b a c",
                "0..2 0..0, 3..3 1..2, 5..6 4..4, 7..7 5..6",
            ),
            ("p q r", "x y z", "0..3 0..3"),
        ];
        for (old, new, expected) in cases {
            let found = differences(&split(old), &split(new));
            let found = found.iter().map(|b| format!("{:?} {:?}", b.old, b.new));
            let found: Vec<String> = found.collect();
            assert_eq!(found.join(", "), expected, "{old} to {new}");
        }
    }

    #[test]
    fn the_new_text_comes_out_of_the_old_one_whatever_they_are() {
        let mut seed = 7_u32;
        let mut text = || -> Vec<&str> {
            let mut next = || {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                seed >> 16
            };
            (0..next() % 30)
                .map(|_| ["a", "b", "c", "d"][next() as usize % 4])
                .collect()
        };
        for _ in 0..300 {
            let (old, new) = (text(), text());
            let mut made = old.clone();
            for block in differences(&old, &new).into_iter().rev() {
                made.splice(block.old, new[block.new].iter().copied());
            }
            assert_eq!(made, new, "out of {old:?}");
        }
    }

    #[test]
    fn texts_that_have_nothing_to_do_with_each_other_are_one_difference() {
        let texts = |c: char| -> Vec<String> { (0..3000).map(|n| format!("{c}{n}")).collect() };
        let (old, new) = (texts('a'), texts('b'));
        let old: Vec<&str> = old.iter().map(String::as_str).collect();
        let new: Vec<&str> = new.iter().map(String::as_str).collect();
        assert_eq!(differences(&old, &new).len(), 1);
    }
}
