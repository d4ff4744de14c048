//! What a plugin says of itself: a custom section of its component, read by the host before anything runs.
//!
//! Touches: wasm.
//! Change here: when the host wants to know something else of a plugin beforehand. The host reads it in
//! `outside/wasm/manifest.rs`; it passes over keys it does not know, so new ones need no new number.

use crate::config::Schema;
use crate::json::Json;

/// Where it stands in the component.
pub const SECTION: &str = "changebus:manifest";

/// The version of this SDK.
pub const SDK: &str = env!("CARGO_PKG_VERSION");

/// The interface packages this SDK was made for.
pub const INTERFACE: &str = "0.1.1";

/// What a plugin may ask the operator for: a part of the host that costs or tells something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability(&'static str);

/// The capabilities by name, for `asks = [...]`.
#[allow(non_upper_case_globals)]
pub mod capability {
    use super::Capability;

    pub const clock: Capability = Capability("clock");
    pub const history: Capability = Capability("history");
    pub const llm: Capability = Capability("llm");
    pub const probe: Capability = Capability("probe");
    pub const random: Capability = Capability("random");
    pub const tools: Capability = Capability("tools");
    pub const workspace: Capability = Capability("workspace");
}

/// All of them, sorted.
const ALL: [Capability; 7] = {
    use capability::*;
    [clock, history, llm, probe, random, tools, workspace]
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Strategy,
    Scorer,
    Escalation,
}

/// The kinds by name, for the macros.
#[allow(non_upper_case_globals)]
pub mod kind {
    use super::Kind;

    pub const strategy: Kind = Kind::Strategy;
    pub const scorer: Kind = Kind::Scorer;
    pub const escalation: Kind = Kind::Escalation;
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Kind::Strategy => "strategy",
            Kind::Scorer => "scorer",
            Kind::Escalation => "escalation",
        }
    }

    /// What its world offers of what has to be asked for.
    const fn may_ask(self, capability: Capability) -> bool {
        matches!(self, Kind::Strategy) || same(capability.0, "history")
    }
}

/// Built by the export macros, at compile time.
#[derive(Clone, Copy, Debug)]
pub struct Manifest {
    pub kind: Kind,
    pub name: &'static str,
    pub version: &'static str,
    pub about: &'static str,
    pub asks: &'static [Capability],
    pub config: Schema,
}

impl Manifest {
    /// Refuses what could never be granted, as an error of the compiler.
    pub const fn checked(self) -> Manifest {
        assert!(
            self.config.is_table(),
            "`config` has to be a struct, or a map with keys of text: the host hands over a table"
        );
        assert!(
            !matches!(self.kind, Kind::Strategy) || self.asks_for(capability::workspace),
            "a strategy has to ask for `workspace`: it is handed a tree, whether it reads it or not"
        );
        let mut at = 0;
        while at < self.asks.len() {
            assert!(
                self.kind.may_ask(self.asks[at]),
                "scorers and escalation rules can ask for `history` alone: their worlds hold nothing else"
            );
            at += 1;
        }
        self
    }

    /// How many bytes [`Manifest::json`] has.
    pub const fn length(&self) -> usize {
        let mut json = Json::<0>::new();
        self.write(&mut json);
        json.len()
    }

    pub const fn json<const N: usize>(&self) -> [u8; N] {
        let mut json = Json::<N>::new();
        self.write(&mut json);
        json.bytes()
    }

    const fn write<const N: usize>(&self, json: &mut Json<N>) {
        json.open(b'{');
        json.key("manifest");
        json.plain("1");
        json.pair("kind", self.kind.name());
        json.pair("name", self.name);
        json.pair("version", self.version);
        json.pair("sdk", SDK);
        json.pair("interface", INTERFACE);
        json.pair("about", self.about);
        json.key("asks");
        self.write_asks(json);
        json.key("config");
        self.config.write(json);
        json.close(b'}');
    }

    /// Sorted and once each, however they were written down.
    const fn write_asks<const N: usize>(&self, json: &mut Json<N>) {
        json.open(b'[');
        let mut at = 0;
        while at < ALL.len() {
            if self.asks_for(ALL[at]) {
                json.item();
                json.text(ALL[at].0);
            }
            at += 1;
        }
        json.close(b']');
    }

    const fn asks_for(&self, capability: Capability) -> bool {
        let mut at = 0;
        while at < self.asks.len() {
            if same(self.asks[at].0, capability.0) {
                return true;
            }
            at += 1;
        }
        false
    }
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Writes the manifest of a plugin that exports its world without this SDK, such as one made with wit-bindgen
/// alone: `manifest!(strategy, asks = [llm, workspace], config = Settings);`, once a crate. The export macros
/// do it by themselves.
///
/// ```
/// changebus_sdk::manifest!(scorer, asks = [history]);
/// # fn main() {}
/// ```
///
/// A capability that does not exist does not compile, nor does one that the world does not hold:
///
/// ```compile_fail
/// changebus_sdk::manifest!(strategy, asks = [lmm]);
/// # fn main() {}
/// ```
///
/// ```compile_fail
/// changebus_sdk::manifest!(scorer, asks = [llm]);
/// # fn main() {}
/// ```
///
/// A strategy is handed a tree, so every component of one imports `workspace`; it has to be asked for:
///
/// ```compile_fail
/// changebus_sdk::manifest!(strategy, asks = [llm]);
/// # fn main() {}
/// ```
///
/// A configuration is a table:
///
/// ```compile_fail
/// changebus_sdk::manifest!(strategy, config = Vec<bool>);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! manifest {
    (strategy $(, config = $config:ty)? $(,)?) => {
        $crate::manifest!(strategy, asks = [workspace, history] $(, config = $config)?);
    };
    ($kind:ident $(, config = $config:ty)? $(,)?) => {
        $crate::manifest!($kind, asks = [history] $(, config = $config)?);
    };
    ($kind:ident, asks = [$($ask:ident),* $(,)?] $(,)?) => {
        $crate::manifest!($kind, asks = [$($ask),*], config = ());
    };
    ($kind:ident, asks = [$($ask:ident),* $(,)?], config = $config:ty $(,)?) => {
        const _: () = {
            const MANIFEST: $crate::manifest::Manifest = $crate::manifest::Manifest {
                kind: $crate::manifest::kind::$kind,
                name: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
                about: env!("CARGO_PKG_DESCRIPTION"),
                asks: &[$($crate::manifest::capability::$ask),*],
                config: <$config as $crate::Config>::SCHEMA,
            }
            .checked();
            const LENGTH: usize = MANIFEST.length();
            // A section of its own can break nothing here: it holds bytes that no code refers to.
            #[cfg(target_family = "wasm")]
            #[allow(unsafe_code)]
            #[used]
            #[unsafe(link_section = "changebus:manifest")]
            static SECTION: [u8; LENGTH] = MANIFEST.json();
        };
    };
}

#[cfg(test)]
mod tests;
