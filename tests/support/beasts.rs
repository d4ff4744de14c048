//! Plugins nobody should have to meet, each a file of its own: test guests with a mood stamped into them, modules
//! forged by hand into components, and files that are no plugins at all.
//!
//! Touches: files.
//! Change here: when beasts are made otherwise; what they do stands in `tests/guests` and in `tests/it/zoo`.

use std::path::Path;

use serde_json::Value;
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

use crate::guests::guest_dir;

/// What `tests/guests/stamp.rs` keeps a place behind.
const MARK: &[u8] = b"CHANGEBUS-BEAST:";
const PLACE: usize = 1024;

/// A built guest that does what `mood` says, whatever its configuration.
///
/// # Panics
/// Where the guest is not built, or has no place for a mood as long as this.
pub fn stamped(guest: &str, mood: &Value) -> Vec<u8> {
    let path = guest_dir().join(format!("{guest}.wasm"));
    let mut bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mood = mood.to_string();
    assert!(
        mood.len() <= PLACE - MARK.len(),
        "too much to stamp: {mood}"
    );
    let mut blank = MARK.to_vec();
    blank.resize(PLACE, b' ');
    let at = bytes.windows(PLACE).position(|window| window == blank);
    let at = at.unwrap_or_else(|| panic!("{guest} has no place for a mood")) + MARK.len();
    bytes[at..at + mood.len()].copy_from_slice(mood.as_bytes());
    bytes
}

/// A component of one of the worlds (`scorer`, ...) around a core module in text.
///
/// # Panics
/// Where the text is wrong, or does not fit the world.
pub fn forged(world: &str, text: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    let (package, _) = resolve.push_dir(&wit).expect("our own interface is right");
    let world = format!("changebus:{world}/{world}");
    let world = resolve
        .select_world(&[package], Some(&world))
        .unwrap_or_else(|e| panic!("{world}: {e:#}"));
    let mut module = wat::parse_str(text).unwrap_or_else(|e| panic!("{e}"));
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("metadata fits into any module");
    ComponentEncoder::default()
        .module(&module)
        .and_then(|mut encoder| encoder.encode())
        .unwrap_or_else(|e| panic!("{e:#}\n{text}"))
}

/// A component as it is written by hand.
///
/// # Panics
/// Where the text is wrong.
pub fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|e| panic!("{e}"))
}

/// The same component with a manifest of its own; one that has one already would have two.
pub fn with_manifest(component: &[u8], manifest: &[u8]) -> Vec<u8> {
    const NAME: &[u8] = b"changebus:manifest";
    let section = [&leb(NAME.len()), NAME, manifest].concat();
    [component, &[0], &leb(section.len()), &section].concat()
}

/// A number as WebAssembly writes it.
pub fn leb(mut n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (n & 0x7f) as u8;
        n >>= 7;
        bytes.push(if n > 0 { low | 0x80 } else { low });
        if n == 0 {
            return bytes;
        }
    }
}
