//! Which implementation of TLS every connection of this process uses.
//!
//! Touches: nothing (a setting of the process).
//! Change here: when another one should be used.

/// Before the first client is made; how often does not matter.
pub fn prepare() {
    // An error means that it was chosen before.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
