#![allow(clippy::unwrap_used)]

use super::*;

fn find<'a>(map: &'a PriceMap, provider: &str, model: &str) -> Vec<&'a Price> {
    map.prices.iter().filter(|p| p.provider == provider && p.model == model).collect()
}

#[test]
fn the_example_holds_ollama_for_nothing_and_two_tiers() {
    let map = PriceMap::example().unwrap();
    assert!(map.version.starts_with("example-"));
    assert_eq!(map.skipped, []);
    let [free] = find(&map, "ollama", ANY_MODEL)[..] else { panic!("one row") };
    assert_eq!((free.input_pico_usd, free.output_pico_usd), (0, Some(0)));
    let [small, large] = find(&map, "gemini", "gemini-1.5-pro")[..] else { panic!("two rows") };
    assert_eq!((small.input_tokens_above, small.input_tokens_to, small.input_pico_usd), (-1, 128_000, 1_250_000));
    assert_eq!(
        (large.input_tokens_above, large.input_tokens_to, large.input_pico_usd, large.output_pico_usd),
        (128_000, i64::MAX, 2_500_000, Some(10_000_000))
    );
    let [claude] = find(&map, "claude", "claude-3-5-sonnet-20241022")[..] else { panic!("one row") };
    assert_eq!((claude.cache_read_pico_usd, claude.cache_write_pico_usd), (Some(300_000), Some(3_750_000)));
}

#[test]
fn the_version_stands_for_the_content() {
    let a = PriceMap::from_json(r#"{"ollama/x": {"input_cost_per_token": 0}}"#, "a").unwrap();
    let b = PriceMap::from_json(r#"{"ollama/x": {"input_cost_per_token": 1e-9}}"#, "a").unwrap();
    assert_ne!(a.version, b.version);
    assert_eq!(a.version.len(), 16);
}

#[test]
fn a_tier_takes_over_what_it_does_not_say() {
    let text = r#"{"m": {"litellm_provider": "openai", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "input_cost_per_token_above_200k_tokens": 3e-6}}"#;
    let map = PriceMap::from_json(text, "p").unwrap();
    assert_eq!(
        map.prices.iter().map(|p| (p.input_pico_usd, p.output_pico_usd)).collect::<Vec<_>>(),
        [(1_000_000, Some(2_000_000)), (3_000_000, Some(2_000_000))]
    );
}

#[test]
fn what_cannot_be_priced_is_left_out_with_a_reason() {
    let text = r#"{
        "sample_spec": {"input_cost_per_token": "in words"},
        "dall-e": {"litellm_provider": "openai", "input_cost_per_image": 0.04},
        "fine": {"litellm_provider": "openai", "input_cost_per_token": 1.5e-13},
        "a": {"litellm_provider": "anthropic", "input_cost_per_token": 1e-6},
        "anthropic/a": {"litellm_provider": "anthropic", "input_cost_per_token": 2e-6}
    }"#;
    let map = PriceMap::from_json(text, "p").unwrap();
    assert_eq!(map.prices.len(), 1);
    assert_eq!(map.prices[0].input_pico_usd, 1_000_000);
    assert_eq!(map.skipped.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["anthropic/a", "dall-e", "fine"]);
}

#[test]
fn errors_name_file_model_and_field() {
    let cases = [
        ("[]", "must be a JSON object"),
        ("{", "must be a JSON object"),
        (r#"{"x/y": 3}"#, "model \"x/y\" must be an object"),
        (r#"{"y": {"input_cost_per_token": 1}}"#, "provider/model"),
        (r#"{"x/y": {"input_cost_per_token": -1e-6}}"#, "input_cost_per_token = -1e-6 must not be negative"),
        (r#"{"x/y": {"input_cost_per_token": 5000}}"#, "more than 1000 USD"),
        (r#"{"x/y": {"input_cost_per_token": []}}"#, "input_cost_per_token must be a number"),
        (r#"{"x/y": {"input_cost_per_token": "free"}}"#, "is not a decimal number"),
    ];
    for (text, expected) in cases {
        let message = PriceMap::from_json(text, "prices.json").unwrap_err().to_string();
        assert!(message.starts_with("prices.json: ") && message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn providers_have_one_name() {
    for (given, expected) in
        [("Anthropic", "claude"), ("vertex_ai-language-models", "gemini"), (" Google ", "gemini"), ("ollama_chat", "ollama"), ("mistral", "mistral")]
    {
        assert_eq!(provider_of(given), expected);
    }
}
