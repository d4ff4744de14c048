//! Maven's surefire: `com.shop.CartTest::adds` is what `-Dtest=com.shop.CartTest` runs, with its whole class.
//!
//! Touches: nothing.
//! Change here: when surefire takes names otherwise.

use std::collections::BTreeSet;

use super::line::{Edit, Word};

/// The words begin with `mvn`.
pub fn maven(words: &[Word<'_>], wanted: &BTreeSet<String>) -> Option<Edit> {
    let narrowed = |w: &Word<'_>| {
        w.raw.starts_with("-Dtest=") || w.raw.starts_with("-Dit.test=") || w.plain.is_none()
    };
    // `verify` and `install` run integration tests, which another plugin selects.
    let tests = words.iter().any(|w| w.is("test") || w.is("surefire:test"));
    if !tests || words.iter().any(narrowed) {
        return None;
    }
    let classes: Option<BTreeSet<String>> = wanted.iter().map(|id| class(id)).collect();
    let classes: Vec<String> = classes?.into_iter().collect();
    Some(Edit {
        remove: vec![],
        at: words.last()?.at.end,
        insert: vec![
            format!("-Dtest={}", classes.join(",")),
            // A module without any of them is no failure.
            "-Dsurefire.failIfNoSpecifiedTests=false".to_owned(),
            "-DfailIfNoTests=false".to_owned(),
        ],
    })
}

/// With the classes that are nested in it.
fn class(id: &str) -> Option<String> {
    let (class, _) = id.split_once("::")?;
    let (outer, nested) = match class.split_once('$') {
        Some((outer, _)) => (outer, true),
        None => (class, false),
    };
    let fits = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let named = outer.chars().all(fits) && !outer.is_empty() && outer.contains(char::is_alphabetic);
    named.then(|| format!("{outer}{}", if nested { "*" } else { "" }))
}
