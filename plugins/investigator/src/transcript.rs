//! What was said and seen so far, kept small: recent turns whole, older ones by what is left to know of them.
//!
//! Touches: nothing.
//! Change here: when the model should remember more, or be reminded otherwise.

use changebus_sdk::Prompt;
use changebus_sdk::shares::clip;
use changebus_sdk::untrusted::one_line;

/// What a model said in an older turn.
const OLD_SAYING: usize = 900;
/// Turns whose observation is always sent whole.
const WHOLE: usize = 2;

/// One turn: what the model said, and what it was told in return.
pub struct Step {
    pub said: String,
    pub told: String,
    /// What stays when `told` is dropped.
    pub digest: String,
}

#[derive(Default)]
pub struct Transcript {
    pub steps: Vec<Step>,
    pub hypothesis: Option<String>,
}

impl Transcript {
    /// `opening` with everything that happened, in about `bytes` bytes, and `status` at its end.
    pub fn prompt(&self, opening: &Prompt, task: &str, status: &str, bytes: usize) -> Prompt {
        let mut prompt = opening.clone();
        let whole = self.whole(bytes);
        let mut told = task.to_owned();
        for (at, step) in self.steps.iter().enumerate() {
            let is_whole = at >= whole;
            let said = if is_whole {
                step.said.clone()
            } else {
                clip(&step.said, OLD_SAYING)
            };
            prompt = prompt.user(std::mem::take(&mut told)).assistant(said);
            told = if is_whole {
                step.told.clone()
            } else {
                format!("[{}]\n", step.digest)
            };
        }
        if let Some(belief) = self.hypothesis.as_ref().filter(|_| whole > 0) {
            let belief = one_line(belief, 600);
            told.push_str(&format!("\nYour last hypothesis was: {belief}\n"));
        }
        prompt.user(format!("{told}\n{status}"))
    }

    /// Whether what this step was told is still sent whole.
    pub fn is_in_view(&self, at: usize, bytes: usize) -> bool {
        at >= self.whole(bytes)
    }

    /// The first step that is sent whole.
    fn whole(&self, bytes: usize) -> usize {
        let mut left = bytes;
        let mut first = self.steps.len();
        for (at, step) in self.steps.iter().enumerate().rev() {
            let size = step.said.len() + step.told.len();
            if size > left && self.steps.len() - at > WHOLE {
                break;
            }
            left = left.saturating_sub(size);
            first = at;
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use changebus_sdk::Role;

    use super::*;

    fn step(n: usize) -> Step {
        Step {
            said: format!("READ {n}"),
            told: format!("{n}").repeat(1000),
            digest: format!("{n} was read; it was shown earlier"),
        }
    }

    fn texts(bytes: usize) -> Vec<String> {
        let transcript = Transcript {
            steps: (1..=5).map(step).collect(),
            hypothesis: Some("it is\nthe third".into()),
        };
        let prompt = transcript.prompt(&Prompt::new(1), "the task", "turn 6", bytes);
        let roles: Vec<Role> = prompt.messages.iter().map(|(role, _)| *role).collect();
        let expected = [Role::User, Role::Assistant].repeat(6);
        assert_eq!(roles, expected[..11]);
        prompt.messages.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn recent_turns_are_sent_whole_and_older_ones_in_a_line() {
        let all = texts(1 << 20);
        assert_eq!((all[0].as_str(), all[2].len()), ("the task", 1000));
        assert!(all[10].ends_with("5\nturn 6"), "{}", all[10]);
        let some = texts(3500);
        assert_eq!(some[2], "[1 was read; it was shown earlier]\n");
        assert_eq!(some[4], "[2 was read; it was shown earlier]\n");
        assert_eq!(some[6].len(), 1000);
        assert!(some[10].ends_with("\nYour last hypothesis was: it is the third\n\nturn 6"));
    }

    #[test]
    fn the_last_two_looks_are_never_taken_away() {
        let few = texts(1);
        assert_eq!(few[6], "[3 was read; it was shown earlier]\n");
        assert_eq!(few[8].len(), 1000);
    }
}
