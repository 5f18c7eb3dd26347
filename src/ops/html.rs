//! One-page HTML: a head with its style, escaped text, tables. Self-contained: no script, nothing from the network.

use std::fmt::Write;

/// Text between tags or in an attribute. Control characters, which XML knows no way to write, become `?`.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => out.push('?'),
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

/// The beginning of a page, up to and with its heading.
pub fn head(title: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><title>{0}</title>\n<style>\
         body{{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:76em;padding:0 1em;color:#191919}}\
         table{{border-collapse:collapse;margin:1em 0}}td,th{{padding:.25em .8em;border-bottom:1px solid #ddd;text-align:left;\
         vertical-align:top}}td.n,th.n{{text-align:right;white-space:nowrap}}.bad{{color:#b01e28;font-weight:600}}\
         .good{{color:#14823c;font-weight:600}}code{{font-size:85%;word-break:break-all}}svg{{max-width:100%;height:auto}}\
         footer{{color:#777;margin-top:2em}}</style></head>\n<body><h1>{0}</h1>\n",
        escape(title)
    )
}

/// The end of a page.
pub fn foot(made: &str) -> String {
    format!("<footer>tomokit {}, {}</footer></body></html>\n", env!("CARGO_PKG_VERSION"), escape(made))
}

/// A row of headings; those in `right` are numbers.
pub fn headings(names: &[&str], right: &[usize]) -> String {
    row("th", names, right)
}

/// A row of a table.
pub fn cells<T: AsRef<str>>(values: &[T], right: &[usize]) -> String {
    row("td", values, right)
}

fn row<T: AsRef<str>>(tag: &str, values: &[T], right: &[usize]) -> String {
    let mut out = String::from("<tr>");
    for (i, v) in values.iter().enumerate() {
        let class = if right.contains(&i) { " class=\"n\"" } else { "" };
        let _ = write!(out, "<{tag}{class}>{}</{tag}>", escape(v.as_ref()));
    }
    out + "</tr>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_well_formed_xml_whatever_the_text() {
        let nasty = "<script>&\"'\u{0}\u{1b}\u{85} é漢";
        let page = head(nasty)
            + "<table>"
            + &headings(&[nasty, "n"], &[1])
            + &cells(&[nasty.to_owned(), "1".into()], &[1])
            + "</table>"
            + &foot(nasty);
        let mut reader = quick_xml::Reader::from_str(page.split_once('\n').unwrap().1);
        let mut depth = 0i32;
        loop {
            match reader.read_event().unwrap() {
                quick_xml::events::Event::Start(_) => depth += 1,
                quick_xml::events::Event::End(_) => depth -= 1,
                quick_xml::events::Event::Eof => break,
                _ => {}
            }
        }
        assert_eq!(depth, 0);
        assert!(!page.contains("<script>"));
    }
}
