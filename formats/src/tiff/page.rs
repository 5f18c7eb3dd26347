//! One page: what its directory says, checked and in plain terms, and how its bytes become values.
//!
//! Guarantees: a page that cannot be decoded says which scheme, depth or colour it uses; stored values are returned as
//! they are (no inversion of MinIsWhite, no palette lookup, no rotation), as established readers do. Leaves to
//! [`super::stack`]: which pages form a stack and how a box of it is read.

use super::codec::{self, scheme};
use super::ifd::{Entry, Header, Ifd, tag};
use crate::io::ReadAt;
use crate::{ByteOrder, DType, Error, Result};

/// A decoded page as stored: `shape` is rows × cols, rows × cols × samples (interleaved) or samples × rows × cols
/// (planar); `bytes` are in native order. Depths below 8, 16 or 32 bits are unpacked into the next unsigned type.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Size, C order.
    pub shape: Vec<usize>,
    /// Type of the unpacked values.
    pub dtype: DType,
    /// Values.
    pub bytes: Vec<u8>,
}

/// Largest strip or tile that is decoded in one piece, bytes.
const MAX_CHUNK: u64 = 4 << 30;

/// Most strips or tiles of one page: their table has to be held in memory while the page is read.
const MAX_CHUNKS: u64 = 1 << 24;

/// What a directory says about its image.
#[derive(Clone, Debug)]
pub struct Directory {
    /// Offset of the directory in the file.
    pub at: u64,
    /// Height.
    pub rows: usize,
    /// Width.
    pub cols: usize,
    /// Values per pixel.
    pub samples: usize,
    /// Bits per value as stored.
    pub bits: u32,
    /// SampleFormat: 1 unsigned, 2 signed, 3 floating point, 4 unspecified.
    pub format: u16,
    /// PhotometricInterpretation.
    pub photometric: u16,
    /// Compression scheme number.
    pub compression: u16,
    /// 1 none, 2 horizontal, 3 floating point.
    pub predictor: u16,
    /// Samples in separate planes instead of interleaved.
    pub planar: bool,
    /// Orientation, 1 = as stored.
    pub orientation: u16,
    /// NewSubfileType: bit 0 = reduced-resolution copy, bit 2 = mask.
    pub subfile: u32,
    /// Tiles instead of strips.
    pub tiled: bool,
    /// Rows of one strip or tile.
    pub chunk_rows: usize,
    /// Columns of one strip or tile.
    pub chunk_cols: usize,
    /// Low bit first within bytes (FillOrder 2).
    low_bit_first: bool,
    /// Why this page cannot be decoded, where it cannot.
    refusal: Option<String>,
    offsets: Option<Entry>,
    counts: Option<Entry>,
    pub(super) description: Option<Entry>,
    pub(super) software: Option<Entry>,
    pub(super) resolution: [Option<Entry>; 2],
    pub(super) resolution_unit: u16,
    pub(super) sub_ifds: u64,
    /// Planes of a MetaMorph stack behind this one directory.
    pub(super) stk_planes: u64,
}

