//! Which request options a Claude model takes.
//!
//! Touches: nothing.
//! Change here: when a model comes, goes, or takes other options.

/// From this `anthropic-version` on, sampling parameters are refused for every model.
const NO_SAMPLING_SINCE: &str = "2026-10-21";

/// Models that take `temperature` under older versions. One that is not named here does not.
const SAMPLING: [&str; 5] = [
    "claude-opus-4-6",
    "claude-opus-4-5",
    "claude-sonnet-4-6",
    "claude-sonnet-4-5",
    "claude-haiku-4-5",
];

const EFFORTS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];

/// A model's name without the date it may carry: `claude-haiku-4-5-20251001` is `claude-haiku-4-5`.
pub fn undated(model: &str) -> &str {
    match model.rsplit_once('-') {
        Some((name, date)) if date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => model,
    }
}

/// Whether `temperature` may be sent to `model` under this `anthropic-version`.
pub fn takes_temperature(model: &str, version: &str) -> bool {
    version < NO_SAMPLING_SINCE && SAMPLING.contains(&undated(model))
}

/// Whether `effort` is a level at all, for any model.
pub fn is_effort(effort: &str) -> bool {
    EFFORTS.contains(&effort)
}

/// Whether `model` takes this level of `output_config.effort`.
pub fn takes_effort(model: &str, effort: &str) -> bool {
    levels(undated(model)).contains(&effort)
}

/// Everything since generation 5 takes all levels; in generation 4 the levels came one after another.
fn levels(model: &str) -> &'static [&'static str] {
    match model {
        "claude-opus-4-5" => &["low", "medium", "high"],
        "claude-opus-4-6" | "claude-sonnet-4-6" => &["low", "medium", "high", "max"],
        "claude-opus-4-7" | "claude-opus-4-8" | "claude-mythos-preview" => &EFFORTS,
        _ if generation(model).is_some_and(|g| g >= 5) => &EFFORTS,
        _ => &[],
    }
}

/// 5 for `claude-opus-5-5`; none for names of another form.
fn generation(model: &str) -> Option<u32> {
    let (_family, version) = model.strip_prefix("claude-")?.split_once('-')?;
    version.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperature_goes_only_to_old_models_under_old_versions() {
        assert!(takes_temperature("claude-haiku-4-5-20251001", "2023-06-01"));
        assert!(!takes_temperature(
            "claude-haiku-4-5-20251001",
            "2026-10-21"
        ));
        assert!(!takes_temperature("claude-sonnet-5-5", "2023-06-01"));
        assert!(!takes_temperature("claude-opus-4-7", "2023-06-01"));
        assert!(!takes_temperature("house-model", "2023-06-01"));
    }

    #[test]
    fn effort_follows_the_generation() {
        assert!(takes_effort("claude-sonnet-5-5", "xhigh"));
        assert!(takes_effort("claude-opus-6", "low"));
        assert!(takes_effort("claude-opus-4-6", "max"));
        assert!(!takes_effort("claude-opus-4-6", "xhigh"));
        assert!(!takes_effort("claude-haiku-4-5-20251001", "low"));
        assert!(!takes_effort("claude-sonnet-4-5", "low"));
        assert!(!takes_effort("house-model", "low"));
        assert!(!takes_effort("claude-sonnet-5-5", "extreme"));
    }

    #[test]
    fn only_a_date_is_taken_off_a_name() {
        assert_eq!(undated("claude-opus-4-5-20251101"), "claude-opus-4-5");
        assert_eq!(undated("claude-opus-4-5"), "claude-opus-4-5");
        assert_eq!(undated("claude"), "claude");
    }
}
