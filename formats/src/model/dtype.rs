//! Element types and byte order: names, sizes, and conversions that never lose a bit unasked.

use bytemuck::Pod;
use half::f16;
use multiversion::multiversion;
use serde::{Deserialize, Serialize};

/// Byte order of multi-byte values in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ByteOrder {
    /// Least significant byte first (every PC and cluster of today).
    Little,
    /// Most significant byte first (old workstations, ImageJ's TIFF).
    Big,
}

impl ByteOrder {
    /// The order of this machine.
    pub const NATIVE: ByteOrder = if cfg!(target_endian = "little") { ByteOrder::Little } else { ByteOrder::Big };

    /// Brings `bytes`, elements of `size` bytes in this order, into native order (or back: it is its own inverse).
    pub fn to_native(self, bytes: &mut [u8], size: usize) {
        if self == Self::NATIVE || size < 2 {
            return;
        }
        match size {
            2 => bytes.as_chunks_mut::<2>().0.iter_mut().for_each(|c| c.reverse()),
            4 => bytes.as_chunks_mut::<4>().0.iter_mut().for_each(|c| c.reverse()),
            8 => bytes.as_chunks_mut::<8>().0.iter_mut().for_each(|c| c.reverse()),
            n => bytes.chunks_exact_mut(n).for_each(|c| c.reverse()),
        }
    }
}

/// Type of one voxel or pixel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // the names say it all
pub enum DType {
    #[serde(rename = "uint8")]
    U8,
    #[serde(rename = "int8")]
    I8,
    #[serde(rename = "uint16")]
    U16,
    #[serde(rename = "int16")]
    I16,
    #[serde(rename = "uint32")]
    U32,
    #[serde(rename = "int32")]
    I32,
    #[serde(rename = "uint64")]
    U64,
    #[serde(rename = "int64")]
    I64,
    #[serde(rename = "float16")]
    F16,
    #[serde(rename = "float32")]
    F32,
    #[serde(rename = "float64")]
    F64,
}

/// Runs `$body` with `$t` bound to the Rust type of `$dtype`.
#[macro_export]
macro_rules! with_dtype {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::DType::U8 => {
                type $t = u8;
                $body
            }
            $crate::DType::I8 => {
                type $t = i8;
                $body
            }
            $crate::DType::U16 => {
                type $t = u16;
                $body
            }
            $crate::DType::I16 => {
                type $t = i16;
                $body
            }
            $crate::DType::U32 => {
                type $t = u32;
                $body
            }
            $crate::DType::I32 => {
                type $t = i32;
                $body
            }
            $crate::DType::U64 => {
                type $t = u64;
                $body
            }
            $crate::DType::I64 => {
                type $t = i64;
                $body
            }
            $crate::DType::F16 => {
                type $t = $crate::model::F16;
                $body
            }
            $crate::DType::F32 => {
                type $t = f32;
                $body
            }
            $crate::DType::F64 => {
                type $t = f64;
                $body
            }
        }
    };
}

/// A voxel value that can be widened to `f64`. 64-bit integers beyond 2^53 are rounded to nearest.
pub trait Voxel: Pod + Send + Sync {
    /// The value as `f64`.
    fn to_f64(self) -> f64;
    /// The value as `f32`, rounded to nearest.
    fn to_f32(self) -> f32;
}

macro_rules! voxel {
    ($($t:ty),*) => {$(impl Voxel for $t {
        #[inline(always)] fn to_f64(self) -> f64 { self as f64 }
        #[inline(always)] fn to_f32(self) -> f32 { self as f32 }
    })*};
}
voxel!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);
impl Voxel for f16 {
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f16::to_f64(self)
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }
}

impl DType {
    /// All types, for tables and tests.
    pub const ALL: [DType; 11] = [
        DType::U8,
        DType::I8,
        DType::U16,
        DType::I16,
        DType::U32,
        DType::I32,
        DType::U64,
        DType::I64,
        DType::F16,
        DType::F32,
        DType::F64,
    ];

