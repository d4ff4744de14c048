//! What compiled plugins say of themselves: the manifest survives linking and stripping, and tells the truth.
//!
//! Touches: wasm, files.
//! Change here: when a plugin is bundled, or a manifest says something more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use changebus_tests::guests::{guest_dir, plugin_dir};
use serde_json::{Value, json};
use wasmparser::{Parser, Payload};

const SECTION: &str = "changebus:manifest";
/// Interfaces of the host that have to be asked for.
const CAPABILITIES: [&str; 7] = [
    "clock",
    "history",
    "llm",
    "probe",
    "random",
    "tools",
    "workspace",
];

/// What stands in a component, seen from outside.
struct Component {
    manifests: Vec<Value>,
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
}

/// Every component of a directory by its file's stem.
fn components(dir: &Path) -> BTreeMap<String, Component> {
    let files = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let paths = files.map(|entry| entry.expect("a directory can be read").path());
    let found: BTreeMap<String, Component> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "wasm"))
        .map(|path| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            (stem.into_owned(), read(&bytes))
        })
        .collect();
    assert!(!found.is_empty(), "no components in {}", dir.display());
    found
}

fn read(bytes: &[u8]) -> Component {
    let mut component = Component {
        manifests: vec![],
        imports: BTreeSet::new(),
        exports: BTreeSet::new(),
    };
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.expect("a component that parses") {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::CustomSection(section) if section.name() == SECTION => {
                let manifest = serde_json::from_slice(section.data()).expect("a manifest is JSON");
                component.manifests.push(manifest);
            }
            Payload::ComponentImportSection(imports) if depth == 0 => {
                let names = imports.into_iter().map(|i| i.expect("an import").name.name);
                component.imports.extend(names.map(str::to_owned));
            }
            Payload::ComponentExportSection(exports) if depth == 0 => {
                let names = exports.into_iter().map(|e| e.expect("an export").name.name);
                component.exports.extend(names.map(str::to_owned));
            }
            _ => {}
        }
    }
    component
}

/// The host's interface behind an import, where it has to be asked for.
fn capability(import: &str) -> Option<String> {
    let interface = import.strip_prefix("changebus:host/")?;
    let name = interface.split('@').next()?;
    CAPABILITIES.contains(&name).then(|| name.to_owned())
}

#[test]
fn every_bundled_plugin_asks_for_what_it_imports_and_for_nothing_else() {
    for (name, component) in components(&plugin_dir()) {
        let [manifest] = component.manifests.as_slice() else {
            panic!("{name} has {} manifests", component.manifests.len());
        };
        let imported: BTreeSet<String> = component
            .imports
            .iter()
            .filter_map(|i| capability(i))
            .collect();
        assert_eq!(manifest["asks"], json!(imported), "{name}");
    }
}

#[test]
fn every_bundled_plugin_says_its_kind_its_versions_and_what_it_does() {
    let kinds = [
        ("changebus:strategy/fix@0.1.1", "strategy"),
        ("changebus:scorer/judge@0.1.1", "scorer"),
        ("changebus:escalation/gate@0.1.1", "escalation"),
    ];
    for (name, component) in components(&plugin_dir()) {
        let manifest = &component.manifests[0];
        let kind = kinds
            .iter()
            .find(|(export, _)| component.exports.contains(*export));
        let kind = kind
            .unwrap_or_else(|| panic!("{name} exports {:?}", component.exports))
            .1;
        assert_eq!(manifest["kind"], kind, "{name}");
        assert_eq!(
            (
                &manifest["manifest"],
                &manifest["interface"],
                &manifest["sdk"]
            ),
            (
                &json!(1),
                &json!("0.1.1"),
                &json!(changebus_sdk::manifest::SDK)
            ),
            "{name}"
        );
        let about = manifest["about"].as_str().unwrap_or_default();
        assert!(about.ends_with('.'), "{name} says of itself: `{about}`");
        assert!(
            manifest["name"].as_str().is_some_and(|n| n.contains(&name)),
            "{name}"
        );
    }
}

#[test]
fn what_the_bundled_plugins_take_is_described_key_by_key() {
    let all = components(&plugin_dir());
    for (name, keys) in [
        (
            "minimal-fix",
            vec![
                "effort",
                "evidence_bytes",
                "history",
                "max_output_tokens",
                "model",
                "probe",
                "temperature",
            ],
        ),
        ("revert-culprit", vec!["max_probes"]),
        ("weighted", vec!["apply", "diff", "tests"]),
        ("default", vec!["pull_request_below"]),
    ] {
        let config = &all[name].manifests[0]["config"];
        assert_eq!(
            (
                &config["type"],
                &config["additionalProperties"],
                &config["required"]
            ),
            (&json!("object"), &json!(false), &Value::Null),
            "{name}"
        );
        let described = config["properties"].as_object().expect("a table");
        let described: BTreeSet<&str> = described.keys().map(String::as_str).collect();
        assert_eq!(described, BTreeSet::from_iter(keys), "{name}");
    }
    assert_eq!(
        all["minimal-fix"].manifests[0]["config"],
        all["robust-refactor"].manifests[0]["config"]
    );
    assert_eq!(
        all["weighted"].manifests[0]["config"]["properties"]["diff"]["minimum"],
        0
    );
}

#[test]
fn a_guest_made_with_wit_bindgen_alone_carries_a_manifest_on_either_target() {
    let all = components(&guest_dir());
    for (name, asks) in [
        (
            "moody-strategy",
            json!([
                "clock",
                "history",
                "llm",
                "probe",
                "random",
                "tools",
                "workspace"
            ]),
        ),
        ("moody-scorer", json!(["history"])),
        ("printing-strategy", json!(["workspace"])),
    ] {
        let manifests = &all[name].manifests;
        assert_eq!(manifests.len(), 1, "{name}");
        assert_eq!(manifests[0]["asks"], asks, "{name}");
        let any = json!({"type": "object", "additionalProperties": {}});
        assert_eq!(manifests[0]["config"], any, "{name}");
    }
    assert!(
        all["printing-strategy"]
            .imports
            .iter()
            .any(|i| i.starts_with("wasi:"))
    );
}

#[test]
fn every_test_guest_that_is_meant_to_load_asks_for_what_it_imports() {
    let all = components(&guest_dir());
    for (name, component) in all.iter().filter(|(name, _)| *name != "greedy-scorer") {
        let asks: BTreeSet<String> =
            serde_json::from_value(component.manifests[0]["asks"].clone()).expect("a list");
        let imported = component.imports.iter().filter_map(|i| capability(i));
        let unasked: Vec<String> = imported.filter(|c| !asks.contains(c)).collect();
        assert!(
            unasked.is_empty(),
            "{name} imports {unasked:?} without asking"
        );
    }
}
