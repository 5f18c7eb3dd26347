//! What a reader found odd about a file that it reads nevertheless: a line for people, and what it is about for programs,
//! so that nobody has to recognise it by its words (in which names of files stand).

use std::ops::Deref;

/// What a [`Warning`] is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum About {
    /// Worth knowing, no more.
    Remark,
    /// The file holds more than what is read of it.
    NotRead,
    /// Bytes after the end of the data, as an append or a wrong header leaves them.
    Trailing,
    /// Images of another size or type than the first.
    Unlike,
    /// Values are missing or cannot be read.
    Damaged,
    /// Values that no program ever wrote.
    NeverWritten,
    /// A run that seems not to have finished: holes, a missing `.info`.
    Unfinished,
    /// Gaps and repeats in the numbers of a series.
    Numbering,
    /// Fewer or more images or angles than told, or none where some are named.
    Counts,
    /// A link or a source that leads nowhere.
    Link,
    /// Several stacks of which any could be meant.
    Several,
}

/// An oddity of a file.
#[derive(Clone, Debug)]
pub struct Warning {
    /// What it is about.
    pub about: About,
    /// In words, one line.
    pub text: String,
}

impl Warning {
    /// An oddity of this kind.
    pub fn new(about: About, text: impl Into<String>) -> Warning {
        Warning { about, text: text.into() }
    }

    /// The same, said of a part: a file, a frame.
    pub fn of(self, part: impl std::fmt::Display) -> Warning {
        Warning { text: format!("{part}: {}", self.text), ..self }
    }

    /// True where something the file holds does not become part of the volume.
    pub fn leaves_out(&self) -> bool {
        matches!(self.about, About::NotRead | About::Trailing | About::Unlike | About::Damaged)
    }
}

impl From<String> for Warning {
    fn from(text: String) -> Warning {
        Warning::new(About::Remark, text)
    }
}

impl From<&str> for Warning {
    fn from(text: &str) -> Warning {
        Warning::new(About::Remark, text)
    }
}

impl From<Warning> for String {
    fn from(w: Warning) -> String {
        w.text
    }
}

impl Deref for Warning {
    type Target = str;
    fn deref(&self) -> &str {
        &self.text
    }
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// All oddities of a file. A text alone is a [`About::Remark`].
#[derive(Clone, Debug, Default)]
pub struct Warnings(Vec<Warning>);

impl Warnings {
    /// Adds one.
    pub fn push(&mut self, w: impl Into<Warning>) {
        self.0.push(w.into());
    }

    /// Adds one of this kind.
    pub fn add(&mut self, about: About, text: impl Into<String>) {
        self.push(Warning::new(about, text));
    }

    /// The lines, for people.
    pub fn texts(self) -> Vec<String> {
        self.into_iter().map(String::from).collect()
    }
}

impl Deref for Warnings {
    type Target = [Warning];
    fn deref(&self) -> &[Warning] {
        &self.0
    }
}

impl<W: Into<Warning>> Extend<W> for Warnings {
    fn extend<I: IntoIterator<Item = W>>(&mut self, more: I) {
        self.0.extend(more.into_iter().map(Into::into));
    }
}

impl<W: Into<Warning>> FromIterator<W> for Warnings {
    fn from_iter<I: IntoIterator<Item = W>>(all: I) -> Warnings {
        Warnings(all.into_iter().map(Into::into).collect())
    }
}

impl IntoIterator for Warnings {
    type Item = Warning;
    type IntoIter = std::vec::IntoIter<Warning>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Warnings {
    type Item = &'a Warning;
    type IntoIter = std::slice::Iter<'a, Warning>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
