//! `tomo-verify`: the same as `tomo copy --verify`, and nothing else: small enough to be put on every disk.

fn main() -> std::process::ExitCode {
    tomokit::cli::verifier()
}
