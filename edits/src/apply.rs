//! Applies several blocks to a set of files, all or nothing.
//!
//! Touches: nothing.
//! Change here: when a block can do more to a file than replace, write and delete.

use std::collections::BTreeMap;

use crate::{Block, Kind, Match, Miss, apply_one};

/// The files that changed, and the least exact match among the blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// New content by path; None where the file goes.
    pub files: BTreeMap<String, Option<String>>,
    pub quality: Match,
}

/// A block that could not be applied: its place in the list, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockMiss {
    pub block: usize,
    pub path: String,
    pub miss: Miss,
}

impl std::fmt::Display for BlockMiss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.miss)
    }
}

/// Applies `blocks` in order; a later block sees what an earlier one made of the file.
///
/// `read` gives a file's present content, or None where there is no such file (or no text). A replacement of
/// nothing (blank search) in a file that is absent or blank makes the file. The result holds every file a block
/// named, also one that ends as it began. All misses are returned, not only the first.
pub fn apply(
    read: impl Fn(&str) -> Option<String>,
    blocks: &[Block],
) -> Result<Applied, Vec<BlockMiss>> {
    let mut files: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut quality = Match::Exact;
    let mut misses = vec![];
    for (at, block) in blocks.iter().enumerate() {
        let now = files
            .get(&block.path)
            .cloned()
            .unwrap_or_else(|| read(&block.path));
        match applied(now.as_deref(), &block.kind) {
            Ok((content, how)) => {
                quality = quality.max(how);
                files.insert(block.path.clone(), content);
            }
            Err(miss) => misses.push(BlockMiss {
                block: at,
                path: block.path.clone(),
                miss,
            }),
        }
    }
    if misses.is_empty() {
        Ok(Applied { files, quality })
    } else {
        Err(misses)
    }
}

fn applied(now: Option<&str>, kind: &Kind) -> Result<(Option<String>, Match), Miss> {
    match (kind, now) {
        (Kind::Write { content }, _) => Ok((Some(content.clone()), Match::Exact)),
        (Kind::Delete, Some(_)) => Ok((None, Match::Exact)),
        (Kind::Delete, None) => Err(Miss::NoFile),
        (
            Kind::Replace {
                search,
                replacement,
            },
            now,
        ) if search.trim().is_empty() && now.is_none_or(|text| text.trim().is_empty()) => {
            Ok((Some(replacement.clone()), Match::Exact))
        }
        (Kind::Replace { .. }, None) => Err(Miss::NoFile),
        (
            Kind::Replace {
                search,
                replacement,
            },
            Some(text),
        ) => apply_one(text, search, replacement).map(|(text, how)| (Some(text), how)),
    }
}
