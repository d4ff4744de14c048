//! The Rust side of `wit/`, as wasmtime generates it; nothing else may stand here.
//!
//! Touches: wasm.
//! Change here: when a world, a host resource or an import that waits comes or goes in `wit/`.

/// Every interface the host offers, generated once and shared by the three worlds below.
pub mod host {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "changebus:host/imports",
        imports: {
            "changebus:host/llm.[method]prompt.send": async | trappable,
            "changebus:host/probe.run": async | trappable,
            "changebus:host/tools.run": async | trappable,
            "changebus:host/workspace.[method]tree.size": async | trappable,
            "changebus:host/workspace.[method]tree.read": async | trappable,
            "changebus:host/workspace.[method]tree.glob": async | trappable,
            "changebus:host/workspace.[method]tree.search": async | trappable,
            default: trappable,
        },
        trappable_error_type: {
            "changebus:types/errors.fault" => crate::outside::wasm::convert::Refused,
        },
        with: {
            "changebus:host/llm.prompt": crate::outside::wasm::imports::PromptDraft,
            "changebus:host/llm.completion": crate::event::ModelAnswer,
            "changebus:host/workspace.tree": crate::outside::wasm::imports::TreeHandle,
            "changebus:host/patching.patch": crate::outside::wasm::imports::PatchDraft,
            "changebus:host/probe.report": crate::event::ProbeReport,
            "changebus:host/tools.tool-report": crate::event::ToolReport,
            "changebus:host/history.episode": crate::event::PastFix,
            "changebus:host/arena.contender": crate::outside::wasm::imports::ContenderHandle,
            "changebus:host/arena.tournament": crate::outside::wasm::imports::TournamentHandle,
        },
    });
}

pub mod strategy {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "changebus:strategy/strategy",
        imports: {
            "changebus:strategy/failure.[method]context.diff": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: {
            "changebus:host": super::host::changebus::host,
            "changebus:types": super::host::changebus::types,
            "changebus:strategy/failure.context": crate::outside::wasm::imports::ContextHandle,
        },
    });
}

pub mod scorer {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "changebus:scorer/scorer",
        exports: { default: async },
        with: {
            "changebus:host": super::host::changebus::host,
        },
    });
}

pub mod escalation {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "changebus:escalation/escalation",
        exports: { default: async },
        with: {
            "changebus:host": super::host::changebus::host,
        },
    });
}
