//! Reports that a fact names by their digest: whole ones are too large for every trial's fact to hold.
//!
//! Touches: nothing.
//! Change here: when such a report is kept otherwise.

use sha2::{Digest, Sha256};

use super::StoreError;
use crate::event::{KeptReport, TestReport};

/// The name, and what is kept under it.
pub fn pack(suite: &str, report: &TestReport) -> Result<(KeptReport, Vec<u8>), StoreError> {
    let text = serde_json::to_vec(report).map_err(|source| StoreError::Unfit { source })?;
    let kept = KeptReport {
        suite: suite.to_owned(),
        digest: digest(&text),
    };
    let packed = zstd::encode_all(&text[..], zstd::DEFAULT_COMPRESSION_LEVEL);
    Ok((
        kept,
        packed.map_err(|source| StoreError::Unpackable { source })?,
    ))
}

/// None where it was changed: then nobody knows what was said of the tree.
pub fn unpack(kept: &KeptReport, packed: &[u8]) -> Option<TestReport> {
    let text = zstd::decode_all(packed).ok()?;
    let report = serde_json::from_slice(&text).ok()?;
    (digest(&text) == kept.digest).then_some(report)
}

fn digest(text: &[u8]) -> String {
    let digest = Sha256::digest(text);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
