//! Keeps a table of measurements in its own section of a document that others keep theirs in.
//!
//! Touches: files.
//! Change here: when a document of measurements is laid out otherwise.

use std::path::Path;

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
