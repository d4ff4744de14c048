//! ChangeBus seen from outside, in one binary.
//!
//! Touches: nothing.
//! Change here: when there is another subject to test; give it a file of its own.

mod claude;
