//! SHA-256 as everyone can check it, that can stop at any byte and go on later from its state.
//!
//! The state after so many bytes (`Midstate`) is what lets a copy that was killed go on in the middle of a file without
//! reading the first half again, and what tells in which part of a large file a difference lies: a part hashes from the
//! state before it to the state after it, or it does not.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use std::fmt;

/// A SHA-256 sum; printed and stored as 64 small hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Reads 64 hexadecimal digits, either case.
    pub fn parse(hex: &[u8]) -> Option<Digest> {
        unhex(hex)?.try_into().ok().map(Digest)
    }

    /// The sum of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        let mut h = Sha256::new();
        h.update(bytes);
        h.finish()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Digest::parse(text.as_bytes())
            .ok_or_else(|| serde::de::Error::custom("a SHA-256 sum has 64 hexadecimal digits"))
    }
}

/// The state of a sum after a number of bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Midstate(Vec<u8>);

impl Serialize for Midstate {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Midstate {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let bytes = unhex(text.as_bytes()).ok_or_else(|| serde::de::Error::custom("not hexadecimal"))?;
        let state = Midstate(bytes);
        Sha256::from_midstate(&state, 0).ok_or_else(|| serde::de::Error::custom("not the state of a SHA-256 sum"))?;
        Ok(state)
    }
}

/// A sum in the making.
#[derive(Clone)]
pub struct Sha256 {
    inner: sha2::Sha256,
    len: u64,
}

impl Sha256 {
    /// Of nothing yet.
    pub fn new() -> Self {
        Sha256 { inner: sha2::Sha256::new(), len: 0 }
    }

    /// Goes on from a state after `len` bytes; `None` where it is no such state.
    pub fn from_midstate(state: &Midstate, len: u64) -> Option<Self> {
        let bytes = SerializedState::<sha2::Sha256>::try_from(&state.0[..]).ok()?;
        Some(Sha256 { inner: sha2::Sha256::deserialize(&bytes).ok()?, len })
    }

    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.inner.update(bytes);
        self.len += bytes.len() as u64;
    }

    /// Takes in `n` zeros: a hole of a sparse file.
    pub fn update_zeros(&mut self, n: u64) {
        zeros(n, |z| self.update(z));
    }

    /// Bytes taken in so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True before the first byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The state now.
    pub fn midstate(&self) -> Midstate {
        Midstate(self.inner.serialize().to_vec())
    }

    /// The sum.
    pub fn finish(self) -> Digest {
        Digest(self.inner.finalize().into())
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256 after {} bytes", self.len)
    }
}

/// Hands over `n` zeros in pieces: a hole, for what takes bytes.
pub fn zeros(mut n: u64, mut take: impl FnMut(&[u8])) {
    static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
    while n > 0 {
        let part = n.min(ZEROS.len() as u64);
        take(&ZEROS[..part as usize]);
        n -= part;
    }
}

/// Small hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    })
}

/// Bytes of hexadecimal digits, either case; `None` for anything else.
pub fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |c: u8| (c as char).to_digit(16).map(|d| d as u8);
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[a, b]| Some(digit(*a)? << 4 | digit(*b)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_sums() {
        assert_eq!(Digest::of(b"abc").to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(Digest::of(b"").to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let mut h = Sha256::new();
        h.update_zeros(200_000);
        assert_eq!(h.finish(), Digest::of(&[0; 200_000]));
    }

    #[test]
    fn stops_and_goes_on_at_any_byte() {
        let data: Vec<u8> = (0..1000u32).flat_map(|i| i.to_le_bytes()).collect();
        for cut in [0, 1, 63, 64, 65, 128, 3999, 4000] {
            let mut a = Sha256::new();
            a.update(&data[..cut]);
            let stored = serde_json::to_string(&a.midstate()).unwrap();
            let state: Midstate = serde_json::from_str(&stored).unwrap();
            let mut b = Sha256::from_midstate(&state, cut as u64).unwrap();
            b.update(&data[cut..]);
            assert_eq!((b.len(), b.finish()), (4000, Digest::of(&data)), "{cut}");
        }
        for bad in ["\"\"", "\"00\"", "\"zz\"", "12", &format!("\"{}\"", "ff".repeat(105))] {
            assert!(serde_json::from_str::<Midstate>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn digests_from_text() {
        let d = Digest::of(b"x");
        assert_eq!(Digest::parse(d.to_string().to_uppercase().as_bytes()), Some(d));
        for bad in ["", "ab", &"g".repeat(64), &"a".repeat(63), &"a".repeat(66), &"é".repeat(32)] {
            assert_eq!(Digest::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
