//! What a manifest says, byte for byte: the host and every compiled plugin depend on it.

use crate::Config;
use crate::manifest::{Kind, Manifest, SDK, capability};

const STRATEGY: Manifest = Manifest {
    kind: Kind::Strategy,
    name: "minimal-fix",
    version: "0.3.0",
    about: "Asks a model.",
    asks: &[
        capability::workspace,
        capability::llm,
        capability::history,
        capability::llm,
    ],
    config: <() as Config>::SCHEMA,
}
.checked();

#[test]
fn a_manifest_is_one_json_object_with_sorted_asks() {
    const JSON: [u8; STRATEGY.length()] = STRATEGY.json();
    let text = String::from_utf8(JSON.to_vec()).expect("text");
    let expected = r#"{"manifest":1,"kind":"strategy","name":"minimal-fix","version":"0.3.0","sdk":"0.1.0","interface":"0.1.1","about":"Asks a model.","asks":["history","llm","workspace"],"config":{"type":"object","properties":{},"additionalProperties":false}}"#;
    let expected = expected.replace(r#""sdk":"0.1.0""#, &format!(r#""sdk":"{SDK}""#));
    assert_eq!(text, expected);
}

#[test]
fn judges_may_ask_for_history_alone() {
    for kind in [Kind::Scorer, Kind::Escalation] {
        let asks = |asks| Manifest {
            kind,
            asks,
            ..STRATEGY
        };
        asks(&[capability::history]).checked();
        let refused = std::panic::catch_unwind(|| asks(&[capability::probe]).checked());
        assert!(refused.is_err(), "{kind:?}");
    }
}
