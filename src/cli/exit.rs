//! Exit codes and how they merge over many inputs.

use tomokit_formats::Fault;

/// What the process tells its caller. Ordered: the worst wins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Exit {
    /// 0: done and good.
    Done,
    /// 1: it ran and the answer is no (zero block, mismatch, does not fit).
    No,
    /// 2: could not do it.
    CouldNot,
    /// 130: interrupted.
    Interrupted,
}

impl Exit {
    /// The worse of two.
    pub fn merge(self, other: Exit) -> Exit {
        self.max(other)
    }

    /// The code an error leads to.
    pub fn of(fault: Fault) -> Exit {
        if fault == Fault::Interrupted { Exit::Interrupted } else { Exit::CouldNot }
    }

    /// The process exit code.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::No => 1,
            Exit::CouldNot => 2,
            Exit::Interrupted => 130,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(e: Exit) -> Self {
        e.code().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_wins() {
        use Exit::*;
        for (a, b, worst) in [(Done, Done, 0), (Done, No, 1), (CouldNot, No, 2), (No, Interrupted, 130)] {
            assert_eq!(a.merge(b).code(), worst);
            assert_eq!(b.merge(a).code(), worst);
        }
    }
}
