//! The lock file: which file may run under which name. Where one is configured, nothing else is loaded.
//!
//! Touches: files.
//! Change here: when the lock should hold more than digests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::shelf::View;
use super::unfit::Unfit;

const PREFIX: &str = "sha256:";

/// What the lock file says at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// None is configured: every file may run.
    Open,
    Listed(PathBuf, BTreeMap<String, String>),
    /// It is configured and says nothing, so nothing may run.
    Unreadable(PathBuf, String),
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    plugins: BTreeMap<String, String>,
}

impl Lock {
    pub fn read(path: Option<&Path>) -> Lock {
        let Some(path) = path else {
            return Lock::Open;
        };
        let listed = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot be read ({error})"))
            .and_then(|text| parse(&text));
        match listed {
            Ok(listed) => Lock::Listed(path.to_owned(), listed),
            Err(why) => Lock::Unreadable(path.to_owned(), why),
        }
    }

    pub fn allow(&self, name: &str, digest: &str) -> Result<(), Unfit> {
        let (lock, listed) = match self {
            Lock::Open => return Ok(()),
            Lock::Listed(path, listed) => (path.clone(), listed),
            Lock::Unreadable(path, why) => {
                return Err(Unfit::NoLock {
                    lock: path.clone(),
                    why: why.clone(),
                });
            }
        };
        let digest = digest.to_owned();
        match listed.get(name) {
            None => Err(Unfit::NotLocked { lock, digest }),
            Some(wanted) if *wanted != digest => Err(Unfit::OtherDigest {
                lock,
                digest,
                wanted: wanted.clone(),
            }),
            Some(_) => Ok(()),
        }
    }
}

fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let written: Written = toml::from_str(text).map_err(|error| {
        format!(
            "is not of the form `[plugins]` with `name = \"{PREFIX}...\"` ({})",
            error.message()
        )
    })?;
    let digests = written.plugins.into_iter().map(|(name, value)| {
        let digest = value.strip_prefix(PREFIX).map(str::to_ascii_lowercase);
        match digest.filter(|digest| is_digest(digest)) {
            Some(digest) => Ok((name, digest)),
            None => Err(format!(
                "names for `{name}` no digest of the form `{PREFIX}` and 64 hex digits"
            )),
        }
    });
    digests.collect()
}

/// 64 hex digits: a digest that can be a file's name.
pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A lock file that allows exactly what is active now.
pub fn lock_text(view: &View) -> Result<String, toml::ser::Error> {
    let plugins = view.active.iter();
    let plugins = plugins.map(|one| {
        (
            one.info.name.clone(),
            format!("{PREFIX}{}", one.info.digest),
        )
    });
    toml::to_string(&Written {
        plugins: plugins.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_says_nothing_clear_is_refused_with_the_reason() {
        let digest = "ab".repeat(32);
        assert!(parse(&format!("[plugins]\nx = \"sha256:{digest}\"\n")).is_ok());
        for (text, why) in [
            ("", "is not of the form"),
            ("plugins = 3", "is not of the form"),
            ("[plugins]\nx = \"sha256:12\"\n", "names for `x` no digest"),
            (
                &format!("[plugins]\nx = \"{digest}\"\n"),
                "names for `x` no digest",
            ),
        ] {
            let told = parse(text).expect_err(text);
            assert!(told.contains(why), "{told}");
        }
    }
}
