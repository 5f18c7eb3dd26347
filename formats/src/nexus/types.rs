//! HDF5 datatypes in our vocabulary: which of them are numbers we know ([`DType`]), and one line of text for all others.
//!
//! An enumeration counts as its base integer (masks stored as h5py `bool` are enumerations of int8) and a bit field as
//! an unsigned integer. Integers that do not fill their bytes (12 of 16 bits) are numbers too, but only the library
//! unpacks them ([`TypeInfo::packed`]). Compound, string, reference and complex types are described, never read as numbers.

use super::sys::{Failure, Id};
use crate::model::units::text_lossy;
use crate::{ByteOrder, DType};
use hdf5_metno_sys::h5::{H5free_memory, hsize_t};
use hdf5_metno_sys::h5t::*;
use std::ffi::{CStr, c_char};

/// What a datatype is.
#[derive(Clone, Debug)]
pub(super) struct TypeInfo {
    /// The number type, where it is one we know.
    pub dtype: Option<DType>,
    /// Byte order in the file, for numbers.
    pub order: Option<ByteOrder>,
    /// Bytes per element.
    pub size: usize,
    /// One line: `uint16 (big-endian)`, `string of 20 bytes`, `compound {a: int32, b: float32}`.
    pub text: String,
    /// Strings: fixed (with padding rule) or variable length.
    pub string: Option<StringKind>,
    /// True where only the library can unpack the values (bits that do not fill the bytes).
    pub packed: bool,
}

/// How a string type stores its text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StringKind {
    Fixed,
    Variable,
}

/// Describes a datatype. Call under the lock.
pub(super) fn describe(t: &Id) -> Result<TypeInfo, Failure> {
    describe_nested(t, 0)
}

fn describe_nested(t: &Id, depth: usize) -> Result<TypeInfo, Failure> {
    let raw = t.raw();
    // SAFETY (all blocks below): `raw` is an open datatype handle; the calls only read from it.
    // SAFETY: see the top of this function.
    let (class, size) = unsafe { (H5Tget_class(raw), H5Tget_size(raw)) };
    let mut info = TypeInfo { dtype: None, order: None, size, text: String::new(), string: None, packed: false };
    if depth > 8 {
        info.text = "deeply nested type".into();
        return Ok(info);
    }
    match class {
        H5T_class_t::H5T_INTEGER | H5T_class_t::H5T_BITFIELD | H5T_class_t::H5T_FLOAT => number(t, class, &mut info),
        H5T_class_t::H5T_ENUM => {
            let base = super_type(t)?;
            let inner = describe_nested(&base, depth + 1)?;
            // SAFETY: see above.
            let n = unsafe { H5Tget_nmembers(raw) }.max(0);
            let names: Vec<String> = (0..n.min(16)).map(|i| member_name(t, i as u32)).collect();
            let more = if n > 16 { ", …" } else { "" };
            let is_bool = names.len() == 2 && names.iter().all(|n| n == "TRUE" || n == "FALSE");
            info.text = if is_bool {
                format!("bool ({})", inner.text)
            } else {
                format!("enumeration {{{}{more}}} of {}", names.join(", "), inner.text)
            };
            info.dtype = inner.dtype;
            info.order = inner.order;
            info.packed = inner.packed;
        }
        H5T_class_t::H5T_STRING => {
            // SAFETY: see above.
            let variable = unsafe { H5Tis_variable_str(raw) } > 0;
            info.string = Some(if variable { StringKind::Variable } else { StringKind::Fixed });
            info.text = if variable { "string".into() } else { format!("string of {size} bytes") };
        }
        H5T_class_t::H5T_COMPOUND => {
            // SAFETY: see above.
            let n = unsafe { H5Tget_nmembers(raw) }.max(0);
            let mut parts = Vec::new();
            for i in 0..n.min(16) as u32 {
                // SAFETY: `i` is below the number of members.
                let member = Id::new(unsafe { H5Tget_member_type(raw, i) })?;
                parts.push(format!("{}: {}", member_name(t, i), describe_nested(&member, depth + 1)?.text));
            }
            if n > 16 {
                parts.push("…".into());
            }
            info.text = format!("compound {{{}}}", parts.join(", "));
        }
        H5T_class_t::H5T_VLEN => {
            let base = super_type(t)?;
            info.text = format!("variable-length list of {}", describe_nested(&base, depth + 1)?.text);
        }
        H5T_class_t::H5T_ARRAY => {
            let base = super_type(t)?;
            // SAFETY: the dimensions are asked for only where there are at most 32 (the library's own limit).
            let dims = unsafe {
                let mut dims = [0 as hsize_t; 32];
                let n = H5Tget_array_ndims(raw);
                if (1..=32).contains(&n) && H5Tget_array_dims2(raw, dims.as_mut_ptr()) >= 0 {
                    dims[..n as usize].to_vec()
                } else {
                    Vec::new()
                }
            };
            let dims: Vec<String> = dims.iter().map(u64::to_string).collect();
            info.text = format!("array [{}] of {}", dims.join(" × "), describe_nested(&base, depth + 1)?.text);
        }
        H5T_class_t::H5T_OPAQUE => info.text = format!("opaque, {size} bytes"),
        H5T_class_t::H5T_REFERENCE => info.text = "reference".into(),
        H5T_class_t::H5T_TIME => info.text = "time".into(),
        #[cfg(feature = "static-hdf5")]
        H5T_class_t::H5T_COMPLEX => {
            let base = super_type(t)?;
            info.text = format!("complex of two {}", describe_nested(&base, depth + 1)?.text);
        }
        _ => info.text = "unknown type".into(),
    }
    Ok(info)
}

fn super_type(t: &Id) -> Result<Id, Failure> {
    // SAFETY: `t` is an open datatype handle.
    Id::new(unsafe { H5Tget_super(t.raw()) })
}

