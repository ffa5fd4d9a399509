//! What stands behind a series on its line: the value, and perhaps a time in milliseconds.
//!
//! The grammar and the prediction read it with the same functions, so that they cannot disagree.

use super::text::{LineError, blanks};

/// Reads from the value to the end of the line, which must be there: value, time, and bytes up to and with the line break.
#[inline(always)]
pub(super) fn value_line(rest: &[u8]) -> Option<(f64, Option<i64>, usize)> {
    let (value, used) = number(rest)?;
    if rest.get(used) == Some(&b'\n') {
        return Some((value, None, used + 1));
    }
    after_value(rest, value, used)
}

/// The same, of a value that has been read and is not the last of its line.
#[inline(never)]
pub(super) fn after_value(rest: &[u8], value: f64, used: usize) -> Option<(f64, Option<i64>, usize)> {
    // A time of this century: thirteen digits, a line break.
    if let Some((b' ', time)) = rest.get(used..)?.split_first()
        && let Some((high, 8)) = leading_digits(time)
        && let Some((low, 5)) = leading_digits(&time[8..])
        && time.get(13) == Some(&b'\n')
    {
        return Some((value, Some((high * 100_000 + low) as i64), used + 15));
    }
    let (own_ms, used) = after_number(rest, used).ok()?;
    match rest.get(used..)? {
        [b'\n', ..] => Some((value, own_ms, used + 1)),
        [b'\r', b'\n', ..] => Some((value, own_ms, used + 2)),
        _ => None,
    }
}

/// A number at the start of `bytes` and how long it is: decimal, `NaN`, or an infinity, in any case.
#[inline(always)]
pub(super) fn number(bytes: &[u8]) -> Option<(f64, usize)> {
    match short_number(bytes) {
        Some(found) => Some(found),
        None => any_number(bytes),
    }
}

#[inline(never)]
fn any_number(bytes: &[u8]) -> Option<(f64, usize)> {
    let (value, used) = fast_float2::parse_partial::<f64, _>(bytes).ok()?;
    if value.is_finite() || is_word(&bytes[..used]) { Some((value, used)) } else { None }
}

/// Numbers as most lines have them: up to 16 digits, or up to 8 before and 16 behind a point, perhaps an exponent, and then a
/// line break or a blank. Eight digits at a time, so without a branch that depends on how many there are. `None` for all
/// others, and for those that need more than one rounding.
#[inline(always)]
fn short_number(bytes: &[u8]) -> Option<(f64, usize)> {
    let (mut whole, mut used) = leading_digits(bytes)?;
    if used == 8 {
        let (more, count) = leading_digits(&bytes[8..])?;
        whole = whole * POWERS[count] + more;
        used += count;
    }
    if used == 0 {
        return None;
    }
    match bytes.get(used)? {
        // A float rounds a whole number to the nearest, as it should; from a signed one that is a single instruction.
        b'\n' | b' ' => Some((whole as i64 as f64, used)),
        b'.' if used <= 8 => {
            let (fraction, count) = leading_digits(&bytes[used + 1..])?;
            used += 1 + count;
            let digits = whole * POWERS[count] + fraction;
            // Both are exact, so one division rounds once.
            if digits < EXACT_MAX && count > 0 && matches!(bytes.get(used)?, b'\n' | b' ') {
                return Some((digits as i64 as f64 / POWERS[count] as i64 as f64, used));
            }
            longer_number(bytes, digits, count, used)
        }
        _ => longer_number(bytes, whole, 0, used),
    }
}

const POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
/// The powers of ten that a float holds exactly.
const FLOAT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
/// Whole numbers below this are floats without rounding.
const EXACT_MAX: u64 = 1 << 53;

/// Goes on with a number of which some digits have been read, so many of them behind the point: more of those, an exponent.
#[inline(never)]
fn longer_number(bytes: &[u8], mut digits: u64, mut fraction: usize, mut used: usize) -> Option<(f64, usize)> {
    if fraction == 8 {
        let (more, count) = leading_digits(bytes.get(used..)?)?;
        digits = digits.checked_mul(POWERS[count])?.checked_add(more)?;
        fraction += count;
        used += count;
    }
    let mut power = -(fraction as i32);
    if let [b'e' | b'E', exponent @ ..] = bytes.get(used..)? {
        let (is_negative, signs) = match exponent.first()? {
            b'-' => (true, 1),
            b'+' => (false, 1),
            _ => (false, 0),
        };
        let (exponent, count) = leading_digits(&exponent[signs..])?;
        if !(1..=3).contains(&count) {
            return None;
        }
        power += if is_negative { -(exponent as i32) } else { exponent as i32 };
        used += 1 + signs + count;
    }
    if digits >= EXACT_MAX || !matches!(bytes.get(used)?, b'\n' | b' ') {
        return None;
    }
    let scale = *FLOAT_POWERS.get(power.unsigned_abs() as usize)?;
    // Both are exact here too.
    let digits = digits as i64 as f64;
    Some((if power < 0 { digits / scale } else { digits * scale }, used))
}

