//! Tells the linker of Windows builds about shlwapi: the static HDF5 library uses `StrStrIA` from it, and no crate says so.
//!
//! Link arguments of a package reach its own programs and tests only, so both packages of the workspace name this file.

fn main() {
    println!("cargo:rerun-if-env-changed=CARGO_CFG_TARGET_OS"); // and on nothing else: no file is read
    let target = |key: &str| std::env::var(format!("CARGO_CFG_TARGET_{key}")).unwrap_or_default();
    if target("OS") == "windows" {
        println!("cargo:rustc-link-arg={}", if target("ENV") == "msvc" { "shlwapi.lib" } else { "-lshlwapi" });
    }
}
