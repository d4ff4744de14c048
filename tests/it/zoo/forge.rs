//! The beasts that no compiler makes: modules written by hand, components put together wrongly, torn files.
//!
//! Touches: nothing.
//! Change here: when a file can be wrong in a new way. The canonical ABI of the answers is spelled out below.

use std::fmt::Write as _;

use changebus::outside::wasm::PluginKind;
use changebus_tests::beasts::{component, forged, leb, stamped, with_manifest};
use serde_json::json;

use super::keepers::Beast;
use super::keepers::Ends::{self, Refused, Tamed};

pub fn all() -> Vec<Beast> {
    let mut all = judges();
    all.extend(starters());
    all.extend(strategies());
    all.extend(misfits());
    all
}

/// A scorer that answers with an empty list, but for what is put into it: fields of the module, what it does before
/// it answers, and how it gives out memory.
struct Judge {
    fields: String,
    body: String,
    realloc: &'static str,
    drops: bool,
    pages: u32,
}

impl Default for Judge {
    fn default() -> Judge {
        Judge {
            fields: String::new(),
            body: String::new(),
            realloc: "(i32.const 4096)",
            drops: true,
            pages: 1,
        }
    }
}

impl Judge {
    /// The answer's place is 16: a byte for ok or err, then at 20 and 24 where the list or text begins and how long it is.
    fn file(&self) -> Vec<u8> {
        let drop = if self.drops {
            "(call $drop (local.get 0))"
        } else {
            ""
        };
        forged(
            "scorer",
            &format!(
                r#"(module
                (import "changebus:host/arena@0.1.1" "[resource-drop]tournament" (func $drop (param i32)))
                (import "changebus:host/arena@0.1.1" "[resource-drop]contender" (func $drop_contender (param i32)))
                (import "changebus:host/arena@0.1.1" "[method]tournament.contenders" (func $contenders (param i32 i32)))
                (import "changebus:host/arena@0.1.1" "[method]tournament.project" (func $project (param i32 i32)))
                (memory (export "memory") {pages})
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
                {fields}
                (func (export "changebus:scorer/judge@0.1.1#score") (param i32) (result i32)
                    {body}
                    {drop}
                    (i32.const 16)))"#,
                pages = self.pages,
                realloc = self.realloc,
                fields = self.fields,
                body = self.body,
            ),
        )
    }

    fn beast(self, name: &'static str, ends: Ends) -> Beast {
        let (kind, file) = (PluginKind::Scorer, self.file());
        Beast {
            name,
            kind,
            file,
            ends,
        }
    }
}

fn fields(fields: &str) -> Judge {
    Judge {
        fields: fields.to_owned(),
        ..Judge::default()
    }
}

fn body(body: &str) -> Judge {
    Judge {
        body: body.to_owned(),
        ..Judge::default()
    }
}