    /// Bytes per value.
    pub const fn size(self) -> usize {
        match self {
            DType::U8 | DType::I8 => 1,
            DType::U16 | DType::I16 | DType::F16 => 2,
            DType::U32 | DType::I32 | DType::F32 => 4,
            DType::U64 | DType::I64 | DType::F64 => 8,
        }
    }

    /// NumPy's name, the one this project prints everywhere.
    pub const fn name(self) -> &'static str {
        match self {
            DType::U8 => "uint8",
            DType::I8 => "int8",
            DType::U16 => "uint16",
            DType::I16 => "int16",
            DType::U32 => "uint32",
            DType::I32 => "int32",
            DType::U64 => "uint64",
            DType::I64 => "int64",
            DType::F16 => "float16",
            DType::F32 => "float32",
            DType::F64 => "float64",
        }
    }

    /// Reads a name: NumPy's (`uint16`), Rust's (`u16`), or the short words people type (`byte`, `float`, `8bit`).
    pub fn parse(name: &str) -> Option<DType> {
        let n = name.trim().to_ascii_lowercase();
        if let Some(d) = Self::ALL.into_iter().find(|d| d.name() == n) {
            return Some(d);
        }
        Some(match n.as_str() {
            "u8" | "byte" | "uchar" | "8bit" | "8-bit" => DType::U8,
            "i8" => DType::I8,
            "u16" | "ushort" | "16bit" | "16-bit" => DType::U16,
            "i16" | "short" => DType::I16,
            "u32" | "uint" => DType::U32,
            "i32" | "int" => DType::I32,
            "u64" => DType::U64,
            "i64" => DType::I64,
            "f16" | "half" => DType::F16,
            "f32" | "float" | "32bit" | "32-bit" => DType::F32,
            "f64" | "double" => DType::F64,
            _ => return None,
        })
    }

    /// True for floating-point types.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F16 | DType::F32 | DType::F64)
    }

    /// True for signed integers.
    pub const fn is_signed(self) -> bool {
        matches!(self, DType::I8 | DType::I16 | DType::I32 | DType::I64)
    }

    /// True where every value of `self` has an exact equal in `to`.
    pub fn is_lossless_into(self, to: DType) -> bool {
        use DType::*;
        if self == to {
            return true;
        }
        let bits = self.size() * 8;
        match (self.is_float(), to.is_float()) {
            (true, true) => self.size() < to.size(),
            (true, false) => false,
            (false, true) => {
                // A signed integer of n bits needs n-1 bits of mantissa (its minimum is a power of two).
                let need = if self.is_signed() { bits - 1 } else { bits };
                let mantissa = match to {
                    F16 => 11,
                    F32 => 24,
                    _ => 53,
                };
                need <= mantissa && !(self == I64 || self == U64)
            }
            (false, false) => match (self.is_signed(), to.is_signed()) {
                (false, true) => self.size() < to.size(),
                (true, false) => false,
                _ => self.size() < to.size(),
            },
        }
    }

    /// Widens native-order `bytes` of this type into `out` as `f32` (64-bit types are rounded to nearest).
    ///
    /// # Panics
    /// Where `bytes` does not hold exactly `out.len()` values: that is a bug of the caller, never of a file.
    pub fn to_f32(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(bytes.len(), out.len() * self.size());
        widen_to_f32(self, bytes, out);
    }

    /// Widens native-order `bytes` of this type into `out` as `f64`.
    ///
    /// # Panics
    /// As [`DType::to_f32`].
    pub fn to_f64(self, bytes: &[u8], out: &mut [f64]) {
        assert_eq!(bytes.len(), out.len() * self.size());
        widen_to_f64(self, bytes, out);
    }

    /// Converts native-order values exactly; `None` where [`is_lossless_into`](Self::is_lossless_into) says no.
    pub fn convert_lossless(self, bytes: &[u8], to: DType) -> Option<Vec<u8>> {
        if self == to {
            return Some(bytes.to_vec());
        }
        if !self.is_lossless_into(to) {
            return None;
        }
        let n = bytes.len() / self.size();
        let mut out = vec![0u8; n * to.size()];
        macro_rules! int_or_float {
            ($($d:ident => $r:ty),*) => { match to { $(DType::$d => {
                with_dtype!(self, T => each::<T>(bytes, |i, v| {
                    // Exact by the check above: every admitted source fits f64 unless both sides are integers of 64 bits.
                    let w = v.to_f64() as $r;
                    out[i * size_of::<$r>()..][..size_of::<$r>()].copy_from_slice(&w.to_ne_bytes());
                }))
            },)* DType::F16 => with_dtype!(self, T => each::<T>(bytes, |i, v| {
                out[i * 2..][..2].copy_from_slice(&f16::from_f64(v.to_f64()).to_ne_bytes());
            })) } };
        }
        int_or_float!(U8 => u8, I8 => i8, U16 => u16, I16 => i16, U32 => u32, I32 => i32, U64 => u64, I64 => i64,
                      F32 => f32, F64 => f64);
        Some(out)
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn widen_to_f32(from: DType, bytes: &[u8], out: &mut [f32]) {
    with_dtype!(from, T => widen::<T, f32>(bytes, out, T::to_f32));
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn widen_to_f64(from: DType, bytes: &[u8], out: &mut [f64]) {
    with_dtype!(from, T => widen::<T, f64>(bytes, out, T::to_f64));
}

/// Without indices, so that the compiler makes vectors of it.
#[inline(always)]
fn widen<T: Voxel, O>(bytes: &[u8], out: &mut [O], f: impl Fn(T) -> O) {
    match bytemuck::try_cast_slice::<u8, T>(bytes) {
        Ok(values) => out.iter_mut().zip(values).for_each(|(o, v)| *o = f(*v)),
        Err(_) => out
            .iter_mut()
            .zip(bytes.chunks_exact(size_of::<T>()))
            .for_each(|(o, c)| *o = f(bytemuck::pod_read_unaligned(c))),
    }
}

/// Calls `f(index, value)` for every value in `bytes`, which need not be aligned.
#[inline(always)]
pub fn each<T: Voxel>(bytes: &[u8], mut f: impl FnMut(usize, T)) {
    match bytemuck::try_cast_slice::<u8, T>(bytes) {
        Ok(values) => values.iter().enumerate().for_each(|(i, &v)| f(i, v)),
        Err(_) => {
            bytes.chunks_exact(size_of::<T>()).enumerate().for_each(|(i, c)| f(i, bytemuck::pod_read_unaligned(c)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lossless_table_agrees_with_conversion() {
        // Extremes of each type survive a lossless conversion and come back equal.
        let cases: [(DType, Vec<u8>); 4] = [
            (DType::U8, vec![0, 255]),
            (DType::I16, [i16::MIN, i16::MAX].iter().flat_map(|v| v.to_ne_bytes()).collect()),
            (DType::U16, [0u16, u16::MAX].iter().flat_map(|v| v.to_ne_bytes()).collect()),
            (DType::U32, [0u32, u32::MAX].iter().flat_map(|v| v.to_ne_bytes()).collect()),
        ];
        for (d, bytes) in cases {
            for to in DType::ALL {
                let Some(out) = d.convert_lossless(&bytes, to) else {
                    continue;
                };
                let (mut a, mut b) = ([0f64; 2], [0f64; 2]);
                d.to_f64(&bytes, &mut a);
                to.to_f64(&out, &mut b);
                assert_eq!(a, b, "{} -> {}", d.name(), to.name());
            }
        }
        assert!(!DType::U32.is_lossless_into(DType::F32));
        assert!(!DType::I8.is_lossless_into(DType::U16));
        assert!(DType::U16.is_lossless_into(DType::F32));
        assert!(!DType::U16.is_lossless_into(DType::F16));
    }

    #[test]
    fn swapping_twice_is_identity() {
        let other = if ByteOrder::NATIVE == ByteOrder::Little { ByteOrder::Big } else { ByteOrder::Little };
        let original: Vec<u8> = (0..48).collect();
        for size in [1, 2, 4, 8] {
            let mut b = original.clone();
            other.to_native(&mut b, size);
            assert_eq!(b == original, size == 1);
            other.to_native(&mut b, size);
            assert_eq!(b, original);
        }
    }
}
