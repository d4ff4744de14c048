//! Write ChangeBus strategies, scorers and escalation rules in Rust.
//!
//! Touches: wasm.
//! Change here: when authors need something every plugin would otherwise write for itself.
//!
//! A plugin is a type that implements [`Strategy`], [`Scorer`] or [`Escalation`] and is handed to the macro of
//! its kind. Everything it may use comes in through the arguments, so the same code runs natively under
//! [`testing`] and as a sandboxed component in the host.
//!
//! ```
//! use changebus_sdk::*;
//!
//! #[derive(Default)]
//! struct Typo;
//!
//! impl Strategy for Typo {
//!     fn run(&self, _: &impl Failure, tree: &impl Tree, _: &impl Host) -> Result<Outcome, String> {
//!         let Ok(text) = tree.read_text("greet.py") else {
//!             return Ok(Outcome::decline("there is no greet.py"));
//!         };
//!         if !text.contains("Helo") {
//!             return Ok(Outcome::decline("nothing is misspelt"));
//!         }
//!         let patch = Patch::new().replace("greet.py", "Helo", "Hello");
//!         Ok(Outcome::propose(patch, "`Helo` should be `Hello`.", 0.9))
//!     }
//! }
//!
//! export_strategy!(Typo);
//!
//! # fn main() {
//! let bench = testing::Bench::new().head("greet.py", "print('Helo')\n");
//! let outcome = bench.run(&Typo).unwrap();
//! assert_eq!(bench.files_after(&outcome)["greet.py"], "print('Hello')\n");
//! # }
//! ```

extern crate self as changebus_sdk;

#[doc(hidden)]
pub mod bindings;
pub mod budget;
pub mod config;
pub mod diff;
pub mod evidence;
pub mod frames;
#[doc(hidden)]
pub mod guest;
pub mod manifest;
pub mod repair;
pub mod shares;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
pub mod untrusted;

mod imports;
mod json;
mod types;

pub use changebus_edits as edits;
pub use changebus_sdk_macros::Config;
pub use config::Config;
pub use imports::{Contender, Failure, Host, Services, Tournament, Tree};
pub use types::{
    Action, Commit, Completion, Decision, Edit, Episode, Fault, FaultKind, Hit, Level, Outcome,
    Patch, Prompt, Proposal, Report, Role, Scored, SearchOpts, ToolReport,
};

/// Proposes a change to the tree that makes the failing tests pass, or says why nothing should change.
pub trait Strategy: Default {
    /// `tree` is the failing commit's. `Ok` holds an answer, a reasoned refusal included; `Err` says that the
    /// plugin itself is broken or badly configured, and counts against it.
    fn run(
        &self,
        failure: &impl Failure,
        tree: &impl Tree,
        host: &impl Host,
    ) -> Result<Outcome, String>;
}

/// Marks the contenders of a tournament once their tests ran.
pub trait Scorer: Default {
    /// One entry a contender, in any order. Must depend on nothing but the arguments: the host may ask twice.
    fn score(
        &self,
        tournament: &impl Tournament,
        services: &impl Services,
    ) -> Result<Vec<Scored>, String>;
}

/// Decides what becomes of the best contender. The operator's own limits stand above it.
pub trait Escalation: Default {
    /// `Err` counts as [`Action::Human`].
    fn decide(
        &self,
        tournament: &impl Tournament,
        services: &impl Services,
    ) -> Result<Decision, String>;
}

/// Makes the crate a strategy plugin, once a crate: `export_strategy!(MyType);` asks the operator for
/// `workspace` and `history`, `export_strategy!(MyType, asks = [llm, probe, workspace], config = Settings);` for
/// what it names, and tells what its `config` table may hold. Without `config` that is nothing.
#[macro_export]
macro_rules! export_strategy {
    ($plugin:ty $(, $($manifest:tt)*)?) => {
        $crate::manifest!(strategy $(, $($manifest)*)?);
        $crate::__export!($plugin, Strategy, strategy, export_strategy_world, impl $crate::guest::FixGuest for Export {
            fn run(
                ctx: $crate::guest::Context,
                ws: $crate::guest::WorkTree,
            ) -> ::core::result::Result<$crate::guest::FixOutcome, ::std::string::String> {
                $crate::guest::run::<$plugin>(ctx, ws)
            }
        });
    };
}

/// Makes the crate a scorer plugin, once a crate: `export_scorer!(MyType);` asks for `history`, with
/// `asks = [...]` for what it names; `config = Settings` as for a strategy.
#[macro_export]
macro_rules! export_scorer {
    ($plugin:ty $(, $($manifest:tt)*)?) => {
        $crate::manifest!(scorer $(, $($manifest)*)?);
        $crate::__export!($plugin, Scorer, scorer, export_scorer_world, impl $crate::guest::JudgeGuest for Export {
            fn score(
                t: $crate::guest::Arena,
            ) -> ::core::result::Result<::std::vec::Vec<$crate::guest::JudgeScored>, ::std::string::String> {
                $crate::guest::score::<$plugin>(t)
            }
        });
    };
}

/// Makes the crate an escalation plugin, once a crate; with `asks` and `config` as for a scorer.
#[macro_export]
macro_rules! export_escalation {
    ($plugin:ty $(, $($manifest:tt)*)?) => {
        $crate::manifest!(escalation $(, $($manifest)*)?);
        $crate::__export!(
            $plugin, Escalation, escalation, export_escalation_world, impl $crate::guest::GateGuest for Export {
                fn decide(
                    t: $crate::guest::Arena,
                ) -> ::core::result::Result<$crate::guest::GateDecision, ::std::string::String> {
                    $crate::guest::decide::<$plugin>(t)
                }
            }
        );
    };
}

/// Exports in a component only: a native test binary may link several plugins, whose symbols would collide.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($plugin:ty, $kind:ident, $world:ident, $export:ident, $guest:item) => {
        const _: fn() = || {
            fn is_a_plugin<T: $crate::$kind>() {}
            is_a_plugin::<$plugin>();
        };
        #[cfg(target_family = "wasm")]
        const _: () = {
            struct Export;
            $guest
            $crate::bindings::$world::$export!(Export with_types_in $crate::bindings::$world);
        };
    };
}
