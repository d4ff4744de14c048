//! Puts a mistyped line back.
//!
//! Looks for lines that the push altered in one place by a few characters, puts one after the other back as it was, and
//! has the host run the tests on that. Asks no model. Keep the frame, change the idea.

use changebus_sdk::diff;
use changebus_sdk::*;

/// A line may differ in so many characters in a row and still count as mistyped.
const SMALL: usize = 3;

#[derive(Default)]
pub struct PutBack;

export_strategy!(PutBack);

impl Strategy for PutBack {
    fn run(
        &self,
        failure: &impl Failure,
        tree: &impl Tree,
        host: &impl Host,
    ) -> Result<Outcome, String> {
        let suspects = suspects(failure, tree);
        for suspect in &suspects {
            let patch = Patch::new().write(&suspect.path, suspect.text_without.as_str());
            match host.probe(&patch) {
                Ok(report) if report.is_good() => {
                    return Ok(Outcome::propose(patch, suspect.story(), 0.9));
                }
                Ok(_) => host.log(Level::Info, "not the cause", &[("path", &suspect.path)]),
                Err(fault) => {
                    return Ok(Outcome::decline(format!(
                        "the tests could not be asked: {fault}"
                    )));
                }
            }
        }
        Ok(Outcome::decline(match suspects.len() {
            0 => "the push altered no line by only a few characters".to_owned(),
            n => format!("putting back any one of {n} lines does not make the tests pass"),
        }))
    }
}

/// A line that may have been mistyped.
struct Suspect {
    path: String,
    before: String,
    now: String,
    /// The file as it would be without the slip.
    text_without: String,
}

impl Suspect {
    fn story(&self) -> String {
        format!(
            "The push turned `{}` into `{}` in {}. With the line put back the tests pass.",
            self.before, self.now, self.path
        )
    }
}

fn suspects(failure: &impl Failure, tree: &impl Tree) -> Vec<Suspect> {
    let before = failure.before();
    let mut found = vec![];
    for path in failure.changed_paths() {
        if failure.protected(&path).is_some() {
            continue;
        }
        if let (Ok(old), Ok(new)) = (before.read_text(&path), tree.read_text(&path)) {
            found.extend(slips(&path, &old, &new));
        }
    }
    found
}

/// The lines of one file that differ by a slip.
fn slips(path: &str, old: &str, new: &str) -> Vec<Suspect> {
    let (old, new) = (diff::lines(old), diff::lines(new));
    let hunks = diff::hunks(&old, &new);
    let one_line = hunks.iter().filter(|h| h.old.len() == 1 && h.new.len() == 1);
    let slips = one_line.filter(|h| is_slip(old[h.old.start], new[h.new.start]));
    slips
        .map(|hunk| {
            let mut lines = new.clone();
            lines[hunk.new.start] = old[hunk.old.start];
            Suspect {
                path: path.to_owned(),
                before: old[hunk.old.start].trim().to_owned(),
                now: new[hunk.new.start].trim().to_owned(),
                text_without: lines.concat(),
            }
        })
        .collect()
}

/// True where the two differ in one place only, by at most [`SMALL`] characters.
fn is_slip(old: &str, new: &str) -> bool {
    let (old, new): (Vec<char>, Vec<char>) = (old.chars().collect(), new.chars().collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old[head..], &new[head..]);
    let tail = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    a.len().max(b.len()) - tail <= SMALL
}

#[cfg(test)]
mod tests {
    use changebus_sdk::testing::{Bench, passes, still_fails};

    use super::*;

    const TEST: &str = "greeting.test_hello";

    fn bench(head: &str) -> Bench {
        Bench::new()
            .base("greet.sh", "name=$1\necho \"Hello, $name!\"\n")
            .head("greet.sh", head)
            .failing(TEST, "expected: Hello, Ada!", "")
            .tests(|files| match files["greet.sh"].contains("Hello") {
                true => passes(),
                false => still_fails(&[TEST]),
            })
    }

    #[test]
    fn a_mistyped_line_is_put_back_and_the_rest_of_the_push_stays() {
        let bench = bench("# greets\nname=$1\necho \"Helo, $name!\"\n");
        let outcome = bench.run(&PutBack).unwrap();
        let after = &bench.files_after(&outcome)["greet.sh"];
        assert_eq!(after, "# greets\nname=$1\necho \"Hello, $name!\"\n");
    }

    #[test]
    fn what_does_not_make_the_tests_pass_is_not_proposed() {
        let bench = bench("name=$2\necho nothing at all\n");
        let outcome = bench.run(&PutBack).unwrap();
        assert!(matches!(outcome, Outcome::Decline(_)), "{outcome:?}");
        assert_eq!(bench.probed().len(), 0);
    }

    #[test]
    fn a_slip_is_small_and_in_one_place() {
        assert!(is_slip("colour", "color") && is_slip("a < b", "a <= b") && is_slip("", "x"));
        assert!(!is_slip("return a + b", "return sum(a, b)"));
        assert!(!is_slip("abc def", "xbc dex"));
    }
}
