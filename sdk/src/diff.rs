//! Compares two texts line by line.
//!
//! Touches: nothing.
//! Change here: when hunks should be cut otherwise.

use std::ops::Range;

mod files;

pub use files::{FileDiff, by_file};

/// Edit steps that are searched for before two texts count as altogether different.
const MOST_STEPS: usize = 1000;

/// A maximal run of lines that differ, as ranges of line indices, from 0, into the old and the new text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hunk {
    pub old: Range<usize>,
    pub new: Range<usize>,
}

/// Lines with their ends, so that joined they are the text again.
pub fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// Where `old` and `new` differ, in order. Between two hunks stands at least one common line. Exact for any
/// input; for texts that differ in more than a thousand lines, the differing middle is one hunk.
pub fn hunks(old: &[&str], new: &[&str]) -> Vec<Hunk> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old[head..], &new[head..]);
    let tail = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (a, b) = (&a[..a.len() - tail], &b[..b.len() - tail]);
    let mut found = match shortest_edit(a, b) {
        Some(common) => gaps(&common, a.len(), b.len()),
        None => vec![Hunk {
            old: 0..a.len(),
            new: 0..b.len(),
        }],
    };
    for hunk in &mut found {
        hunk.old = hunk.old.start + head..hunk.old.end + head;
        hunk.new = hunk.new.start + head..hunk.new.end + head;
    }
    found
}

/// Index pairs of the lines that stay, by the greedy algorithm of Myers (1986). None beyond [`MOST_STEPS`].
fn shortest_edit(a: &[&str], b: &[&str]) -> Option<Vec<(usize, usize)>> {
    let (n, m) = (a.len() as isize, b.len() as isize);
    let most = (a.len() + b.len()).min(MOST_STEPS) as isize;
    let at = |k: isize, d: isize| (k + d + 1) as usize;
    let mut trace: Vec<Vec<isize>> = vec![vec![0; 3]];
    for d in 0..=most {
        // Row d holds the furthest x on every diagonal from -d to d, with a margin of one.
        let before = &trace[d as usize];
        let mut row = vec![0; 2 * d as usize + 5];
        for k in (-d..=d).step_by(2) {
            let mut x = match d {
                0 => 0,
                _ if goes_down(before, k, d) => before[at(k + 1, d - 1)],
                _ => before[at(k - 1, d - 1)] + 1,
            };
            while x < n && x - k < m && a[x as usize] == b[(x - k) as usize] {
                x += 1;
            }
            row[at(k, d)] = x;
            if x >= n && x - k >= m {
                trace.push(row);
                return Some(common_lines(&trace, n, m));
            }
        }
        trace.push(row);
    }
    None
}

fn goes_down(before: &[isize], k: isize, d: isize) -> bool {
    let at = |k: isize| (k + d) as usize;
    k == -d || (k != d && before[at(k - 1)] < before[at(k + 1)])
}

/// Walks the trace backwards and collects the diagonal steps.
fn common_lines(trace: &[Vec<isize>], n: isize, m: isize) -> Vec<(usize, usize)> {
    let mut common = vec![];
    let (mut x, mut y) = (n, m);
    for d in (0..trace.len() as isize - 1).rev() {
        let before = &trace[d as usize];
        let k = x - y;
        let (from_x, from_y) = match d {
            0 => (0, 0),
            _ => {
                let k = if goes_down(before, k, d) {
                    k + 1
                } else {
                    k - 1
                };
                let from = before[(k + d) as usize];
                (from, from - k)
            }
        };
        while x > from_x && y > from_y {
            x -= 1;
            y -= 1;
            common.push((x as usize, y as usize));
        }
        (x, y) = (from_x, from_y);
    }
    common.reverse();
    common
}

fn gaps(common: &[(usize, usize)], n: usize, m: usize) -> Vec<Hunk> {
    let mut found = vec![];
    let (mut x, mut y) = (0, 0);
    for &(i, j) in common.iter().chain([&(n, m)]) {
        if i > x || j > y {
            found.push(Hunk {
                old: x..i,
                new: y..j,
            });
        }
        (x, y) = (i + 1, j + 1);
    }
    found
}

/// A unified diff of one file as git prints it; None stands for a file that is not there. Empty where nothing differs.
pub fn unified(path: &str, old: Option<&str>, new: Option<&str>, context: usize) -> String {
    let (a, b) = (
        lines(old.unwrap_or_default()),
        lines(new.unwrap_or_default()),
    );
    let changes = hunks(&a, &b);
    if changes.is_empty() && old.is_some() == new.is_some() {
        return String::new();
    }
    let name = |side: &str, text: Option<&str>| match text {
        Some(_) => format!("{side}/{path}"),
        None => "/dev/null".to_owned(),
    };
    let mut diff = format!("diff --git a/{path} b/{path}\n");
    match (old, new) {
        (None, _) => diff.push_str("new file mode 100644\n"),
        (_, None) => diff.push_str("deleted file mode 100644\n"),
        _ => {}
    }
    diff.push_str(&format!("--- {}\n+++ {}\n", name("a", old), name("b", new)));
    for group in grouped(&changes, context) {
        push_group(&mut diff, &a, &b, group, context);
    }
    diff
}

