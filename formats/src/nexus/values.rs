//! Small values: attributes and short datasets, read whole through the library into numbers, texts or a description.
//!
//! Every read is bounded by a limit in bytes given by the caller, checked before anything is allocated.

use super::sys::{Failure, Id, check, versioned};
use super::types::{StringKind, TypeInfo, describe, native};
use crate::DType;
use crate::model::units::text_lossy;
use hdf5_metno_sys::h5::{herr_t, hsize_t};
use hdf5_metno_sys::h5i::hid_t;
use hdf5_metno_sys::h5p::H5P_DEFAULT;
use hdf5_metno_sys::h5s::*;
use hdf5_metno_sys::h5t::{H5T_str_t, H5Tget_strpad};
use serde_json::Value;
use std::ffi::{CStr, c_char, c_void};

/// What an attribute or dataset holds.
pub(super) enum Values {
    /// Numbers, native byte order.
    Numbers(DType, Vec<u8>),
    /// Strings.
    Texts(Vec<String>),
    /// Something else, by its type's text.
    Other(String),
}

/// Extent of a dataspace: an empty ("null") space has `None`, a scalar no dimensions. Call under the lock.
pub(super) fn extent(space: &Id) -> Result<Option<Vec<u64>>, Failure> {
    // SAFETY: `space` is an open dataspace; the dimension arrays hold the 32 the library allows at most.
    unsafe {
        match H5Sget_simple_extent_type(space.raw()) {
            H5S_class_t::H5S_NULL => return Ok(None),
            H5S_class_t::H5S_SCALAR => return Ok(Some(Vec::new())),
            _ => {}
        }
        let n = check(H5Sget_simple_extent_ndims(space.raw()))?;
        if n > 32 {
            return Err(Failure { lines: vec![format!("{n} dimensions")] });
        }
        let mut dims = [0 as hsize_t; 32];
        check(H5Sget_simple_extent_dims(space.raw(), dims.as_mut_ptr(), std::ptr::null_mut()))?;
        Ok(Some(dims[..n as usize].to_vec()))
    }
}

/// Number of elements, or a failure where the product overflows.
pub(super) fn count(dims: Option<&[u64]>) -> Result<u64, Failure> {
    let Some(dims) = dims else { return Ok(0) };
    dims.iter()
        .try_fold(1u64, |n, &d| n.checked_mul(d))
        .filter(|n| *n < 1 << 60)
        .ok_or_else(|| Failure { lines: vec!["the dimensions are beyond any real dataset".into()] })
}

/// Reads all elements. `read(memory type, buffer)` is H5Aread or H5Dread. Call under the lock.
pub(super) fn read_all(
    t: &Id,
    space: &Id,
    limit: u64,
    read: impl Fn(hid_t, *mut c_void) -> herr_t,
) -> Result<Values, Failure> {
    let info = describe(t)?;
    let n = count(extent(space)?.as_deref())?;
    let size = info.dtype.map_or(info.size, DType::size);
    let bytes = n.checked_mul(size as u64).filter(|b| *b <= limit);
    let Some(bytes) = bytes else {
        return Err(Failure { lines: vec![format!("{n} values of type {} are more than asked for", info.text)] });
    };
    if let Some(dtype) = info.dtype {
        let mem = native(dtype, t)?;
        let mut buf = vec![0u8; n as usize * dtype.size()];
        if n > 0 {
            check(read(mem.raw(), buf.as_mut_ptr().cast()))?;
        }
        return Ok(Values::Numbers(dtype, buf));
    }
    match info.string {
        Some(StringKind::Fixed) => fixed(t, &info, n as usize, bytes as usize, read),
        Some(StringKind::Variable) => variable(t, space, n as usize, read),
        None => Ok(Values::Other(info.text)),
    }
}

