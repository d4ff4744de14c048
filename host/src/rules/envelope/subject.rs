//! The subject a message goes under, safe whatever a project or an application is called.
//!
//! Touches: nothing.
//! Change here: when subjects are laid out otherwise; which fact has which is in `event.rs`.
//!
//! A token keeps its letters, digits, dashes and underscores. Every other byte of its UTF-8 is written as `=` and two
//! upper-case hex digits, so `a.b` becomes `a=2Eb`; a name without a character becomes a lone `=`. So no name can hold
//! a dot, a blank, a wildcard or a leading `$`, two names never share a token, and [`name`] leads back.

use crate::event::Event;

/// Under the prefix, which may have several tokens or none.
pub fn subject(prefix: &str, event: &Event) -> String {
    let own = event.fact.subject(&token(&event.project));
    if prefix.is_empty() {
        return own;
    }
    let prefix: Vec<String> = prefix.split('.').map(token).collect();
    format!("{}.{own}", prefix.join("."))
}

/// A name as one token of a subject.
pub fn token(name: &str) -> String {
    if name.is_empty() {
        return "=".to_owned();
    }
    let encode = |byte: u8| {
        if is_plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("={byte:02X}")
        }
    };
    name.bytes().map(encode).collect()
}

/// The name that a token stands for; none where [`token`] writes no such token.
pub fn name(token: &str) -> Option<String> {
    if token == "=" {
        return Some(String::new());
    }
    let mut parts = token.split('=');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        bytes.extend(rest.bytes());
    }
    let name = String::from_utf8(bytes).ok()?;
    (self::token(&name) == token).then_some(name)
}

/// Whether a name is its own token.
pub fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(is_plain)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}
