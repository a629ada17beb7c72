//! The shape of the house: what a compiler does not check and a reader relies on.
//!
//! `cargo xtask test tidy` runs it; `cargo xtask house --details` lists what it counts.

#![allow(clippy::expect_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use xtask::house::{
    House,
    prose::Finding,
    shape::{Sized, percentile},
    source,
};

/// A file with more lines is split.
const MAX_FILE_LINES: usize = 500;
/// Nine functions in ten have at most this many lines, braces included.
const MAX_P90_FUNCTION_LINES: usize = 22;
/// A trait that requires more methods of an implementation is several traits.
const MAX_REQUIRED_METHODS: usize = 7;

/// Offenders that are known, per check: the start of a path and how many findings are let through
/// below it. A finding too many fails, and so does an entry without any finding left, so the lists
/// can only get shorter.
type Known = &'static [(&'static str, usize)];

const LONG_FILES: Known = &[];
const LARGE_TRAITS: Known = &[];
const CIRCLES: Known = &[];
const SHARED_NAMES: Known = &[];
const WIDE_COMMENTS: Known = &[];
const WORDS: Known = &[];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_owned()
}

/// Every file of the checkout with this extension, with its full path.
fn files(extension: &str) -> Vec<PathBuf> {
    let found: Vec<PathBuf> =
        source::files(&root(), extension).into_iter().map(|path| root().join(path)).collect();
    assert!(!found.is_empty(), "no .{extension} file below {}", root().display());
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What breaks a rule: findings that are not known, and entries of `known` without findings.
fn broken(rule: &str, known: Known, findings: &[(String, String)]) -> Vec<String> {
    let below = |start: &str| findings.iter().filter(|(place, _)| place.starts_with(start)).collect();
    let mut failures: Vec<String> = Vec::new();
    let mut show = |found: &(String, String)| failures.push(format!("  {}: {}", found.0, found.1));
    let entry = |place: &str| known.iter().any(|(start, _)| place.starts_with(start));
    findings.iter().filter(|(place, _)| !entry(place)).for_each(&mut show);
    for (start, most) in known {
        let found: Vec<&(String, String)> = below(start);
        if found.len() > *most {
            found.iter().for_each(|found| show(found));
        }
    }
    for (start, most) in known {
        match below(start).len() {
            0 => failures.push(format!("  {start}: nothing is left, delete its entry in tidy.rs")),
            count if count > *most => failures.push(format!("  {start}: {count} findings, {most} are known")),
            _ => {}
        }
    }
    if !failures.is_empty() {
        failures.insert(0, format!("{rule}:"));
    }
    failures
}

fn too_large(sizes: &[Sized], most: usize) -> Vec<(String, String)> {
    let large = sizes.iter().filter(|sized| sized.size > most);
    large.map(|sized| (sized.place.clone(), sized.size.to_string())).collect()
}

fn found(findings: &[Finding]) -> Vec<(String, String)> {
    findings.iter().map(|finding| (finding.place.clone(), finding.what.clone())).collect()
}

/// One test for all that is counted, because reading the house takes seconds.
#[test]
fn the_house_is_in_order() {
    let house = House::read(&root()).expect("a readable checkout");
    let long = too_large(&house.files, MAX_FILE_LINES);
    let demanding = too_large(&house.traits, MAX_REQUIRED_METHODS);
    let failures = [
        broken("a file has at most 500 lines", LONG_FILES, &long),
        broken("a public trait requires at most 7 methods", LARGE_TRAITS, &demanding),
        broken("no files import each other in a circle", CIRCLES, &circles(&house)),
        broken("a public type name is unique in its crate", SHARED_NAMES, &shared_names(&house)),
        broken("a comment line has at most 100 columns", WIDE_COMMENTS, &found(&house.prose.wide)),
        broken("plain English does without these words", WORDS, &found(&house.prose.words)),
    ]
    .concat();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    let p90 = percentile(&house.functions, 90);
    assert!(p90 <= MAX_P90_FUNCTION_LINES, "one function in ten has more than {p90} lines");
}

/// Each import that closes a circle in a crate or in the deployment.
fn circles(house: &House) -> Vec<(String, String)> {
    let circles = house.circles_of(|package| package.starts_with("crates/") || package == "examples/vps");
    let imports = circles.into_iter().flat_map(|circle| &circle.imports);
    imports
        .map(|(from, to, path)| (from.display().to_string(), format!("imports {} ({path})", to.display())))
        .collect()
}

fn shared_names(house: &House) -> Vec<(String, String)> {
    let crates = house.shared.iter().filter(|(package, _)| package.starts_with("crates/"));
    let names = crates.flat_map(|(package, names)| names.iter().map(move |name| (package, name)));
    names.map(|(package, (name, files))| (package.clone(), format!("{name} in {files:?}"))).collect()
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