fn fixed(
    t: &Id,
    info: &TypeInfo,
    n: usize,
    bytes: usize,
    read: impl Fn(hid_t, *mut c_void) -> herr_t,
) -> Result<Values, Failure> {
    if n == 0 || info.size == 0 {
        return Ok(Values::Texts(vec![String::new(); n]));
    }
    let mut buf = vec![0u8; bytes];
    check(read(t.raw(), buf.as_mut_ptr().cast()))?;
    // SAFETY: `t` is an open string type.
    let spaces = unsafe { H5Tget_strpad(t.raw()) } == H5T_str_t::H5T_STR_SPACEPAD;
    let text = |b: &[u8]| {
        let end = b.iter().position(|&c| c == 0).unwrap_or(b.len());
        let s = text_lossy(&b[..end]);
        if spaces { s.trim_end_matches(' ').to_owned() } else { s }
    };
    Ok(Values::Texts(buf.chunks_exact(info.size).map(text).collect()))
}

fn variable(t: &Id, space: &Id, n: usize, read: impl Fn(hid_t, *mut c_void) -> herr_t) -> Result<Values, Failure> {
    let mut ptrs: Vec<*mut c_char> = vec![std::ptr::null_mut(); n];
    let mut texts = Vec::with_capacity(n);
    if n > 0 {
        check(read(t.raw(), ptrs.as_mut_ptr().cast()))?;
        for &p in &ptrs {
            // SAFETY: after a successful read each entry is null or a NUL-terminated string owned by the library.
            texts.push(if p.is_null() { String::new() } else { text_lossy(unsafe { CStr::from_ptr(p) }.to_bytes()) });
        }
        // SAFETY: gives the strings back; `ptrs` holds exactly what the read filled in.
        unsafe {
            versioned::reclaim(t.raw(), space.raw(), H5P_DEFAULT, ptrs.as_mut_ptr().cast());
        }
    }
    Ok(Values::Texts(texts))
}

impl Values {
    /// The numbers as `f64`.
    pub fn to_f64(&self) -> Option<Vec<f64>> {
        let Values::Numbers(d, b) = self else { return None };
        let mut out = vec![0f64; b.len() / d.size()];
        d.to_f64(b, &mut out);
        Some(out)
    }

    /// Integers as `i64`; `None` for floats, texts, and unsigned values beyond `i64`.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        let Values::Numbers(d, b) = self else { return None };
        macro_rules! all {
            ($t:ty) => {
                b.chunks_exact(size_of::<$t>())
                    .map(|c| c.try_into().ok().and_then(|c| i64::try_from(<$t>::from_ne_bytes(c)).ok()))
                    .collect()
            };
        }
        match d {
            DType::U8 => all!(u8),
            DType::I8 => all!(i8),
            DType::U16 => all!(u16),
            DType::I16 => all!(i16),
            DType::U32 => all!(u32),
            DType::I32 => all!(i32),
            DType::U64 => all!(u64),
            DType::I64 => all!(i64),
            DType::F16 | DType::F32 | DType::F64 => None,
        }
    }

    /// As JSON: one value alone, several as an array. Numbers JSON cannot write (NaN, infinity) become text.
    pub fn to_json(&self) -> Value {
        let number = |v: f64| serde_json::Number::from_f64(v).map_or_else(|| Value::from(v.to_string()), Value::Number);
        let mut list: Vec<Value> = match self {
            Values::Texts(t) => t.iter().map(|s| Value::from(s.as_str())).collect(),
            Values::Other(text) => return Value::from(format!("({text})")),
            Values::Numbers(DType::U64, b) => b
                .chunks_exact(8)
                .map(|c| Value::from(c.try_into().map(u64::from_ne_bytes).unwrap_or_default()))
                .collect(),
            // The decimal text of a 32-bit value, not that of its 64-bit neighbour.
            Values::Numbers(DType::F32, b) => b
                .chunks_exact(4)
                .map(|c| c.try_into().map(f32::from_ne_bytes).unwrap_or_default())
                .map(|v| number(v.to_string().parse().unwrap_or(f64::from(v))))
                .collect(),
            Values::Numbers(..) => match self.to_i64() {
                Some(v) => v.into_iter().map(Value::from).collect(),
                None => self.to_f64().unwrap_or_default().into_iter().map(number).collect(),
            },
        };
        if list.len() == 1 { list.swap_remove(0) } else { Value::Array(list) }
    }
}
