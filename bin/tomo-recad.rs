//! `tomo-recad`: the same as `tomo recad`.

fn main() -> std::process::ExitCode {
    tomokit::cli::single("recad")
}
