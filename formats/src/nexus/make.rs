//! Making HDF5 objects: files, groups, attributes, small datasets. What `write` is built from.

use super::sys::{self, Failure, Id, check, cstr};
use crate::DType;
use hdf5_metno_sys::h5::hsize_t;
use hdf5_metno_sys::h5a::{H5Acreate2, H5Awrite};
use hdf5_metno_sys::h5d::{H5Dcreate2, H5Dwrite};
use hdf5_metno_sys::h5f::{H5F_ACC_RDWR, H5F_ACC_TRUNC, H5Fcreate, H5Fopen};
use hdf5_metno_sys::h5g::H5Gcreate2;
use hdf5_metno_sys::h5p::H5P_DEFAULT;
use hdf5_metno_sys::h5s::*;
use hdf5_metno_sys::h5t::*;
use std::ffi::CString;
use std::path::Path;

/// Creates a file in the oldest layout that can hold it, so that every reader in the field opens it.
pub(super) fn file(path: &Path) -> Result<Id, Failure> {
    let name = sys::path_cstr(path)?;
    // SAFETY: `name` is NUL-terminated; the handle is ours.
    Id::new(unsafe { H5Fcreate(name.as_ptr(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT) })
}

/// Opens a file of ours again to add to it.
pub(super) fn reopen(path: &Path) -> Result<Id, Failure> {
    let name = sys::path_cstr(path)?;
    // SAFETY: as above.
    Id::new(unsafe { H5Fopen(name.as_ptr(), H5F_ACC_RDWR, H5P_DEFAULT) })
}

/// Creates a group with its NeXus class.
pub(super) fn group(parent: &Id, name: &str, class: &str) -> Result<Id, Failure> {
    let text = cstr(name)?;
    // SAFETY: `parent` is open and `text` NUL-terminated.
    let g = Id::new(unsafe { H5Gcreate2(parent.raw(), text.as_ptr(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT) })?;
    text_attr(&g, "NX_class", class)?;
    Ok(g)
}

/// The little-endian file type of a number.
pub(super) fn file_type(dtype: DType) -> Result<Id, Failure> {
    // SAFETY: the globals are set once the library is initialised; the copy is ours and changed before use.
    unsafe {
        let known = match dtype {
            DType::U8 => *H5T_STD_U8LE,
            DType::I8 => *H5T_STD_I8LE,
            DType::U16 => *H5T_STD_U16LE,
            DType::I16 => *H5T_STD_I16LE,
            DType::U32 => *H5T_STD_U32LE,
            DType::I32 => *H5T_STD_I32LE,
            DType::U64 => *H5T_STD_U64LE,
            DType::I64 => *H5T_STD_I64LE,
            DType::F32 | DType::F16 => *H5T_IEEE_F32LE,
            DType::F64 => *H5T_IEEE_F64LE,
        };
        let t = Id::new(H5Tcopy(known))?;
        if dtype == DType::F16 {
            // IEEE binary16 cut out of binary32, as h5py does it: no constant for it in older libraries.
            check(H5Tset_fields(t.raw(), 15, 10, 5, 0, 10))?;
            check(H5Tset_size(t.raw(), 2))?;
            check(H5Tset_ebias(t.raw(), 15))?;
        }
        Ok(t)
    }
}

/// UTF-8 of variable length: what h5py itself writes, so that its users compare attributes with plain strings.
fn text_type() -> Result<Id, Failure> {
    // SAFETY: as above.
    unsafe {
        let t = Id::new(H5Tcopy(*H5T_C_S1))?;
        check(H5Tset_size(t.raw(), H5T_VARIABLE))?;
        check(H5Tset_cset(t.raw(), H5T_cset_t::H5T_CSET_UTF8))?;
        Ok(t)
    }
}

/// A text as the library takes it; a NUL would end it, so it is left out.
fn c_text(text: &str) -> Result<CString, Failure> {
    cstr(&text.replace('\0', ""))
}

/// The pointers of live texts as the bytes of a buffer of variable-length strings.
fn pointers(texts: &[CString]) -> Vec<u8> {
    texts.iter().flat_map(|t| (t.as_ptr() as usize).to_ne_bytes()).collect()
}

/// A dataspace of these dimensions; none = scalar.
pub(super) fn space(dims: &[u64]) -> Result<Id, Failure> {
    // SAFETY: `dims` is live and its length passed; the handle is ours.
    unsafe {
        if dims.is_empty() {
            return Id::new(H5Screate(H5S_class_t::H5S_SCALAR));
        }
        Id::new(H5Screate_simple(dims.len() as i32, dims.as_ptr().cast::<hsize_t>(), std::ptr::null()))
    }
}

fn attr(object: &Id, name: &str, t: &Id, s: &Id, bytes: &[u8]) -> Result<(), Failure> {
    let name = cstr(name)?;
    // SAFETY: handles are open; `bytes` holds what type and space ask for (callers below).
    unsafe {
        let a = Id::new(H5Acreate2(object.raw(), name.as_ptr(), t.raw(), s.raw(), H5P_DEFAULT, H5P_DEFAULT))?;
        check(H5Awrite(a.raw(), t.raw(), bytes.as_ptr().cast()))?;
    }
    Ok(())
}

/// Writes a text attribute.
pub(super) fn text_attr(object: &Id, name: &str, text: &str) -> Result<(), Failure> {
    let text = [c_text(text)?];
    attr(object, name, &text_type()?, &space(&[])?, &pointers(&text))
}

/// Writes a list of texts as an attribute.
pub(super) fn texts_attr(object: &Id, name: &str, texts: &[&str]) -> Result<(), Failure> {
    let texts = texts.iter().map(|t| c_text(t)).collect::<Result<Vec<_>, _>>()?;
    attr(object, name, &text_type()?, &space(&[texts.len() as u64])?, &pointers(&texts))
}

/// Writes numbers as an attribute: one = scalar, several = list.
pub(super) fn f64_attr(object: &Id, name: &str, values: &[f64]) -> Result<(), Failure> {
    let dims = [values.len() as u64];
    let s = space(if values.len() == 1 { &[] } else { &dims })?;
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    attr(object, name, &file_type(DType::F64)?, &s, &bytes)
}

fn dataset(parent: &Id, name: &str, t: &Id, s: &Id, bytes: &[u8]) -> Result<Id, Failure> {
    let text = cstr(name)?;
    // SAFETY: handles are open; `bytes` holds what type and space ask for (callers below).
    unsafe {
        let d =
            Id::new(H5Dcreate2(parent.raw(), text.as_ptr(), t.raw(), s.raw(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT))?;
        check(H5Dwrite(d.raw(), t.raw(), H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.as_ptr().cast()))?;
        Ok(d)
    }
}

/// Writes a text dataset.
pub(super) fn text(parent: &Id, name: &str, text: &str) -> Result<Id, Failure> {
    let text = [c_text(text)?];
    dataset(parent, name, &text_type()?, &space(&[])?, &pointers(&text))
}

/// Writes an integer attribute.
pub(super) fn index_attr(object: &Id, name: &str, value: i64) -> Result<(), Failure> {
    attr(object, name, &file_type(DType::I64)?, &space(&[])?, &value.to_le_bytes())
}

/// Writes one number as a dataset.
pub(super) fn number(parent: &Id, name: &str, value: f64) -> Result<(), Failure> {
    dataset(parent, name, &file_type(DType::F64)?, &space(&[])?, &value.to_le_bytes()).map(drop)
}

/// Writes a list of numbers as a dataset with a unit.
pub(super) fn list(parent: &Id, name: &str, values: &[f64], units: &str) -> Result<(), Failure> {
    let s = space(&[values.len() as u64])?;
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let d = dataset(parent, name, &file_type(DType::F64)?, &s, &bytes)?;
    text_attr(&d, "units", units)
}
