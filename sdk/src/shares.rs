//! Divides a budget of bytes, and cuts text to its share.
//!
//! Touches: nothing.
//! Change here: when what is left out should be chosen otherwise.

/// Shares of `total` for parts that want `(bytes, weight)`: nobody gets more than it wants, and what one part
/// does not need goes to the others by weight. The shares sum up to at most `total`.
pub fn fair_shares(total: usize, wants: &[(usize, usize)]) -> Vec<usize> {
    let mut shares = vec![0; wants.len()];
    let mut open: Vec<usize> = (0..wants.len())
        .filter(|&i| wants[i].0 > 0 && wants[i].1 > 0)
        .collect();
    let mut left = total;
    while !open.is_empty() {
        let weights: usize = open.iter().map(|&i| wants[i].1).sum();
        let share = |i: usize| left * wants[i].1 / weights;
        let (content, hungry): (Vec<usize>, Vec<usize>) =
            open.iter().partition(|&&i| wants[i].0 <= share(i));
        if content.is_empty() {
            for &i in &hungry {
                shares[i] = share(i);
            }
            break;
        }
        for &i in &content {
            shares[i] = wants[i].0;
        }
        left -= content.iter().map(|&i| wants[i].0).sum::<usize>();
        open = hungry;
    }
    shares
}

/// The beginning and the end of `text`, whole lines where it can be, with a note of what was left out between.
/// The note may add up to 40 bytes to `most`.
pub fn clip(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let head = line_end_before(text, most * 2 / 3);
    let tail = line_start_after(text, text.len() - most / 3);
    if tail <= head {
        return text.to_owned();
    }
    let cut = tail - head;
    format!(
        "{}[... {cut} bytes left out ...]\n{}",
        &text[..head],
        &text[tail..]
    )
}

/// The beginning of `text`, whole lines where it can be, with a note.
pub fn clip_end(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let head = line_end_before(text, most);
    format!(
        "{}[... {} bytes left out ...]\n",
        &text[..head],
        text.len() - head
    )
}

fn line_end_before(text: &str, at: usize) -> usize {
    let at = floor(text, at);
    text[..at].rfind('\n').map_or(at, |n| n + 1)
}

fn line_start_after(text: &str, at: usize) -> usize {
    let at = floor(text, at);
    text[at..].find('\n').map_or(at, |n| at + n + 1)
}

fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|&i| text.is_char_boundary(i))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_part_does_not_need_goes_to_the_others() {
        for (total, wants, shares) in [
            (100, vec![(10, 1), (200, 1), (200, 1)], vec![10, 45, 45]),
            (100, vec![(10, 1), (20, 1)], vec![10, 20]),
            (90, vec![(200, 2), (200, 1)], vec![60, 30]),
            (100, vec![(0, 5), (500, 1)], vec![0, 100]),
            (0, vec![(5, 1)], vec![0]),
            (100, vec![], vec![]),
        ] {
            assert_eq!(fair_shares(total, &wants), shares, "{total} {wants:?}");
        }
    }

    #[test]
    fn shares_never_exceed_the_total_or_the_want() {
        for seed in 0..500usize {
            let wants: Vec<_> = (0..seed % 9)
                .map(|i| ((seed * 37 + i * 101) % 97, (seed + i) % 4))
                .collect();
            let total = (seed * 13) % 211;
            let shares = fair_shares(total, &wants);
            assert!(shares.iter().sum::<usize>() <= total);
            assert!(
                shares
                    .iter()
                    .zip(&wants)
                    .all(|(share, (want, _))| share <= want)
            );
        }
    }

    #[test]
    fn clipped_text_keeps_both_ends_and_says_what_is_missing() {
        let text: String = (0..100).map(|i| format!("line {i} ü\n")).collect();
        let clipped = clip(&text, 300);
        assert!(
            clipped.starts_with("line 0 ü\n") && clipped.ends_with("line 99 ü\n"),
            "{clipped}"
        );
        assert!(
            clipped.contains(" bytes left out ...]\n") && clipped.len() < 350,
            "{}",
            clipped.len()
        );
        for most in 0..200 {
            clip("ü".repeat(80).as_str(), most);
            clip_end("ü".repeat(80).as_str(), most);
        }
        assert_eq!(clip("short", 10), "short");
    }
}
