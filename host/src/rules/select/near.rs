//! Which tests stand near what a change touches, as far as names tell.
//!
//! Touches: nothing.
//! Change here: when there is better evidence for what belongs together than names.

use std::collections::BTreeSet;

/// Names that say nothing of what a file is about; there the directory's name does.
const SAY_NOTHING: [&str; 6] = ["mod", "lib", "main", "index", "init", "src"];

/// The ids that bear the name of a touched file. `src/cart.rs` is near to `shop::cart::adds` and `tests.test_cart::a`.
/// Nothing where that is more than half of all: it would be no early warning any more.
pub fn near(touched: &[String], ids: &BTreeSet<String>) -> BTreeSet<String> {
    let about: BTreeSet<String> = touched.iter().filter_map(|path| subject(path)).collect();
    let bears_a_name = |id: &&String| words(id).any(|word| about.contains(&word));
    let found: BTreeSet<String> = ids.iter().filter(bears_a_name).cloned().collect();
    match found.len() * 2 <= ids.len() {
        true => found,
        false => BTreeSet::new(),
    }
}

fn subject(path: &str) -> Option<String> {
    let mut parts = path.rsplit('/');
    let file = parts.next()?.split('.').next()?;
    let names = std::iter::once(file).chain(parts);
    let mut names = names.map(|name| name.trim_matches('_').to_lowercase());
    names.find(|name| name.len() > 2 && !SAY_NOTHING.contains(&name.as_str()))
}

/// `tests.test_cart::TestPay::adds` is about `tests`, `test_cart`, `cart`, `testpay`, `pay` and `adds`.
fn words(id: &str) -> impl Iterator<Item = String> + '_ {
    let of_a_name = |c: char| !c.is_alphanumeric() && c != '_';
    id.split(of_a_name).flat_map(|word| {
        let word = word.to_lowercase();
        let bare = word
            .trim_start_matches("test")
            .trim_end_matches("test")
            .trim_matches('_')
            .to_owned();
        [word, bare]
    })
}
