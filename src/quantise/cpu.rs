//! Which vector instructions the kernels of this module may use, asked in one place. The portable form of every kernel
//! stays beside the others and is what they are tested against.

/// AVX-512 with bytes, 64-bit integers, short vectors: what servers have since 2017. The first part comes with the others.
#[inline]
pub fn avx512() -> bool {
    is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("fma")
}

/// AVX2: what everything else has since 2015.
#[inline]
pub fn avx2() -> bool {
    is_x86_feature_detected!("avx2")
}

/// Vectors of 32-bit floats with fused multiply-add and a count of bits.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Vectors {
    /// Sixteen lanes.
    Avx512,
    /// Eight.
    Avx2,
}

impl Vectors {
    /// All kinds, widest first.
    pub const ALL: [Vectors; 2] = [Vectors::Avx512, Vectors::Avx2];

    /// True where this machine has them.
    #[inline]
    pub fn are_there(self) -> bool {
        match self {
            Vectors::Avx512 => avx512(),
            Vectors::Avx2 => avx2() && is_x86_feature_detected!("fma") && is_x86_feature_detected!("popcnt"),
        }
    }
}
