//! A volume far larger than the memory allowed, sparse so that no disk is needed: peak memory and bytes read are those
//! of the part asked for. Linux only: peak memory is asked of the system there.

use crate::support::command;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const EDGE: u64 = 2048;
const SLICES: u64 = 2560;

/// 43 GB: zeros but for one row in each of two slices.
fn sparse(dir: &Path) -> bool {
    let f = File::create(dir.join("big.vol")).unwrap();
    if f.set_len(EDGE * EDGE * SLICES * 4).is_err() {
        eprintln!("skipped: no sparse files of this size here");
        return false;
    }
    for z in [100u64, 2559] {
        let row: Vec<u8> = (0..EDGE).flat_map(|x| ((z * 1000 + x) as f32).to_le_bytes()).collect();
        f.write_all_at(&row, ((z * EDGE + 1000) * EDGE) * 4).unwrap();
    }
    let info = format!("NUM_X = {EDGE}\nNUM_Y = {EDGE}\nNUM_Z = {SLICES}\nvoxelSize = 1.0\nBYTEORDER = LOWBYTEFIRST\n");
    std::fs::write(dir.join("big.vol.info"), info).unwrap();
    true
}

/// Runs the tool; answers peak memory and bytes read, both in MiB, by what the system counted for this child.
#[allow(clippy::zombie_processes)] // wait4 below reaps it, with its counters
fn measured(dir: &Path, args: &[&str]) -> (i64, u64) {
    let child = command(dir, args).arg("--quiet").spawn().expect("the tool starts");
    let pid = child.id() as libc::pid_t;
    // SAFETY: plain C structs for which all zeros is a value; `pid` is a child of ours that nobody else waits for.
    let (mut info, mut usage): (libc::siginfo_t, libc::rusage) = unsafe { std::mem::zeroed() };
    // The ended child is looked at before it is reaped: its counters are still there.
    // SAFETY: as above.
    let waited = unsafe { libc::waitid(libc::P_PID, pid as _, &mut info, libc::WEXITED | libc::WNOWAIT) };
    assert_eq!(waited, 0);
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let read = io.lines().find_map(|l| l.strip_prefix("rchar: ")?.parse::<u64>().ok()).unwrap_or(0);
    let mut status = 0;
    // SAFETY: as above.
    assert_eq!(unsafe { libc::wait4(pid, &mut status, 0, &mut usage) }, pid);
    assert_eq!(status, 0, "{args:?}");
    (usage.ru_maxrss / 1024, read >> 20)
}

#[test]
fn a_part_of_a_huge_volume_costs_what_the_part_costs() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    if !sparse(dir) {
        return;
    }
    let (peak, read) = measured(dir, &["info", "big.vol", "--memory", "1G"]);
    assert!(peak < 256 && read < 8, "info: {peak} MiB of memory, {read} MiB read");

    let part = ["convert", "big.vol", "part.vol", "--slices", "99:103", "--memory", "1G"];
    let (peak, read) = measured(dir, &part);
    assert!(peak < 512 && read < 200, "slices: {peak} MiB of memory, {read} MiB read");
    let out = std::fs::read(dir.join("part.vol")).unwrap();
    assert_eq!(out.len() as u64, 4 * EDGE * EDGE * 4);
    let at = ((EDGE + 1000) * EDGE * 4) as usize;
    assert_eq!(out[at + 28..at + 32], 100_007f32.to_le_bytes());

    let side = ["convert", "big.vol", "side.vol", "--axis", "y", "--slices", "1000:1001", "--memory", "1G"];
    let (peak, read) = measured(dir, &side);
    assert!(peak < 512 && read < 200, "sideways: {peak} MiB of memory, {read} MiB read");
    let out = std::fs::read(dir.join("side.vol")).unwrap();
    assert_eq!(out.len() as u64, EDGE * SLICES * 4);
    let at = (2559 * EDGE * 4) as usize;
    assert_eq!(out[at + 28..at + 32], 2_559_007f32.to_le_bytes());
}
