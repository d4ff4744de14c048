//! Our client against the scripted API, and Anthropic's own SDK against both.
//!
//! Touches: http, processes.
//! Change here: when the client or the scripted API does something new; the stories are in `claude/stories.rs`.

mod official;
mod stories;

use std::process::Command;

use changebus::config;
use changebus::outside::claude::{Claude, ClaudeError};
use scripted_claude::RecordedRequest;

/// Makes a test of every story, and a function that tells all of them once more and gives what was sent.
macro_rules! stories {
    ($($story:ident,)*) => {
        $(
            #[tokio::test]
            async fn $story() {
                stories::$story().await;
            }
        )*

        async fn everything_sent() -> Vec<(&'static str, RecordedRequest)> {
            let mut sent = Vec::new();
            $(sent.extend(stories::$story().await.into_iter().map(|request| (stringify!($story), request)));)*
            sent
        }
    };
}

stories! {
    a_whole_answer_comes_back_with_what_it_cost,
    the_request_says_what_was_asked_and_no_more,
    the_ceiling_covers_what_the_answer_costs,
    a_model_nobody_knows_the_price_of_is_not_asked,
    without_a_key_nothing_is_sent,
    a_rate_limit_with_a_short_wait_is_waited_out,
    a_rate_limit_with_a_long_wait_is_handed_back,
    an_overloaded_api_is_asked_again_and_then_given_up,
    the_api_may_forbid_another_try,
    a_spend_limit_is_never_tried_again,
    an_error_before_any_content_is_tried_again_and_both_tries_are_counted,
    an_error_in_the_middle_of_an_answer_is_final_and_what_it_cost_is_told,
    a_stream_without_its_end_is_no_answer,
    a_refusal_is_a_fault_with_its_category_and_cost,
    an_answer_cut_off_at_max_tokens_is_no_answer,
    an_oversized_answer_is_dropped_with_its_connection,
    an_answer_that_takes_too_long_is_given_up,
    an_api_that_is_not_there_is_named_so,
    temperature_goes_only_where_it_is_taken,
    the_first_variant_goes_ahead_and_the_others_find_its_prefix_cached,
    when_the_first_variant_fails_the_others_still_go,
    a_limit_that_is_used_up_stops_the_next_request_before_it_leaves,
    a_limit_that_comes_back_soon_is_waited_for,
    the_key_is_in_no_error_and_no_debug_output,
    a_redirect_is_not_followed,
}

/// Runs one test of this binary where no CA certificate can be found and every proxy is a dead end.
fn on_a_bare_machine(test: &str) {
    let nowhere = "/nowhere/at/all";
    let proxy = "http://127.0.0.1:9";
    let here = std::env::current_exe().expect("the running test binary");
    let output = Command::new(here)
        .args(["--exact", "--include-ignored", test])
        .envs([
            ("SSL_CERT_FILE", nowhere),
            ("SSL_CERT_DIR", nowhere),
            ("HTTP_PROXY", proxy),
            ("http_proxy", proxy),
        ])
        .output()
        .expect("the test binary starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

#[test]
fn loopback_needs_neither_ca_certificates_nor_the_proxy() {
    on_a_bare_machine("claude::a_whole_answer_comes_back_with_what_it_cost");
}

#[test]
fn missing_ca_certificates_are_named_before_anything_is_sent() {
    on_a_bare_machine("claude::https_is_refused_without_ca_certificates");
}

#[test]
#[ignore = "holds only on a bare machine; the test above sees to that"]
fn https_is_refused_without_ca_certificates() {
    let refused = Claude::new(&config::Claude::default(), None);
    assert!(
        matches!(refused, Err(ClaudeError::NoClient { .. })),
        "{refused:?}"
    );
}
