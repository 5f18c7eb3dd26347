//! HDF5 filters: names of the registered ones, and which of them we undo ourselves.

/// Name of a registered filter.
pub fn name(id: u32) -> Option<&'static str> {
    Some(match id {
        1 => "deflate",
        2 => "shuffle",
        3 => "fletcher32",
        4 => "szip",
        5 => "nbit",
        6 => "scaleoffset",
        305 => "LZO",
        307 => "bzip2",
        32000 => "lzf",
        32001 => "blosc",
        32004 => "lz4",
        32008 => "bitshuffle",
        32013 => "zfp",
        32014 => "fpzip",
        32015 => "zstd",
        32017 => "SZ",
        32018 => "FCIDECOMP",
        32019 => "jpeg",
        32022 => "granular BitRound",
        32024 => "SZ3",
        32026 => "blosc2",
        32028 => "SPERR",
        32031 => "jpeg2000",
        32033 => "HTJ2K",
        _ => return None,
    })
}

/// True where our own decoder knows the filter.
pub fn ours(_id: u32) -> bool {
    false
}
