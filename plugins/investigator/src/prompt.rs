//! What the model is told about working in turns. The rules and the evidence before it are the SDK's.
//!
//! Touches: nothing.
//! Change here: when the model uses an action otherwise than it should.

/// Fixed, so that a conversation's beginning is the same in every turn.
pub const TASK: &str = r#"You do not have to answer at once. Work in turns: in each turn you take ONE action, and are then told what came of it. What counts, the form of the edits and `NO_FIX:` stay as described above. What you were shown is often enough; look further only for what would decide between two explanations.

# A turn

One or two sentences of thought, then what you believe now, then one action on a line of its own:

HYPOTHESIS: `total` keeps only the last price, because the loop assigns where it should add
READ src/cart.py 40-120

The hypothesis names the cause and what would show that it is wrong. It is kept for you when older turns are shortened; write it anew whenever it changes. Write nothing after the action: its result is not known yet, and what you imagine it to be is worth nothing.

# Actions

READ path 40-120        lines of a file as it stands now; without numbers, its beginning
SEARCH text             lines that hold exactly this text
SEARCH text IN src/**   the same, in files that match the glob
GREP regex IN src/**    lines that match a regular expression; IN may be left out here too
LIST src/**/*.py        paths that match a glob
DIFF path               what the push changed about a file; without a path, all of it
TEST id                 all that a failing test said
PROBE                   then edits: they are applied to the files as they stand, and the whole suite runs
PROPOSE                 then edits: the same, and they are handed in even where no probe is left
NO_FIX: reason          ends the work without a change

# How to work

1. Begin at the failure: what does the test expect, what did it get, and which line made it so? Then the push: which of its changes can have done that? Most of a push is right; look for the one place that is not, or for the place that should have changed with it.
2. Look before you edit. The search part of an edit must be copied from lines you have seen, as they stand. If you have not seen them, READ them first. Look at who else uses what you are about to change.
3. Prefer a search that can prove you wrong over one more look at what you believe already. Do not read what you have read; what was shortened may be read again.
4. Probe as soon as one explanation fits all failing tests. A probe is worth more than three more looks, but there are few of them: never probe a guess that what you have seen already contradicts.
5. A probe that is green ends the work, and exactly those edits are handed in. So write above PROBE, in two to five sentences for the people who will review the change, what the cause is and what the edits do about it; and probe only what you would want to be merged: no debugging output, no experiment.
6. After a red probe the files are again as they were: edits do not add up, so send a complete set each time. First say which belief the result has refuted. The same edits again, or slightly different ones without a new reason, are a waste.
7. If what you find is that nothing in this repository should change, say `NO_FIX:` and why. That is a good answer when it is true."#;

/// A look in a turn that holds edits too.
pub const ONE: &str = "One action a turn: the edits were not tried.\n";

/// The one correction of a turn that holds no action.
pub const FORM: &str = "That turn holds no action that can be read. Answer with one action on a line of its own: READ path 1-80, SEARCH text, GREP regex, LIST glob, DIFF path, TEST id, PROBE or PROPOSE followed by edits, or NO_FIX: reason.\n";

/// An action for edits, and no edits.
pub const NO_EDITS: &str = "There are no edits that change anything in that turn. PROBE and PROPOSE are followed by edits: the path alone on a line, then `<<<<<<< SEARCH`, the lines as they stand, `=======`, the new lines, `>>>>>>> REPLACE`.\n";

/// Edits of which some do not apply.
pub const COMPLETE: &str = "Nothing was tried. Send the complete set of edits again, with the search text copied word for word from the files as they stand; READ them first if you have not seen the lines.\n";

/// After a probe that is not green.
pub const TAKEN_BACK: &str =
    "Those edits were taken back: all files stand as before. Which belief does this refute?\n";

/// What was asked for stands above already.
pub const SEEN: &str = "You did exactly that before, and its result still stands above. Do something else, or probe.\n";

/// The very edits of an earlier probe.
pub const TRIED: &str =
    "These very edits were tried before, and did not hold. Send others, or look further.\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::turn;

    #[test]
    fn every_action_is_told_and_read() {
        let told: Vec<&str> = TASK
            .lines()
            .skip_while(|line| *line != "# Actions")
            .skip(2)
            .take_while(|line| !line.is_empty())
            .filter_map(|line| line.split("  ").next())
            .collect();
        for verb in [
            "READ", "SEARCH", "GREP", "LIST", "DIFF", "TEST", "PROBE", "PROPOSE", "NO_FIX:",
        ] {
            assert!(
                told.iter().any(|line| line.split(' ').next() == Some(verb)),
                "{verb}"
            );
        }
        for line in told.iter().filter(|line| !line.starts_with("NO_FIX")) {
            assert!(turn(line).action.is_some(), "{line}");
        }
    }
}
