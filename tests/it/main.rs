//! it

mod plugins;
