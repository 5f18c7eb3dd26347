//! Rules of the layouts, on files made for each.
