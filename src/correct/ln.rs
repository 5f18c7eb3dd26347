//! A natural logarithm that the compiler can vectorise and that gives the same bits on every machine. The C library's
//! one is a call per value: at a thousand million values per gigapixel scan that would cost more than the FFTs.

/// Natural logarithm of a positive, normal, finite `x`; relative error below 3e-7. Anything else
/// gives a meaningless number: callers clip first.
///
/// `x = m * 2^e` with m in [2/3, 4/3), then `ln m = 2 artanh(s)`, `s = (m - 1) / (m + 1)`, |s| <= 1/5, whose odd series
/// is cut where the next term is below 2e-9.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    let bits = x.to_bits() as i32;
    // 0x3f2aaaab is 2/3: subtracting it makes the exponent field count from there.
    let e = bits.wrapping_sub(0x3f2a_aaab) >> 23;
    let m = f32::from_bits(bits.wrapping_sub(e << 23) as u32);
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let p = 2.0 / 3.0 + z * (2.0 / 5.0 + z * (2.0 / 7.0 + z * (2.0 / 9.0 + z * (2.0 / 11.0))));
    let k = e as f32;
    // ln 2 in two parts, the first with few bits, so that k * LN2_HI is exact.
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    k * LN2_HI + (k * LN2_LO + (2.0 * s + s * z * p))
}

#[cfg(test)]
mod tests {
    use super::ln;

    #[test]
    fn agrees_with_float64() {
        let mut worst = 0.0f64;
        let mut check = |x: f32| {
            let (got, want) = (f64::from(ln(x)), f64::from(x).ln());
            worst = worst.max((got - want).abs() / want.abs().max(1e-3));
        };
        // All exponents, and densely where transmissions live.
        for e in -125..127 {
            for i in 0..200 {
                check(2f32.powi(e) * (1.0 + i as f32 / 200.0));
            }
        }
        for i in 1..200_000 {
            check(i as f32 / 100_000.0);
        }
        assert_eq!(ln(1.0), 0.0);
        assert!(worst < 3e-7, "{worst:.1e}");
    }
}
