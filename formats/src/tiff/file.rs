//! A TIFF file as a list of pages: the low-level interface, any photometric, any sample count.

use super::ifd::{self, Header};
use super::page::{Directory, Page};
use crate::io::ReadAt;
use crate::{ByteOrder, Error, Result};
use std::path::Path;
use std::sync::Arc;

/// An opened TIFF file.
pub struct File {
    pub(super) at: Arc<ReadAt>,
    pub(super) header: Header,
    pages: Vec<Directory>,
    broken: Option<Error>,
    /// Page and tag whose values the end of the file cuts off.
    cut: Option<(usize, u16)>,
}

impl File {
    /// Opens a file and walks its page directories. A damaged directory ends the list; [`File::broken`] tells.
    ///
    /// # Errors
    /// Where the file is no TIFF, or not even its first page can be found.
    pub fn open(path: impl AsRef<Path>) -> Result<File> {
        let at = Arc::new(ReadAt::open(path)?);
        let header = Header::read(&at)?;
        let (mut pages, mut cut) = (Vec::new(), None);
        let broken = ifd::walk(&at, &header, |ifd| {
            cut = cut.or(ifd.cut.map(|tag| (pages.len(), tag)));
            pages.push(Directory::new(&at, &header, &ifd)?);
            Ok(())
        })
        .err();
        match broken {
            Some(e) if pages.is_empty() => Err(e),
            None if pages.is_empty() => Err(Error::file(at.path(), "a TIFF file without pages")
                .at(4)
                .hint("the program that wrote it was interrupted, or it is still writing")),
            broken => Ok(File { at, header, pages, broken, cut }),
        }
    }

    /// The pages, in the order of the file's chain.
    pub fn pages(&self) -> &[Directory] {
        &self.pages
    }

    /// Why the chain of pages ended early, where it did.
    pub fn broken(&self) -> Option<&Error> {
        self.broken.as_ref()
    }

    /// The first page with a tag whose values the end of the file cuts off, and the tag.
    pub(super) fn cut(&self) -> Option<(usize, u16)> {
        self.cut
    }

    pub(super) fn take_broken(&mut self) -> Option<Error> {
        self.broken.take()
    }

    pub(super) fn into_pages(self) -> Vec<Directory> {
        self.pages
    }

    /// Byte order of the stored values.
    pub fn order(&self) -> ByteOrder {
        self.header.order
    }

    /// True for BigTIFF.
    pub fn is_big(&self) -> bool {
        self.header.big
    }

    /// Decodes page `i` as stored.
    pub fn read_page(&self, i: usize) -> Result<Page> {
        let page = self.pages.get(i).ok_or_else(|| {
            Error::caller(format!("there is no page {i}"))
                .path(self.at.path())
                .expected(format!("0 to {}", self.pages.len().saturating_sub(1)))
        })?;
        page.read(&self.at, self.header.order)
    }

    /// ImageDescription of page `i`; empty where there is none.
    pub fn description(&self, i: usize) -> Result<String> {
        self.pages.get(i).and_then(|p| p.description).map_or(Ok(String::new()), |e| e.text(&self.at))
    }
}
