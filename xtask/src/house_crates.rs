//! `cargo xtask house --crates`: what a user of each crate builds, per feature set, and two
//! well-known crates measured in the same run.
//!
//! Each row is a scratch project with one dependency, built from nothing by the default profile.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use walkdir::WalkDir;

use crate::sh::{self, Result, say};

const CRATES: [&str; 4] = ["livos-core", "livos-voice", "livos-agent", "livos-integrations"];
/// What our figures are compared with: a row's name and its dependency.
const PEERS: [(&str, &str); 2] = [
    ("axum", "axum = \"0.8\"\ntokio = { version = \"1\", features = [\"full\"] }"),
    (
        "teloxide",
        "teloxide = { version = \"0.17\", features = [\"macros\"] }\ntokio = { version = \"1\", features = [\"full\"] }",
    ),
];

/// What to measure.
pub struct Plan {
    /// The checkout whose crates are measured.
    pub root: PathBuf,
    /// Only the rows whose crate contains this.
    pub only: Option<String>,
    /// Whether to build, or only to count.
    pub build: bool,
}

struct Row {
    name: String,
    features: String,
    dependency: String,
}

/// Measures every row and passes the lines of the table to `print`.
pub fn table(plan: &Plan, print: fn(&str)) -> Result {
    print("| crate | features | crates | seconds of a clean debug build | target, MiB |");
    print("| --- | --- | ---: | ---: | ---: |");
    let wanted = |row: &Row| plan.only.as_ref().is_none_or(|only| row.name.contains(only));
    for row in rows(&plan.root)?.into_iter().filter(wanted) {
        print(&measure(plan, &row)?);
    }
    Ok(())
}

fn rows(root: &Path) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for name in CRATES {
        let folder =
            fs::canonicalize(root.join("crates").join(name)).map_err(|error| format!("{name}: {error}"))?;
        let row = |features: &str, options: &str| Row {
            name: name.to_owned(),
            features: features.to_owned(),
            dependency: format!("{name} = {{ path = \"{}\"{options} }}", folder.display()),
        };
        let features = features(&folder)?;
        rows.push(row("none", ", default-features = false"));
        for feature in &features {
            rows.push(row(feature, &format!(", default-features = false, features = [\"{feature}\"]")));
        }
        rows.push(row("default", ""));
        rows.push(row("all", &format!(", features = {features:?}")));
    }
    let peers = PEERS.iter().map(|(name, dependency)| Row {
        name: (*name).to_owned(),
        features: "default".into(),
        dependency: (*dependency).to_owned(),
    });
    rows.extend(peers);
    Ok(rows)
}

/// The features of a package, without `default`.
fn features(package: &Path) -> Result<Vec<String>> {
    let manifest = fs::read_to_string(package.join("Cargo.toml")).map_err(|error| error.to_string())?;
    let manifest: toml::Table = manifest.parse().map_err(|error| format!("Cargo.toml: {error}"))?;
    let features = manifest.get("features").and_then(toml::Value::as_table);
    let names = features.into_iter().flat_map(|table| table.keys());
    Ok(names.filter(|name| *name != "default").cloned().collect())
}

fn measure(plan: &Plan, row: &Row) -> Result<String> {
    let project = sh::target().join("house");
    let target = project.join("target");
    let _ = fs::remove_dir_all(&target);
    write(&project.join("src/lib.rs"), "//! Nothing: only its dependency is built.\n")?;
    let package = "[package]\nname = \"scratch\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n";
    write(&project.join("Cargo.toml"), &format!("{package}[dependencies]\n{}\n", row.dependency))?;
    // The versions that the checkout is tested with.
    let lock = fs::read_to_string(plan.root.join("Cargo.lock")).map_err(|error| error.to_string())?;
    write(&project.join("Cargo.lock"), &lock)?;
    let crates = count(&project)?;
    let mut cells = vec![row.name.clone(), row.features.clone(), crates.to_string()];
    if plan.build {
        let started = Instant::now();
        let mut build = sh::cargo(&["build", "--quiet", "--target-dir"]);
        say(&format!("==> {} ({})", row.name, row.features));
        let status = build.arg(&target).current_dir(&project).env_remove("CARGO_TARGET_DIR").status();
        if !status.map_err(|error| error.to_string())?.success() {
            return Err(format!("{} does not build with the features {}", row.name, row.features));
        }
        cells.push(format!("{:.1}", started.elapsed().as_secs_f32()));
        cells.push(format!("{}", size(&target) / (1024 * 1024)));
        let _ = fs::remove_dir_all(&target);
    } else {
        cells.extend(["".to_owned(), "".to_owned()]);
    }
    Ok(format!("| {} |", cells.join(" | ")))
}

fn write(path: &Path, text: &str) -> Result {
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(path, text)).map_err(|error| format!("{}: {error}", path.display()))
}

/// The packages that are compiled for this machine, build scripts and macros included.
fn count(project: &Path) -> Result<usize> {
    let mut tree = sh::cargo(&["tree", "--quiet", "--prefix", "none", "--edges", "no-dev"]);
    let output = tree.current_dir(project).output().map_err(|error| format!("cargo tree: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let package = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let packages: BTreeSet<String> = lines.lines().filter(|line| !line.is_empty()).map(package).collect();
    Ok(packages.len() - 1)
}

fn size(folder: &Path) -> u64 {
    let files = WalkDir::new(folder).into_iter().flatten().filter_map(|entry| entry.metadata().ok());
    files.filter(fs::Metadata::is_file).map(|file| file.len()).sum()
}
