//! PyHST2 volumes: headerless float32 `x.vol` with `x.vol.info`, `x.vol.xml` and `histogram_x.edf`.
//!
//! Reading is that of every headerless file ([`crate::raw::layout`]), with float32 as the usual type and a missing
//! `.info` taken as the sign of an unfinished run. Writing gives PyHST2's own bytes; the `.info` comes last.

mod counts;
mod onepass;
pub mod stats;
pub mod xml;

use crate::durable::{PART, PartFile, stage_small};
use crate::io::with_suffix;
use crate::model::{ByteOrder, VolumeStats};
use crate::raw::flat::Flat;
use crate::raw::info::c_exponent;
use crate::raw::layout;
use crate::raw::writer::FlatWriter;
use crate::registry::*;
use crate::sink::{CreateOptions, SliceSink};
use crate::{DType, Error, Fault, Result};
use onepass::OnePass;
use stats::Histogram;
use std::path::{Path, PathBuf};

/// The format's row.
pub static SPEC: FormatSpec = FormatSpec {
    name: "vol",
    title: "PyHST2 volume (.vol with .vol.info and .vol.xml)",
    extensions: &["vol"],
    reads: "float32 (also 8/16-bit), every .info and .xml dialect, any size, missing .info with --dims",
    writes: "float32, PyHST2's own bytes: .vol, .vol.info, .vol.xml, histogram; .mhd, .nhdr, ImageJ macro",
    variants: &[],
    probe: |c| layout::probe(c, &["vol"], Some(DType::F32)),
    open: |path, options| layout::open(path, options, "vol", Some(DType::F32)),
    create: Some(create),
    tree: None,
};

fn create(path: &Path, options: &CreateOptions) -> Result<Box<dyn SliceSink>> {
    Ok(Box::new(VolSink::create(path, options)?))
}

/// Most bytes of memory that writing takes beside the slices handed over: statistics are counted on the way.
pub(crate) fn writing_bytes(options: &CreateOptions, threads: usize) -> u64 {
    let slice_len = options.shape.frame_len();
    // What all slices together can come to: less than the limit for small volumes.
    let all = (5 * slice_len.min(stats::BINS) as u64).saturating_mul(options.shape.frames as u64);
    onepass::working_bytes(slice_len, threads, options.held_bytes.min(all)) + crate::raw::writer::working_bytes(options)
}

/// Where PyHST2 puts the histogram of `dir/x.vol`: `dir/histogram_x.edf`.
pub fn histogram_path(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from("histogram_");
    name.push(path.file_stem().unwrap_or_default());
    name.push(".edf");
    path.with_file_name(name)
}

/// The 1024 bytes before the counts.
pub fn histogram_header(h: &Histogram) -> Vec<u8> {
    let e = |v: f32| c_exponent(f64::from(v), 8);
    let mut head = format!(
        "{{\nHeaderID       = EH:000001:000000:000000 ;\nImage          = 1 ;\nByteOrder = LowByteFirst ;\n\
         Size = {} ;\nDim_1 = 1 ;\nDim_2 = {} ;\nDataType = Signed64 ;\nMaxVal = {} ;\nMinVal = {} ;\n",
        8 * h.counts.len(),
        h.counts.len(),
        e(h.extent.max),
        e(h.extent.min)
    )
    .into_bytes();
    head.resize(1022, b' ');
    head.extend(b"}\n");
    head
}

/// Writes the histogram as PyHST2 does, still under its unfinished name.
fn stage_histogram(path: &Path, h: &Histogram) -> Result<PartFile> {
    let mut bytes = histogram_header(h);
    bytes.extend(h.counts.iter().flat_map(|n| n.to_le_bytes()));
    stage_small(path, &bytes, true)
}

/// A `.vol` being written.
struct VolSink {
    writer: FlatWriter,
    options: CreateOptions,
    path: PathBuf,
    /// Statistics of the slices of this run.
    counted: OnePass,
}

impl VolSink {
    fn create(path: &Path, options: &CreateOptions) -> Result<VolSink> {
        if options.dtype != DType::F32 {
            return Err(Error::unsupported(path, format!(".vol holds float32, not {}", options.dtype.name()))
                .hint("write .raw instead, it keeps every type"));
        }
        let mut sidecars = vec![with_suffix(path, ".info"), with_suffix(path, ".xml"), histogram_path(path)];
        if options.sidecars {
            sidecars.extend(crate::sidecar::names(path, options.dtype));
        }
        let writer = FlatWriter::create(path, options, &sidecars)?;
        let counted = OnePass::new(path.parent().unwrap_or(Path::new("")), writer.stored(), options.held_bytes);
        Ok(VolSink { writer, options: options.clone(), path: path.to_owned(), counted })
    }
}

impl SliceSink for VolSink {
    fn stored(&self) -> usize {
        self.writer.stored()
    }

    fn put(&mut self, first: usize, slices: &[u8]) -> Result<()> {
        // The disk is waited for while the processors count.
        let one = self.writer.slice_bytes() as usize;
        let (writer, counted) = (&mut self.writer, &self.counted);
        let counts = std::thread::scope(|scope| {
            let written = scope.spawn(|| writer.put(first, slices));
            let counts = counted.count(slices, one);
            written.join().unwrap_or_else(|_| Err(Error::new(Fault::System, "the writing thread died")))?;
            Ok::<_, Error>(counts)
        })?;
        self.counted.add(counts);
        Ok(())
    }

    fn keep_partial(&mut self) {
        self.writer.keep();
    }

    /// The data are read again only for slices of an earlier run. With `stats` no histogram file is written.
    fn finish(self: Box<Self>, stats: Option<&VolumeStats>) -> Result<Vec<PathBuf>> {
        let VolSink { writer, options, path, counted } = *self;
        writer.check_complete()?;
        let histogram = match stats {
            Some(_) => None,
            None => {
                let part = with_suffix(&path, PART);
                let flat = Flat::open(&part, options.shape, options.dtype, ByteOrder::NATIVE, 0, true)?;
                Some(counted.finish(&flat)?)
            }
        };
        let stats = match (stats, &histogram) {
            (Some(s), _) => *s,
            (None, Some(h)) => h.stats(),
            (None, None) => return Err(Error::caller("no statistics").path(&path)),
        };
        let (info, xml_path) = (with_suffix(&path, ".info"), with_suffix(&path, ".xml"));
        let mut staged = Vec::new();
        if options.sidecars {
            staged = crate::sidecar::stage_all(&path, options.shape, options.dtype, &options.meta, true)?;
        }
        // An old histogram must not stand beside new data.
        let histogram_file = histogram_path(&path);
        match &histogram {
            Some(h) => staged.push(stage_histogram(&histogram_file, h)?),
            None if histogram_file.exists() => {
                std::fs::remove_file(&histogram_file)
                    .map_err(|e| Error::io(&histogram_file, "removing the old histogram", e))?;
            }
            None => {}
        }
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let xml = xml::text(&name, options.shape, &options.meta, &stats);
        staged.push(stage_small(&xml_path, xml.as_bytes(), true)?);
        let text = xml::info_text(options.shape, &options.meta, &stats);
        staged.push(stage_small(&info, text.as_bytes(), true)?);
        writer.commit_with(&[&info, &xml_path], staged)
    }
}

#[cfg(test)]
pub(crate) mod tests;
