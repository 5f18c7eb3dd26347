//! `tomo-check`: the same as `tomo check`.

fn main() -> std::process::ExitCode {
    tomokit::cli::single("check")
}
