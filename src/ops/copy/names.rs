//! Names on a target: those it cannot hold, those that become one there, and the names they get instead.

use super::finish::HASHDEEP;
use super::gather::{Gathered, is_reserved};
use super::plan::{Cases, TargetPlan, Todo, Verdict};
use super::{Request, checker};
use crate::trust::name::folded;
use crate::trust::{Digest, Name, hash};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// Names the target cannot hold, and names that become one there.
pub(super) fn names(r: &Request, g: &Gathered, t: &mut TargetPlan, say: &mut impl FnMut(Verdict, String, Cases)) {
    let mut bad: HashMap<&'static str, Cases> = HashMap::new();
    let (mut collisions, mut reserved, mut long) = (Cases::default(), Cases::default(), Cases::default());
    let (mut mapped, mut encoded, mut made) = (Cases::default(), Cases::default(), Cases::default());
    // `Scan/x` and `scan/y` meet in one folder.
    let mut taken = Taken::default();
    let key = |n: &Name| if t.rules.windows { folded(n) } else { n.bytes().to_vec() };
    // Windows' own limit for programs that do not ask for more: drive, folders, name.
    let above = t
        .volume
        .as_ref()
        .and_then(|v| t.path.canonicalize().ok()?.strip_prefix(&v.mount_point).ok().map(Path::to_owned));
    let above = above.map_or(0, |p| p.to_string_lossy().encode_utf16().count() + 1) + 3;
    // In the order of names, so that the same file keeps the same name from run to run.
    let mut order: Vec<u32> = (0..g.items.len() as u32).collect();
    order.sort_by(|a, b| g.order(&g.items[*a as usize], &g.items[*b as usize]));
    for i in order {
        let plain = g.dest(&g.items[i as usize]);
        let mut name = plain.clone();
        if (!t.bag && (is_reserved(&name) || (r.hashdeep && is_hashdeep(&name))))
            || (!r.checkers.is_empty() && is_checkers(&name))
        {
            reserved.add(name.to_string());
            t.todo[i as usize] = Todo::Refused;
            continue;
        }
        if t.bag && looks_encoded(name.bytes()) {
            // `%0A` in a bag's manifest is a line end for every program that reads bags.
            encoded.add(name.to_string());
            t.todo[i as usize] = Todo::Refused;
            continue;
        }
        if let Some(why) = t.rules.problem_in(&name) {
            if !r.map_names {
                bad.entry(why).or_default().add(name.to_string());
                t.todo[i as usize] = Todo::Refused;
                continue;
            }
            name = t.rules.mapped(&name);
        }
        match taken.unique(&name, &plain, key) {
            None => {}
            Some(other) if r.map_names => name = other,
            Some(_) => {
                collisions.add(plain.to_string());
                t.todo[i as usize] = Todo::Refused;
                continue;
            }
        }
        // What a volume becomes on the way takes its place as well.
        let how = r.on_the_way.as_ref().filter(|_| g.volumes.contains(&i));
        let output = how.and_then(|h| h.output(&name).ok());
        if output.is_some_and(|o| taken.unique(&o, &o, key).is_some()) {
            made.add(plain.to_string());
            t.todo[i as usize] = Todo::Refused;
            continue;
        }
        if t.rules.windows && above + String::from_utf8_lossy(name.bytes()).encode_utf16().count() > 259 {
            long.add(name.to_string());
        }
        if name != plain {
            mapped.add(format!("{plain} → {name}"));
            t.renames.insert(i, name);
        }
    }
    t.mapped = mapped.count;
    let mut bad: Vec<_> = bad.into_iter().collect();
    bad.sort_by_key(|b| b.0);
    for (why, cases) in bad {
        say(Verdict::Refuse, format!("{why} (--map-names gives them other names)"), cases);
    }
    if collisions.count > 0 {
        let why = if t.rules.windows {
            "differ from another name only in upper and lower case"
        } else {
            "have the same name as another"
        };
        say(Verdict::Refuse, format!("{why}: one would replace the other (--map-names keeps both)"), collisions);
    }
    encoded.tell(Verdict::Refuse, "hold %0A or %0D, which mean line ends in a bag", say);
    made.tell(
        Verdict::Refuse,
        "would become a file that another one of the source is: one would replace the other",
        say,
    );
    reserved.tell(Verdict::Refuse, "would replace this program's own files: copy the folder they are in", say);
    long.tell(
        Verdict::Warn,
        "paths longer than 259 signs on Windows: Explorer and many programs will not open them",
        say,
    );
    mapped.tell(Verdict::Warn, "get another name here, recorded with the old one", say);
}

