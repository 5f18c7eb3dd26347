//! Facts about mounted volumes: which file system, behind which driver, how much room, which serial and label, how it is
//! attached. Reads what the system tells an ordinary user, and the boot sector where that is readable; changes nothing.
//!
//! | part | what |
//! |---|---|
//! | [`FileSystem`], [`Volume`] | the vocabulary, the same on every system |
//! | `linux` | mountinfo, statvfs, sysfs, udev's files |
//! | `superblock` | what the first blocks of a volume say: the only way to tell NTFS from exFAT behind FUSE |
//! | `windows` | GetVolumeInformation and its relatives |
//!
//! Left to others: whether a name fits ([`crate::disk::FileSystem`] only knows sizes), and how fast a disk is (`ops::rates`).

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod mountinfo;
#[cfg(any(target_os = "linux", test))]
mod superblock;
#[cfg(windows)]
mod windows;

use serde::{Serialize, Serializer};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use tomokit_formats::Result;

/// Kind of file system, whoever drives it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FileSystem {
    /// NTFS: what beamline data PCs expect.
    Ntfs,
    /// exFAT.
    ExFat,
    /// FAT (12, 16 or 32): no file of 4 GiB or more.
    Fat32,
    /// ext2, ext3, ext4.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// In memory: gone after a reboot.
    Tmpfs,
    /// Network: NFS.
    Nfs,
    /// Network: SMB / CIFS, a Windows share.
    Smb,
    /// Anything else, as the system calls it.
    Other(String),
}

impl FileSystem {
    /// Reads the names systems, udev and drivers use: `ntfs3`, `exfat`, `vfat`, `FAT32`, `cifs`, `fuse.sshfs` …
    pub fn named(name: &str) -> FileSystem {
        match name.trim().to_ascii_lowercase().as_str() {
            "ntfs" | "ntfs3" | "ntfs-3g" => FileSystem::Ntfs,
            "exfat" | "fuse.exfat" => FileSystem::ExFat,
            "vfat" | "msdos" | "fat" | "fat12" | "fat16" | "fat32" => FileSystem::Fat32,
            "ext2" | "ext3" | "ext4" => FileSystem::Ext4,
            "xfs" => FileSystem::Xfs,
            "btrfs" => FileSystem::Btrfs,
            "tmpfs" | "ramfs" => FileSystem::Tmpfs,
            "nfs" | "nfs3" | "nfs4" => FileSystem::Nfs,
            "cifs" | "smb" | "smb2" | "smb3" | "smbfs" => FileSystem::Smb,
            _ => FileSystem::Other(name.trim().to_owned()),
        }
    }

    /// Largest file it can hold, where that is less than any disk.
    pub fn max_file_bytes(&self) -> Option<u64> {
        (*self == FileSystem::Fat32).then_some((4 << 30) - 1)
    }

    /// True for what lives on another machine.
    pub fn is_network(&self) -> bool {
        match self {
            FileSystem::Nfs | FileSystem::Smb => true,
            FileSystem::Other(name) => NETWORKS.split(' ').any(|n| name.trim_start_matches("fuse.").starts_with(n)),
            _ => false,
        }
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileSystem::Ntfs => "NTFS",
            FileSystem::ExFat => "exFAT",
            FileSystem::Fat32 => "FAT32",
            FileSystem::Ext4 => "ext4",
            FileSystem::Xfs => "XFS",
            FileSystem::Btrfs => "Btrfs",
            FileSystem::Tmpfs => "tmpfs",
            FileSystem::Nfs => "NFS",
            FileSystem::Smb => "SMB",
            FileSystem::Other(name) => name,
        })
    }
}

/// How the names of further file systems begin that lie behind a network.
const NETWORKS: &str = "sshfs smbnetfs rclone gvfsd davfs s3fs curlftpfs lustre gpfs beegfs ceph glusterfs afs 9p";

impl Serialize for FileSystem {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// Who turns file calls into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// The system itself.
    Kernel,
    /// A program behind FUSE (ntfs-3g, exfat-fuse, sshfs): the device keeps a cache of its own underneath, so reading a
    /// file back proves nothing about the disk unless that cache is dropped too.
    Fuse,
}

