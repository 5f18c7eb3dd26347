//! `tomo-copy`: the same as `tomo copy`.

fn main() -> std::process::ExitCode {
    tomokit::cli::single("copy")
}
