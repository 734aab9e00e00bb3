//! What language-model calls cost, in integers of 10^-12 USD, from prices written as decimal text.

/// Prices per token, in 10^-12 USD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    /// Fresh input.
    pub input: i128,
    /// Input read from a cache.
    pub cache_read: i128,
    /// Input written to a cache.
    pub cache_write: i128,
    /// Output.
    pub output: i128,
}

/// One call; the cached tokens are part of the input.
#[derive(Debug, Clone, Copy, Default)]
pub struct Call {
    /// All input.
    pub input: i128,
    /// Part of it that was read from a cache.
    pub cache_read: i128,
    /// Part of it that was written to one.
    pub cache_write: i128,
    /// Output.
    pub output: i128,
}

/// The cost of one call in nano-USD; the calls of a test are chosen so that nothing is left to be rounded.
///
/// # Panics
/// When something is.
pub fn nano_usd(call: Call, prices: Prices) -> i128 {
    let fresh = call.input - call.cache_read - call.cache_write;
    let pico = fresh * prices.input + call.cache_read * prices.cache_read + call.cache_write * prices.cache_write + call.output * prices.output;
    assert_eq!(pico % 1000, 0, "{call:?} costs a fraction of a nano-USD");
    pico / 1000
}

/// Reads a price such as `3e-06` or `0.0000025` exactly.
///
/// # Panics
/// When it is no such price.
pub fn pico_usd(text: &str) -> i128 {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().expect("digits");
    let exponent: i32 = exponent.parse().expect("an exponent");
    let power = 12 + exponent - fraction.len() as i32;
    if power >= 0 {
        return digits * 10i128.pow(power.unsigned_abs());
    }
    let divisor = 10i128.pow(power.unsigned_abs());
    assert_eq!(digits % divisor, 0, "{text} is finer than 10^-12 USD");
    digits / divisor
}

#[cfg(test)]
mod tests;
