//! What a plugin's `config` table may hold, as a JSON Schema that is finished when the plugin is compiled.
//!
//! Touches: nothing.
//! Change here: when a plugin's configuration can take a form that the schema does not know yet.
//!
//! Nothing here runs in a component: the schema is a constant, written into the manifest by the compiler.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::json::Json;

/// A type that a `config` table, or a part of one, is read into. Derive it beside `Deserialize`:
///
/// ```
/// use changebus_sdk::Config;
/// use serde::Deserialize;
///
/// /// How hard to try.
/// #[derive(Deserialize, Config)]
/// #[serde(deny_unknown_fields)]
/// struct Settings {
///     /// Questions asked of the tests at most.
///     #[serde(default)]
///     #[config(min = 1, max = 20)]
///     max_probes: Option<u64>,
///     mode: Mode,
/// }
///
/// #[derive(Deserialize, Config)]
/// #[serde(rename_all = "kebab-case")]
/// enum Mode { Careful, VeryCareful }
/// ```
///
/// A bound belongs to a number, and what serde reads by other rules than the derive knows is refused:
///
/// ```compile_fail
/// #[derive(changebus_sdk::Config)]
/// struct Settings {
///     #[config(min = 1)]
///     name: String,
/// }
/// changebus_sdk::manifest!(strategy, config = Settings);
/// # fn main() {}
/// ```
///
/// ```compile_fail
/// #[derive(serde::Deserialize, changebus_sdk::Config)]
/// struct Settings {
///     #[serde(flatten)]
///     more: std::collections::BTreeMap<String, bool>,
/// }
/// # fn main() {}
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot stand in a plugin's configuration",
    label = "no `Config` for this type",
    note = "derive `changebus_sdk::Config` for it, or use bool, a number, String, Option, Vec or BTreeMap<String, _>"
)]
pub trait Config {
    const SCHEMA: Schema;
    /// False where serde takes a missing value for an answer.
    const REQUIRED: bool = true;
}

/// A JSON Schema of the kinds a `config` table needs.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    about: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Any,
    Boolean,
    Integer(Bounds),
    Number(Bounds),
    Text,
    OneOf(&'static [&'static str]),
    List(&'static Schema),
    Map(&'static Schema),
    Table(&'static [Field]),
}

/// As JSON writes them.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    min: Option<&'static str>,
    max: Option<&'static str>,
}

const UNBOUNDED: Bounds = Bounds {
    min: None,
    max: None,
};

impl Schema {
    /// A table with these keys and no others.
    pub const fn table(about: &'static str, fields: &'static [Field]) -> Schema {
        Schema {
            about,
            kind: Kind::Table(fields),
        }
    }

    /// One of these words.
    pub const fn one_of(about: &'static str, words: &'static [&'static str]) -> Schema {
        Schema {
            about,
            kind: Kind::OneOf(words),
        }
    }

    /// What the entry's `config` has to be: a table, of known keys or of any.
    pub const fn is_table(&self) -> bool {
        matches!(self.kind, Kind::Table(_) | Kind::Map(_))
    }

    const fn of(kind: Kind) -> Schema {
        Schema { about: "", kind }
    }

    const fn integer(min: &'static str, max: &'static str) -> Schema {
        Schema::of(Kind::Integer(Bounds {
            min: Some(min),
            max: Some(max),
        }))
    }

    pub(crate) const fn write<const N: usize>(&self, json: &mut Json<N>) {
        self.write_within(json, UNBOUNDED, "");
    }

    /// `closer` and `about` are what a field says of its own: they win over what its type says.
    const fn write_within<const N: usize>(
        &self,
        json: &mut Json<N>,
        closer: Bounds,
        about: &'static str,
    ) {
        json.open(b'{');
        let about = if about.is_empty() { self.about } else { about };
        if !about.is_empty() {
            json.key("description");
            json.text(about);
        }
        match self.kind {
            Kind::Any => {}
            Kind::Boolean => json.pair("type", "boolean"),
            Kind::Integer(own) => write_number(json, "integer", own, closer),
            Kind::Number(own) => write_number(json, "number", own, closer),
            Kind::Text => json.pair("type", "string"),
            Kind::OneOf(words) => {
                json.pair("type", "string");
                json.key("enum");
                write_words(json, words);
            }
            Kind::List(items) => {
                json.pair("type", "array");
                json.key("items");
                items.write(json);
            }
            Kind::Map(values) => {
                json.pair("type", "object");
                json.key("additionalProperties");
                values.write(json);
            }
            Kind::Table(fields) => write_table(json, fields),
        }
        json.close(b'}');
    }
}

const fn write_number<const N: usize>(
    json: &mut Json<N>,
    kind: &'static str,
    own: Bounds,
    closer: Bounds,
) {
    json.pair("type", kind);
    let (min, max) = (either(closer.min, own.min), either(closer.max, own.max));
    if let Some(min) = min {
        json.key("minimum");
        json.plain(min);
    }
    if let Some(max) = max {
        json.key("maximum");
        json.plain(max);
    }
}

const fn either(a: Option<&'static str>, b: Option<&'static str>) -> Option<&'static str> {
    if a.is_some() { a } else { b }
}

const fn write_words<const N: usize>(json: &mut Json<N>, words: &[&str]) {
    json.open(b'[');
    let mut at = 0;
    while at < words.len() {
        json.item();
        json.text(words[at]);
        at += 1;
    }
    json.close(b']');
}

const fn write_table<const N: usize>(json: &mut Json<N>, fields: &[Field]) {
    json.pair("type", "object");
    json.key("properties");
    json.open(b'{');
    let mut at = 0;
    let mut required = 0;
    while at < fields.len() {
        let field = &fields[at];
        json.key(field.name);
        field.schema.write_within(json, field.bounds, field.about);
        required += field.required as usize;
        at += 1;
    }
    json.close(b'}');
    if required > 0 {
        json.key("required");
        json.open(b'[');
        let mut at = 0;
        while at < fields.len() {
            if fields[at].required {
                json.item();
                json.text(fields[at].name);
            }
            at += 1;
        }
        json.close(b']');
    }
    json.key("additionalProperties");
    json.plain("false");
}

/// A key of a table.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    name: &'static str,
    about: &'static str,
    required: bool,
    schema: &'static Schema,
    bounds: Bounds,
}

