//! `#[derive(Config)]` of `changebus-sdk`: the schema of a `config` table out of the type that reads it.
//!
//! Touches: nothing.
//! Change here: when a plugin's configuration can take a form that the derive does not know yet.

mod names;
mod serde_says;
mod table;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Describes a struct of configuration, or an enum of words, as a JSON Schema that is finished when the plugin
/// is compiled.
///
/// It reads the same `#[serde(...)]` attributes that serde does (`default`, `rename`, `rename_all`, `skip`,
/// `deny_unknown_fields`) and refuses those that would make the schema untrue. Doc comments become
/// descriptions; `#[config(min = 0, max = 1)]` bounds a number, both ends included.
#[proc_macro_derive(Config, attributes(config, serde))]
pub fn config(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    table::implement(&input)
        .unwrap_or_else(|error| error.into_compile_error())
        .into()
}