/// Hunks whose contexts touch are printed as one.
fn grouped(hunks: &[Hunk], context: usize) -> Vec<&[Hunk]> {
    hunks
        .chunk_by(|one, next| next.old.start - one.old.end <= 2 * context)
        .collect()
}

fn push_group(diff: &mut String, a: &[&str], b: &[&str], group: &[Hunk], context: usize) {
    let (Some(first), Some(last)) = (group.first(), group.last()) else {
        return;
    };
    let from = first.old.start.saturating_sub(context);
    let to = (last.old.end + context).min(a.len());
    let new_from = first.new.start - (first.old.start - from);
    let new_to = last.new.end + (to - last.old.end);
    let range = |from: usize, to: usize| {
        format!("{},{}", if to > from { from + 1 } else { from }, to - from)
    };
    diff.push_str(&format!(
        "@@ -{} +{} @@\n",
        range(from, to),
        range(new_from, new_to)
    ));
    let mut x = from;
    for hunk in group {
        push_lines(diff, ' ', &a[x..hunk.old.start]);
        push_lines(diff, '-', &a[hunk.old.clone()]);
        push_lines(diff, '+', &b[hunk.new.clone()]);
        x = hunk.old.end;
    }
    push_lines(diff, ' ', &a[x..to]);
}

fn push_lines(diff: &mut String, sign: char, lines: &[&str]) {
    for line in lines {
        diff.push(sign);
        diff.push_str(line);
        if !line.ends_with('\n') {
            diff.push_str("\n\\ No newline at end of file\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rebuilt(old: &[&str], new: &[&str], hunks: &[Hunk]) -> Vec<String> {
        let mut text = vec![];
        let mut x = 0;
        for hunk in hunks {
            text.extend(old[x..hunk.old.start].iter().map(|l| l.to_string()));
            text.extend(new[hunk.new.clone()].iter().map(|l| l.to_string()));
            x = hunk.old.end;
        }
        text.extend(old[x..].iter().map(|l| l.to_string()));
        text
    }

    #[test]
    fn the_old_text_with_all_hunks_is_the_new_text_and_the_edit_is_a_shortest_one() {
        let mut dice = 5u64;
        let mut below = |n: u64| {
            dice = dice
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (dice >> 33) % n
        };
        for _ in 0..3000 {
            let (n, m) = (below(9), below(9));
            let old: Vec<&str> = (0..n)
                .map(|_| ["a", "b", "c", "d"][below(4) as usize])
                .collect();
            let new: Vec<&str> = (0..m)
                .map(|_| ["a", "b", "c", "d"][below(4) as usize])
                .collect();
            let found = hunks(&old, &new);
            assert_eq!(rebuilt(&old, &new, &found), new, "{old:?} {new:?}");
            assert!(
                found
                    .windows(2)
                    .all(|w| w[0].old.end < w[1].old.start && w[0].new.end < w[1].new.start)
            );
            let kept = old.len() - found.iter().map(|h| h.old.len()).sum::<usize>();
            assert_eq!(
                kept,
                longest_common(&old, &new),
                "{old:?} {new:?} {found:?}"
            );
        }
    }

    fn longest_common(a: &[&str], b: &[&str]) -> usize {
        match (a, b) {
            ([x, a @ ..], [y, b @ ..]) if x == y => 1 + longest_common(a, b),
            ([_, a2 @ ..], [_, b2 @ ..]) => longest_common(a2, b).max(longest_common(a, b2)),
            _ => 0,
        }
    }

    #[test]
    fn texts_with_nothing_in_common_are_one_hunk() {
        let (old, new): (Vec<_>, Vec<_>) = (0..3000)
            .map(|i| (format!("a{i}"), format!("b{i}")))
            .unzip();
        let (old, new) = (
            old.iter().map(String::as_str).collect::<Vec<_>>(),
            new.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        assert_eq!(
            hunks(&old, &new),
            [Hunk {
                old: 0..3000,
                new: 0..3000
            }]
        );
    }

    #[test]
    fn a_unified_diff_reads_as_git_prints_it() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n";
        let new = "1\nzwei\n3\n4\n5\n6\n7\n8\n9\nzehn";
        assert_eq!(
            unified("n.txt", Some(old), Some(new), 1),
            "diff --git a/n.txt b/n.txt\n--- a/n.txt\n+++ b/n.txt\n@@ -1,3 +1,3 @@\n 1\n-2\n+zwei\n 3\n@@ -9,2 +9,2 @@\n 9\n-10\n+zehn\n\\ No newline at end of file\n"
        );
        assert_eq!(
            unified("n", None, Some("a\n"), 3),
            "diff --git a/n b/n\nnew file mode 100644\n--- /dev/null\n+++ b/n\n@@ -0,0 +1,1 @@\n+a\n"
        );
        assert_eq!(unified("n", Some("a\n"), Some("a\n"), 3), "");
    }
}
