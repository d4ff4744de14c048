//! One file or folder for each thing in the world. Thin: its own error enum, no policy.

pub mod claude;
