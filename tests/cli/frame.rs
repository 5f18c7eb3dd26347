//! What every tool has in common.

use crate::support::{program, tomo};

#[test]
fn umbrella_and_single_tools_are_the_same() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("v_4x3x2_uint8.raw"), [7u8; 24]).unwrap();
    let a = tomo(dir.path(), &["info", "v_4x3x2_uint8.raw", "--json"]).expect(0);
    let b = program(env!("CARGO_BIN_EXE_tomo-info"), dir.path(), &["v_4x3x2_uint8.raw", "--json"]).expect(0);
    assert_eq!(a.stdout, b.stdout);
    assert_eq!(a.json()[0]["shape"]["cols"], 4);
}

#[test]
fn exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    tomo(dir.path(), &["--version"]).expect(0);
    tomo(dir.path(), &["info", "--help"]).expect(0);
    tomo::<&str>(dir.path(), &[]).expect(2);
    tomo(dir.path(), &["nonsense"]).expect(2);
    tomo(dir.path(), &["info", "--no-such-option"]).expect(2);
    let r = tomo(dir.path(), &["info", "missing.vol"]).expect_one_error();
    assert!(r.stderr.contains("missing.vol") && r.stderr.contains("hint"), "{}", r.stderr);
    tomo(dir.path(), &["info", ".", "--memory", "much"]).expect_one_error();
    tomo(dir.path(), &["info", ".", "--threads", "0"]).expect_one_error();
}

#[test]
fn one_bad_input_of_many_is_reported_and_the_others_shown() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("v_4x3x2_uint8.raw"), [7u8; 24]).unwrap();
    let r = tomo(dir.path(), &["info", "missing.vol", "v_4x3x2_uint8.raw"]).expect(2);
    assert!(r.stdout.contains("v_4x3x2_uint8.raw") && r.stderr.contains("missing.vol"));
}

#[test]
fn a_log_file_tells_what_happened() {
    let dir = tempfile::tempdir().unwrap();
    tomo(dir.path(), &["info", "missing.vol", "--log", "run.log"]).expect(2);
    let log = std::fs::read_to_string(dir.path().join("run.log")).unwrap();
    assert!(log.contains("missing.vol") && log.contains("exit code 2"), "{log}");
}