impl Directory {
    /// Interprets a directory. Fails only where the image has no size; everything else is said when it is decoded.
    pub(super) fn new(file: &ReadAt, header: &Header, ifd: &Ifd) -> Result<Directory> {
        let o = header.order;
        let one = |t: u16| -> Result<Option<u64>> {
            match ifd.get(t) {
                Some(e) if e.count > 0 => Ok(e.uints(file, o, 0..1)?.first().copied()),
                _ => Ok(None),
            }
        };
        let short = |t: u16, default: u16| -> Result<u16> {
            Ok(one(t)?.map_or(default, |v| u16::try_from(v).unwrap_or(u16::MAX)))
        };
        let size = |t: u16, what: &str| -> Result<usize> {
            match one(t)? {
                Some(v) if v > 0 && v <= u64::from(u32::MAX) => Ok(v as usize),
                v => Err(Error::file(file.path(), format!("a page without a usable {what}"))
                    .at(ifd.at)
                    .expected("1 to 4294967295")
                    .found(v.map_or("nothing".into(), |v| v.to_string()))),
            }
        };
        let (rows, cols) = (size(tag::LENGTH, "height")?, size(tag::WIDTH, "width")?);
        let samples = short(tag::SAMPLES, 1)?.max(1) as usize;
        // All samples of a page must agree; the first 64 tell (a page has 1 to 5).
        let list = |t: u16| -> Result<Vec<u64>> {
            match ifd.get(t) {
                Some(e) => e.uints(file, o, 0..e.count.min(samples as u64).min(64)),
                None => Ok(Vec::new()),
            }
        };
        let mut refusal = None;
        let mut refuse = |why: String| refusal = refusal.take().or(Some(why));
        let (depths, formats) = (list(tag::BITS)?, list(tag::SAMPLE_FORMAT)?);
        if depths.windows(2).any(|w| w[0] != w[1]) || formats.windows(2).any(|w| w[0] != w[1]) {
            refuse(format!("samples of different depth or format ({depths:?} bits)"));
        }
        let bits = depths.first().map_or(1, |b| (*b).min(u64::from(u32::MAX)) as u32);
        let format = formats.first().map_or(1, |f| (*f).min(0xFFFF) as u16);
        if dtype_of(format, bits).is_none() {
            refuse(format!("{bits}-bit {} values", format_name(format)));
        }
        let compression = short(tag::COMPRESSION, 1)?;
        if !codec::is_supported(compression) {
            refuse(format!("compression {} ({compression})", codec::scheme_name(compression)));
        }
        let predictor = short(tag::PREDICTOR, 1)?;
        let whole = bits.is_multiple_of(8) && bits != 24;
        match predictor {
            1 => {}
            2 if bits <= 64 => {}
            3 if format == 3 && whole => {}
            n => refuse(format!("predictor {n} on {bits}-bit {} values", format_name(format))),
        }
        let photometric = short(tag::PHOTOMETRIC, 1)?;
        if photometric == 6 {
            let sub = match ifd.get(tag::YCBCR_SUBSAMPLING) {
                Some(e) => e.uints(file, o, 0..e.count.min(2))?,
                None => vec![2, 2],
            };
            if sub != [1, 1] {
                refuse(format!("photometric YCbCr with subsampled colour {sub:?}"));
            }
        }
        if one(tag::IMAGE_DEPTH)?.is_some_and(|d| d != 1) {
            refuse("volumetric pages (ImageDepth)".into());
        }
        let tiled = ifd.get(tag::TILE_OFFSETS).is_some() || ifd.get(tag::TILE_WIDTH).is_some();
        let (chunk_rows, chunk_cols) = if tiled {
            (size(tag::TILE_LENGTH, "tile height")?, size(tag::TILE_WIDTH, "tile width")?)
        } else {
            let r = one(tag::ROWS_PER_STRIP)?.filter(|r| *r > 0).unwrap_or(u64::MAX);
            (r.min(rows as u64) as usize, cols)
        };
        let data = if tiled { [tag::TILE_OFFSETS, tag::TILE_COUNTS] } else { [tag::STRIP_OFFSETS, tag::STRIP_COUNTS] };
        // Some old writers use the strip tags for tiles.
        let [offsets, counts] = data.map(|t| {
            let twin = if tiled { t - tag::TILE_OFFSETS + tag::STRIP_OFFSETS } else { t };
            let twin = if t == tag::TILE_COUNTS { tag::STRIP_COUNTS } else { twin };
            ifd.get(t).or_else(|| ifd.get(twin)).copied()
        });
        Ok(Directory {
            at: ifd.at,
            rows,
            cols,
            samples,
            bits,
            format,
            photometric,
            compression,
            predictor,
            planar: samples > 1 && short(tag::PLANAR, 1)? == 2,
            orientation: short(tag::ORIENTATION, 1)?,
            subfile: one(tag::SUBFILE)?.unwrap_or(0) as u32,
            tiled,
            chunk_rows,
            chunk_cols,
            low_bit_first: short(tag::FILL_ORDER, 1)? == 2,
            refusal,
            offsets,
            counts,
            description: ifd.get(tag::DESCRIPTION).copied(),
            software: ifd.get(tag::SOFTWARE).copied(),
            resolution: [tag::Y_RESOLUTION, tag::X_RESOLUTION].map(|t| ifd.get(t).copied()),
            resolution_unit: short(tag::RESOLUTION_UNIT, 2)?,
            sub_ifds: ifd.get(tag::SUB_IFDS).map_or(0, |e| e.count),
            stk_planes: ifd.get(tag::UIC2).map_or(0, |e| e.count),
        })
    }

