//! What wit-bindgen makes of the WIT, one module a world; no generated type is seen by authors.
//!
//! Touches: wasm.
//! Change here: when a world comes or goes. An interface that two worlds share is generated in the first.
#![allow(missing_docs, clippy::all)]

pub mod strategy {
    wit_bindgen::generate!({
        path: "../wit",
        world: "changebus:strategy/strategy@0.1.1",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_strategy_world",
        default_bindings_module: "changebus_sdk::bindings::strategy",
        type_section_suffix: "strategy",
    });
}

pub mod scorer {
    wit_bindgen::generate!({
        path: "../wit",
        world: "changebus:scorer/scorer@0.1.1",
        with: {
            "changebus:host/log@0.1.1": crate::bindings::strategy::changebus::host::log,
            "changebus:host/config@0.1.1": crate::bindings::strategy::changebus::host::config,
            "changebus:host/history@0.1.1": crate::bindings::strategy::changebus::host::history,
            "changebus:host/arena@0.1.1": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_scorer_world",
        default_bindings_module: "changebus_sdk::bindings::scorer",
        type_section_suffix: "scorer",
    });
}

pub mod escalation {
    wit_bindgen::generate!({
        path: "../wit",
        world: "changebus:escalation/escalation@0.1.1",
        with: {
            "changebus:host/log@0.1.1": crate::bindings::strategy::changebus::host::log,
            "changebus:host/config@0.1.1": crate::bindings::strategy::changebus::host::config,
            "changebus:host/history@0.1.1": crate::bindings::strategy::changebus::host::history,
            "changebus:host/arena@0.1.1": crate::bindings::scorer::changebus::host::arena,
        },
        pub_export_macro: true,
        export_macro_name: "export_escalation_world",
        default_bindings_module: "changebus_sdk::bindings::escalation",
        type_section_suffix: "escalation",
    });
}