/// A mounted volume. Sizes are bytes at the time of asking.
#[derive(Clone, Debug, Serialize)]
pub struct Volume {
    /// Where it is mounted: `/media/user/DISK`, `E:\`.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub mount_point: PathBuf,
    /// What is mounted: `/dev/sdb1`, `//server/share`, `\\?\Volume{…}\`.
    #[serde(serialize_with = "tomokit_formats::shown::lossy")]
    pub device: PathBuf,
    /// File system.
    pub fs: FileSystem,
    /// Kernel or FUSE.
    pub driver: Driver,
    /// Size; 0 where the file system does not say, as some network drives: nor does it say what is free.
    pub total: u64,
    /// Not in use by anybody.
    pub free: u64,
    /// What this user may still write.
    pub available: u64,
    /// Unit of allocation: a file takes whole ones.
    pub cluster: u64,
    /// What identifies the volume, on any machine and whatever it is called: 16 hexadecimal digits for NTFS, `XXXX-XXXX`
    /// for FAT and exFAT, a UUID otherwise. `None` where the system keeps it to itself.
    pub serial: Option<String>,
    /// Name given by its owner.
    pub label: Option<String>,
    /// Cannot be written.
    pub read_only: bool,
    /// Can be unplugged: a USB disk, a card.
    pub removable: bool,
    /// Speed of the USB link: 480 is USB 2 (at best some 40 MB/s), 5000 and more USB 3.
    pub usb_speed_mbit: Option<u32>,
    /// True for spinning disks, where the system knows.
    pub rotational: Option<bool>,
}

impl Volume {
    /// What this user may still write, `None` where the file system does not say.
    pub fn room(&self) -> Option<u64> {
        (self.total > 0).then_some(self.available)
    }

    /// What somebody about to copy here should know, a sentence each. Full and nearly full disks are left to the caller,
    /// who knows how much is to come.
    pub fn warnings(&self) -> Vec<String> {
        let mut w = Vec::new();
        if self.read_only {
            w.push("read-only: nothing can be written here".to_owned());
        }
        if self.total == 0 {
            w.push("its size and the room on it are not told: watch that yourself".to_owned());
        }
        match self.fs {
            FileSystem::Fat32 => w.push("FAT32: no file of 4 GiB or more; format the disk as NTFS".into()),
            FileSystem::ExFat => {
                let waste = if self.cluster > 128 << 10 {
                    format!(", and every file takes whole clusters of {} KiB", self.cluster >> 10)
                } else {
                    String::new()
                };
                w.push(format!(
                    "exFAT: slow with Windows at the beamlines and without a journal{waste}; NTFS is safer"
                ));
            }
            FileSystem::Tmpfs => w.push("in memory: gone after a restart".into()),
            _ => {}
        }
        if self.fs == FileSystem::Ntfs && cfg!(target_os = "linux") {
            w.push(
                "NTFS under Linux: names that Windows cannot read are accepted, and data is safe only once unmounted"
                    .into(),
            );
        }
        if self.usb_speed_mbit.is_some_and(|s| s < 1000) {
            w.push("plugged in as USB 2: 40 MB/s at best; try another socket or cable".into());
        }
        w
    }
}

/// The volumes that answered, and those that did not.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// In order of mount points.
    pub volumes: Vec<Volume>,
    /// Mounted, but silent for some seconds: a network share whose server is gone, a disk that was pulled.
    pub silent: Vec<PathBuf>,
}

/// The volume a file or folder lies on. The path must exist.
///
/// # Errors
/// The path cannot be opened, or the system does not tell what is mounted there.
pub fn volume_of(path: &Path) -> Result<Volume> {
    system::volume_of(path)
}

/// Every volume a user could copy to or from: disks, memory sticks, network shares; each device once, without the system's own
/// (proc, tmpfs, snaps).
pub fn volumes() -> Result<Vec<Volume>> {
    Ok(survey()?.volumes)
}

