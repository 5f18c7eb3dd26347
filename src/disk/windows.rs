//! Volumes on Windows: GetVolumeInformation, GetDiskFreeSpaceEx, GetDriveType, and the storage driver's properties for the
//! bus. None of it needs administrator's rights. The speed of a USB link is not to be had without them.

use super::{Driver, FileSystem, Survey, Volume, long_serial, plain_path, short_serial};
use std::ffi::OsString;
use std::fs::{self, File};
use std::mem::offset_of;
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::AsRawHandle;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use tomokit_formats::{Error, Result};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_FLAG_BACKUP_SEMANTICS, FILE_ID_INFO, FileIdInfo, FindFirstVolumeW, FindNextVolumeW, FindVolumeClose,
    GetDiskFreeSpaceExW, GetDiskFreeSpaceW, GetDriveTypeW, GetFileInformationByHandleEx, GetLogicalDriveStringsW,
    GetVolumeInformationW, GetVolumeNameForVolumeMountPointW, GetVolumePathNameW, GetVolumePathNamesForVolumeNameW,
};
use windows_sys::Win32::System::IO::DeviceIoControl;
use windows_sys::Win32::System::Ioctl::{
    DEVICE_SEEK_PENALTY_DESCRIPTOR, IOCTL_STORAGE_QUERY_PROPERTY, PropertyStandardQuery, STORAGE_DEVICE_DESCRIPTOR,
    STORAGE_PROPERTY_QUERY, StorageDeviceProperty, StorageDeviceSeekPenaltyProperty,
};

// Values of winbase.h that windows-sys keeps in features of their own.
const DRIVE_REMOVABLE: u32 = 2;
const DRIVE_FIXED: u32 = 3;
const DRIVE_REMOTE: u32 = 4;
const DRIVE_CDROM: u32 = 5;
const DRIVE_RAMDISK: u32 = 6;
const FILE_READ_ONLY_VOLUME: u32 = 0x0008_0000;
const BUS_USB: u32 = 7;

/// Longest path Windows knows.
const LONG: usize = 32_768;

fn wide(path: &Path) -> Vec<u16> {
    path.as_os_str().encode_wide().chain([0]).collect()
}

fn text(buffer: &[u16]) -> OsString {
    let end = buffer.iter().position(|c| *c == 0).unwrap_or(buffer.len());
    OsString::from_wide(&buffer[..end])
}

/// Strings one after the other, each ended by a zero, all ended by another.
fn list(buffer: &[u16]) -> Vec<PathBuf> {
    buffer.split(|c| *c == 0).take_while(|s| !s.is_empty()).map(|s| OsString::from_wide(s).into()).collect()
}

fn failed(path: &Path, what: &str) -> Error {
    Error::io(path, what, std::io::Error::last_os_error())
}

pub(super) fn volume_of(path: &Path) -> Result<Volume> {
    // GetVolumePathName answers for paths that do not exist as well.
    let full = path.canonicalize().map_err(|e| Error::io(path, "looking for the volume", e))?;
    let mut out = vec![0u16; LONG];
    // SAFETY: a NUL-terminated path and a buffer of the length given.
    if unsafe { GetVolumePathNameW(wide(&full).as_ptr(), out.as_mut_ptr(), out.len() as u32) } == 0 {
        return Err(failed(path, "looking for the volume"));
    }
    describe(&plain_path(Path::new(&text(&out))))
}

pub(super) fn mount_id(file: &File) -> Option<u64> {
    volume_serial(file)
}

/// All 64 bits of the serial of the volume an open file is on.
fn volume_serial(file: &File) -> Option<u64> {
    let mut info = FILE_ID_INFO::default();
    let size = size_of::<FILE_ID_INFO>() as u32;
    // SAFETY: the handle is open, and the buffer is a FILE_ID_INFO of the size given.
    let ok = unsafe { GetFileInformationByHandleEx(file.as_raw_handle(), FileIdInfo, (&raw mut info).cast(), size) };
    (ok != 0).then_some(info.VolumeSerialNumber)
}

pub(super) fn survey() -> Result<Survey> {
    let mut buffer = vec![0u16; 1024];
    // SAFETY: a buffer of the length given.
    let n = unsafe { GetLogicalDriveStringsW(buffer.len() as u32, buffer.as_mut_ptr()) };
    if n == 0 || n as usize > buffer.len() {
        return Err(failed(Path::new("drives"), "listing the drives"));
    }
    let mut places = list(&buffer);
    places.extend(in_folders().into_iter().filter(|p| !p.to_string_lossy().ends_with(":\\")));
    places.sort();
    places.dedup();
    let mut survey = Survey::default();
    for place in places {
        // A card reader without a card, a share whose server is gone.
        match describe(&place) {
            Ok(v) if v.total > 0 => survey.volumes.push(v),
            Err(_) if drive_type(&place) == DRIVE_REMOTE => survey.silent.push(place),
            _ => {}
        }
    }
    Ok(survey)
}

/// Where volumes are mounted in folders instead of under a letter.
fn in_folders() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut name = vec![0u16; 64];
    // SAFETY: a buffer of the length given.
    let search = unsafe { FindFirstVolumeW(name.as_mut_ptr(), name.len() as u32) };
    if search.is_null() || search as isize == -1 {
        return found;
    }
    loop {
        let mut paths = vec![0u16; LONG];
        let mut used = 0u32;
        // SAFETY: `name` was filled with a NUL-terminated name; the buffer has the length given.
        let ok = unsafe {
            GetVolumePathNamesForVolumeNameW(name.as_ptr(), paths.as_mut_ptr(), paths.len() as u32, &mut used)
        };
        if ok != 0 {
            found.extend(list(&paths));
        }
        // SAFETY: an open search and a buffer of the length given.
        if unsafe { FindNextVolumeW(search, name.as_mut_ptr(), name.len() as u32) } == 0 {
            break;
        }
    }
    // SAFETY: the search is open and not used again.
    unsafe { FindVolumeClose(search) };
    found
}

