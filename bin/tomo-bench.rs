//! `tomo-bench`: the same as `tomo bench`.

fn main() -> std::process::ExitCode {
    tomokit::cli::single("bench")
}
