//! A destination folder as a bag (BagIt 1.0, RFC 8493): payload below `data/`, a manifest, and the tag files.

use crate::trust::{Digest, Files, Name};
use std::collections::HashMap;
use std::io::{BufReader, Write};
use std::path::Path;
use tomokit_formats::io::open_plain;
use tomokit_formats::{Error, Result, durable};

/// Folder of the payload.
pub const PAYLOAD: &str = "data";

/// What makes a folder a bag, and what it tells of itself and of its payload.
const TAGS: [&str; 3] = ["bagit.txt", "bag-info.txt", "manifest-sha256.txt"];

/// The sums of these.
const TAG_SUMS: &str = "tagmanifest-sha256.txt";

/// True where a copy to this folder made a bag of it. Tag files that were copied like any other are somebody's own.
pub fn is_ours(folder: &Path, recorded: &Files) -> bool {
    let told = folder.join(TAGS[0]).is_file() || folder.join(TAG_SUMS).is_file();
    told && !TAGS.iter().any(|t| Name::parse(t.as_bytes()).is_ok_and(|t| recorded.has(&t)))
}

/// What is wrong with the tag files of a bag.
pub fn faults(folder: &Path) -> Vec<String> {
    let mut wanted = HashMap::new();
    let list = open_plain(&folder.join(TAG_SUMS));
    let read = list.and_then(|f| {
        super::sums::read(BufReader::new(f), |_, line| {
            wanted.extend(line.ok().map(|(sum, name)| (name.to_string(), sum)));
            true
        })
    });
    if let Err(e) = read {
        return vec![format!("{TAG_SUMS} of the bag cannot be read: {e}")];
    }
    let fault = |name: &&str| match (wanted.get(*name), std::fs::read(folder.join(name))) {
        (_, Err(e)) => Some(format!("{name} of the bag cannot be read: {e}")),
        (Some(sum), Ok(content)) if *sum == Digest::of(&content) => None,
        _ => Some(format!("{name} of the bag is not what {TAG_SUMS} says")),
    };
    TAGS.iter().filter_map(fault).collect()
}

/// Writes the tag files for these payload files (name with `data/`, size, sum), replacing those of an earlier run.
///
/// # Errors
/// `System` where they cannot be written.
pub fn write(folder: &Path, files: impl Iterator<Item = (Name, u64, Digest)>) -> Result<()> {
    let mut manifest = Vec::new();
    let (mut count, mut bytes) = (0u64, 0u64);
    for (name, size, digest) in files {
        (count, bytes) = (count + 1, bytes + size);
        let encoded: Vec<u8> = name.bytes().iter().flat_map(encoded).copied().collect();
        let _ = write!(manifest, "{digest}  ");
        manifest.extend(encoded);
        manifest.push(b'\n');
    }
    let today = super::rfc3339(super::now());
    let info = format!(
        "Bagging-Date: {}\nPayload-Oxum: {bytes}.{count}\nBag-Software-Agent: tomokit {}\n",
        today.split('T').next().unwrap_or_default(),
        env!("CARGO_PKG_VERSION"),
    );
    let declaration = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n";
    let contents: [&[u8]; 3] = [declaration.as_bytes(), info.as_bytes(), &manifest];
    let mut tagmanifest = String::new();
    for (name, content) in TAGS.into_iter().zip(contents) {
        durable::write_small(&folder.join(name), content, true)?;
        tagmanifest += &format!("{}  {name}\n", Digest::of(content));
    }
    durable::write_small(&folder.join(TAG_SUMS), tagmanifest.as_bytes(), true).map(drop)
}

/// Line ends cannot stand in a manifest; `%` is left alone, as the programs that read bags do.
fn encoded(b: &u8) -> &[u8] {
    match b {
        b'\n' => b"%0A",
        b'\r' => b"%0D",
        b => std::slice::from_ref(b),
    }
}

/// A folder becomes a bag only if it is empty or is one of ours: the sums of another program's are not known here.
///
/// # Errors
/// `Caller` where other things are in it.
pub fn refuse_other(folder: &Path) -> Result<()> {
    let mut entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, "reading the folder", e))?.flatten();
    let is_ours = folder.join(super::journal::JOURNAL).is_file();
    if !is_ours && entries.next().is_some() {
        return Err(Error::caller("a bag needs a folder of its own").path(folder).hint("name an empty folder"));
    }
    Ok(())
}
