//! Patterns of names as people write them.

use super::Select;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::path::Path;
use tomokit_formats::{Error, Result};

/// Patterns as people write them: `*.tif`, `raw/**`, `scan?`.
pub(super) struct Patterns {
    include: Option<GlobSet>,
    pub(super) exclude: GlobSet,
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
        let include = if select.include.is_empty() { None } else { Some(globs(&select.include)?) };
        Ok(Patterns { include, exclude: globs(&select.exclude)? })
    }

    pub(super) fn takes(&self, below: &Path) -> bool {
        self.include.as_ref().is_none_or(|i| i.is_match(below)) && !self.exclude.is_match(below)
    }
}
