//! `tomo-recon`: the same as `tomo recon`.

fn main() -> std::process::ExitCode {
    tomokit::cli::single("recon")
}