/// The digits at the start of `bytes`, at most eight, as a number, and how many they are; `None` near the end of `bytes`.
#[inline(always)]
fn leading_digits(bytes: &[u8]) -> Option<(u64, usize)> {
    let digits = u64::from_le_bytes(*bytes.first_chunk()?) ^ 0x3030_3030_3030_3030;
    // The high bit of each byte that is above nine; a carry can only reach bytes behind the first such one.
    let others = (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & 0x8080_8080_8080_8080;
    let count = others.trailing_zeros() as usize / 8;
    // Digits to the end of the word, zeroes before them. In two steps: a word cannot be shifted by all of its bits.
    let digits = digits << (4 * (8 - count)) << (4 * (8 - count));
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let low = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let high = (pairs >> 16 & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    Some((low.wrapping_add(high) >> 32 & 0xffff_ffff, count))
}

/// Whether a number that is not finite was written so: `+nan` and `1e999` were not.
#[cold]
fn is_word(written: &[u8]) -> bool {
    let (word, signed) = match written {
        [b'+' | b'-', word @ ..] => (word, true),
        word => (word, false),
    };
    match word.first() {
        Some(b'i' | b'I') => true,
        Some(b'n' | b'N') => !signed,
        _ => false,
    }
}

/// What may follow a value: blanks, a timestamp, blanks. Gives the timestamp and where the line should end.
pub(super) fn after_number(rest: &[u8], used: usize) -> Result<(Option<i64>, usize), LineError> {
    let at = used + blanks(&rest[used..]);
    let ended = |at: usize| matches!(rest[at..], [] | [b'\n', ..] | [b'\r', b'\n', ..]);
    if ended(at) {
        return Ok((None, at));
    }
    if at == used {
        return Err(LineError { at, expected: "a blank or the end of the line after the value" });
    }
    let digits = rest[at..].iter().skip(usize::from(rest[at] == b'-')).take_while(|byte| byte.is_ascii_digit()).count();
    let end = at + usize::from(rest[at] == b'-') + digits;
    let own_ms: Option<i64> = std::str::from_utf8(&rest[at..end]).ok().and_then(|text| text.parse().ok());
    let after = end + blanks(&rest[end..]);
    // The smallest number stands for "none" in the packed column of points.
    match own_ms.filter(|&ms| ms != i64::MIN) {
        Some(own_ms) if ended(after) => Ok((Some(own_ms), after)),
        Some(_) if after > end => Err(LineError { at: after, expected: "the end of the line" }),
        _ => Err(LineError { at, expected: "a timestamp in whole milliseconds" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_numbers_are_the_same_as_all_numbers() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = |limit: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % limit
        };
        let mut short = 0;
        for _ in 0..20_000 {
            let digits = |count: u64, next: &mut dyn FnMut(u64) -> u64| -> String {
                (0..count).map(|_| char::from(b'0' + next(10) as u8)).collect()
            };
            let mut text = digits(next(19), &mut next);
            if next(2) == 0 {
                text = format!("{text}.{}", digits(next(18), &mut next));
            }
            if next(4) == 0 {
                text = format!("{text}e{}{}", ["+", "-", ""][next(3) as usize], digits(1 + next(3), &mut next));
            }
            let line =
                format!("{text}{}", ["\n-------", " 12345678", "e5\n------", "x\n------", "\n"][next(5) as usize]);
            let expected = any_number(line.as_bytes());
            if let Some((value, used)) = short_number(line.as_bytes()) {
                short += 1;
                assert_eq!(
                    (value.to_bits(), used),
                    expected.map(|(v, u)| (v.to_bits(), u)).expect("a number"),
                    "{line}"
                );
            }
        }
        assert!(short > 3500, "{short}");
    }
}