fn judges() -> Vec<Beast> {
    let table = Judge {
        fields: "(table $t 1 funcref)".to_owned(),
        ..body("(loop $again (drop (table.grow $t (ref.null func) (i32.const 10000))) (br $again))")
    };
    let nowhere = Judge {
        realloc: "(i32.const -65536)",
        ..body("(call $project (local.get 0) (i32.const 64))")
    };
    let askew = Judge {
        realloc: "(i32.const 4097)",
        ..body("(call $contenders (local.get 0) (i32.const 64))")
    };
    let trapped = Judge {
        realloc: "(unreachable)",
        ..body("(call $project (local.get 0) (i32.const 64))")
    };
    let keeps = Judge {
        drops: false,
        ..Judge::default()
    };
    let post = "(func (export \"cabi_post_changebus:scorer/judge@0.1.1#score\") (param i32) (loop $l (br $l)))";
    vec![
        Judge::default().beast("forged-empty-answer", Tamed("{}")),
        grow_in_turn(),
        table.beast("grow-table", Refused("more than the 100000 table elements it may have")),
        nowhere.beast("realloc-nowhere", Refused("trapped: realloc return: beyond end of memory")),
        askew.beast("realloc-askew", Refused("trapped: realloc return: result not aligned")),
        trapped.beast("realloc-trap", Refused("wasm `unreachable` instruction executed")),
        keeps.beast("keep-what-it-was-given", Tamed("{}")),
        body("(call $drop (local.get 0))").beast("drop-twice", Refused("trapped: unknown handle index")),
        body("(call $drop_contender (i32.const 77))").beast("drop-what-never-was", Refused("trapped: unknown handle index")),
        body("(call $project (i32.const -1) (i32.const 64))").beast("ask-nobody", Refused("trapped: unknown handle index")),
        body("(i32.store8 (i32.const 16) (i32.const 7))").beast("no-such-case", Refused("trapped: invalid expected discriminant")),
        body("(i32.store (i32.const 24) (i32.const 100000))").beast("list-past-the-end", Refused("out of bounds of memory")),
        body("(i32.store (i32.const 20) (i32.const 2004)) (i32.store (i32.const 24) (i32.const 3))")
            .beast("list-askew", Refused("not aligned")),
        body("(i32.store8 (i32.const 16) (i32.const 1)) (i32.store (i32.const 20) (i32.const 48))
              (i32.store (i32.const 24) (i32.const 4)) (i32.store (i32.const 48) (i32.const 0x80fffec3))")
            .beast("not-utf8", Refused("invalid utf-8")),
        body("(i32.store8 (i32.const 16) (i32.const 1)) (i32.store (i32.const 20) (i32.const 65000))
              (i32.store (i32.const 24) (i32.const 0x7fffffff))")
            .beast("text-past-the-end", Refused("out of bounds of memory")),
        fields(post).beast("loop-after-the-answer", Refused("computed for more than the 1 s it may | gave no answer within 2 s")),
        fields(&crowd(20_000)).beast("many-functions", Tamed("{}")),
    ]
}

/// Four memories, of which three grow in turn by 16 MiB for as long as they are let. What tools put together has one
/// memory only, so this one is written out.
fn grow_in_turn() -> Beast {
    const SCORED: &str = r#"(record (field "id" string) (field "total" f64) (field "disqualified" (option string))
        (field "marks" (list (tuple string f64))))"#;
    let file = component(&format!(
        r#"(component
        (import "changebus:host/arena@0.1.1" (instance $arena (export "tournament" (type (sub resource)))))
        (alias export $arena "tournament" (type $tournament))
        (core module $hoard
            (memory (export "memory") 1)
            (func (export "grow") (drop (memory.grow (i32.const 256)))))
        (core instance $first (instantiate $hoard))
        (core instance $second (instantiate $hoard))
        (core instance $third (instantiate $hoard))
        (core module $main
            (import "first" "grow" (func $first))
            (import "second" "grow" (func $second))
            (import "third" "grow" (func $third))
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
            (func (export "score") (param i32) (result i32)
                (loop $again (call $first) (call $second) (call $third) (br $again))
                (i32.const 16)))
        (core instance $judge (instantiate $main
            (with "first" (instance $first)) (with "second" (instance $second)) (with "third" (instance $third))))
        (type $scored {SCORED})
        (func $score (param "t" (borrow $tournament)) (result (result (list $scored) (error string)))
            (canon lift (core func $judge "score") (memory $judge "memory") (realloc (func $judge "realloc"))))
        (component $shell
            (import "tournament" (type $t (sub resource)))
            (type $inner {SCORED})
            (import "scored" (type $s (eq $inner)))
            (import "score" (func $f (param "t" (borrow $t)) (result (result (list $s) (error string)))))
            (export $t-out "tournament" (type $t))
            (export $s-out "scored" (type $s))
            (export "score" (func $f) (func (param "t" (borrow $t-out)) (result (result (list $s-out) (error string))))))
        (instance $shelled (instantiate $shell
            (with "tournament" (type $tournament)) (with "scored" (type $scored)) (with "score" (func $score))))
        (export "changebus:scorer/judge@0.1.1" (instance $shelled)))"#
    ));
    Beast {
        name: "grow-in-turn",
        kind: PluginKind::Scorer,
        file,
        ends: Refused("more than the 160 MiB of memory it may have"),
    }
}

