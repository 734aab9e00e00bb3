//! Decimal text as whole numbers of a smaller unit, without floats in between. Not a number type.

/// Digits a text may have.
const DIGITS_MAX: usize = 40;
/// Exponents beyond are refused.
const EXPONENT_MAX: i32 = 400;

/// A decimal number in units of 10^-places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scaled {
    /// The nearest whole number, half away from zero.
    pub rounded: i64,
    /// Whether it is the number itself.
    pub exact: bool,
}

/// Reads `12`, `-0.5`, `3.75e-08` in units of 10^-`places`.
///
/// # Errors
/// Says what is wrong with the text.
pub fn scaled(text: &str, places: u32) -> Result<Scaled, String> {
    let not_a_number = || format!("{text:?} is not a decimal number");
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| not_a_number())?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: String = [whole, fraction].concat();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(not_a_number());
    }
    let significant = digits.trim_start_matches('0');
    if significant.len() > DIGITS_MAX || exponent.abs() > EXPONENT_MAX {
        return Err(format!("{text:?} has too many digits"));
    }
    if significant.is_empty() {
        return Ok(Scaled { rounded: 0, exact: true });
    }
    // The number is `significant` x 10^shift in the wanted unit.
    let shift = exponent + places as i32 - fraction.len() as i32;
    let too_big = || format!("{text:?} is too big");
    let (kept, dropped) = if shift >= 0 {
        let zeros = usize::try_from(shift).map_err(|_| too_big())?;
        (format!("{significant}{}", "0".repeat(zeros)), "")
    } else {
        let cut = significant.len().saturating_sub(shift.unsigned_abs() as usize);
        (significant.get(..cut).unwrap_or_default().to_owned(), significant.get(cut..).unwrap_or_default())
    };
    // Digits that begin right after the unit decide the rounding; fewer digits than that round to zero.
    let first_dropped_counts = shift < 0 && significant.len() >= shift.unsigned_abs() as usize;
    let up = first_dropped_counts && dropped.as_bytes().first().is_some_and(|d| *d >= b'5');
    let exact = dropped.bytes().all(|b| b == b'0');
    let magnitude: i64 = if kept.is_empty() { 0 } else { kept.parse().map_err(|_| too_big())? };
    let magnitude = magnitude.checked_add(i64::from(up)).ok_or_else(too_big)?;
    Ok(Scaled { rounded: if negative { -magnitude } else { magnitude }, exact })
}

#[cfg(test)]
mod tests;