impl Field {
    /// `optional`: serde fills it in where it is missing.
    pub const fn new<T: Config>(name: &'static str, about: &'static str, optional: bool) -> Field {
        Field {
            name,
            about,
            required: T::REQUIRED && !optional,
            schema: &const { T::SCHEMA },
            bounds: UNBOUNDED,
        }
    }

    /// A lower bound of a number, itself allowed.
    pub const fn at_least(mut self, min: &'static str) -> Field {
        self.must_be_a_number();
        self.bounds.min = Some(min);
        self
    }

    /// An upper bound of a number, itself allowed.
    pub const fn at_most(mut self, max: &'static str) -> Field {
        self.must_be_a_number();
        self.bounds.max = Some(max);
        self
    }

    const fn must_be_a_number(&self) {
        assert!(
            matches!(self.schema.kind, Kind::Integer(_) | Kind::Number(_)),
            "`min` and `max` belong to a number"
        );
    }
}

macro_rules! plain {
    ($($kind:ty: $schema:expr;)*) => {
        $(impl Config for $kind {
            const SCHEMA: Schema = $schema;
        })*
    };
}

plain! {
    bool: Schema::of(Kind::Boolean);
    f32: Schema::of(Kind::Number(UNBOUNDED));
    f64: Schema::of(Kind::Number(UNBOUNDED));
    String: Schema::of(Kind::Text);
    Value: Schema::of(Kind::Any);
    u8: Schema::integer("0", "255");
    u16: Schema::integer("0", "65535");
    u32: Schema::integer("0", "4294967295");
    u64: Schema::integer("0", "18446744073709551615");
    i8: Schema::integer("-128", "127");
    i16: Schema::integer("-32768", "32767");
    i32: Schema::integer("-2147483648", "2147483647");
    i64: Schema::integer("-9223372036854775808", "9223372036854775807");
    // A component counts in 32 bits, whatever the machine its tests run on.
    usize: Schema::integer("0", "4294967295");
    isize: Schema::integer("-2147483648", "2147483647");
}

impl<T: Config> Config for Option<T> {
    const SCHEMA: Schema = T::SCHEMA;
    const REQUIRED: bool = false;
}

impl<T: Config> Config for Vec<T> {
    const SCHEMA: Schema = Schema::of(Kind::List(&T::SCHEMA));
}

impl<T: Config> Config for BTreeMap<String, T> {
    const SCHEMA: Schema = Schema::of(Kind::Map(&T::SCHEMA));
}

/// A plugin that takes no configuration: a table without keys.
impl Config for () {
    const SCHEMA: Schema = Schema::table("", &[]);
}

#[cfg(test)]
mod tests;