/// As [`volumes`], with those that do not answer.
pub fn survey() -> Result<Survey> {
    system::survey()
}

/// Which mount an open file or folder belongs to: a number that changes when something else is mounted at the same place.
/// `None` where the system does not tell.
pub fn mount_id(file: &File) -> Option<u64> {
    system::mount_id(file)
}

/// True for a folder in which the system mounts disks, each in a folder of its own: what is made there itself is on the
/// system's disk, and mostly stands for a disk that is not mounted.
pub fn awaits_a_disk(folder: &Path) -> bool {
    let Ok(real) = folder.canonicalize() else { return false };
    is_place_of_disks(&real) && volume_of(&real).is_ok_and(|v| !is_place_of_disks(&v.mount_point))
}

/// `/media/USER` as well as `/media`: either way of mounting is in use.
fn is_place_of_disks(path: &Path) -> bool {
    let is = |p: &Path| ["/media", "/run/media", "/mnt", "/Volumes"].iter().any(|place| p == Path::new(place));
    let by_user = |p: &Path| p == Path::new("/media") || p == Path::new("/run/media");
    is(path) || path.parent().is_some_and(by_user)
}

/// True where two serials mean one volume. Windows may tell only the lower half of an NTFS serial.
pub fn same_serial(a: &str, b: &str) -> bool {
    let plain = |s: &str| s.chars().filter(|c| *c != '-').collect::<String>().to_ascii_uppercase();
    let (a, b) = (plain(a), plain(b));
    let half = |long: &str, short: &str| long.len() == 16 && short.len() == 8 && long.ends_with(short);
    !a.is_empty() && (a == b || half(&a, &b) || half(&b, &a))
}

/// NTFS serial as `blkid` and `tomo` write it.
#[cfg_attr(not(any(target_os = "linux", windows, test)), allow(dead_code))]
fn long_serial(n: u64) -> String {
    format!("{n:016X}")
}

/// FAT and exFAT serial as `blkid`, `vol` and `tomo` write it.
#[cfg_attr(not(any(target_os = "linux", windows, test)), allow(dead_code))]
fn short_serial(n: u32) -> String {
    format!("{:04X}-{:04X}", n >> 16, n & 0xffff)
}

