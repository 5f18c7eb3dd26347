//! Which vector instructions to use. Detected once at run time; every kernel also exists in a portable form that
//! agrees with the others to rounding.

/// A set of vector instructions the backprojection kernel is compiled for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Simd {
    /// Whatever the compiler's baseline has; multiply and add are rounded separately on x86-64.
    Portable,
    /// x86-64 with AVX2 and FMA: 8 slices side by side.
    Avx2,
    /// x86-64 with AVX-512: 16 slices side by side.
    Avx512,
    /// 64-bit Arm: fused multiply-add is part of its baseline.
    Neon,
}

impl Simd {
    /// Every set this machine has, best last.
    pub fn available() -> Vec<Simd> {
        #[allow(unused_mut)]
        let mut v = vec![Simd::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                v.push(Simd::Avx2);
                if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                    v.push(Simd::Avx512);
                }
            }
        }
        #[cfg(target_arch = "aarch64")]
        v.push(Simd::Neon);
        v
    }

    /// The best set this machine has.
    pub fn detect() -> Simd {
        Simd::available().last().copied().unwrap_or(Simd::Portable)
    }

    /// Slices that travel side by side.
    pub fn lanes(self) -> usize {
        match self {
            Simd::Avx512 => 16,
            _ => 8,
        }
    }
}