    /// Type of the unpacked values; `None` where there is none for this depth.
    pub fn dtype(&self) -> Option<DType> {
        dtype_of(self.format, self.bits)
    }

    /// Size as [`Page`] tells it.
    pub fn shape(&self) -> Vec<usize> {
        match (self.samples, self.planar) {
            (1, _) => vec![self.rows, self.cols],
            (s, true) => vec![s, self.rows, self.cols],
            (s, false) => vec![self.rows, self.cols, s],
        }
    }

    /// Name of the photometric interpretation.
    pub fn photometric_name(&self) -> &'static str {
        match self.photometric {
            0 => "MinIsWhite",
            1 => "MinIsBlack",
            2 => "RGB",
            3 => "palette colour",
            4 => "mask",
            5 => "CMYK",
            6 => "YCbCr",
            8..=10 => "CIELab",
            32803 => "colour filter array",
            32844 => "LogL",
            32845 => "LogLuv",
            34892 => "linear raw",
            _ => "unknown photometric",
        }
    }

    /// Why this page is not one grey image, where it is not.
    pub(super) fn not_grey(&self) -> Option<String> {
        (!matches!(self.photometric, 0 | 1) || self.samples != 1).then(|| {
            format!("colour: {} with {} sample{}", self.photometric_name(), self.samples, plural(self.samples))
        })
    }

    /// Fails where the page uses something this reader does not decode.
    pub(super) fn check(&self, file: &ReadAt) -> Result<DType> {
        match (&self.refusal, self.dtype()) {
            (None, Some(d)) => Ok(d),
            (why, _) => Err(Error::unsupported(
                file.path(),
                format!("a TIFF page with {}", why.as_deref().unwrap_or("unknown values")),
            )
            .at(self.at)
            .hint("convert it to uncompressed greyscale with the program that wrote it")),
        }
    }

    /// Values per pixel within one strip or tile.
    fn chunk_samples(&self) -> usize {
        if self.planar { 1 } else { self.samples }
    }

    /// Strips or tiles across, down, and planes.
    pub(super) fn grid(&self) -> [usize; 3] {
        let planes = if self.planar { self.samples } else { 1 };
        [self.cols.div_ceil(self.chunk_cols), self.rows.div_ceil(self.chunk_rows), planes]
    }

    /// Number of strips or tiles of all planes (saturating).
    fn chunk_count(&self) -> u64 {
        self.grid().iter().fold(1, |n: u64, g| n.saturating_mul(*g as u64))
    }

    /// Rows stored in the strips or tiles of row `down` of the grid: tiles are always whole.
    pub(super) fn stored_rows(&self, down: usize) -> usize {
        if self.tiled { self.chunk_rows } else { self.chunk_rows.min(self.rows - down * self.chunk_rows) }
    }

    /// Bytes of one stored row of a strip or tile.
    fn row_bytes(&self) -> u64 {
        (self.chunk_cols as u64 * self.chunk_samples() as u64).saturating_mul(u64::from(self.bits)).div_ceil(8)
    }

    /// Plain bytes in whole values: rows can be fetched without decoding.
    pub(super) fn is_plain(&self) -> bool {
        self.refusal.is_none()
            && self.compression == scheme::NONE
            && self.predictor == 1
            && !self.low_bit_first
            && self.dtype().is_some_and(|d| self.bits as usize == d.size() * 8)
    }

    /// Offsets and byte counts of the strips or tiles `range` (all planes counted through).
    pub(super) fn chunks(
        &self,
        file: &ReadAt,
        order: ByteOrder,
        range: std::ops::Range<usize>,
    ) -> Result<Vec<(u64, Option<u64>)>> {
        let what = if self.tiled { "tile" } else { "strip" };
        let Some(offsets) = &self.offsets else {
            return Err(Error::file(file.path(), format!("a page without {what} offsets")).at(self.at));
        };
        let n = self.chunk_count();
        if n > MAX_CHUNKS {
            return Err(Error::limit(format!("a page of more than {MAX_CHUNKS} {what}s"))
                .path(file.path())
                .at(self.at));
        }
        if offsets.count < n {
            return Err(Error::file(file.path(), format!("a page with too few {what}s"))
                .at(self.at)
                .expected(n)
                .found(offsets.count));
        }
        let range = range.start as u64..range.end as u64;
        let at = offsets.uints(file, order, range.clone())?;
        let len: Vec<Option<u64>> = match &self.counts {
            Some(c) if c.count >= range.end => c.uints(file, order, range)?.into_iter().map(Some).collect(),
            Some(c) => {
                return Err(Error::file(file.path(), format!("a page with too few {what} byte counts"))
                    .at(self.at)
                    .expected(range.end)
                    .found(c.count));
            }
            None => vec![None; at.len()],
        };
        Ok(at.into_iter().zip(len).collect())
    }

    /// Refuses a page that its strips or tiles cannot hold however well they are packed, before anyone takes memory for
    /// it. Only a page larger than the whole file is looked at so closely: others cost no more than the file.
    pub(super) fn check_room(&self, file: &ReadAt, order: ByteOrder) -> Result<()> {
        let [across, down, planes] = self.grid();
        let chunk_bytes = |d: usize| (self.stored_rows(d) as u64).saturating_mul(self.row_bytes());
        let page = (self.rows as u64).saturating_mul(self.row_bytes()).saturating_mul(across as u64 * planes as u64);
        if page <= file.len() {
            return Ok(());
        }
        let chunks = self.chunks(file, order, 0..usize::try_from(self.chunk_count()).unwrap_or(usize::MAX))?;
        let (mut need, mut stored, mut most) = (0u64, 0u64, 0u64);
        for (k, (at, len)) in chunks.into_iter().enumerate() {
            // A tile that was left out of a sparse file takes no bytes.
            if at == 0 && len == Some(0) {
                continue;
            }
            let bytes = len.unwrap_or(file.len()).min(file.len());
            need = need.saturating_add(chunk_bytes(k / across % down));
            stored = stored.saturating_add(bytes);
            most = most.saturating_add(codec::most_bytes(self.compression, bytes));
        }
        if need > most { Err(self.no_room(file, need, stored)) } else { Ok(()) }
    }

    fn no_room(&self, file: &ReadAt, need: u64, stored: u64) -> Error {
        Error::file(file.path(), "a page larger than its stored bytes can be")
            .at(self.at)
            .expected(format!("at least {need} bytes decoded"))
            .found(format!("{stored} bytes stored"))
            .hint("the file is truncated or damaged: copy it again or ask for the original")
    }

    /// Where the whole page lies as one run of plain bytes; `None` where it does not.
    pub(super) fn contiguous(&self, file: &ReadAt, order: ByteOrder) -> Result<Option<u64>> {
        let [across, down, planes] = self.grid();
        if !self.is_plain() || across != 1 || planes != 1 || self.chunk_cols != self.cols {
            return Ok(None);
        }
        // The table is bounded by the file's length (checked in `Entry::bytes`).
        let chunks = self.chunks(file, order, 0..down)?;
        let mut expect = chunks.first().map_or(0, |c| c.0);
        let start = expect;
        for (i, (at, len)) in chunks.iter().enumerate() {
            let need = self.stored_rows(i).min(self.rows - i * self.chunk_rows) as u64 * self.row_bytes();
            if *at != expect || len.is_some_and(|l| l < need) {
                return Ok(None);
            }
            expect = at.saturating_add(need);
        }
        Ok(Some(start))
    }

    /// Reads rows `rows` (within the strip or tile) of plain strip or tile `k` at grid row `down`; native order.
    pub(super) fn read_plain(
        &self,
        file: &ReadAt,
        order: ByteOrder,
        (at, len): (u64, Option<u64>),
        rows: std::ops::Range<usize>,
    ) -> Result<Vec<u8>> {
        let row = self.row_bytes();
        let (from, want) = (rows.start as u64 * row, rows.len() as u64 * row);
        if let Some(len) = len
            && len < from + want
        {
            return Err(self.short(file, at, from + want, len));
        }
        let at = at.checked_add(from).ok_or_else(|| self.short(file, at, want, 0))?;
        let mut out = bounded(file, at, want)?;
        file.read_exact_at(&mut out, at)?;
        order.to_native(&mut out, self.dtype().map_or(1, DType::size));
        Ok(out)
    }

    fn short(&self, file: &ReadAt, at: u64, expected: u64, found: u64) -> Error {
        let what = if self.tiled { "tile" } else { "strip" };
        let e = Error::file(file.path(), format!("a {what} is shorter than its rows"));
        e.at(at).expected(format!("{expected} bytes")).found(format!("{found} bytes"))
    }

    /// Decodes a whole strip or tile in grid row `down`: `stored_rows(down)` rows of `chunk_cols × samples` values.
    pub(super) fn decode_chunk(
        &self,
        file: &ReadAt,
        order: ByteOrder,
        (at, len): (u64, Option<u64>),
        down: usize,
    ) -> Result<Vec<u8>> {
        let dtype = self.check(file)?;
        let rows = self.stored_rows(down);
        let expect = (rows as u64).saturating_mul(self.row_bytes());
        if expect > MAX_CHUNK && self.compression != scheme::NONE {
            return Err(Error::limit("a compressed strip or tile larger than 4 GiB").path(file.path()).at(at));
        }
        let rest = file.len().saturating_sub(at);
        let len = match (len, self.compression) {
            (Some(len), _) if len > 0 => len,
            // A missing count (old writers): plain bytes tell it themselves, coded ones end by themselves.
            (_, scheme::NONE) => expect,
            (None, _) => rest,
            (Some(_), _) => {
                return Err(Error::file(file.path(), "a strip or tile was never written (0 bytes)").at(self.at));
            }
        };
        let len = if self.compression == scheme::NONE { len.min(expect) } else { len };
        let mut raw = bounded(file, at, len)?;
        file.read_exact_at(&mut raw, at)?;
        if self.low_bit_first {
            codec::reverse_bits(&mut raw);
        }
        let mut bytes = match self.compression {
            scheme::NONE if raw.len() as u64 == expect => raw,
            c => codec::decompress(c, &raw, expect as usize).map_err(|e| {
                let what = if self.tiled { "tile" } else { "strip" };
                Error::file(file.path(), format!("a {what} cannot be decoded ({}): {e}", codec::scheme_name(c)))
                    .at(at)
                    .hint("the file is damaged: copy it again or ask for the original")
            })?,
        };
        let (n, samples, size) = (self.chunk_cols, self.chunk_samples(), dtype.size());
        if self.bits as usize != size * 8 {
            // Odd depths (24 bits, too) are packed from the most significant bit whatever the file's byte order.
            // The unpacked values may take up to 8 times the space of the stored ones, which are in memory.
            bytes = codec::unpack_bits(&bytes, rows, n * samples, self.bits, size);
        } else if self.predictor != 3 {
            order.to_native(&mut bytes, size);
        }
        match self.predictor {
            2 => codec::undo_horizontal(&mut bytes, n, samples, size, self.bits),
            3 => codec::undo_float(&mut bytes, n, samples, size),
            _ => {}
        }
        Ok(bytes)
    }

    /// Decodes the whole page as stored.
    pub(super) fn read(&self, file: &ReadAt, order: ByteOrder) -> Result<Page> {
        let dtype = self.check(file)?;
        let shape = self.shape();
        let [across, down, _] = self.grid();
        let too_large = || Error::limit("a page beyond any real size").path(file.path()).at(self.at);
        let total =
            shape.iter().try_fold(dtype.size() as u64, |n, d| n.checked_mul(*d as u64)).ok_or_else(too_large)?;
        let chunks = self.chunks(file, order, 0..usize::try_from(self.chunk_count()).unwrap_or(usize::MAX))?;
        // Bound the allocation by what the stored bytes can stand for (odd depths grow up to 8 times).
        let stored: u64 = chunks.iter().fold(0, |n, c| n.saturating_add(c.1.unwrap_or(file.len()).min(file.len())));
        let most = codec::most_bytes(self.compression, stored).saturating_mul(8);
        if total > most || total > isize::MAX as u64 {
            return Err(self.no_room(file, total, stored));
        }
        // The output grows behind the decoding, so that a damaged first strip ends it before memory is taken.
        let (pixel, mut out) = (dtype.size() * self.chunk_samples(), Vec::new());
        let row_out = self.cols * pixel;
        for (k, chunk) in chunks.into_iter().enumerate() {
            let (plane, rest) = (k / (across * down), k % (across * down));
            let (r0, c0) = (rest / across * self.chunk_rows, rest % across * self.chunk_cols);
            let (rows, cols) = (self.chunk_rows.min(self.rows - r0), self.chunk_cols.min(self.cols - c0));
            let bytes = self.decode_chunk(file, order, chunk, rest / across)?;
            let need = (plane * self.rows + r0 + rows) * row_out;
            if out.len() < need {
                out.try_reserve(need - out.len()).map_err(|_| too_large())?;
                out.resize(need, 0);
            }
            for (r, src) in bytes.chunks_exact(self.chunk_cols * pixel).take(rows).enumerate() {
                let to = (plane * self.rows + r0 + r) * row_out + c0 * pixel;
                out[to..to + cols * pixel].copy_from_slice(&src[..cols * pixel]);
            }
        }
        Ok(Page { shape, dtype, bytes: out })
    }
}

