//! `tomo-info`: the same as `tomo info`.

fn main() -> std::process::ExitCode {
    tomokit::cli::single("info")
}
