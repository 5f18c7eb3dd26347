//! What the first blocks of a volume say about it: kind, serial, label. Sources: the on-disk structures as published for
//! NTFS (boot sector, `$Volume`), exFAT (Microsoft's specification, sections 3.1 and 7.3), FAT (Microsoft's FAT white
//! paper), ext4, XFS and Btrfs (kernel documentation). Hostile: every offset is checked, nothing is read beyond a few KiB.

use super::{FileSystem, long_serial, short_serial};
use std::fs::File;

/// Kind, serial, label of the volume in a device or image file; `None` where nothing known is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Superblock {
    pub fs: FileSystem,
    pub serial: Option<String>,
    pub label: Option<String>,
}

/// Largest piece read at once.
const MAX: usize = 64 << 10;

fn read(file: &File, at: u64, len: usize) -> Option<Vec<u8>> {
    let mut out = vec![0; len.min(MAX)];
    let mut done = 0;
    while done < out.len() {
        match tomokit_formats::io::read_at(file, &mut out[done..], at.checked_add(done as u64)?) {
            Ok(0) | Err(_) => return None,
            Ok(n) => done += n,
        }
    }
    Some(out)
}

fn le(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    Some(bytes.get(at..at + len)?.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
}

fn utf16(bytes: &[u8]) -> Option<String> {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
    some(String::from_utf16_lossy(&units))
}

fn latin(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    some(String::from_utf8_lossy(&bytes[..end]).trim_end().to_owned())
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn uuid(b: &[u8]) -> Option<String> {
    let hex: String = b.iter().map(|b| format!("{b:02x}")).collect();
    (hex.len() == 32 && b.iter().any(|b| *b != 0))
        .then(|| format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

/// Looks at an open device or image.
pub(super) fn look(file: &File) -> Option<Superblock> {
    let boot = read(file, 0, 512)?;
    let found = |fs, serial, label| Some(Superblock { fs, serial, label });
    match boot.get(3..11)? {
        b"NTFS    " => return found(FileSystem::Ntfs, le(&boot, 72, 8).map(long_serial), ntfs_label(file, &boot)),
        b"EXFAT   " => {
            let serial = le(&boot, 100, 4).map(|n| short_serial(n as u32));
            return found(FileSystem::ExFat, serial, exfat_label(file, &boot));
        }
        _ => {}
    }
    // FAT32 has its name and serial further back than FAT12 and FAT16.
    for (name, serial, label) in [(82, 67, 71), (54, 39, 43)] {
        if boot.get(name..name + 3)? == b"FAT" && boot.get(510..)? == [0x55, 0xaa] {
            let serial = le(&boot, serial, 4).map(|n| short_serial(n as u32));
            let label = latin(boot.get(label..label + 11)?).filter(|l| l != "NO NAME");
            return found(FileSystem::Fat32, serial, label);
        }
    }
    if boot.starts_with(b"XFSB") {
        return found(FileSystem::Xfs, uuid(&boot[32..48]), latin(&boot[108..120]));
    }
    if let Some(s) = read(file, 1024, 256)
        && s[56..58] == [0x53, 0xef]
    {
        return found(FileSystem::Ext4, uuid(&s[104..120]), latin(&s[120..136]));
    }
    let s = read(file, 64 << 10, 1024)?;
    if &s[64..72] == b"_BHRfS_M" {
        return found(FileSystem::Btrfs, uuid(&s[32..48]), latin(&s[299..299 + 256]));
    }
    None
}

/// The label is an attribute of record 3 (`$Volume`) of the master file table.
fn ntfs_label(file: &File, boot: &[u8]) -> Option<String> {
    let sector = le(boot, 11, 2)?;
    let per_cluster = match boot[13] as i8 {
        n if n > 0 => n as u64,
        // Beyond 128 sectors: a power of two, negated.
        n => 1u64.checked_shl(u32::from(n.unsigned_abs()))?,
    };
    let cluster = sector.checked_mul(per_cluster)?;
    let record = match boot[64] as i8 {
        n if n > 0 => cluster.checked_mul(n as u64)?,
        n => 1u64.checked_shl(u32::from(n.unsigned_abs()))?,
    };
    if !(256..=4096).contains(&sector) || !(512..=MAX as u64).contains(&record) {
        return None;
    }
    let at = le(boot, 48, 8)?.checked_mul(cluster)?.checked_add(record * 3)?;
    let mut r = read(file, at, record as usize)?;
    if !r.starts_with(b"FILE") {
        return None;
    }
    // The last two bytes of every sector are kept apart, so that torn records are noticed.
    let (array, count) = (le(&r, 4, 2)? as usize, le(&r, 6, 2)? as usize);
    for i in 1..count {
        let (from, to) = (array + 2 * i, (i * 512).checked_sub(2)?);
        let kept = [*r.get(from)?, *r.get(from + 1)?];
        r.get_mut(to..to + 2)?.copy_from_slice(&kept);
    }
    let mut a = le(&r, 20, 2)? as usize;
    loop {
        let (kind, len) = (le(&r, a, 4)?, le(&r, a + 4, 4)? as usize);
        if kind == 0xffff_ffff || len < 24 {
            return None;
        }
        if kind == 0x60 && *r.get(a + 8)? == 0 {
            let (size, from) = (le(&r, a + 16, 4)? as usize, a + le(&r, a + 20, 2)? as usize);
            return utf16(r.get(from..from.checked_add(size)?)?);
        }
        a = a.checked_add(len)?;
    }
}

/// The label is an entry of the root folder.
fn exfat_label(file: &File, boot: &[u8]) -> Option<String> {
    let (sector, cluster) = (u32::from(boot[108]), u32::from(boot[109]));
    if !(9..=12).contains(&sector) || sector + cluster > 25 {
        return None;
    }
    let heap = le(boot, 88, 4)?.checked_mul(1 << sector)?;
    let root = le(boot, 96, 4)?.checked_sub(2)?.checked_mul(1 << (sector + cluster))?;
    let entries = read(file, heap.checked_add(root)?, (1usize << (sector + cluster)).min(MAX))?;
    let e = entries.chunks_exact(32).take_while(|e| e[0] != 0).find(|e| e[0] == 0x83)?;
    utf16(e.get(2..2 + 2 * usize::from(e[1]).min(11))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(len: usize, pieces: &[(usize, &[u8])]) -> Vec<u8> {
        let mut v = vec![0; len];
        for (at, bytes) in pieces {
            v[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        v
    }

    fn look_at(bytes: &[u8]) -> Option<Superblock> {
        use std::io::Write;
        let mut f = tempfile::tempfile().unwrap();
        f.write_all(bytes).unwrap();
        look(&f)
    }

    fn wide(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    fn ntfs() -> Vec<u8> {
        let label = wide("DISK é");
        let mut v = image(
            32 << 10,
            &[
                (3, b"NTFS    "),
                (11, &[0, 2]),
                (13, &[8]),
                (48, &4u64.to_le_bytes()),
                (64, &[0xf6]),
                (72, &0x01d8_beef_1234_5678u64.to_le_bytes()),
            ],
        );
        let r = 4 * 4096 + 3 * 1024;
        let mut record = image(1024, &[(0, b"FILE"), (4, &[48, 0, 3, 0]), (20, &[56, 0])]);
        // A first attribute up to the end of the first sector, so that the label lies across its protected bytes.
        record[56..60].copy_from_slice(&0x10u32.to_le_bytes());
        record[60..64].copy_from_slice(&424u32.to_le_bytes());
        let a = 56 + 424;
        record[a..a + 4].copy_from_slice(&0x60u32.to_le_bytes());
        record[a + 4..a + 8].copy_from_slice(&48u32.to_le_bytes());
        record[a + 16..a + 20].copy_from_slice(&(label.len() as u32).to_le_bytes());
        record[a + 20] = 24;
        record[a + 24..a + 24 + label.len()].copy_from_slice(&label);
        record[a + 48..a + 52].copy_from_slice(&[0xff; 4]);
        for i in 1..3 {
            let kept = [record[i * 512 - 2], record[i * 512 - 1]];
            record[48 + 2 * i..50 + 2 * i].copy_from_slice(&kept);
            record[i * 512 - 2..i * 512].copy_from_slice(&[7, 7]);
        }
        v[r..r + 1024].copy_from_slice(&record);
        v
    }

    fn exfat() -> Vec<u8> {
        let mut e = vec![0x83, 4];
        e.extend(wide("USB1"));
        let start: [(usize, &[u8]); 6] = [
            (3, b"EXFAT   "),
            (88, &[8, 0, 0, 0]),
            (96, &[3, 0, 0, 0]),
            (100, &[1, 0, 0xad, 0xde]),
            (108, &[9, 3]),
            (8 * 512 + 4096, &[0x81; 32]),
        ];
        let mut v = image(16 << 10, &start);
        v[8 * 512 + 4096 + 32..][..e.len()].copy_from_slice(&e);
        v
    }

    #[test]
    fn every_kind_is_told_apart() {
        let s = look_at(&ntfs()).unwrap();
        assert_eq!(
            (s.fs, s.serial.unwrap(), s.label.unwrap()),
            (FileSystem::Ntfs, "01D8BEEF12345678".into(), "DISK é".into())
        );
        let s = look_at(&exfat()).unwrap();
        assert_eq!((s.fs, s.serial.unwrap(), s.label.unwrap()), (FileSystem::ExFat, "DEAD-0001".into(), "USB1".into()));
        let fat = image(
            512,
            &[(82, b"FAT32   "), (67, &[0x78, 0x56, 0x34, 0x12]), (71, b"STICK      "), (510, &[0x55, 0xaa])],
        );
        let s = look_at(&fat).unwrap();
        assert_eq!(
            (s.fs, s.serial.unwrap(), s.label.unwrap()),
            (FileSystem::Fat32, "1234-5678".into(), "STICK".into())
        );
        let id: Vec<u8> = (1..17).collect();
        let ext = image(4096, &[(1080, &[0x53, 0xef]), (1128, &id), (1144, b"data")]);
        let s = look_at(&ext).unwrap();
        assert_eq!((s.fs, s.label.unwrap()), (FileSystem::Ext4, "data".into()));
        assert_eq!(s.serial.unwrap(), "01020304-0506-0708-090a-0b0c0d0e0f10");
        let xfs = image(512, &[(0, b"XFSB"), (32, &id), (108, b"x")]);
        assert_eq!(look_at(&xfs).unwrap().fs, FileSystem::Xfs);
        let btrfs = image(70 << 10, &[(65600, b"_BHRfS_M"), (65568, &id), (65536 + 299, b"pool")]);
        assert_eq!(look_at(&btrfs).unwrap().label.unwrap(), "pool");
        assert_eq!(look_at(&vec![0; 70 << 10]), None);
        assert_eq!(look_at(b""), None);
    }

    #[test]
    fn damaged_blocks_never_panic() {
        for whole in [ntfs(), exfat()] {
            for cut in (0..whole.len()).step_by(97) {
                look_at(&whole[..cut]);
            }
            let mut state = 1u64;
            for _ in 0..400 {
                let mut v = whole.clone();
                for _ in 0..8 {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    // Mostly in the headers.
                    let at = (state >> 33) as usize % if state & 1 == 0 { 128 } else { v.len() };
                    v[at] = (state >> 56) as u8;
                }
                v[3..11].copy_from_slice(&whole[3..11]);
                look_at(&v);
            }
        }
    }
}
