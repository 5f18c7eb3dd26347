//! Volumes on Linux: `/proc/self/mountinfo` and statvfs; `/sys/dev/block` for how a disk is attached; udev's database,
//! `/dev/disk/by-*` and, where the device may be read, its first blocks for kind, serial and label.

use super::mountinfo::{self, Mount};
use super::superblock::{self, Superblock};
use super::{Driver, FileSystem, Survey, Volume};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;
use tomokit_formats::{Error, Result};

/// How long a volume may take to say how large it is.
const PATIENCE: Duration = Duration::from_secs(3);

/// File systems that hold no user's files, or only pass on another one's.
const SYSTEM: &[&str] = &[
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "fuse.gvfsd-fuse",
    "fuse.lxcfs",
    "fuse.portal",
    "fuse.snapfuse",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "ramfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tmpfs",
    "tracefs",
];

pub(super) fn volume_of(path: &Path) -> Result<Volume> {
    // O_PATH: works on folders and on files that may not be read.
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)
        .map_err(|e| Error::io(path, "looking for the volume", e))?;
    let mounts = mounts()?;
    let id = mount_id(&file);
    let mount = mounts.iter().find(|m| Some(m.id) == id).or_else(|| above(path, &mounts)).ok_or_else(|| {
        Error::unsupported(path, "the system does not tell which volume this is on")
            .hint("/proc/self/mountinfo has no line for it")
    })?;
    let space = rustix::fs::fstatvfs(&file).map_err(|e| Error::io(path, "asking for the room on it", e.into()))?;
    Ok(describe(mount, &space, Path::new("/")))
}

pub(super) fn mount_id(file: &File) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    text.lines().find_map(|l| l.strip_prefix("mnt_id:"))?.trim().parse().ok()
}

fn mounts() -> Result<Vec<Mount>> {
    let path = Path::new("/proc/self/mountinfo");
    Ok(mountinfo::parse(&fs::read(path).map_err(|e| Error::io(path, "reading what is mounted", e))?))
}

/// The mount with the longest path above `path`; of equals the last, which covers the others.
fn above<'a>(path: &Path, mounts: &'a [Mount]) -> Option<&'a Mount> {
    let path = path.canonicalize().ok()?;
    mounts.iter().filter(|m| path.starts_with(&m.mount_point)).max_by_key(|m| m.mount_point.as_os_str().len())
}

pub(super) fn survey() -> Result<Survey> {
    let mut survey = Survey::default();
    for mount in worth_showing(mounts()?) {
        match space_of(&mount.mount_point) {
            Some(Ok(space)) if space.f_blocks > 0 => survey.volumes.push(describe(&mount, &space, Path::new("/"))),
            // No room at all, or not ours to look at: nobody copies there.
            Some(_) => {}
            None => survey.silent.push(mount.mount_point),
        }
    }
    survey.volumes.sort_by(|a, b| a.mount_point.cmp(&b.mount_point));
    Ok(survey)
}

/// Each device once, without the system's own and without what is hidden under another mount.
fn worth_showing(mounts: Vec<Mount>) -> Vec<Mount> {
    let mut at: BTreeMap<PathBuf, Mount> = BTreeMap::new();
    for m in mounts {
        at.insert(m.mount_point.clone(), m);
    }
    let mut shown: Vec<Mount> = Vec::new();
    let mut rest: Vec<Mount> = at.into_values().filter(|m| !SYSTEM.contains(&m.fs.as_str())).collect();
    // The whole file system before its bind mounts, and the shortest path first.
    rest.sort_by_key(|m| (m.root != Path::new("/"), m.mount_point.as_os_str().len()));
    for m in rest {
        if shown.iter().all(|s| (s.dev, &s.source) != (m.dev, &m.source)) {
            shown.push(m);
        }
    }
    shown
}

/// Room on a volume; `None` where it does not answer in time. The thread that waits for a dead server stays behind.
fn space_of(mount_point: &Path) -> Option<std::io::Result<rustix::fs::StatVfs>> {
    let (tell, told) = mpsc::channel();
    let path = mount_point.to_owned();
    let start = std::thread::Builder::new().name("statvfs".into()).spawn(move || {
        let _ = tell.send(rustix::fs::statvfs(&path).map_err(Into::into));
    });
    match start {
        Ok(_) => told.recv_timeout(PATIENCE).ok(),
        Err(e) => Some(Err(e)),
    }
}