/// Functions that call one another in a row.
fn crowd(functions: usize) -> String {
    let mut text = String::new();
    for n in 0..functions {
        let next = (n + 1) % functions;
        let _ = writeln!(
            text,
            "(func $f{n} (param i32) (call $f{next} (local.get 0)))"
        );
    }
    text
}

/// What goes wrong before a plugin is asked for anything.
fn starters() -> Vec<Beast> {
    let start = |body: &str| fields(&format!("(func $start {body}) (start $start)"));
    let large = Judge {
        pages: 8192,
        ..Judge::default()
    };
    let now = forged(
        "strategy",
        r#"(module
            (import "changebus:host/clock@0.1.1" "now-ms" (func $now (result i64)))
            (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
            (func $start (drop (call $now))) (start $start)
            (func (export "changebus:strategy/fix@0.1.1#run") (param i32 i32) (result i32) (i32.const 16)))"#,
    );
    vec![
        start("(loop $l (br $l))").beast(
            "start-loop",
            Refused("computed for more than the 1 s it may | gave no answer within 2 s"),
        ),
        start("(unreachable)").beast(
            "start-trap",
            Refused("wasm `unreachable` instruction executed"),
        ),
        start("(call $start)").beast("start-recursion", Refused("call stack exhausted")),
        start("(loop $l (drop (memory.grow (i32.const 256))) (br $l))").beast(
            "start-allocate",
            Refused("more than the 160 MiB of memory it may have"),
        ),
        large.beast(
            "huge-memory",
            Refused("minimum byte size of 536870912 which exceeds the limit"),
        ),
        fields("(table 10000000 funcref)").beast("huge-table", Refused("table")),
        fields("(memory 1) (memory 1) (memory 1) (memory 1)")
            .beast("five-memories", Refused("memories count of 5 exceeds")),
        Beast::refused(
            PluginKind::Strategy,
            "ask-for-nothing",
            now,
            "without asking for it",
        ),
    ]
}

const MANIFEST: &[u8] = br#"{"manifest":1,"kind":"strategy","asks":["workspace"]}"#;

/// A strategy's answer is at 16: ok or err, at 20 proposal or decline, at 24 the patch, then its texts; or the reason.
fn strategies() -> Vec<Beast> {
    let strategy = |name, body: &str, ends| Beast {
        name,
        kind: PluginKind::Strategy,
        file: with_manifest(
            &forged(
                "strategy",
                &format!(
                    r#"(module
                (import "changebus:strategy/failure@0.1.1" "[resource-drop]context" (func $drop_context (param i32)))
                (import "changebus:host/workspace@0.1.1" "[resource-drop]tree" (func $drop_tree (param i32)))
                (import "changebus:host/patching@0.1.1" "[constructor]patch" (func $patch (result i32)))
                (import "changebus:host/patching@0.1.1" "[resource-drop]patch" (func $drop_patch (param i32)))
                (memory (export "memory") 1)
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
                (func (export "changebus:strategy/fix@0.1.1#run") (param i32 i32) (result i32) (local i32)
                    {body}
                    (call $drop_context (local.get 0))
                    (call $drop_tree (local.get 1))
                    (i32.const 16)))"#
                ),
            ),
            MANIFEST,
        ),
        ends,
    };
    vec![
        strategy(
            "forged-empty-patch",
            "(i32.store (i32.const 24) (call $patch))",
            Tamed("Propose"),
        ),
        strategy(
            "give-what-was-dropped",
            "(local.set 2 (call $patch)) (call $drop_patch (local.get 2)) (i32.store (i32.const 24) (local.get 2))",
            Refused("trapped: unknown handle index"),
        ),
        strategy(
            "give-the-tree-as-patch",
            "(i32.store (i32.const 24) (local.get 1))",
            Refused("trapped: unknown handle index"),
        ),
        strategy(
            "lose-patches",
            "(loop $l (drop (call $patch)) (br $l))",
            Refused("holds more than the 10000 host objects it may"),
        ),
    ]
}

