//! `/proc/self/mountinfo`: what is mounted where (proc(5)). Octal escapes are undone; names are bytes, not text.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mount {
    /// Number of the mount.
    pub id: u64,
    /// Major and minor number of the device; anonymous ones have major 0.
    pub dev: (u32, u32),
    /// Which folder of the file system is mounted: `/` unless it is a bind mount or a subvolume.
    pub root: PathBuf,
    /// Where.
    pub mount_point: PathBuf,
    /// Type, with FUSE's subtype: `ext4`, `fuseblk`, `fuse.sshfs`.
    pub fs: String,
    /// What: a device, a share, or a word without meaning.
    pub source: PathBuf,
    /// Mounted, or the file system itself is, read-only.
    pub read_only: bool,
}

/// Parses the file; lines that are not understood are left out.
pub(super) fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|b| *b == b'\n').filter_map(line).collect()
}

fn line(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let dash = fields.iter().position(|f| *f == b"-")?;
    let text = |i: usize| std::str::from_utf8(fields.get(i)?).ok();
    let (major, minor) = text(2)?.split_once(':')?;
    let after = |i: usize| fields.get(dash + i).copied();
    let says_ro = |options: &[u8]| options.split(|b| *b == b',').any(|o| o == b"ro");
    Some(Mount {
        id: text(0)?.parse().ok()?,
        dev: (major.parse().ok()?, minor.parse().ok()?),
        root: unescape(fields.get(3)?),
        mount_point: unescape(fields.get(4)?),
        fs: String::from_utf8_lossy(unescape(after(1)?).as_os_str().as_bytes()).into_owned(),
        source: unescape(after(2).unwrap_or_default()),
        read_only: says_ro(fields.get(5)?) || after(3).is_some_and(says_ro),
    })
}

/// `\040` is a blank; the kernel escapes blank, tab, line end, backslash and `#`.
fn unescape(text: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(text.len());
    let mut i = 0;
    while i < text.len() {
        let octal = text.get(i + 1..i + 4).filter(|d| text[i] == b'\\' && d.iter().all(|c| (b'0'..=b'7').contains(c)));
        match octal {
            Some(d) => {
                out.push(d.iter().fold(0u8, |n, c| n.wrapping_mul(8).wrapping_add(c - b'0')));
                i += 4;
            }
            None => {
                out.push(text[i]);
                i += 1;
            }
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_kind() {
        let text =
            b"36 35 8:17 / /media/u/My\\040Disk\\134x rw,nosuid shared:1 master:2 - fuseblk /dev/sdb1 rw,user_id=0\n\
            27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
            40 27 0:44 / /net ro,relatime - nfs4 server:/export rw,vers=4.2\n\
            41 27 0:45 /sub /mnt/\xff rw - btrfs /dev/sdc ro\n\
            broken line\n\n7 7 x:y / / rw - a b c\n";
        let m = parse(text);
        assert_eq!(m.len(), 4, "{m:?}");
        assert_eq!((m[0].id, m[0].dev, m[0].fs.as_str(), m[0].read_only), (36, (8, 17), "fuseblk", false));
        assert_eq!(m[0].mount_point, PathBuf::from("/media/u/My Disk\\x"));
        assert_eq!(m[0].source, PathBuf::from("/dev/sdb1"));
        assert!(m[2].read_only && m[3].read_only && !m[1].read_only);
        assert_eq!(
            (m[3].mount_point.as_os_str().as_bytes(), m[3].root.as_os_str().as_bytes()),
            (&b"/mnt/\xff"[..], &b"/sub"[..])
        );
        for cut in 0..text.len() {
            parse(&text[..cut]);
        }
    }
}