fn member_name(t: &Id, i: u32) -> String {
    // SAFETY: the library allocates the name and we free it with its own call.
    unsafe {
        let p: *mut c_char = H5Tget_member_name(t.raw(), i);
        if p.is_null() {
            return String::new();
        }
        let name = text_lossy(CStr::from_ptr(p).to_bytes());
        H5free_memory(p.cast());
        name
    }
}

fn number(t: &Id, class: H5T_class_t, info: &mut TypeInfo) {
    let raw = t.raw();
    let size = info.size;
    // SAFETY: `raw` is an open integer, bit-field or float type; the calls only read from it.
    let (order, precision, offset) = unsafe { (H5Tget_order(raw), H5Tget_precision(raw), H5Tget_offset(raw)) };
    let full = precision == size * 8 && offset == 0;
    let order = match order {
        H5T_order_t::H5T_ORDER_LE => Some(ByteOrder::Little),
        H5T_order_t::H5T_ORDER_BE => Some(ByteOrder::Big),
        H5T_order_t::H5T_ORDER_NONE if size == 1 => Some(ByteOrder::NATIVE),
        _ => None,
    };
    let dtype = if class == H5T_class_t::H5T_FLOAT {
        let (mut sign, mut epos, mut esize, mut mpos, mut msize) = (0, 0, 0, 0, 0);
        // SAFETY: five valid places for the field positions.
        let ok = unsafe {
            H5Tget_fields(raw, &mut sign, &mut epos, &mut esize, &mut mpos, &mut msize) >= 0
                && H5Tget_norm(raw) == H5T_norm_t::H5T_NORM_IMPLIED
        };
        // SAFETY: as above.
        let bias = unsafe { H5Tget_ebias(raw) };
        let ieee = match (ok && full, size, (sign, epos, esize, mpos, msize, bias)) {
            (true, 2, (15, 10, 5, 0, 10, 15)) => Some(DType::F16),
            (true, 4, (31, 23, 8, 0, 23, 127)) => Some(DType::F32),
            (true, 8, (63, 52, 11, 0, 52, 1023)) => Some(DType::F64),
            _ => None,
        };
        // Other layouts (20 of 32 bits, packed by the nbit filter) hold no more than the IEEE type of that size:
        // the library converts them.
        info.packed = ieee.is_none();
        ieee.or(match size {
            4 if esize <= 8 && msize <= 23 => Some(DType::F32),
            8 if esize <= 11 && msize <= 52 => Some(DType::F64),
            _ => None,
        })
    } else {
        // SAFETY: as above; asked of integers only.
        let signed = class == H5T_class_t::H5T_INTEGER && unsafe { H5Tget_sign(raw) } == H5T_sign_t::H5T_SGN_2;
        match (signed, size) {
            (false, 1) => Some(DType::U8),
            (false, 2) => Some(DType::U16),
            (false, 4) => Some(DType::U32),
            (false, 8) => Some(DType::U64),
            (true, 1) => Some(DType::I8),
            (true, 2) => Some(DType::I16),
            (true, 4) => Some(DType::I32),
            (true, 8) => Some(DType::I64),
            _ => None,
        }
    };
    let name = match (dtype, class) {
        (Some(d), _) => d.name().to_owned(),
        (None, H5T_class_t::H5T_FLOAT) => format!("{precision}-bit float in {size} bytes"),
        _ => format!("{precision}-bit integer in {size} bytes"),
    };
    let bits = if full || dtype.is_none() { String::new() } else { format!(", {precision} bits used") };
    let big = if order == Some(ByteOrder::Big) && size > 1 { ", big-endian" } else { "" };
    info.text = match class {
        H5T_class_t::H5T_BITFIELD => format!("{name} bit field{bits}{big}"),
        _ => format!("{name}{bits}{big}"),
    };
    info.dtype = dtype.filter(|_| order.is_some());
    info.order = order;
    info.packed |= !full;
}

/// The library's native in-memory type for a number. 16-bit floats have none that all versions share: the file's type
/// is copied and turned to native byte order. Call under the lock.
pub(super) fn native(dtype: DType, file_type: &Id) -> Result<Id, Failure> {
    // SAFETY: the globals are set once the library is initialised, which `locked` guarantees; copies are ours.
    unsafe {
        let known = match dtype {
            DType::U8 => *H5T_NATIVE_UINT8,
            DType::I8 => *H5T_NATIVE_INT8,
            DType::U16 => *H5T_NATIVE_UINT16,
            DType::I16 => *H5T_NATIVE_INT16,
            DType::U32 => *H5T_NATIVE_UINT32,
            DType::I32 => *H5T_NATIVE_INT32,
            DType::U64 => *H5T_NATIVE_UINT64,
            DType::I64 => *H5T_NATIVE_INT64,
            DType::F32 => *H5T_NATIVE_FLOAT,
            DType::F64 => *H5T_NATIVE_DOUBLE,
            DType::F16 => file_type.raw(),
        };
        let class = H5Tget_class(file_type.raw());
        let copy = if class == H5T_class_t::H5T_ENUM || class == H5T_class_t::H5T_BITFIELD {
            // These convert only to their own kind: the same type in native order.
            Id::new(H5Tget_native_type(file_type.raw(), H5T_direction_t::H5T_DIR_ASCEND))?
        } else {
            Id::new(H5Tcopy(known))?
        };
        if dtype == DType::F16 {
            let order =
                if cfg!(target_endian = "little") { H5T_order_t::H5T_ORDER_LE } else { H5T_order_t::H5T_ORDER_BE };
            super::sys::check(H5Tset_order(copy.raw(), order))?;
        }
        Ok(copy)
    }
}
