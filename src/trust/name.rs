//! Relative names: as bytes with `/` between the parts, the way manifests write them; and what a target can hold.
//!
//! A [`Name`] never leads out of the folder it is relative to: no `..`, no drive, nothing absolute, no NUL. Names read from
//! a manifest are made only by [`Name::parse`], which refuses all of these.

use crate::trust::hash::{Digest, hex, unhex};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::path::{Component, Path, PathBuf};
use tomokit_formats::durable::windows_refuses;

/// A relative name: parts joined by `/`, any bytes but NUL. Ordered bytewise.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

impl Name {
    /// A name out of a manifest; `Err` says in words why it is refused.
    pub fn parse(bytes: &[u8]) -> Result<Name, &'static str> {
        // What `sha256sum ./*` writes.
        let mut rest = bytes;
        while let Some(r) = rest.strip_prefix(b"./") {
            rest = r;
        }
        if rest.is_empty() {
            return Err("an empty name");
        }
        if rest.len() > 1 << 16 {
            return Err("a name longer than any system allows");
        }
        if rest.contains(&0) {
            return Err("a NUL in a name");
        }
        if rest[0] == b'/' {
            return Err("an absolute name");
        }
        for part in rest.split(|b| *b == b'/') {
            match part {
                b"" => return Err("an empty part in a name"),
                b".." => return Err("a name that leads out of the folder"),
                b"." => return Err("a '.' inside a name"),
                _ => {}
            }
        }
        if cfg!(windows) {
            let Ok(text) = std::str::from_utf8(rest) else { return Err("a name that is no UTF-8") };
            if let Some(why) = text.split('/').find_map(windows_refuses) {
                return Err(why);
            }
        }
        Ok(Name(rest.into()))
    }

    /// The name of a relative path; `Err` for paths that are absolute or hold `..`, and on Windows for names without a
    /// UTF-8 form.
    pub fn of(path: &Path) -> Result<Name, &'static str> {
        let mut bytes = Vec::with_capacity(path.as_os_str().len());
        for c in path.components() {
            let Component::Normal(part) = c else { return Err("no plain relative name") };
            if !bytes.is_empty() {
                bytes.push(b'/');
            }
            #[cfg(unix)]
            bytes.extend_from_slice(std::os::unix::ffi::OsStrExt::as_bytes(part));
            #[cfg(not(unix))]
            bytes.extend_from_slice(part.to_str().ok_or("a name that is no Unicode")?.as_bytes());
        }
        if bytes.is_empty() {
            return Err("an empty name");
        }
        Ok(Name(bytes.into()))
    }

    /// As a path of this system, relative.
    pub fn path(&self) -> PathBuf {
        #[cfg(unix)]
        {
            PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&self.0))
        }
        #[cfg(not(unix))]
        {
            String::from_utf8_lossy(&self.0).split('/').collect()
        }
    }

    /// The bytes, `/` between the parts.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its parts.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/')
    }

    /// The folder it is in, without the last part; `None` at the top.
    pub fn parent(&self) -> Option<Name> {
        let cut = self.0.iter().rposition(|b| *b == b'/')?;
        Some(Name(self.0[..cut].into()))
    }

    /// `self/below`.
    pub fn join(&self, below: &Name) -> Name {
        Name([&*self.0, b"/", &*below.0].concat().into())
    }

    /// `folder/last`, or `last` alone where there is no folder: two parts of a name that was taken apart.
    pub(super) fn below((folder, last): (&[u8], &[u8])) -> Name {
        let between: &[u8] = if folder.is_empty() { b"" } else { b"/" };
        Name([folder, between, last].concat().into())
    }

    /// As a record holds it: text where it is UTF-8, else `hex:…`; a text that begins with `hex:` is written as hex too.
    pub fn text(&self) -> String {
        match std::str::from_utf8(&self.0) {
            Ok(t) if !t.starts_with("hex:") => t.to_owned(),
            _ => format!("hex:{}", hex(&self.0)),
        }
    }

    /// The same name with `suffix` at the end.
    pub fn suffixed(&self, suffix: &str) -> Name {
        Name([&*self.0, suffix.as_bytes()].concat().into())
    }
}