/// Everything known about a mount. `root` is `/`, or a folder that plays it in tests.
fn describe(mount: &Mount, space: &rustix::fs::StatVfs, root: &Path) -> Volume {
    let attached = Attached::of(mount, root);
    let udev = Udev::of(attached.dev, root);
    let by = |kind: &str| linked(&root.join("dev/disk").join(kind), &mount.source);
    let on_disk = on_disk(&mount.source);
    let is_fuse = mount.fs.starts_with("fuse");
    let fs = match on_disk.as_ref().map(|s| &s.fs) {
        Some(fs) => fs.clone(),
        None if is_fuse => match udev.value("ID_FS_TYPE") {
            Some(name) => FileSystem::named(&name),
            None => FileSystem::named(mount.fs.strip_prefix("fuse.").unwrap_or(&mount.fs)),
        },
        None => FileSystem::named(&mount.fs),
    };
    let (serial, label) = on_disk.map_or((None, None), |s: Superblock| (s.serial, s.label));
    let unit = space.f_frsize.max(1);
    Volume {
        mount_point: mount.mount_point.clone(),
        device: mount.source.clone(),
        fs,
        driver: if is_fuse { Driver::Fuse } else { Driver::Kernel },
        total: space.f_blocks.saturating_mul(unit),
        free: space.f_bfree.saturating_mul(unit),
        available: space.f_bavail.saturating_mul(unit),
        cluster: unit,
        serial: serial.or_else(|| udev.value("ID_FS_UUID")).or_else(|| by("by-uuid")),
        label: label.or_else(|| udev.value("ID_FS_LABEL_ENC")).or_else(|| by("by-label")),
        read_only: mount.read_only || space.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
        removable: attached.removable,
        usb_speed_mbit: attached.usb_speed_mbit,
        rotational: attached.rotational,
    }
}

/// The first blocks of the device, or of the image file that ntfs-3g mounts directly. Needs the right to read it.
fn on_disk(source: &Path) -> Option<Superblock> {
    let kind = fs::metadata(source).ok().filter(|_| source.is_absolute())?.file_type();
    if !kind.is_block_device() && !kind.is_file() {
        return None;
    }
    superblock::look(&File::open(source).ok()?)
}

/// The name of the link in `/dev/disk/by-…` that leads to the device, with `\x20` undone.
fn linked(folder: &Path, device: &Path) -> Option<String> {
    let device = device.canonicalize().ok()?;
    let link = fs::read_dir(folder).ok()?.flatten().find(|e| e.path().canonicalize().is_ok_and(|p| p == device))?;
    Some(unescape(link.file_name().as_bytes()))
}

/// udev writes what is unsafe in a name as `\x20`.
fn unescape(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut i = 0;
    while i < text.len() {
        let hex = text[i..].strip_prefix(b"\\x").and_then(|h| std::str::from_utf8(h.get(..2)?).ok());
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(b) => {
                out.push(b);
                i += 4;
            }
            None => {
                out.push(text[i]);
                i += 1;
            }
        }
    }
    std::ffi::OsString::from_vec(out).to_string_lossy().into_owned()
}

/// udev's record of a block device.
struct Udev(String);

impl Udev {
    fn of(dev: Option<(u32, u32)>, root: &Path) -> Udev {
        let path = dev.map(|(major, minor)| root.join(format!("run/udev/data/b{major}:{minor}")));
        Udev(path.and_then(|p| fs::read(p).ok()).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default())
    }

    fn value(&self, key: &str) -> Option<String> {
        let line = self.0.lines().find_map(|l| l.strip_prefix("E:")?.strip_prefix(key)?.strip_prefix('='))?;
        Some(unescape(line.trim().as_bytes())).filter(|v| !v.is_empty())
    }
}

/// How the disk under a volume is attached.
#[derive(Default, Debug, PartialEq)]
struct Attached {
    dev: Option<(u32, u32)>,
    removable: bool,
    usb_speed_mbit: Option<u32>,
    rotational: Option<bool>,
}

