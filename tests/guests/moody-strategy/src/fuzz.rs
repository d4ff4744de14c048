//! Plays a tape: calls whatever a strategy may call with whatever stands there, and answers with the rest of it.
//!
//! Touches: nothing.
//! Change here: when strategies can ask the host for something new.

use changebus::host::workspace::SearchOpts;
use changebus::host::{budget, clock, config, history, llm, log, probe, random, tools};

use super::tape::Tape;
use super::{Context, Outcome, Patch, Proposal, Tree, black_box, changebus};

pub fn play(tape: &str, context: &Context, tree: &Tree) -> Outcome {
    let mut tape = Tape::new(tape);
    let (mut patches, mut prompts, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    // Half of the tape at most is for calls, so that an answer is left to be read.
    for _ in 0..tape.below(24) {
        if tape.over() {
            break;
        }
        match tape.below(7) {
            0 => ask_about(&mut tape, context),
            1 => read(&mut tape, tree),
            2 => patch(&mut tape, &mut patches),
            3 => prompt(&mut tape, &mut prompts, &mut answers),
            4 => spend(&mut tape, patches.last()),
            5 => drop((patches.pop(), prompts.pop(), answers.pop())),
            _ => tell(&mut tape),
        }
    }
    answer(&mut tape, patches.pop())
}

fn ask_about(tape: &mut Tape, context: &Context) {
    let (text, number) = (tape.text(), tape.number());
    match tape.below(14) {
        0 => drop(black_box(context.project())),
        1 => drop(black_box((context.base(), context.head()))),
        2 => drop(black_box(context.failing_tests(number, tape.number()))),
        3 => drop(black_box(context.message(&text))),
        4 => drop(black_box(context.detail(&text, number))),
        5 => drop(black_box(context.location(&text))),
        6 => drop(black_box(context.suite_output(number))),
        7 => drop(black_box(context.commits(number))),
        8 => drop(black_box(context.changed_paths())),
        9 => drop(black_box(context.diff(
            tape.maybe_text().as_deref(),
            number,
            tape.number(),
        ))),
        10 => drop(black_box(context.before().revision())),
        11 => drop(black_box(context.protected(&text))),
        12 => drop(black_box(context.attribute(&text))),
        _ => drop(black_box(config::get_json())),
    }
}

fn read(tape: &mut Tape, tree: &Tree) {
    let (text, number) = (tape.text(), tape.number());
    match tape.below(5) {
        0 => drop(black_box(tree.revision())),
        1 => drop(black_box(tree.size(&text))),
        2 => drop(black_box(tree.read(
            &text,
            u64::from(number) << 31,
            tape.number(),
        ))),
        3 => drop(black_box(tree.glob(&text, number))),
        _ => {
            let options = SearchOpts::from_bits_retain(tape.byte());
            drop(black_box(tree.search(
                &text,
                options,
                tape.maybe_text().as_deref(),
                number,
            )));
        }
    }
}

fn patch(tape: &mut Tape, patches: &mut Vec<Patch>) {
    if patches.is_empty() || tape.below(4) == 0 {
        patches.push(Patch::new());
    }
    let Some(patch) = patches.last() else { return };
    for _ in 0..tape.below(8) {
        match tape.below(4) {
            0 => patch.replace(&tape.text(), &tape.text(), &tape.text()),
            1 => patch.write(&tape.text(), &[tape.byte(), tape.byte()]),
            2 => patch.delete(&tape.text()),
            _ => patch.unified_diff(&tape.text()),
        }
    }
}

fn prompt(tape: &mut Tape, prompts: &mut Vec<llm::Prompt>, answers: &mut Vec<llm::Completion>) {
    if prompts.is_empty() || tape.below(4) == 0 {
        prompts.push(llm::Prompt::new(tape.number()));
    }
    let Some(prompt) = prompts.last() else { return };
    match tape.below(5) {
        0 => prompt.system(&tape.text(), tape.below(2) == 0),
        1 => prompt.message(llm::Role::User, &tape.text()),
        2 => prompt.message(llm::Role::Assistant, &tape.text()),
        3 => drop(black_box(prompt.set_option(&tape.text(), &tape.text()))),
        _ => answers.extend(prompt.send()),
    }
    if let Some(said) = answers.last() {
        drop(black_box((said.text(), said.stop_reason(), said.model())));
        black_box(said.usage(&tape.text()));
    }
}

fn spend(tape: &mut Tape, patch: Option<&Patch>) {
    let empty = Patch::new();
    let patch = patch.unwrap_or(&empty);
    let (text, number) = (tape.text(), tape.number());
    if tape.below(2) == 0 {
        if let Ok(report) = probe::run(patch) {
            let lists = (
                report.still_failing(number, tape.number()),
                report.broken(number, 9),
            );
            drop(black_box(lists));
            drop(black_box((
                report.fixed(),
                report.message(&text),
                report.output(number),
            )));
            black_box(report.metric(&text));
        }
    } else if let Ok(report) = tools::run(&text, patch) {
        drop(black_box((
            report.exit_code(),
            report.output(number),
            report.changed_paths(),
        )));
        drop(black_box((report.diff(), tools::names())));
    }
}

fn tell(tape: &mut Tape) {
    let level = match tape.below(5) {
        0 => log::Level::Trace,
        1 => log::Level::Debug,
        2 => log::Level::Info,
        3 => log::Level::Warn,
        _ => log::Level::Error,
    };
    log::emit(level, &tape.text(), &tape.pairs());
    black_box(budget::remaining(&tape.text()));
    black_box(history::metric(&tape.text(), &tape.text(), &tape.text()));
    for episode in history::similar(tape.number()) {
        black_box(episode.unified_diff(tape.number()));
        black_box(episode.fate());
    }
    black_box(history::rejections(tape.number()));
    black_box(clock::now_ms());
    drop(black_box(random::bytes(tape.number())));
}

fn answer(tape: &mut Tape, patch: Option<Patch>) -> Outcome {
    match patch {
        Some(patch) if tape.below(8) > 0 => Outcome::Propose(Proposal {
            patch,
            rationale: tape.text(),
            confidence: tape.float() as f32,
            notes: tape.pairs(),
        }),
        _ => Outcome::Decline(tape.text()),
    }
}
