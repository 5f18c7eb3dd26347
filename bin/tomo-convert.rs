//! `tomo-convert`: the same as `tomo convert`.

fn main() -> std::process::ExitCode {
    tomokit::cli::single("convert")
}
