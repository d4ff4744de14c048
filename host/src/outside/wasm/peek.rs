//! What a file is, told from its bytes in microseconds, before anything is compiled.
//!
//! Touches: wasm.
//! Change here: when a world comes or goes, or an interface is given to another kind of plugin.

use std::collections::BTreeSet;

use wasmparser::{Encoding, Parser, Payload};
use wasmtime::Engine;

use super::PluginKind;
use super::capability::Capability;
use super::manifest::{Manifest, ManifestError, SECTION};
use super::unfit::Unfit;

/// The track of `wit/` that this host offers: `0.1.x` fits, `0.2.x` does not.
pub const TRACK: &str = "0.1";

const WASI: [&str; 13] = [
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
];
const STRATEGY: [&str; 13] = [
    "changebus:host/log",
    "changebus:host/config",
    "changebus:host/budget",
    "changebus:host/llm",
    "changebus:host/workspace",
    "changebus:host/patching",
    "changebus:host/probe",
    "changebus:host/tools",
    "changebus:host/clock",
    "changebus:host/random",
    "changebus:host/history",
    "changebus:strategy/failure",
    "changebus:types/errors",
];
const JUDGE: [&str; 5] = [
    "changebus:host/log",
    "changebus:host/config",
    "changebus:host/history",
    "changebus:host/arena",
    "changebus:types/errors",
];

/// What a component is, as far as its bytes tell.
pub struct Peek {
    pub kind: PluginKind,
    /// Version of the interface it exports.
    pub interface: String,
    /// As they stand in the file.
    pub imports: Vec<String>,
    manifest: Result<Option<Vec<u8>>, ManifestError>,
}

impl Peek {
    /// What the plugin says about itself; one that says nothing asks for nothing.
    pub fn manifest(&mut self) -> Result<Option<Manifest>, Unfit> {
        let section = std::mem::replace(&mut self.manifest, Ok(None)).map_err(Unfit::Manifest)?;
        let Some(section) = section else {
            return Ok(None);
        };
        let manifest = Manifest::read(&section).map_err(Unfit::Manifest)?;
        if manifest.kind != self.kind.to_string() {
            return Err(Unfit::OtherKind {
                says: manifest.kind,
                is: self.kind,
            });
        }
        Ok(Some(manifest))
    }

    /// The capabilities it imports; each of them it must also ask for.
    pub fn uses(&self, asks: &BTreeSet<Capability>) -> Result<BTreeSet<Capability>, Unfit> {
        let mut uses = BTreeSet::new();
        for import in &self.imports {
            given(import, self.kind)?;
            if let Some(capability) = Capability::of_interface(interface(import)) {
                if !asks.contains(&capability) {
                    return Err(Unfit::NotAsked {
                        import: import.clone(),
                        capability,
                    });
                }
                uses.insert(capability);
            }
        }
        Ok(uses)
    }
}

/// Tells a plugin from everything else that can lie in a plugin directory.
pub fn peek(bytes: &[u8]) -> Result<Peek, Unfit> {
    if bytes.is_empty() {
        return Err(Unfit::Empty);
    }
    if Engine::detect_precompiled(bytes).is_some() {
        return Err(Unfit::Precompiled);
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(Unfit::NotWasm);
    }
    let Names {
        imports,
        exports,
        manifest,
    } = names(bytes)?;
    let (kind, export) = world(&exports)?;
    let sdk = || {
        let section = manifest.as_ref().ok()?.as_ref()?;
        Manifest::sdk_of(section)
    };
    let ours = imports.iter().map(String::as_str);
    let ours = ours.filter(|name| name.starts_with("changebus:"));
    for name in std::iter::once(export).chain(ours) {
        on_track(name, sdk)?;
    }
    Ok(Peek {
        kind,
        interface: version(export).to_owned(),
        imports,
        manifest,
    })
}

struct Names {
    imports: Vec<String>,
    exports: Vec<String>,
    manifest: Result<Option<Vec<u8>>, ManifestError>,
}

fn names(bytes: &[u8]) -> Result<Names, Unfit> {
    let broken = |error| malformed(error, bytes.len());
    let (mut imports, mut exports, mut depth) = (Vec::new(), Vec::new(), 0_usize);
    // Depth and bytes of each manifest: a linker leaves the section in the module it came with, and one that is
    // put around the component later stands above it.
    let mut manifests: Vec<(usize, &[u8])> = Vec::new();
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(broken)? {
            Payload::Version {
                encoding: Encoding::Module,
                ..
            } if depth == 0 => return Err(Unfit::CoreModule),
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import.map_err(broken)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export.map_err(broken)?.name.name.to_owned());
                }
            }
            Payload::CustomSection(section) if section.name() == SECTION => {
                manifests.push((depth, section.data()));
            }
            _ => {}
        }
    }
    Ok(Names {
        imports,
        exports,
        manifest: outermost(&manifests),
    })
}

fn outermost(manifests: &[(usize, &[u8])]) -> Result<Option<Vec<u8>>, ManifestError> {
    let Some(least) = manifests.iter().map(|(depth, _)| *depth).min() else {
        return Ok(None);
    };
    let mut there = manifests.iter().filter(|(depth, _)| *depth == least);
    let first = there.next().map(|(_, bytes)| bytes.to_vec());
    match there.next() {
        Some(_) => Err(ManifestError::Twice),
        None => Ok(first),
    }
}

fn malformed(error: wasmparser::BinaryReaderError, len: usize) -> Unfit {
    let at_its_end = error.offset() >= len || error.message().contains("unexpected end");
    if at_its_end {
        Unfit::Torn
    } else {
        Unfit::Malformed(error)
    }
}

