//! What a plugin may be granted: the interfaces of the host that cost or tell something.
//!
//! Touches: nothing.
//! Change here: when the host offers plugins another such interface.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    Llm,
    Probe,
    Tools,
    Workspace,
    History,
    Clock,
    Random,
}

impl Capability {
    pub const ALL: [Capability; 7] = [
        Capability::Llm,
        Capability::Probe,
        Capability::Tools,
        Capability::Workspace,
        Capability::History,
        Capability::Clock,
        Capability::Random,
    ];

    pub fn of_name(name: &str) -> Option<Capability> {
        Capability::ALL.into_iter().find(|one| one.name() == name)
    }

    /// The right that an import takes, such as `changebus:host/llm`; none for what is free.
    pub fn of_interface(interface: &str) -> Option<Capability> {
        Capability::of_name(interface.strip_prefix("changebus:host/")?)
    }

    pub fn name(self) -> &'static str {
        match self {
            Capability::Llm => "llm",
            Capability::Probe => "probe",
            Capability::Tools => "tools",
            Capability::Workspace => "workspace",
            Capability::History => "history",
            Capability::Clock => "clock",
            Capability::Random => "random",
        }
    }

    /// Code of the fault that a call without the right is answered with.
    pub fn grant_code(self) -> &'static str {
        match self {
            Capability::Llm => "grant.llm",
            Capability::Probe => "grant.probe",
            Capability::Tools => "grant.tools",
            Capability::Workspace => "grant.workspace",
            Capability::History => "grant.history",
            Capability::Clock => "grant.clock",
            Capability::Random => "grant.random",
        }
    }
}

impl std::fmt::Display for Capability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// `llm, probe`, or `nothing`.
pub fn listed(capabilities: &BTreeSet<Capability>) -> String {
    let names: Vec<&str> = capabilities.iter().map(|one| one.name()).collect();
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}
