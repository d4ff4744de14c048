//! What a plugin says about itself: a section of its file that the SDK's export macros write.
//!
//! Touches: nothing.
//! Change here: when the manifest says more; its form is in `docs/plugins-operating.md`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::capability::Capability;
use super::schema;

/// The section's name in the file.
pub const SECTION: &str = "changebus:manifest";
/// The form of it that this host reads.
const FORM: u64 = 1;
const LARGEST: usize = 64 << 10;
/// Longest name, version or description that is shown.
const LONGEST: usize = 500;

/// Why a manifest cannot be used; reads on from the file's path.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("has two manifests; build it with one export macro")]
    Twice,
    #[error("has a manifest larger than {} KiB; shorten what it says of its configuration", LARGEST >> 10)]
    TooLarge,
    #[error(
        "has a manifest that is not the JSON this host reads ({0}); build it with this host's SDK"
    )]
    Malformed(serde_json::Error),
    #[error(
        "has a manifest of form {0}, this host reads form {FORM}; build it with this host's SDK"
    )]
    OtherForm(u64),
    #[error("asks for `{0}`, which this host does not know ({known}); build it with this host's SDK", known = known())]
    UnknownAsk(String),
    #[error(
        "has a manifest whose description of its configuration cannot be used: {0}; correct the schema"
    )]
    Schema(String),
}

/// A plugin's own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub kind: String,
    /// Of its package; the file's name is what it is known by here.
    pub name: String,
    pub version: String,
    pub sdk: String,
    /// Of `wit/` that it was built against.
    pub interface: String,
    pub about: String,
    pub asks: BTreeSet<Capability>,
    /// JSON Schema of its `config` table; none where it says nothing.
    pub config: Option<Value>,
}

#[derive(Deserialize)]
struct Form {
    manifest: u64,
}

#[derive(Deserialize)]
struct Written {
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    sdk: String,
    #[serde(default)]
    interface: String,
    #[serde(default)]
    about: String,
    #[serde(default)]
    asks: Vec<String>,
    config: Option<Value>,
}

impl Manifest {
    pub fn read(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        if bytes.len() > LARGEST {
            return Err(ManifestError::TooLarge);
        }
        let form: Form = serde_json::from_slice(bytes).map_err(ManifestError::Malformed)?;
        if form.manifest != FORM {
            return Err(ManifestError::OtherForm(form.manifest));
        }
        let written: Written = serde_json::from_slice(bytes).map_err(ManifestError::Malformed)?;
        let asks = written.asks.into_iter();
        let asks = asks
            .map(|ask| {
                Capability::of_name(&ask).ok_or_else(|| ManifestError::UnknownAsk(plain(&ask)))
            })
            .collect::<Result<_, _>>()?;
        if let Some(config) = &written.config {
            schema::compile(config).map_err(|why| ManifestError::Schema(plain(&why)))?;
        }
        Ok(Manifest {
            kind: plain(&written.kind),
            name: plain(&written.name),
            version: plain(&written.version),
            sdk: plain(&written.sdk),
            interface: plain(&written.interface),
            about: plain(&written.about),
            asks,
            config: written.config,
        })
    }

    /// The SDK's version, even of a manifest this host cannot use otherwise: it explains why the file does not fit.
    pub fn sdk_of(bytes: &[u8]) -> Option<String> {
        let value: Value = serde_json::from_slice(bytes.get(..LARGEST).unwrap_or(bytes)).ok()?;
        value["sdk"].as_str().map(plain)
    }
}

/// One line a terminal can show: no control characters, a bounded length.
fn plain(text: &str) -> String {
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    visible.take(LONGEST).collect::<String>().trim().to_owned()
}

fn known() -> String {
    Capability::ALL.map(Capability::name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str) -> Result<Manifest, String> {
        Manifest::read(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_newer_sdk_adds_is_no_trouble() {
        let read = manifest(
            r#"{"manifest":1,"kind":"scorer","name":"n","version":"1.2.3","asks":["llm","history"],"colour":"red"}"#,
        );
        let read = read.expect("it can be read");
        assert_eq!((read.version.as_str(), read.about.as_str()), ("1.2.3", ""));
        assert_eq!(
            read.asks,
            BTreeSet::from([Capability::Llm, Capability::History])
        );
    }

    #[test]
    fn a_manifest_that_cannot_be_used_is_refused_by_what_is_wrong_with_it() {
        for (text, why) in [
            ("{", "is not the JSON this host reads"),
            ("[]", "is not the JSON this host reads"),
            (r#"{"manifest":2}"#, "form 2, this host reads form 1"),
            (r#"{"manifest":1}"#, "missing field `kind`"),
            (
                r#"{"manifest":1,"kind":"scorer","asks":["gpu"]}"#,
                "asks for `gpu`",
            ),
            (
                r#"{"manifest":1,"kind":"scorer","config":{"type":"nothing"}}"#,
                "description of its configuration cannot be used",
            ),
        ] {
            let error = manifest(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
        let long = format!(r#"{{"manifest":1,"kind":"{}"}}"#, "x".repeat(LARGEST));
        assert!(manifest(&long).is_err_and(|error| error.contains("larger than 64 KiB")));
    }

    #[test]
    fn what_a_plugin_says_of_itself_cannot_play_with_the_terminal() {
        let read = manifest(r#"{"manifest":1,"kind":"scorer","about":"a\u001b[31m red\nline"}"#);
        assert_eq!(read.expect("it can be read").about, "a [31m red line");
    }
}
