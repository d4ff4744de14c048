//! What holds for any file and any block, over many made-up ones.
//!
//! Touches: nothing.
//! Change here: when the ladder promises something more about every edit.

use changebus_edits::{Match, Miss, apply_one};

/// A small generator of our own: the same numbers on every machine and in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((self.0 >> 33) % n as u64) as usize
    }

    /// Lines from a small alphabet, so that repeats are common.
    fn lines(&mut self, count: usize) -> Vec<String> {
        (0..count)
            .map(|_| {
                format!(
                    "{}{}",
                    "    ".repeat(self.below(3)),
                    ["a = 1", "b()", "if c:", "", "return d"][self.below(5)]
                )
            })
            .collect()
    }
}

fn text(lines: &[String], end: &str) -> String {
    lines.iter().flat_map(|l| [l.as_str(), end]).collect()
}

fn count(file: &[String], block: &[String]) -> usize {
    file.windows(block.len()).filter(|w| *w == block).count()
}

#[test]
fn whole_lines_are_replaced_if_and_only_if_they_stand_once_and_nothing_else_changes() {
    let mut dice = Dice(7);
    let (mut unique, mut repeated) = (0, 0);
    for round in 0..3000 {
        let size = 1 + dice.below(14);
        let file = dice.lines(size);
        let from = dice.below(file.len());
        let to = (from + 1 + dice.below(4)).min(file.len());
        let block = &file[from..to];
        if block.iter().all(|l| l.trim().is_empty()) {
            continue;
        }
        let end = ["\n", "\r\n"][round % 2];
        let replacement_size = dice.below(4);
        let replacement = dice.lines(replacement_size);
        let result = apply_one(
            &text(&file, end),
            &text(block, end),
            &text(&replacement, end),
        );
        if count(&file, block) == 1 {
            unique += 1;
            let mut expected = file.clone();
            expected.splice(from..to, replacement);
            assert_eq!(result, Ok((text(&expected, end), Match::Exact)));
        } else {
            repeated += 1;
            assert!(
                matches!(result, Err(Miss::Ambiguous { lines }) if lines.len() == count(&file, block))
            );
        }
    }
    assert!(unique > 1000 && repeated > 200, "{unique} {repeated}");
}

#[test]
fn a_block_shifted_as_a_whole_gives_the_same_file_as_the_block_itself() {
    let mut dice = Dice(11);
    let mut compared = 0;
    for _ in 0..3000 {
        let size = 3 + dice.below(10);
        let mut file = dice.lines(size);
        let at = dice.below(file.len());
        file[at] = "    the_one = here".into();
        let to = (at + 1 + dice.below(3)).min(file.len());
        let block = file[at..to].to_vec();
        let mut replacement = dice.lines(2);
        replacement[0] = "    the_other = there".into();
        replacement[1].insert_str(0, "    ");
        let whole = text(&file, "\n");
        let plain = apply_one(&whole, &text(&block, "\n"), &text(&replacement, "\n"));
        for deeper in [true, false] {
            let shifted = |lines: &[String]| -> Option<Vec<String>> {
                lines.iter().map(|l| shift(l, deeper)).collect()
            };
            let (Some(search), Some(replaced)) = (shifted(&block), shifted(&replacement)) else {
                continue;
            };
            let result = apply_one(&whole, &text(&search, "\n"), &text(&replaced, "\n"));
            let (Ok((plain, _)), Ok((text, how))) = (&plain, &result) else {
                panic!("{plain:?} {result:?}");
            };
            let squeezed = |t: &str| {
                t.lines()
                    .filter(|l| !l.trim().is_empty())
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            assert_eq!((squeezed(text), *how), (squeezed(plain), Match::Indent));
            compared += 1;
        }
    }
    assert!(compared > 1000, "{compared}");
}

fn shift(line: &str, deeper: bool) -> Option<String> {
    match (line.trim().is_empty(), deeper) {
        (true, _) => Some(line.to_owned()),
        (false, true) => Some(format!("  {line}")),
        (false, false) => line.strip_prefix("  ").map(str::to_owned),
    }
}

#[test]
fn an_edit_turned_round_gives_the_file_back() {
    let mut dice = Dice(13);
    for _ in 0..2000 {
        let (before, after) = (dice.below(6), dice.below(6));
        let (head, tail) = (dice.lines(before), dice.lines(after));
        let old = format!("{}old = 1\n{}", text(&head, "\n"), text(&tail, "\n"));
        let (new, _) =
            apply_one(&old, "old = 1\n", "new = 2\nnewer = 3\n").expect("it stands once");
        let (back, _) =
            apply_one(&new, "new = 2\nnewer = 3\n", "old = 1\n").expect("it stands once");
        assert_eq!(back, old);
    }
}
