//! Circles of files: files of one crate that import each other, directly or through others.
//!
//! A file imports the file that declares an item it uses. A re-export (`pub use`) is not an import,
//! so a `mod.rs` may gather the names of its children. A `mod.rs` that declares what its children
//! use, and itself uses its children, is a circle.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::modules::{Crate, Exported, Target};

/// Which file imports which, with one path as the evidence.
type Imports = BTreeMap<PathBuf, BTreeMap<PathBuf, String>>;

/// Files that import each other.
pub struct Circle {
    /// Every file of it.
    pub files: BTreeSet<PathBuf>,
    /// The imports that close it: from, to, and one path that is written.
    pub imports: Vec<(PathBuf, PathBuf, String)>,
}

/// The circles of a crate, the largest first.
pub fn circles(tree: &Crate) -> Vec<Circle> {
    let imports = imports(tree);
    let reached: BTreeMap<&Path, BTreeSet<&Path>> =
        imports.keys().map(|file| (file.as_path(), reach(&imports, file))).collect();
    let mut left: BTreeSet<&Path> = imports.keys().map(PathBuf::as_path).collect();
    let mut found = Vec::new();
    while let Some(file) = left.pop_first() {
        let back = |other: &&&Path| reached.get(**other).is_some_and(|reached| reached.contains(file));
        let mut files: BTreeSet<PathBuf> =
            reached[file].iter().filter(back).map(|other| other.to_path_buf()).collect();
        files.remove(file);
        if files.is_empty() {
            continue;
        }
        files.insert(file.to_owned());
        left.retain(|other| !files.contains(*other));
        found.push(Circle { imports: within(&imports, &files), files });
    }
    found.sort_by_key(|circle| std::cmp::Reverse(circle.files.len()));
    found
}

fn imports(tree: &Crate) -> Imports {
    let mut found = Imports::new();
    for (id, module) in tree.modules.iter().enumerate() {
        let used = module.imports.iter().filter(|import| import.exported == Exported::No);
        let used = used.map(|import| &import.path).chain(&module.paths);
        let from = found.entry(module.file.clone()).or_default();
        for path in used {
            let Some(Target::Item(owner, _)) = tree.resolve(id, path) else { continue };
            let to = &tree.modules[owner].file;
            if *to != module.file {
                from.entry(to.clone()).or_insert_with(|| path.join("::"));
            }
        }
    }
    found
}

/// Every file that `from` imports, directly or through others.
fn reach<'a>(imports: &'a Imports, from: &Path) -> BTreeSet<&'a Path> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(file) = next.pop() {
        for (to, _) in imports.get(file).into_iter().flatten() {
            if reached.insert(to.as_path()) {
                next.push(to);
            }
        }
    }
    reached
}

fn within(imports: &Imports, files: &BTreeSet<PathBuf>) -> Vec<(PathBuf, PathBuf, String)> {
    let from = files.iter().filter_map(|file| Some((file, imports.get(file)?)));
    let edges = from.flat_map(|(file, to)| to.iter().map(move |(to, path)| (file, to, path)));
    edges
        .filter(|(_, to, _)| files.contains(*to))
        .map(|(from, to, path)| (from.clone(), to.clone(), path.clone()))
        .collect()
}
