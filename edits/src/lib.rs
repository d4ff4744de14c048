//! Search/replace edits: read from a model's answer, applied to files, the same in the host and in guests.
//!
//! Touches: nothing.
//! Change here: when the answer format or the ladder of matches changes; both sides follow at once.
//!
//! An edit is only ever applied where its search text stands exactly once. What may differ is climbed step by
//! step ([`Match`]); likeness is used to tell people and models what stands there instead, never to apply.

mod answer;
mod apply;
mod ladder;
mod nearest;
mod small;
mod text;

pub use answer::{Block, Kind, Parsed, parse};
pub use apply::{Applied, BlockMiss, apply};
pub use ladder::{Match, Miss, apply_one};
pub use small::one_by_one;
pub use text::in_style_of;