impl fmt::Display for Name {
    /// For people: undecodable bytes as �, line ends as visible signs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(&self.0);
        f.write_str(&text.replace(|c: char| c.is_control(), "\u{fffd}"))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Name {
    /// See [`Name::text`].
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let parsed = match text.strip_prefix("hex:") {
            Some(h) => Name::parse(&unhex(h.as_bytes()).ok_or_else(|| D::Error::custom("not hexadecimal"))?),
            None => Name::parse(text.as_bytes()),
        };
        parsed.map_err(D::Error::custom)
    }
}

/// A whole path as a record holds it: text, and on Unix, where it is none, `hex:` and its bytes.
pub fn path_text(path: &Path) -> String {
    #[cfg(unix)]
    if path.to_str().is_none_or(|t| t.starts_with("hex:")) {
        return format!("hex:{}", hex(path.as_os_str().as_encoded_bytes()));
    }
    path.to_string_lossy().into_owned()
}

/// The path of such a text.
pub fn path_of_text(text: &str) -> PathBuf {
    #[cfg(unix)]
    if let Some(bytes) = text.strip_prefix("hex:").and_then(|h| unhex(h.as_bytes())) {
        return PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(bytes));
    }
    PathBuf::from(text)
}

/// What names a target can hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Windows will read this disk: NTFS, exFAT, FAT, SMB, or an unknown driver.
    pub windows: bool,
    /// Longest part: UTF-16 units with `windows`, else bytes.
    pub longest: usize,
    /// Room that the suffix of unfinished files takes.
    pub reserve: usize,
}

impl Rules {
    /// NTFS, exFAT, FAT, SMB.
    pub fn windows() -> Rules {
        Rules { windows: true, longest: 255, reserve: 0 }
    }

    /// ext4, XFS, Btrfs and their like.
    pub fn unix() -> Rules {
        Rules { windows: false, longest: 255, reserve: 0 }
    }

    fn too_long(&self, part: &[u8]) -> bool {
        let len = match std::str::from_utf8(part) {
            Ok(t) if self.windows => t.encode_utf16().count(),
            _ => part.len(),
        };
        len + self.reserve > self.longest
    }

    /// Why one part of a name cannot be stored, or cannot be read back on Windows.
    pub fn problem(&self, part: &[u8]) -> Option<&'static str> {
        if self.windows {
            let Ok(text) = std::str::from_utf8(part) else {
                return Some("the name is no UTF-8 and this file system stores text");
            };
            if let Some(why) = windows_refuses(text) {
                return Some(why);
            }
        }
        self.too_long(part).then_some(if self.windows {
            "the name is longer than 255 UTF-16 units, or would be while it is copied (as .tomo-part)"
        } else {
            "the name is longer than 255 bytes, or would be while it is copied (as .tomo-part)"
        })
    }

    /// The first problem in any part of a name.
    pub fn problem_in(&self, name: &Name) -> Option<&'static str> {
        name.parts().find_map(|p| self.problem(p))
    }

    /// The name this target can hold instead: signs it refuses become `%3A` and so on, devices `%63on`, names too long
    /// are cut and marked by eight digits of their own hash. Depends on the part alone, so that a folder is mapped the
    /// same way for all files in it.
    pub fn mapped(&self, name: &Name) -> Name {
        let parts: Vec<Vec<u8>> = name.parts().map(|p| self.mapped_part(p)).collect();
        Name(parts.join(&b'/').into())
    }

    fn mapped_part(&self, part: &[u8]) -> Vec<u8> {
        if self.problem(part).is_none() {
            return part.to_vec();
        }
        let mut text = String::new();
        for chunk in part.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    c if self.windows && (c < ' ' || "<>:\"/\\|?*".contains(c)) => {
                        text += &format!("%{:02X}", c as u32)
                    }
                    c => text.push(c),
                }
            }
            for b in chunk.invalid() {
                text += &format!("%{b:02X}");
            }
        }
        if self.windows {
            if let Some(last) = text.chars().last().filter(|c| matches!(c, '.' | ' ')) {
                text.pop();
                text += &format!("%{:02X}", last as u32);
            }
            if windows_refuses(&text).is_some() {
                // Only a device is left: its first letter is written as its code.
                let first = text.remove(0);
                text = format!("%{:02X}{text}", first as u32);
            }
        }
        if self.too_long(text.as_bytes()) {
            text = self.shortened(&text, part);
        }
        text.into_bytes()
    }

    /// Cut in front of the extension, with a mark made of the whole name.
    fn shortened(&self, text: &str, of: &[u8]) -> String {
        let (stem, extension) = match text.rfind('.') {
            Some(i) if i > 0 && text.len() - i <= 16 => text.split_at(i),
            _ => (text, ""),
        };
        let tail = format!("~{}{extension}", hex(&Digest::of(of).0[..4]));
        let units = |s: &str| if self.windows { s.encode_utf16().count() } else { s.len() };
        let room = (self.longest - self.reserve).saturating_sub(units(&tail));
        let mut used = 0;
        let kept: String = stem
            .chars()
            .take_while(|c| {
                used += if self.windows { c.len_utf16() } else { c.len_utf8() };
                used <= room
            })
            .collect();
        format!("{kept}{tail}")
    }
}

