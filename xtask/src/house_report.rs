//! `cargo xtask house`: the numbers of one checkout or of several, side by side.

use std::path::PathBuf;

use xtask::house::{
    House,
    prose::MAX_COLUMNS,
    shape::{Sized, largest, percentile},
};

use crate::{
    house_crates::{self, Plan},
    sh::{self, Result},
};

/// `[--root DIR ..] [--details]`; this checkout if no root is named. With `--crates` instead
/// `[--only CRATE] [--count]`: what a user of each crate builds.
pub fn run(args: &[String]) -> Result {
    let (mut roots, mut details, mut crates, mut only, mut build) = (Vec::new(), false, false, None, true);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--root" => roots.push(PathBuf::from(args.next().ok_or("--root takes a folder")?)),
            "--details" => details = true,
            "--crates" => crates = true,
            "--only" => only = Some(args.next().ok_or("--only takes the name of a crate")?.clone()),
            "--count" => build = false,
            other => return Err(format!("house does not know {other}")),
        }
    }
    if roots.is_empty() {
        roots.push(sh::root());
    }
    if crates {
        let plans = roots.into_iter().map(|root| Plan { root, only: only.clone(), build });
        return plans.into_iter().try_for_each(|plan| house_crates::table(&plan, print));
    }
    let houses: Vec<House> = roots.iter().map(|root| House::read(root)).collect::<Result<_>>()?;
    let mut lines = vec![row("", roots.iter().map(|root| root.display().to_string()).collect())];
    lines.push(row("---", vec!["---:".to_owned(); roots.len()]));
    for (name, value) in ROWS {
        lines.push(row(name, houses.iter().map(value).collect()));
    }
    lines.iter().for_each(|line| print(line));
    if details {
        houses.iter().for_each(tell);
    }
    Ok(())
}

type Row = (&'static str, fn(&House) -> String);

const ROWS: &[Row] = &[
    ("files", |house| house.files.len().to_string()),
    ("lines", |house| house.files.iter().map(|file| file.size).sum::<usize>().to_string()),
    ("lines of a file, p50 / p90 / largest", |house| sizes(&house.files)),
    ("functions, without tests", |house| house.functions.len().to_string()),
    ("lines of a function, p50 / p90 / largest", |house| sizes(&house.functions)),
    ("required methods of a public trait, largest", |house| {
        largest(&house.traits).map_or("0".into(), |found| format!("{} ({})", found.size, name(found)))
    }),
    ("circles of files in the crates and examples/vps / files in them", |house| circles(house, is_held)),
    ("circles of files elsewhere / files in them", |house| circles(house, |package| !is_held(package))),
    ("public type names that occur twice in a crate", |house| {
        house.shared.values().map(std::collections::BTreeMap::len).sum::<usize>().to_string()
    }),
    ("doc lines", |house| house.prose.doc_lines.to_string()),
    ("doc lines of at most three words", |house| house.prose.short.len().to_string()),
    ("comment lines over 100 columns", |house| house.prose.wide.len().to_string()),
    ("archaic words", |house| house.prose.words.len().to_string()),
];

/// The packages that the tidy test holds to be without circles.
fn is_held(package: &str) -> bool {
    package.starts_with("crates/") || package == "examples/vps"
}

fn circles(house: &House, wanted: fn(&str) -> bool) -> String {
    let circles = house.circles_of(wanted);
    format!("{} / {}", circles.len(), circles.iter().map(|circle| circle.files.len()).sum::<usize>())
}

fn sizes(sizes: &[Sized]) -> String {
    let largest = largest(sizes).map_or(0, |found| found.size);
    format!("{} / {} / {largest}", percentile(sizes, 50), percentile(sizes, 90))
}

/// The name at the end of `path:line name`.
fn name(sized: &Sized) -> &str {
    sized.place.rsplit(' ').next().unwrap_or(&sized.place)
}

fn row(name: &str, values: Vec<String>) -> String {
    format!("| {name} | {} |", values.join(" | "))
}

/// What to look at: the largest of each kind, each circle with the imports that close it, and each
/// finding in comments.
fn tell(house: &House) {
    let largest = |title: &str, sizes: &[Sized]| {
        print(&format!("\n{title}"));
        let mut sizes: Vec<&Sized> = sizes.iter().collect();
        sizes.sort_by_key(|sized| std::cmp::Reverse(sized.size));
        sizes.iter().take(15).for_each(|sized| print(&format!("  {:5} {}", sized.size, sized.place)));
    };
    largest("largest files", &house.files);
    largest("largest functions", &house.functions);
    largest("traits with the most required methods", &house.traits);
    for (package, circles) in &house.circles {
        for circle in circles {
            print(&format!("\ncircle of {} files in {package}", circle.files.len()));
            for (from, to, path) in &circle.imports {
                print(&format!("  {} imports {} ({path})", from.display(), to.display()));
            }
        }
    }
    for (package, names) in &house.shared {
        for (name, files) in names {
            let files: Vec<&str> = files.iter().map(String::as_str).collect();
            print(&format!("{package}: {name} is declared in {}", files.join(", ")));
        }
    }
    let prose = &house.prose;
    let wide = format!("over {MAX_COLUMNS} columns");
    for (title, findings) in [("short doc line", &prose.short), (&wide, &prose.wide), ("word", &prose.words)]
    {
        findings.iter().for_each(|found| print(&format!("{}: {title}: {}", found.place, found.what)));
    }
}

#[allow(clippy::print_stdout)] // The table is what the command is for.
fn print(line: &str) {
    println!("{line}");
}
