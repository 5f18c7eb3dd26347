//! `tomo-estimate`: the same as `tomo estimate`.

fn main() -> std::process::ExitCode {
    tomokit::cli::single("estimate")
}
