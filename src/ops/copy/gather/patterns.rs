//! Patterns of names as people write them.

use super::Select;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::cell::RefCell;
use std::path::Path;
use tomokit_formats::{Error, Result};

/// Patterns as people write them: `*.tif`, `raw/**`, `scan?`.
pub(super) struct Patterns {
    include: Option<Globs>,
    exclude: Globs,
}

/// Several patterns, of which any may match, and which of them never did.
struct Globs {
    set: GlobSet,
    unused: RefCell<Vec<usize>>,
}

impl Globs {
    fn new(patterns: &[String]) -> Result<Globs> {
        Ok(Globs { set: globs(patterns)?, unused: RefCell::new((0..patterns.len()).collect()) })
    }

    fn is_match(&self, path: &Path) -> bool {
        let is = self.set.is_match(path);
        let mut unused = self.unused.borrow_mut();
        if is && !unused.is_empty() {
            let matching = self.set.matches(path);
            unused.retain(|i| !matching.contains(i));
        }
        is
    }
}

fn globs(patterns: &[String]) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for p in patterns {
        let p = p.trim_end_matches('/');
        let anywhere = if p.contains('/') { p.trim_start_matches('/').to_owned() } else { format!("**/{p}") };
        let glob = GlobBuilder::new(&anywhere).literal_separator(true).build();
        set.add(glob.map_err(|e| Error::caller("cannot read this pattern").found(p).source(e))?);
    }
    set.build().map_err(|e| Error::caller("these patterns are too much").source(e))
}

impl Patterns {
    pub(super) fn new(select: &Select) -> Result<Patterns> {
        let include = if select.include.is_empty() { None } else { Some(Globs::new(&select.include)?) };
        Ok(Patterns { include, exclude: Globs::new(&select.exclude)? })
    }

    pub(super) fn takes(&self, below: &Path) -> bool {
        self.include.as_ref().is_none_or(|i| i.is_match(below)) && !self.excludes(below)
    }

    pub(super) fn excludes(&self, below: &Path) -> bool {
        self.exclude.is_match(below)
    }

    /// Those of the patterns that matched nothing: slips, mostly.
    pub(super) fn unused(&self, select: &Select) -> Vec<String> {
        let of = |globs: &Globs, option: &str, given: &[String]| -> Vec<String> {
            globs.unused.borrow().iter().map(|i| format!("--{option} {}", given[*i])).collect()
        };
        let mut all = self.include.as_ref().map(|g| of(g, "include", &select.include)).unwrap_or_default();
        all.extend(of(&self.exclude, "exclude", &select.exclude));
        all
    }
}