fn looks_encoded(name: &[u8]) -> bool {
    name.windows(3).any(|w| w.eq_ignore_ascii_case(b"%0a") || w.eq_ignore_ascii_case(b"%0d"))
}

fn is_hashdeep(name: &Name) -> bool {
    name.bytes().eq_ignore_ascii_case(HASHDEEP.as_bytes())
}

fn is_checkers(name: &Name) -> bool {
    name.parts().next().is_some_and(|p| p.eq_ignore_ascii_case(checker::FOLDER.as_bytes()))
}

/// The names a target has so far, by what it takes them for: folders with their spelling, files by a mark of sixteen
/// bytes each, so that a million of them stay small.
#[derive(Default)]
struct Taken {
    folders: HashMap<Vec<u8>, Name>,
    files: HashSet<[u8; 16]>,
}

impl Taken {
    /// `None`: the name is new. Otherwise the name to take instead: each part that is spelled differently from an earlier
    /// one gets a mark, which depends on the source's spelling alone.
    fn unique(&mut self, name: &Name, plain: &Name, key: impl Fn(&Name) -> Vec<u8>) -> Option<Name> {
        let mut built: Option<Name> = None;
        let mut changed = false;
        let parts: Vec<&[u8]> = name.parts().collect();
        for (depth, part) in parts.iter().enumerate() {
            let leaf = depth + 1 == parts.len();
            let below = |p: &[u8]| -> Option<Name> {
                let part = Name::parse(p).ok()?;
                Some(built.as_ref().map_or(part.clone(), |b| b.join(&part)))
            };
            let mut candidate = below(part)?;
            let folded = key(&candidate);
            let clash = match self.folders.get(&folded) {
                Some(seen) => leaf || *seen != candidate,
                None => self.files.contains(&mark(&folded)),
            };
            if clash {
                changed = true;
                let spelled: Vec<&[u8]> = plain.parts().take(depth + 1).collect();
                let sign = format!("~{}", hash::hex(&mark(&spelled.join(&b'/'))[..4]));
                let text = String::from_utf8_lossy(part).into_owned();
                let marked = match text.rfind('.').filter(|i| leaf && *i > 0) {
                    Some(i) => format!("{}{sign}{}", &text[..i], &text[i..]),
                    None => format!("{text}{sign}"),
                };
                candidate = below(marked.as_bytes())?;
            }
            let folded = if clash { key(&candidate) } else { folded };
            if leaf {
                self.files.insert(mark(&folded));
            } else {
                self.folders.entry(folded).or_insert_with(|| candidate.clone());
            }
            built = Some(candidate);
        }
        built.filter(|_| changed)
    }
}

fn mark(bytes: &[u8]) -> [u8; 16] {
    let mut m = [0; 16];
    m.copy_from_slice(&Digest::of(bytes).0[..16]);
    m
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(t: &str) -> Name {
        Name::parse(t.as_bytes()).unwrap()
    }

    #[test]
    fn files_and_folders_that_differ_in_case_only_are_kept_apart() {
        let mut taken = Taken::default();
        let mut take = |n: &str| taken.unique(&name(n), &name(n), folded).map(|n| n.to_string());
        assert_eq!(take("A/x.tif"), None);
        assert_eq!(take("A/y.tif"), None);
        let clash = take("A/X.tif").unwrap();
        assert!(clash.starts_with("A/X~") && clash.ends_with(".tif"), "{clash}");
        let folder = take("a/x.tif").unwrap();
        assert!(folder.starts_with("a~") && folder.ends_with("/x.tif"), "{folder}");
        assert_eq!(take("a/z.tif").unwrap().split('/').next(), folder.split('/').next());
    }
}