fn drive_type(root: &Path) -> u32 {
    // SAFETY: a NUL-terminated path.
    unsafe { GetDriveTypeW(wide(root).as_ptr()) }
}

fn describe(root: &Path) -> Result<Volume> {
    let at = wide(root);
    let (mut label, mut kind) = ([0u16; 261], [0u16; 261]);
    let (mut serial, mut flags) = (0u32, 0u32);
    // SAFETY: NUL-terminated path, buffers of the lengths given, valid places for the numbers.
    let ok = unsafe {
        GetVolumeInformationW(
            at.as_ptr(),
            label.as_mut_ptr(),
            label.len() as u32,
            &mut serial,
            null_mut(),
            &mut flags,
            kind.as_mut_ptr(),
            kind.len() as u32,
        )
    };
    if ok == 0 {
        return Err(failed(root, "asking what this volume is"));
    }
    let (mut available, mut total, mut free) = (0u64, 0u64, 0u64);
    // SAFETY: NUL-terminated path and valid places for the numbers.
    if unsafe { GetDiskFreeSpaceExW(at.as_ptr(), &mut available, &mut total, &mut free) } == 0 {
        return Err(failed(root, "asking for the room on it"));
    }
    let (mut sectors, mut bytes, mut unused, mut clusters) = (0u32, 0u32, 0u32, 0u32);
    // SAFETY: as above.
    unsafe { GetDiskFreeSpaceW(at.as_ptr(), &mut sectors, &mut bytes, &mut unused, &mut clusters) };
    let drive = drive_type(root);
    let remote = drive == DRIVE_REMOTE || root.to_string_lossy().starts_with(r"\\") && drive != DRIVE_FIXED;
    // Shares name the file system of the server's disk.
    let fs = match remote {
        true => FileSystem::Smb,
        false => FileSystem::named(&text(&kind).to_string_lossy()),
    };
    let folder = fs::OpenOptions::new().read(true).custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(root).ok();
    let long = folder.as_ref().and_then(volume_serial).filter(|n| *n as u32 == serial);
    let serial = match (&fs, long) {
        (FileSystem::Ntfs, Some(n)) => Some(long_serial(n)),
        _ if serial != 0 => Some(short_serial(serial)),
        _ => None,
    };
    let device = device_name(root).unwrap_or_else(|| root.to_owned());
    let (usb, rotational) = if remote { (false, None) } else { storage(&device) };
    let label = text(&label).to_string_lossy().into_owned();
    Ok(Volume {
        mount_point: root.to_owned(),
        device,
        fs,
        driver: Driver::Kernel,
        total,
        free,
        available,
        cluster: (u64::from(sectors) * u64::from(bytes)).max(1),
        serial,
        label: (!label.is_empty()).then_some(label),
        read_only: flags & FILE_READ_ONLY_VOLUME != 0 || drive == DRIVE_CDROM,
        removable: usb || drive == DRIVE_REMOVABLE,
        usb_speed_mbit: None,
        rotational: rotational.or((drive == DRIVE_RAMDISK).then_some(false)),
    })
}

/// `\\?\Volume{…}\` of a drive or folder.
fn device_name(root: &Path) -> Option<PathBuf> {
    let mut out = vec![0u16; 64];
    // SAFETY: a NUL-terminated path and a buffer of the length given.
    let ok = unsafe { GetVolumeNameForVolumeMountPointW(wide(root).as_ptr(), out.as_mut_ptr(), out.len() as u32) };
    (ok != 0).then(|| PathBuf::from(text(&out)))
}

/// Whether the disk under a volume hangs on USB, and whether it spins. The device is opened without any access right.
fn storage(device: &Path) -> (bool, Option<bool>) {
    let name = device.to_string_lossy();
    let Ok(disk) = fs::OpenOptions::new().access_mode(0).share_mode(7).open(name.trim_end_matches('\\')) else {
        return (false, None);
    };
    let about = query(&disk, StorageDeviceProperty);
    let usb = about.is_some_and(|a| a[offset_of!(STORAGE_DEVICE_DESCRIPTOR, BusType) / 4] == BUS_USB);
    let seek = query(&disk, StorageDeviceSeekPenaltyProperty);
    // A BOOLEAN is one byte; a driver may leave anything in the padding behind it.
    (usb, seek.map(|s| s[offset_of!(DEVICE_SEEK_PENALTY_DESCRIPTOR, IncursSeekPenalty) / 4] & 0xff != 0))
}

/// The beginning of a property's structure, as 32-bit words.
fn query(disk: &File, property: i32) -> Option<[u32; 16]> {
    let ask = STORAGE_PROPERTY_QUERY { PropertyId: property, QueryType: PropertyStandardQuery, ..Default::default() };
    let mut out = [0u32; 16];
    let mut used = 0u32;
    // SAFETY: the handle is open; both buffers are plain memory of the sizes given; no overlapped operation.
    let ok = unsafe {
        DeviceIoControl(
            disk.as_raw_handle(),
            IOCTL_STORAGE_QUERY_PROPERTY,
            (&raw const ask).cast(),
            size_of::<STORAGE_PROPERTY_QUERY>() as u32,
            out.as_mut_ptr().cast(),
            size_of_val(&out) as u32,
            &mut used,
            null_mut(),
        )
    };
    (ok != 0).then_some(out)
}