impl Attached {
    fn of(mount: &Mount, root: &Path) -> Attached {
        // Btrfs and images have an anonymous device in mountinfo: ask the source.
        let own = fs::metadata(&mount.source)
            .ok()
            .filter(|m| m.file_type().is_block_device())
            .map(|m| (libc::major(m.rdev()), libc::minor(m.rdev())));
        let Some(dev) = own.or(Some(mount.dev).filter(|d| d.0 != 0)) else { return Attached::default() };
        let start = root.join(format!("sys/dev/block/{}:{}", dev.0, dev.1));
        let Some(mut folder) = start.canonicalize().ok() else {
            return Attached { dev: Some(dev), ..Attached::default() };
        };
        // Encrypted and mapped volumes lie on others; a few steps, never for ever.
        for _ in 0..8 {
            let below = fs::read_dir(folder.join("slaves")).ok().and_then(|mut d| d.next()?.ok());
            match below.and_then(|e| e.path().canonicalize().ok()) {
                Some(next) => folder = next,
                None => break,
            }
        }
        let mut a = Attached { dev: Some(dev), ..Attached::default() };
        let number = |p: PathBuf| fs::read_to_string(p).ok()?.trim().parse::<f64>().ok();
        let stop = root.join("sys");
        for f in folder.ancestors().take_while(|f| *f != stop && f.parent().is_some()) {
            if a.rotational.is_none() {
                a.rotational = number(f.join("queue/rotational")).map(|n| n != 0.0);
                a.removable |= number(f.join("removable")) == Some(1.0);
            }
            if f.join("idVendor").exists()
                && let Some(speed) = number(f.join("speed"))
            {
                a.usb_speed_mbit = Some(speed as u32);
                a.removable = true;
                break;
            }
        }
        a
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn mount(id: u64, dev: (u32, u32), at: &str, fs: &str, source: &str, root: &str) -> Mount {
        Mount {
            id,
            dev,
            root: root.into(),
            mount_point: at.into(),
            fs: fs.into(),
            source: source.into(),
            read_only: false,
        }
    }

    /// A machine with a USB 2 stick behind FUSE, whose device we may not read.
    #[test]
    fn a_usb_disk_behind_fuse_is_known_from_udev_and_sysfs() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let usb = root.join("sys/devices/pci0/usb1/1-2");
        let part = usb.join("host6/block/sdb/sdb1");
        fs::create_dir_all(part.parent().unwrap().join("queue")).unwrap();
        fs::create_dir_all(&part).unwrap();
        fs::create_dir_all(root.join("sys/dev/block")).unwrap();
        fs::create_dir_all(root.join("run/udev/data")).unwrap();
        fs::create_dir_all(root.join("dev/disk/by-label")).unwrap();
        fs::write(usb.join("idVendor"), "0bc2\n").unwrap();
        fs::write(usb.join("speed"), "480\n").unwrap();
        fs::write(part.parent().unwrap().join("queue/rotational"), "1\n").unwrap();
        fs::write(part.parent().unwrap().join("removable"), "0\n").unwrap();
        symlink(&part, root.join("sys/dev/block/8:17")).unwrap();
        let record = "S:disk/by-uuid/x\nE:ID_FS_TYPE=ntfs\nE:ID_FS_UUID=01D8BEEF12345678\nE:ID_FS_LABEL=My_Disk\n\
                      E:ID_FS_LABEL_ENC=My\\x20Disk\n";
        fs::write(root.join("run/udev/data/b8:17"), record).unwrap();
        let space = rustix::fs::statvfs("/").unwrap();
        let v = describe(&mount(1, (8, 17), "/media/x", "fuseblk", "/dev/none-such", "/"), &space, &root);
        assert_eq!((&v.fs, v.driver), (&FileSystem::Ntfs, Driver::Fuse));
        assert_eq!((v.serial.as_deref(), v.label.as_deref()), (Some("01D8BEEF12345678"), Some("My Disk")));
        assert_eq!((v.usb_speed_mbit, v.removable, v.rotational), (Some(480), true, Some(true)));
        assert!(v.warnings().iter().any(|w| w.contains("USB 2")));
        // An encrypted volume on it.
        let mapped = root.join("sys/devices/virtual/block/dm-0");
        fs::create_dir_all(mapped.join("slaves")).unwrap();
        symlink(&part, mapped.join("slaves/sdb1")).unwrap();
        symlink(&mapped, root.join("sys/dev/block/253:0")).unwrap();
        let a = Attached::of(&mount(1, (253, 0), "/x", "ext4", "/dev/none-such", "/"), &root);
        assert_eq!((a.usb_speed_mbit, a.removable), (Some(480), true));
        // Links under /dev/disk.
        let device = root.join("dev/sdz");
        fs::write(&device, "").unwrap();
        symlink(&device, root.join("dev/disk/by-label/a\\x2fb\\xc3\\xa9\\x")).unwrap();
        assert_eq!(linked(&root.join("dev/disk/by-label"), &device).unwrap(), "a/bé\\x");
        // A file system behind FUSE that nothing tells more about keeps its own name.
        let v = describe(&mount(1, (0, 50), "/m", "fuse.sshfs", "host:", "/"), &space, &root);
        assert_eq!((v.fs.to_string(), v.driver, v.serial, v.removable), ("sshfs".into(), Driver::Fuse, None, false));
    }

    #[test]
    fn each_device_is_shown_once() {
        let shown = worth_showing(vec![
            mount(1, (8, 1), "/", "ext4", "/dev/sda1", "/"),
            mount(2, (0, 5), "/proc", "proc", "proc", "/"),
            mount(3, (8, 1), "/etc/hosts", "ext4", "/dev/sda1", "/etc/hosts"),
            mount(4, (8, 17), "/media/disk", "fuseblk", "/dev/sdb1", "/"),
            mount(5, (0, 60), "/net/data", "nfs4", "s:/data", "/"),
            mount(6, (8, 33), "/media/disk", "exfat", "/dev/sdc1", "/"),
        ]);
        let names: Vec<_> = shown.iter().map(|m| (m.id, m.mount_point.to_str().unwrap())).collect();
        assert_eq!(names, [(1, "/"), (5, "/net/data"), (6, "/media/disk")]);
    }
}
