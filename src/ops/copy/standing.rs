//! What is left on a target of a volume that was made smaller on the way: whole, touched, damaged, or to be made again.

use super::onway::OnTheWay;
use super::suits::same_time;
use super::target::Target;
use crate::ops::recad::{self, RECEIPT};
use crate::stream::Cancel;
use crate::trust::journal::Event;
use crate::trust::{JournalState, Name, Root, fresh, now};
use serde_json::Value;
use std::path::Path;
use tomokit_formats::Result;

/// How it stands.
#[derive(Debug, PartialEq)]
pub(super) enum Standing {
    /// Whole, and made of this very version of the source in the way that is asked for.
    Done,
    /// As far as sizes tell; these files have another time than they were made with, or were never read back.
    Unread(Vec<Name>),
    /// Somebody changed a file of it since.
    Changed,
    /// It is not there, or not whole, or of another version, or known to be damaged.
    Make,
}

/// A version of a volume at the source.
#[derive(Clone, Copy)]
pub(super) struct Source {
    pub(super) size: u64,
    pub(super) modified_ns: i64,
}

/// A target's record, for asking what is told of a volume.
pub(super) struct Recorded<'a> {
    pub(super) state: &'a JournalState,
    sorted: Vec<u32>,
}

impl<'a> Recorded<'a> {
    pub(super) fn new(state: &'a JournalState) -> Self {
        Recorded { state, sorted: state.files.sorted() }
    }

    /// The files of what is called `output`: itself, or what is in it, and what stands beside it.
    fn files_of(&self, output: &Name) -> Vec<Name> {
        let files = &self.state.files;
        let first = self.sorted.partition_point(|n| files.name(*n).bytes() < output.bytes());
        let names = self.sorted[first..].iter().map(|n| files.name(*n));
        let of_it = names.take_while(|n| n.bytes().starts_with(output.bytes()));
        of_it.filter(|n| matches!(n.bytes().get(output.bytes().len()), None | Some(b'.' | b'/'))).collect()
    }
}

/// The receipt of what is made of a volume.
pub(super) fn receipt_of(output: &Name) -> Name {
    output.suffixed(RECEIPT)
}

fn read_receipt(root: &Root, receipt: &Name) -> Option<Value> {
    serde_json::from_reader(root.open_read(receipt, false).ok()?).ok()
}

/// The receipt says that it is of this version.
fn is_of(receipt: &Value, source: Source) -> bool {
    let modified = crate::trust::rfc3339(source.modified_ns.div_euclid(1_000_000_000));
    let input = &receipt["input"];
    input["bytes"].as_u64() == Some(source.size) && input["modified"].as_str() == Some(&modified)
}

/// The receipt says that it is of this version, and made with the grey scale that is asked for.
fn accords(how: &OnTheWay, receipt: &Value, source: Source) -> bool {
    let Some(lock) = &how.lock else { return is_of(receipt, source) };
    // A scale that is yet to be decided is not the one it has.
    let Ok((low, high)) = recad::locked(lock) else { return false };
    let same = |is: &Value, wanted: f64| is.as_f64().is_some_and(|v| (v - wanted).abs() <= 1e-12 * wanted.abs());
    is_of(receipt, source) && same(&receipt["limits"]["low"], low) && same(&receipt["limits"]["high"], high)
}

/// Looks at names, sizes, times and the receipt; reads nothing else.
pub(super) fn standing(
    how: &OnTheWay,
    root: &Root,
    output: &Name,
    recorded: &Recorded<'_>,
    source: Source,
    read_back: bool,
) -> Result<Standing> {
    let receipt = receipt_of(output);
    let names = recorded.files_of(output);
    let (mut missing, mut bad, mut unread, mut touched) = (!names.contains(&receipt), false, Vec::new(), false);
    for name in names {
        let Some(f) = recorded.state.files.get(&name) else { continue };
        let Some(there) = root.stat(&name)? else {
            missing = true;
            continue;
        };
        if f.bad {
            bad = true;
        } else if !there.is_file || there.size != f.size {
            return Ok(Standing::Changed);
        } else if !same_time(there.modified_ns, f.modified_ns) {
            touched = true;
            unread.push(name);
        } else if read_back && f.verified.is_none() {
            unread.push(name);
        }
    }
    let whole = !missing && !bad && read_receipt(root, &receipt).is_some_and(|r| accords(how, &r, source));
    Ok(match (whole, unread.is_empty()) {
        (true, true) => Standing::Done,
        (true, false) => Standing::Unread(unread),
        (false, _) if touched && !bad => Standing::Changed,
        (false, _) => Standing::Make,
    })
}

/// Reads files back that sizes say nothing against; notes what is good, and what the disk lost.
pub(super) fn read_back(target: &Target, names: &[Name], cancel: &Cancel) -> Result<Standing> {
    let mut standing = Standing::Done;
    for name in names {
        let Some(f) = target.state.files.get(name) else { return Ok(Standing::Make) };
        let (found, size, level) = target.back.sum(&target.root, name, cancel, &|_| {})?;
        if (found, size) == (f.sha256, f.size) {
            target.verified(name, found, level, size)?;
        } else if target.root.stat(name)?.is_some_and(|s| same_time(s.modified_ns, f.modified_ns)) {
            let lost = Event::Mismatch { t: now(), path: name.clone(), expected: f.sha256, found };
            target.journal().push(&lost)?;
            standing = Standing::Make;
        } else {
            return Ok(Standing::Changed);
        }
    }
    target.journal().sync()?;
    Ok(standing)
}

/// What lies under these names may be replaced: the record tells of it, or of a run that was making it from this source
/// and did not come to its end.
pub(super) fn is_ours(target: &Target, output: &Name, input: &Path) -> bool {
    let receipt = receipt_of(output);
    let tells_of_input = |r: &Value| {
        let now = fresh::of_path(input);
        r["input"]["path"].as_str() == Some(&*input.to_string_lossy())
            || now.is_ok_and(|(size, modified_ns)| is_of(r, Source { size, modified_ns }))
    };
    let of_input = || match target.root.stat(&receipt) {
        Ok(None) => true,
        _ => read_receipt(&target.root, &receipt).as_ref().is_some_and(tells_of_input),
    };
    target.state.files.has(&receipt) || (target.state.making.contains(&receipt) && of_input())
}