/// Files that are not what they should be.
fn misfits() -> Vec<Beast> {
    let refused = |name, file, why| Beast::refused(PluginKind::Scorer, name, file, why);
    let good = stamped("moody-scorer", &json!({ "do": "score" }));
    let export = |inner: &str, version: &str| {
        component(&format!(
            "(component {inner} (instance $i) (export \"changebus:scorer/judge@{version}\" (instance $i)))"
        ))
    };
    let mut imports = String::new();
    for n in 0..5_000 {
        let _ = writeln!(imports, "(import \"stranger:there/i{n}@0.1.1\" (instance))");
    }
    let mut torn_names = good.clone();
    if let Some(at) = find(&torn_names, b"changebus:scorer/judge") {
        torn_names[at] = 0xff;
    }
    vec![
        refused(
            "core-module",
            wat_module(),
            "is a core module, not a component",
        ),
        refused("truncated", good[..good.len() / 2].to_vec(), "is torn"),
        refused("one-byte-short", good[..good.len() - 1].to_vec(), "is torn"),
        refused("one-byte-more", [good.as_slice(), &[1]].concat(), ""),
        refused("nothing", Vec::new(), "is empty"),
        refused(
            "prose",
            b"dear host, please run me".to_vec(),
            "does not begin like one",
        ),
        refused("torn-name", torn_names, "UTF-8"),
        refused("no-world", component("(component)"), "exports none of"),
        refused(
            "other-world",
            component("(component (instance $i) (export \"wasi:cli/run@0.2.6\" (instance $i)))"),
            "it exports wasi:cli/run@0.2.6",
        ),
        refused("other-track", export("", "0.2.0"), "this host offers 0.1"),
        refused(
            "no-function",
            export("", "0.1.0"),
            "does not fit this host's interfaces",
        ),
        refused(
            "many-imports",
            export(&imports, "0.1.0"),
            "imports `stranger:there/i0@0.1.1`",
        ),
        refused(
            "russian-dolls",
            dolls(20_000),
            "more than 1 GiB of memory to compile",
        ),
        refused(
            "billion-laughs",
            laughs(12),
            "more than 1 GiB of memory to compile",
        ),
        refused(
            "wrong-type",
            wrong_type(),
            "does not fit this host's interfaces",
        ),
    ]
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn wat_module() -> Vec<u8> {
    component("(module (func (export \"score\")))")
}

/// `score` is there, but takes and gives something else.
fn wrong_type() -> Vec<u8> {
    component(
        r#"(component
            (core module $m (func (export "score") (param i32) (result i32) (local.get 0)))
            (core instance $m (instantiate $m))
            (func $score (param "t" u32) (result u32) (canon lift (core func $m "score")))
            (instance $judge (export "score" (func $score)))
            (export "changebus:scorer/judge@0.1.1" (instance $judge)))"#,
    )
}

/// Components that hold ten instances of the one within, and so on inwards.
fn laughs(depth: usize) -> Vec<u8> {
    let ten = "(instance (instantiate $c))".repeat(10);
    let inner = (0..depth).fold("(component $c)".to_owned(), |inner, _| {
        format!("(component $c {inner} {ten})")
    });
    component(&format!(
        r#"(component {inner} (instance (instantiate $c)) (instance $i)
        (export "changebus:scorer/judge@0.1.1" (instance $i)))"#
    ))
}

/// Components in components.
fn dolls(depth: usize) -> Vec<u8> {
    const HEAD: &[u8] = b"\0asm\x0d\0\x01\0";
    let inner = (0..depth).fold(HEAD.to_vec(), |doll, _| {
        [HEAD, &[4], &leb(doll.len()), &doll].concat()
    });
    let outermost = component(
        r#"(component (instance $i) (export "changebus:scorer/judge@0.1.1" (instance $i)))"#,
    );
    [
        HEAD,
        &[4],
        &leb(inner.len()),
        &inner,
        &outermost[HEAD.len()..],
    ]
    .concat()
}
