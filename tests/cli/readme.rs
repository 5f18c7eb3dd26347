//! The README is true: its sessions run, its format table is that of the code.

use crate::support::tomo;
use std::path::Path;
use tomokit_formats::registry::FORMATS;

fn readme() -> (std::path::PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    (path, text)
}

#[test]
fn every_session_runs_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (_, text) = readme();
    let mut ran = 0;
    for block in text.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap().lines().filter_map(|l| l.strip_prefix("$ ")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(words[0], "tomo", "{line}");
            println!("{line}");
            tomo(dir.path(), &words[1..]).expect(0);
            ran += 1;
        }
    }
    assert!(ran >= 12, "only {ran} commands found");
}

#[test]
fn the_format_table_is_that_of_the_code() {
    const BEGIN: &str = "<!-- formats: made by the test `readme`, do not edit by hand -->\n";
    const END: &str = "<!-- end of formats -->";
    let mut table = String::from("\n| name | format | reads | writes |\n|---|---|---|---|\n");
    for f in FORMATS {
        let dash = |s: &str| if s.is_empty() { "–".to_owned() } else { s.to_owned() };
        table += &format!("| `{}` | {} | {} | {} |\n", f.name, f.title, dash(f.reads), dash(f.writes));
    }
    table += "\nScans: SOLEIL Flyscan (folder or file), NXtomo, DXchange, DIAD, PyHST2 `.par` with EDF or HDF5, ESRF and TIFF\n\
              folders; written: Flyscan, NXtomo, DXchange, PyHST2's EDF folder with `.par`, TIFF folders.\n\n";
    let (path, text) = readme();
    let begin = text.find(BEGIN).expect("the table's first mark") + BEGIN.len();
    let end = text.find(END).expect("the table's last mark");
    if std::env::var_os("TOMOKIT_UPDATE").is_some() {
        std::fs::write(&path, format!("{}{table}{}", &text[..begin], &text[end..])).unwrap();
        return;
    }
    assert!(text[begin..end] == table, "run the tests once with TOMOKIT_UPDATE=1 to renew the table:\n{table}");
}