/// A canonical path as people write it: `\\?\C:\a` becomes `C:\a`, `\\?\UNC\server\share` becomes `\\server\share`. Paths of
/// other systems stay as they are.
pub fn plain_path(path: &Path) -> PathBuf {
    match path.to_str().and_then(|t| t.strip_prefix(r"\\?\")) {
        Some(rest) if rest.starts_with(r"UNC\") => PathBuf::from(format!(r"\\{}", &rest[4..])),
        Some(rest) if rest.as_bytes().get(1) == Some(&b':') => PathBuf::from(rest),
        _ => path.to_owned(),
    }
}

/// Paths in JSON: what is no text becomes a replacement character instead of an error.
#[cfg(target_os = "linux")]
use linux as system;
#[cfg(windows)]
use windows as system;

#[cfg(not(any(target_os = "linux", windows)))]
mod system {
    //! Systems nobody has looked at yet: refused in words.
    use super::*;
    use tomokit_formats::{Error, Fault};

    fn unknown() -> Error {
        Error::new(Fault::Unsupported, "volumes are known on Linux and Windows only")
    }

    pub fn volume_of(path: &Path) -> Result<Volume> {
        Err(unknown().path(path))
    }

    pub fn survey() -> Result<Survey> {
        Err(unknown())
    }

    pub fn mount_id(_: &File) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_file_systems() {
        for (name, fs) in [
            ("ntfs3", FileSystem::Ntfs),
            ("NTFS", FileSystem::Ntfs),
            ("exFAT", FileSystem::ExFat),
            ("vfat", FileSystem::Fat32),
            ("nfs4", FileSystem::Nfs),
            ("cifs", FileSystem::Smb),
            ("zfs", FileSystem::Other("zfs".into())),
        ] {
            assert_eq!(FileSystem::named(name), fs);
        }
        assert!(FileSystem::named("fuse.sshfs").is_network() && !FileSystem::named("fuseblk").is_network());
        assert_eq!(FileSystem::Fat32.max_file_bytes(), Some(4_294_967_295));
    }

    #[test]
    fn serials_of_one_volume() {
        assert_eq!((long_serial(0x1a2b), short_serial(0xdead_0001)), ("0000000000001A2B".into(), "DEAD-0001".into()));
        assert!(same_serial("01D8BEEF12345678", "1234-5678") && same_serial("abcd-0001", "ABCD0001"));
        for (long, short) in [(r"\\?\C:\a", r"C:\a"), (r"\\?\UNC\s\d", r"\\s\d"), ("/a/b", "/a/b")] {
            assert_eq!(plain_path(Path::new(long)), Path::new(short));
        }
        assert!(!same_serial("01D8BEEF12345678", "01D8-BEEF") && !same_serial("", "") && !same_serial("1", "2"));
    }

    #[test]
    fn places_where_disks_are_mounted() {
        for place in ["/media", "/media/me", "/run/media/me", "/mnt", "/Volumes"] {
            assert!(is_place_of_disks(Path::new(place)), "{place}");
        }
        for other in ["/", "/mnt/disk", "/media/me/disk", "/home/media", "/run", "media", "/data/mnt"] {
            assert!(!is_place_of_disks(Path::new(other)), "{other}");
        }
        assert!(!awaits_a_disk(tempfile::tempdir().unwrap().path()) && !awaits_a_disk(Path::new("/none/at/all")));
    }

    #[test]
    fn this_machine_has_volumes_that_agree_with_its_folders() {
        let dir = tempfile::tempdir().unwrap();
        let v = volume_of(dir.path()).unwrap();
        assert!(v.total > 0 && v.free <= v.total && v.available <= v.total && v.cluster >= 512, "{v:?}");
        assert!(dir.path().canonicalize().unwrap().starts_with(v.mount_point.canonicalize().unwrap()), "{v:?}");
        assert!(!v.read_only);
        let all = volumes().unwrap();
        assert!(!all.is_empty());
        for (i, v) in all.iter().enumerate() {
            assert!(v.total > 0 && all[..i].iter().all(|w| w.mount_point != v.mount_point), "{v:?}");
        }
        let e = volume_of(&dir.path().join("none")).unwrap_err();
        assert!(e.file_path().is_some() && e.advice().is_some(), "{e}");
        // A file is on the volume of its folder.
        let file = dir.path().join("f");
        std::fs::write(&file, b"x").unwrap();
        assert_eq!(volume_of(&file).unwrap().mount_point, v.mount_point);
        let (a, b) = (File::open(&file).unwrap(), File::open(&file).unwrap());
        assert_eq!(mount_id(&a), mount_id(&b));
    }

    #[test]
    fn warnings_speak_of_what_goes_wrong_with_disks() {
        let mut v = Volume {
            mount_point: "/m".into(),
            device: "/dev/sdx1".into(),
            fs: FileSystem::Ext4,
            driver: Driver::Kernel,
            total: 1,
            free: 1,
            available: 1,
            cluster: 4096,
            serial: None,
            label: None,
            read_only: false,
            removable: true,
            usb_speed_mbit: Some(5000),
            rotational: None,
        };
        assert!(v.warnings().is_empty());
        v.usb_speed_mbit = Some(480);
        v.read_only = true;
        v.fs = FileSystem::ExFat;
        v.cluster = 1 << 20;
        let text = v.warnings().join("\n");
        assert!(text.contains("USB 2") && text.contains("read-only") && text.contains("1024 KiB"), "{text}");
        v.fs = FileSystem::Fat32;
        assert!(v.warnings().join(" ").contains("4 GiB"));
        // A mount point that is no text is still listed.
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            v.mount_point = Path::new(std::ffi::OsStr::from_bytes(b"/m/\xff")).to_owned();
            assert!(serde_json::to_string(&v).unwrap().contains("FAT32"));
        }
    }
}