/// The form under which Windows takes two names for the same: every character in its simple upper case.
pub fn folded(name: &Name) -> Vec<u8> {
    let text = String::from_utf8_lossy(&name.0);
    let upper = |c: char| {
        let mut u = c.to_uppercase();
        match (u.next(), u.next()) {
            (Some(one), None) => one,
            _ => c,
        }
    };
    text.chars().map(upper).collect::<String>().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(t: &str) -> Name {
        Name::parse(t.as_bytes()).unwrap()
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for bad in ["", "/etc/passwd", "..", "a/../b", "a/..", "../a", "a//b", "a/", "./", "a/./b", "a\0b", "./../x"] {
            assert!(Name::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(Name::of(Path::new("/a")).is_err() && Name::of(Path::new("a/../b")).is_err());
        assert_eq!(name("./a/b").path(), Path::new("a").join("b"));
        assert_eq!(Name::of(Path::new("a/b")).unwrap(), name("a/b"));
    }

    #[cfg(unix)]
    #[test]
    fn any_bytes_survive_json() {
        for bytes in [&b"plain/\xff\xfe"[..], b"hex:41", "größe/漢".as_bytes(), b"line\nend", b"a\\b"] {
            let n = Name::parse(bytes).unwrap();
            let text = serde_json::to_string(&n).unwrap();
            assert_eq!(serde_json::from_str::<Name>(&text).unwrap(), n, "{text}");
        }
        for bad in ["\"hex:2e2e\"", "\"hex:2f61\"", "\"hex:zz\"", "\"../x\"", "7"] {
            assert!(serde_json::from_str::<Name>(bad).is_err(), "{bad}");
        }
    }

    // Windows has no names that would have to be mapped.
    #[cfg(unix)]
    #[test]
    fn mapped_names_can_be_held_and_differ() {
        let w = Rules::windows();
        for (from, to) in [
            ("ok/fine.vol", "ok/fine.vol"),
            ("a:b?/c*.tif", "a%3Ab%3F/c%2A.tif"),
            ("con/x", "%63on/x"),
            ("COM1.txt", "%43OM1.txt"),
            ("dot./blank /x", "dot%2E/blank%20/x"),
            ("a...", "a..%2E"),
        ] {
            assert_eq!(w.mapped(&name(from)), name(to));
            assert_eq!(w.problem_in(&name(to)), None, "{to}");
        }
        let long = |n: usize, c: &str| name(&format!("{}.vol", c.repeat(n)));
        assert_eq!(w.problem_in(&long(251, "é")), None);
        for n in [long(252, "x"), long(300, "é"), long(130, "😀")] {
            let m = w.mapped(&n);
            assert_eq!(w.problem_in(&m), None, "{m}");
            assert!(m.bytes().ends_with(b".vol") && m != n);
        }
        assert_ne!(w.mapped(&name(&("x".repeat(300) + "1"))), w.mapped(&name(&("x".repeat(300) + "2"))));
        let u = Rules::unix();
        assert_eq!(u.problem_in(&name("a:b?/con/x. ")), None);
        assert!(u.problem_in(&long(130, "é")).is_some());
        assert_eq!(u.problem_in(&u.mapped(&long(130, "é"))), None);
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_no_text() {
        let n = Name::parse(b"caf\xe9.vol").unwrap();
        assert!(Rules::windows().problem_in(&n).is_some() && Rules::unix().problem_in(&n).is_none());
        assert_eq!(Rules::windows().mapped(&n), name("caf%E9.vol"));
    }

    #[test]
    fn case_is_folded_as_ntfs_does() {
        assert_eq!(folded(&name("Scan/É.VOL")), folded(&name("sCAN/é.vol")));
        assert_ne!(folded(&name("straße")), folded(&name("STRASSE")));
    }
}
