//! `tomo-compare`: the same as `tomo compare`.

fn main() -> std::process::ExitCode {
    tomokit::cli::single("compare")
}