fn world(exports: &[String]) -> Result<(PluginKind, &str), Unfit> {
    let mut found = exports
        .iter()
        .filter_map(|export| Some((kind_of(export)?, export.as_str())));
    let Some((kind, export)) = found.next() else {
        return Err(Unfit::NoWorld(if exports.is_empty() {
            "nothing".to_owned()
        } else {
            exports.join(", ")
        }));
    };
    match found.next() {
        Some((other, _)) => Err(Unfit::TwoWorlds(kind, other)),
        None => Ok((kind, export)),
    }
}

fn kind_of(export: &str) -> Option<PluginKind> {
    match interface(export) {
        "changebus:strategy/fix" => Some(PluginKind::Strategy),
        "changebus:scorer/judge" => Some(PluginKind::Scorer),
        "changebus:escalation/gate" => Some(PluginKind::Escalation),
        _ => None,
    }
}

fn given(import: &str, kind: PluginKind) -> Result<(), Unfit> {
    let ours = match kind {
        PluginKind::Strategy => STRATEGY.as_slice(),
        PluginKind::Scorer | PluginKind::Escalation => JUDGE.as_slice(),
    };
    let name = interface(import);
    if ours.contains(&name) || WASI.contains(&name) {
        Ok(())
    } else {
        Err(Unfit::NotGiven {
            import: import.to_owned(),
            kind,
        })
    }
}

/// `changebus:host/llm` of `changebus:host/llm@0.1.0`.
fn interface(name: &str) -> &str {
    name.split_once('@')
        .map_or(name, |(interface, _)| interface)
}

fn version(name: &str) -> &str {
    name.split_once('@').map_or("", |(_, version)| version)
}

/// `0.2` of `0.2.7`.
fn track(version: &str) -> String {
    let mut parts = version.split('.');
    let leading: Vec<&str> = parts.by_ref().take(2).collect();
    match leading.join(".") {
        none if none.is_empty() => "without a version".to_owned(),
        track => track,
    }
}

fn on_track(name: &str, sdk: impl FnOnce() -> Option<String>) -> Result<(), Unfit> {
    let theirs = track(version(name));
    if theirs == TRACK {
        return Ok(());
    }
    let numbers = |track: &str| -> Vec<u64> { track.split('.').flat_map(str::parse).collect() };
    let cure = if numbers(&theirs) > numbers(TRACK) {
        "build it against this host's SDK, or bring this host up to date"
    } else {
        "build it again, against this host's SDK"
    };
    Err(Unfit::OtherTrack {
        name: name.to_owned(),
        theirs,
        sdk: sdk(),
        cure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component that does nothing.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn machine_code_is_refused_whatever_its_name() {
        let code = Engine::default().precompile_component(EMPTY);
        let code = code.expect("the empty component compiles");
        assert!(matches!(peek(&code), Err(Unfit::Precompiled)));
    }

    #[test]
    fn a_plugin_of_another_track_is_told_which_one_and_what_to_do() {
        for fits in ["x@0.1.0", "x@0.1.7"] {
            assert!(on_track(fits, || None).is_ok(), "{fits}");
        }
        let told = |name: &str, sdk: Option<&str>| {
            let told = on_track(name, || sdk.map(str::to_owned));
            told.map_err(|unfit| unfit.to_string()).expect_err(name)
        };
        assert_eq!(
            told("changebus:host/llm@0.2.3", Some("0.2.0")),
            "was built with SDK 0.2.0 against changebus 0.2 (`changebus:host/llm@0.2.3`), this host offers 0.1; \
             build it against this host's SDK, or bring this host up to date"
        );
        assert_eq!(
            told("changebus:strategy/fix@0.0.9", None),
            "was built against changebus 0.0 (`changebus:strategy/fix@0.0.9`), this host offers 0.1; \
             build it again, against this host's SDK"
        );
        for other in ["x@0.10.0", "x@1.1.0", "x"] {
            assert!(on_track(other, || None).is_err(), "{other}");
        }
    }

    #[test]
    fn a_file_may_not_be_two_plugins_at_once() {
        let exports = [
            "changebus:scorer/judge@0.1.0",
            "changebus:escalation/gate@0.1.0",
        ];
        let unfit = world(&exports.map(str::to_owned))
            .map(drop)
            .map_err(|unfit| unfit.to_string());
        let why = "is a plugin of two kinds, scorer and escalation; build one file for each";
        assert_eq!(unfit, Err(why.to_owned()));
    }

    #[test]
    fn only_the_harmless_part_of_wasi_is_given() {
        assert!(given("wasi:cli/stderr@0.2.6", PluginKind::Scorer).is_ok());
        for import in [
            "wasi:clocks/monotonic-clock@0.2.6",
            "wasi:random/random@0.2.6",
            "wasi:sockets/tcp@0.2.6",
        ] {
            assert!(matches!(
                given(import, PluginKind::Strategy),
                Err(Unfit::NotGiven { .. })
            ));
        }
    }

    #[test]
    fn the_manifest_put_around_a_component_stands_above_the_one_within() {
        let (inner, outer): (&[u8], &[u8]) = (b"inner", b"outer");
        assert!(matches!(outermost(&[]), Ok(None)));
        assert!(matches!(outermost(&[(1, inner)]), Ok(Some(found)) if found == inner));
        assert!(matches!(outermost(&[(1, inner), (0, outer)]), Ok(Some(found)) if found == outer));
        assert!(matches!(
            outermost(&[(1, inner), (1, outer)]),
            Err(ManifestError::Twice)
        ));
    }
}
