//! Puts a mistyped line back.
//!
//! Looks for lines that the push altered in one place by a few characters, puts one after the other back as it was, and
//! has the host run the tests on that. Asks no model. Keep the frame, change the idea.

use changebus_sdk::diff;
use changebus_sdk::*;
use serde::Deserialize;

/// What the `config` table of the variant may hold; the host checks it before the plugin is ever called.
#[derive(Deserialize, Config)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// A line may differ in so many characters in a row and still count as mistyped.
    #[config(min = 1, max = 20)]
    most_characters: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { most_characters: 3 }
    }
}

#[derive(Default)]
pub struct PutBack;

// What it asks for is what the operator has to allow.
export_strategy!(PutBack, asks = [probe, workspace], config = Settings);

impl Strategy for PutBack {
    fn run(
        &self,
        failure: &impl Failure,
        tree: &impl Tree,
        host: &impl Host,
    ) -> Result<Outcome, String> {
        let settings: Settings = host.config()?;
        let suspects = suspects(failure, tree, settings.most_characters as usize);
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

fn suspects(failure: &impl Failure, tree: &impl Tree, most: usize) -> Vec<Suspect> {
    let before = failure.before();
    let mut found = vec![];
    for path in failure.changed_paths() {
        if failure.protected(&path).is_some() {
            continue;
        }
        if let (Ok(old), Ok(new)) = (before.read_text(&path), tree.read_text(&path)) {
            found.extend(slips(&path, &old, &new, most));
        }
    }
    found
}

/// The lines of one file that differ by a slip of at most so many characters.
fn slips(path: &str, old: &str, new: &str, most: usize) -> Vec<Suspect> {
    let (old, new) = (diff::lines(old), diff::lines(new));
    let hunks = diff::hunks(&old, &new);
    let one_line = hunks
        .iter()
        .filter(|h| h.old.len() == 1 && h.new.len() == 1);
    let slips = one_line.filter(|h| slip(old[h.old.start], new[h.new.start]) <= most);
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

/// Characters between the first and the last that differ, in the longer of the two.
fn slip(old: &str, new: &str) -> usize {
    let (old, new): (Vec<char>, Vec<char>) = (old.chars().collect(), new.chars().collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old[head..], &new[head..]);
    let tail = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    a.len().max(b.len()) - tail
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
    fn a_slip_is_as_long_as_what_lies_between_the_differences() {
        assert_eq!(
            [
                slip("colour", "color"),
                slip("a < b", "a <= b"),
                slip("", "x")
            ],
            [1, 1, 1]
        );
        assert_eq!(slip("abcd", "xbcy"), 4);
    }

    #[test]
    fn how_large_a_slip_may_be_is_for_the_operator_to_say() {
        let config = |most: u32| serde_json::json!({ "most_characters": most });
        let decline = bench("name=$1\necho \"Heeeello, $name!\"\n")
            .config(config(2))
            .run(&PutBack);
        assert!(matches!(decline, Ok(Outcome::Decline(_))), "{decline:?}");
        let fix = bench("name=$1\necho \"Heeeelo, $name!\"\n")
            .config(config(5))
            .run(&PutBack);
        assert!(matches!(fix, Ok(Outcome::Propose(_))), "{fix:?}");
    }
}
