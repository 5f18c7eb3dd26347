//! Hashes of what streams by, so that nothing is read a second time for them.

use serde::Serialize;
use sha2::{Digest, Sha256};

/// Which hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// BLAKE3: a tree of blocks, computed by all threads at once; checked by `b3sum`.
    #[default]
    Blake3,
    /// SHA-256: one block after the other, which on most machines is slower than reading; checked by `sha256sum`.
    Sha256,
}

impl Algorithm {
    /// Its name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Blake3 => "blake3",
            Algorithm::Sha256 => "sha256",
        }
    }
}

/// A hash under way.
pub enum Hasher {
    /// With its state of 2 KiB elsewhere.
    Blake3(Box<blake3::Hasher>),
    /// As it is.
    Sha256(Sha256),
}

impl Hasher {
    /// Of nothing yet.
    pub fn new(algorithm: Algorithm) -> Hasher {
        match algorithm {
            Algorithm::Blake3 => Hasher::Blake3(Box::default()),
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
        }
    }

    /// Adds bytes; large blocks are shared among the threads of rayon where the algorithm allows.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            // Below this, handing out costs more than it gains.
            Hasher::Blake3(h) if bytes.len() >= 128 << 10 => {
                h.update_rayon(bytes);
            }
            Hasher::Blake3(h) => {
                h.update(bytes);
            }
            Hasher::Sha256(h) => h.update(bytes),
        }
    }

    /// The hash in hexadecimal digits, and what it is.
    pub fn finish(self) -> (Algorithm, String) {
        match self {
            Hasher::Blake3(h) => (Algorithm::Blake3, h.finalize().to_hex().to_string()),
            Hasher::Sha256(h) => (Algorithm::Sha256, h.finalize().iter().map(|b| format!("{b:02x}")).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The empty hashes of both specifications, and the same result in any pieces.
    #[test]
    fn known_answers_in_any_pieces() {
        for (a, empty) in [
            (Algorithm::Blake3, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
            (Algorithm::Sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ] {
            assert_eq!(Hasher::new(a).finish(), (a, empty.to_owned()));
            let bytes: Vec<u8> = (0..700_001u32).map(|i| (i * 7 + i / 251) as u8).collect();
            let (mut one, mut many) = (Hasher::new(a), Hasher::new(a));
            one.update(&bytes);
            bytes.chunks(200_003).for_each(|c| many.update(c));
            assert_eq!(one.finish(), many.finish());
        }
    }
}
