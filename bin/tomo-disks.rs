//! `tomo-disks`: the same as `tomo disks`.

fn main() -> std::process::ExitCode {
    tomokit::cli::single("disks")
}
