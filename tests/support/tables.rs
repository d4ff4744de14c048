//! Keeps a table of measurements in its own section of a document that others keep theirs in.
//!
//! Touches: files.
//! Change here: when a document of measurements is laid out otherwise.

use std::fmt::Write as _;
use std::path::Path;

/// A measurement that is held against a target.
pub struct Row {
    pub what: String,
    pub measured: String,
    pub target: &'static str,
    pub holds: bool,
    pub how: String,
}

/// Shows a table, and keeps it where a benchmark asks for it.
pub fn tell(text: &str) {
    println!("{text}");
    if let Some(path) = std::env::var_os("CHANGEBUS_BENCH_TABLE") {
        keep(Path::new(&path), text);
    }
}

/// Puts `text`, which begins with a heading of the first level, in the place of the section with that heading, or at the
/// end.
fn keep(path: &Path, text: &str) {
    let old = std::fs::read_to_string(path).unwrap_or_default();
    let heading = text.lines().next().unwrap_or_default();
    let mut sections: Vec<String> = vec![];
    for line in old.lines() {
        match sections.last_mut() {
            Some(section) if !line.starts_with("# ") => section.push_str(&format!("{line}\n")),
            _ => sections.push(format!("{line}\n")),
        }
    }
    let is_it = |section: &&mut String| section.lines().next() == Some(heading);
    match sections.iter_mut().find(is_it) {
        Some(section) => *section = text.to_owned(),
        None => sections.push(text.to_owned()),
    }
    let sections: Vec<&str> = sections.iter().map(|s| s.trim_end()).collect();
    std::fs::write(path, sections.join("\n\n") + "\n")
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// A table of what was measured optimised, under this heading, and how.
pub fn of_rows(heading: &str, command: &str, rows: &[Row]) -> String {
    let mut text = format!(
        "{heading}\n\n\
         Written by `{command}` in one run; profile `measure` of `Cargo.toml`. {}\n\n\
         | what | measured | target | holds |\n|---|---|---|---|\n",
        machine()
    );
    for row in rows {
        let holds = if row.holds { "yes" } else { "**no**" };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {holds} |",
            row.what, row.measured, row.target
        );
    }
    text.push_str("\nHow each was measured:\n\n");
    for row in rows {
        let _ = writeln!(text, "- {}: {}.", row.what, row.how);
    }
    text
}

/// The machine, and how busy it was with other things.
pub fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find(|line| line.starts_with("model name"));
    let model = model
        .and_then(|line| line.split(':').nth(1))
        .unwrap_or(" unknown");
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown").to_owned();
    format!("{cores} cores,{model}; load average {load} at the end of the run.")
}
