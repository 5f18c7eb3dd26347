//! The record beside a volume: what it was made from, with which choices, by which version, and what was counted.

use super::plan::Plan;
use super::run::Done;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use tomokit_formats::durable::{self, PartFile};
use tomokit_formats::{Error, Result, io};

/// Suffix of the record: `x.vol` gets `x.vol.recon.json`.
pub const SUFFIX: &str = ".recon.json";

/// Room for what only the end of the run knows: names of outputs, a hash.
const MORE: usize = 16 << 10;

/// A record that is on the disk under its unfinished name.
pub(super) struct Staged(PartFile);

/// Puts the record on the disk with room to spare, so that a disk too full for it says so before the volume has its name.
pub(super) fn stage(plan: &Plan, done: &Done) -> Result<Staged> {
    let mut text = record(plan, done)?.into_bytes();
    text.resize(text.len() + MORE, b' ');
    // It belongs to the volume just written, so an older record gives way with it.
    durable::stage_small(&io::with_suffix(&plan.output, SUFFIX), &text, true).map(Staged)
}

impl Staged {
    /// Puts in what is known now, gives the record its final name and returns it.
    pub fn commit(self, plan: &Plan, done: &Done) -> Result<PathBuf> {
        let text = record(plan, done)?;
        self.0.write_at(text.as_bytes(), 0)?;
        self.0.set_len(text.len() as u64)?;
        self.0.commit()
    }
}

/// SHA-256 in hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn record(plan: &Plan, done: &Done) -> Result<String> {
    let failed = |e| Error::caller("the record cannot be written as JSON").source(e);
    let parameters = serde_json::to_value(plan).map_err(failed)?;
    // Hash of the choices alone: two volumes with the same hash were made in the same way.
    let text = serde_json::to_string(&parameters).map_err(failed)?;
    let hash = sha256(text.as_bytes());
    let record = json!({
        "software": format!("tomokit {}", env!("CARGO_PKG_VERSION")),
        "finished": now(),
        "inputs": inputs(plan),
        "parameters": parameters,
        "parameters_sha256": hash,
        "recipe": serde_json::to_value(super::Recipe::of(plan)).map_err(failed)?,
        "result": serde_json::to_value(done).map_err(failed)?,
    });
    Ok(serde_json::to_string_pretty(&record).map_err(failed)? + "\n")
}

/// Every file of the scan with its size and time of change.
pub(super) fn inputs(plan: &Plan) -> Vec<Value> {
    let files = if plan.source.files.is_empty() { vec![plan.scan.clone()] } else { plan.source.files.clone() };
    files
        .iter()
        .map(|f| {
            let meta = std::fs::metadata(f).ok();
            let modified = meta.as_ref().and_then(|m| m.modified().ok()).map(|t| stamp(t.into()));
            json!({ "path": f.to_string_lossy(), "bytes": meta.map(|m| m.len()), "modified": modified })
        })
        .collect()
}

pub(super) fn now() -> String {
    stamp(time::OffsetDateTime::now_utc())
}

/// RFC 3339, UTC, whole seconds.
fn stamp(t: time::OffsetDateTime) -> String {
    let t = t.replace_nanosecond(0).unwrap_or(t);
    t.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}
