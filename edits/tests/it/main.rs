//! The edits crate as its two users see it.
//!
//! Touches: nothing.
//! Change here: when there is a new kind of story to tell; each has a file.

mod answers;
mod files;
mod ladder;
mod properties;
