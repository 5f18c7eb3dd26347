//! `tomo-simulate`: the same as `tomo simulate`.

fn main() -> std::process::ExitCode {
    tomokit::cli::single("simulate")
}