/// A buffer of `len` bytes, where the file has as many from `at`.
fn bounded(file: &ReadAt, at: u64, len: u64) -> Result<Vec<u8>> {
    if at.checked_add(len).is_none_or(|end| end > file.len()) {
        return Err(Error::file(file.path(), "the image data lie beyond the end of the file")
            .at(at)
            .expected(format!("{len} bytes"))
            .found(format!("{} bytes", file.len().saturating_sub(at)))
            .hint("the file is truncated: copy it again or ask for the original"));
    }
    Ok(vec![0u8; len as usize])
}

fn dtype_of(format: u16, bits: u32) -> Option<DType> {
    Some(match (format, bits) {
        (1 | 4, 1..=8) => DType::U8,
        (1 | 4, 9..=16) => DType::U16,
        (1 | 4, 17..=32) => DType::U32,
        (1 | 4, 64) => DType::U64,
        (2, 8) => DType::I8,
        (2, 16) => DType::I16,
        (2, 32) => DType::I32,
        (2, 64) => DType::I64,
        (3, 16) => DType::F16,
        (3, 32) => DType::F32,
        (3, 64) => DType::F64,
        _ => return None,
    })
}

fn format_name(format: u16) -> &'static str {
    match format {
        1 => "unsigned",
        2 => "signed",
        3 => "floating-point",
        5 | 6 => "complex",
        _ => "untyped",
    }
}

pub(super) fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}
