//! The shape of the house: what a compiler does not check and a reader relies on.

#![allow(clippy::expect_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("a workspace").to_owned()
}

/// Every file below the folders of the project with this extension, without what tools made.
fn files(extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder").flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_symlink()
                || [".git", "target", "node_modules", "dist"].iter().any(|skip| name == *skip)
            {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no .{extension} file below {}", root().display());
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_file_says_what_it_is_in_its_first_line() {
    for file in files("rs") {
        let text = read(&file);
        let first = text.lines().next().unwrap_or_default();
        assert!(
            first.starts_with("//! ") || first.starts_with("#![doc = include_str!("),
            "{}: {first}",
            file.display()
        );
    }
}

#[test]
fn machines_have_neither_clocks_nor_locks() {
    let machines: Vec<PathBuf> =
        files("rs").into_iter().filter(|file| file.ends_with("machine.rs")).collect();
    for machine in machines.iter().filter(|file| !file.ends_with("livos-core/src/machine.rs")) {
        let denied = "#![deny(clippy::disallowed_methods, clippy::disallowed_types)]";
        assert!(read(machine).contains(denied), "{} does not deny clocks and locks", machine.display());
    }
}

fn dependencies(manifest: &str) -> Vec<String> {
    let table: toml::Table = read(&root().join(manifest)).parse().expect("a manifest");
    let kinds = ["dependencies", "build-dependencies"];
    let names = kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()).flat_map(|kind| kind.keys());
    names.filter(|name| name.starts_with("livos-")).cloned().collect()
}

#[test]
fn the_crates_are_a_star_and_the_twins_stand_alone() {
    for name in ["voice", "agent", "integrations"] {
        assert_eq!(dependencies(&format!("crates/livos-{name}/Cargo.toml")), ["livos-core"], "livos-{name}");
    }
    assert_eq!(dependencies("crates/livos-core/Cargo.toml"), Vec::<String>::new());
    assert_eq!(dependencies("examples/twins/Cargo.toml"), Vec::<String>::new());
}

#[test]
fn links_between_documents_lead_somewhere() {
    for file in files("md") {
        let text = read(&file);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty()
                || path.contains("://")
                || path.starts_with("crate")
                || path.contains("::")
                || path.starts_with("mailto:")
            {
                continue;
            }
            let found = file.parent().expect("a folder").join(path);
            assert!(found.exists(), "{} links to {target}, which is not there", file.display());
        }
    }
}
