//! `x.vol.xml`, PyHST2's second sidecar: read from any nesting and spelling, written byte for byte as PyHST2 does.

use crate::model::VolumeStats;
use crate::raw::info::{Info, c_exponent, edges_comment, order_name};
use crate::{ByteOrder, Error, Result, Shape, VolumeMeta};
use quick_xml::Reader;
use quick_xml::events::Event;
use std::path::Path;

/// Reads the elements that matter, wherever they are nested. The first sub-volume counts.
///
/// # Errors
/// `File` with the byte offset where the XML is broken, or where a number is none.
pub fn parse(text: &str, path: &Path) -> Result<Info> {
    let mut reader = Reader::from_str(text);
    let mut info = Info::default();
    let mut name = String::new();
    let mut value = String::new();
    loop {
        let at = reader.buffer_position();
        let event =
            reader.read_event().map_err(|e| Error::file(path, "the XML is broken").at(at).found(e.to_string()))?;
        match event {
            Event::Start(e) => {
                name = e.local_name().as_ref().to_owned();
                value.clear();
            }
            Event::Text(t) => value.push_str(&t),
            Event::End(e) => {
                let end = e.local_name();
                let end: &str = end.as_ref();
                if end == "subVolume" {
                    break;
                }
                let line = text.get(..at as usize).map_or(0, |t| t.lines().count());
                // Everything else in the file is bookkeeping: only what an .info knows is taken.
                if end == name && !matches!(name.as_str(), "idAc" | "SUBVOLUME_NAME" | "DIM_REC") {
                    info.set(&name, value.trim(), path, line)?;
                }
                name.clear();
            }
            Event::Eof => break,
            _ => {}
        }
    }
    info.other.clear();
    Ok(info)
}

/// The text PyHST2 2020c writes, blanks and all.
pub fn text(file_name: &str, shape: Shape, meta: &VolumeMeta, s: &VolumeStats) -> String {
    let [ox, oy, oz] = meta.origin_1based.unwrap_or([1; 3]);
    let e = |v| c_exponent(v, 8);
    let name = quick_xml::escape::escape(file_name);
    format!(
        "<!-- PyHST VOLUME XML FILE -->\n<tomodb2>\n<reconstruction>\n<idAc>N_A_</idAc>\n<listSubVolume>\n<subVolume>\n\
         <SUBVOLUME_NAME>{name}</SUBVOLUME_NAME>\n<SIZEX>{}</SIZEX>\n<SIZEY>{}</SIZEY>\n<SIZEZ>{}</SIZEZ>\n\
         <ORIGINX>{ox}</ORIGINX>\n<ORIGINY>{oy}</ORIGINY>\n<ORIGINZ>{oz}</ORIGINZ>\n<DIM_REC>{}</DIM_REC>\n\
         <voxelsize>{}</voxelsize>\n<BYTE_ORDER>{}</BYTE_ORDER> \n<ValMin>{} </ValMin>\n<ValMax>{} </ValMax>\n\
         <s1>{}</s1> \n<s2>{}</s2> \n<S1>{}</S1> \n<S2>{}</S2> \n</subVolume>\n</listSubVolume>\n</reconstruction>\n\
         </tomodb2>\n",
        shape.cols,
        shape.rows,
        shape.frames,
        shape.frame_len() as u64 * shape.frames as u64,
        c_exponent(meta.voxel_um.map_or(0.0, |v| v[2]), 6),
        order_name(ByteOrder::NATIVE),
        e(s.min),
        e(s.max),
        e(s.s1),
        e(s.s2),
        e(s.big_s1),
        e(s.big_s2)
    )
}

/// The `.vol.info` PyHST2 2020c writes: two blanks after `=` except for BYTEORDER, a blank after each statistic. Edges
/// that differ, which it cannot have, are a comment behind it.
pub fn info_text(shape: Shape, meta: &VolumeMeta, s: &VolumeStats) -> String {
    let e = |v| c_exponent(v, 8);
    let edges = edges_comment(meta.voxel_um);
    format!(
        "! PyHST_SLAVE VOLUME INFO FILE\nNUM_X =  {}\nNUM_Y =  {}\nNUM_Z =  {}\nvoxelSize =  {}\nBYTEORDER = {}\n\
         ValMin =  {} \nValMax =  {} \ns1 =  {} \ns2 =  {} \nS1 =  {} \nS2 =  {} \n{edges}",
        shape.cols,
        shape.rows,
        shape.frames,
        c_exponent(meta.voxel_um.map_or(0.0, |v| v[2]), 6),
        order_name(ByteOrder::NATIVE),
        e(s.min),
        e(s.max),
        e(s.s1),
        e(s.s2),
        e(s.big_s1),
        e(s.big_s2)
    )
}
