//! `tomo-ledger`: the same as `tomo ledger`.

fn main() -> std::process::ExitCode {
    tomokit::cli::single("ledger")
}
