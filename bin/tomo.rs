//! `tomo`: every tool under one name.

fn main() -> std::process::ExitCode {
    tomokit::cli::umbrella()
}
