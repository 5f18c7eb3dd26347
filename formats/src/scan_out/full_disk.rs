//! Disks of every size up to the one that suffices: each writer says that the disk is full, leaves nothing and crashes
//! nothing. HDF5 2.0 ignores failed writes on close and may crash afterwards, so its writers are tried most.

use super::tests::{frames, open, spec, write};
use super::*;
use crate::registry::{OpenOptions, writer_for};
use crate::{CreateOptions, Fault, Shape, VolumeMeta};
use std::process::Command;

/// A small disk in memory.
struct Disk(tempfile::TempDir);

impl Disk {
    /// Mounts one of this size; says why where it cannot (that takes root).
    fn mount(kib: usize) -> std::result::Result<Disk, String> {
        let disk = Disk(tempfile::tempdir().map_err(|e| e.to_string())?);
        let mut c = Command::new("mount");
        c.args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"]).arg(disk.0.path());
        match c.output() {
            Ok(o) if o.status.success() => Ok(disk),
            other => Err(format!("{other:?}")),
        }
    }

    fn entries(&self) -> usize {
        std::fs::read_dir(self.0.path()).unwrap().count()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: where even the space given back is too little, the library's handles stay open for ever.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

/// Runs `make` on larger and larger disks until it succeeds; returns how many were too small.
fn until_it_fits(what: &str, make: &dyn Fn(&Path) -> Result<PathBuf>) -> usize {
    let mut kib = 4;
    for failed in 0.. {
        let disk = Disk::mount(kib).unwrap();
        match make(disk.0.path()) {
            Ok(path) => {
                open(&path, &OpenOptions::default()).unwrap_or_else(|e| panic!("{what} on {kib} KiB: {e}"));
                return failed;
            }
            Err(e) => {
                assert_eq!(e.fault(), Fault::System, "{what} on {kib} KiB: {e}");
                assert!(format!("{e:?}").contains("space") || format!("{e}").contains("space"), "{what}: {e:?}");
                assert_eq!(disk.entries(), 0, "{what} on {kib} KiB left something");
            }
        }
        assert!(kib < 64 << 10, "{what} never fits");
        // A page at a time where the metadata are written, faster later.
        kib += 4 * (kib / 128).max(1);
    }
    0
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    if let Err(why) = Disk::mount(4) {
        eprintln!("skipped: no file system can be mounted here, that takes root on Linux: {why}");
        return;
    }
    let mut spec = spec(DType::U16);
    let n = 30;
    spec.shape.frames = n;
    spec.angles_rad.truncate(n);
    spec.flats[1].position = n as f64;
    spec.darks[0].position = n as f64;
    for layout in ScanLayout::ALL {
        let is_hdf5 = !matches!(layout, ScanLayout::Edf | ScanLayout::Tiff);
        let mut storages = vec![Storage::default()];
        if is_hdf5 {
            storages.push(Storage { chunk: None, deflate: Some(1) });
            storages.push(Storage { chunk: Some([4, 6, 20]), deflate: None });
        }
        for storage in storages {
            let options = ScanWriteOptions { layout, storage, overwrite: false };
            let make = |dir: &Path| {
                let path = if layout.is_folder() { dir.join("s") } else { dir.join("s.h5") };
                write(&path, &spec, &options).map(|_| path)
            };
            let failed = until_it_fits(&format!("{layout:?} {storage:?}"), &make);
            println!("{layout:?} {storage:?}: {failed} disks too small");
            assert!(failed >= 3, "{layout:?} {storage:?}: {failed}");
        }
    }
    let shape = Shape::new(20, 30, 50);
    let data = frames(Part::Projections, 0, 20, shape, DType::F32);
    for (name, compression) in [("v.h5", "none"), ("v.h5", "deflate"), ("v.vol", "none"), ("v.tif", "none")] {
        let make = |dir: &Path| {
            let path = dir.join(name);
            let mut o = CreateOptions::new(shape, DType::F32);
            o.compression = Some(compression.into());
            o.meta = VolumeMeta { voxel_um: Some([1.0; 3]), description: Some("d".into()), ..VolumeMeta::default() };
            let create = writer_for(&path, None)?.create.unwrap();
            let mut sink = create(&path, &o)?;
            for (i, block) in data.chunks(3 * shape.frame_len() * 4).enumerate() {
                sink.put(3 * i, block)?;
            }
            sink.finish(None)?;
            Ok(path)
        };
        let failed = until_it_fits(&format!("{name} {compression}"), &make);
        println!("{name} {compression}: {failed} disks too small");
        assert!(failed >= 3, "{name} {compression}: {failed}");
    }
}
