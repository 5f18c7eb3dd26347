//! Image keys: which frames of a stack are projections, flats and darks, and when the flats and darks were taken.
//! Numbers only, no files.

/// Frames of one kind taken at one moment.
#[derive(Clone, PartialEq, Debug)]
pub struct Set {
    /// Number of projections taken before.
    pub position: usize,
    /// Frame numbers in the stack.
    pub frames: Vec<usize>,
}

/// A stack sorted by its keys.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Split {
    /// Frame numbers of the projections.
    pub projections: Vec<usize>,
    /// Flats.
    pub flats: Vec<Set>,
    /// Darks.
    pub darks: Vec<Set>,
    /// Frames marked invalid (3).
    pub invalid: usize,
    /// Frames taken again after the scan to measure movement (ESRF control −1).
    pub alignment: usize,
    /// Frames with a key nobody defined.
    pub unknown: usize,
}

/// Sorts frames by NXtomo's key (0 projection, 1 flat, 2 dark, 3 invalid) and, where there is one of the same length,
/// ESRF's control key (−1 alignment). Keys are floats in old Diamond files.
pub fn split(keys: &[f64], control: Option<&[f64]>) -> Split {
    let mut s = Split::default();
    for (i, &key) in keys.iter().enumerate() {
        let control = control.and_then(|c| c.get(i)).copied();
        // Where the two differ by more than the alignment mark, the control key is the later word.
        let key = control.unwrap_or(key);
        let position = s.projections.len();
        let add = |sets: &mut Vec<Set>| match sets.last_mut() {
            Some(last) if last.position == position => last.frames.push(i),
            _ => sets.push(Set { position, frames: vec![i] }),
        };
        match key {
            0.0 => s.projections.push(i),
            1.0 => add(&mut s.flats),
            2.0 => add(&mut s.darks),
            3.0 => s.invalid += 1,
            -1.0 => s.alignment += 1,
            _ => s.unknown += 1,
        }
    }
    s
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_have_positions() {
        let keys = [2.0, 1.0, 1.0, 2.0, 0.0, 0.0, 3.0, 1.0, 0.0, 1.0, 7.0, 0.0];
        let mut control = keys;
        control[11] = -1.0;
        let s = split(&keys, Some(&control));
        assert_eq!(s.projections, [4, 5, 8]);
        let set = |position, frames: &[usize]| Set { position, frames: frames.to_vec() };
        assert_eq!(s.flats, [set(0, &[1, 2]), set(2, &[7]), set(3, &[9])]);
        assert_eq!(s.darks, [set(0, &[0, 3])]);
        assert_eq!((s.invalid, s.alignment, s.unknown), (1, 1, 1));
        assert_eq!(split(&keys, None).projections, [4, 5, 8, 11]);
    }
}
