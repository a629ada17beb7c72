//! The house as data: sizes, circles, names and prose of a checkout.
//!
//! [`House::read`] looks at any checkout of this repository, so that an older one can be measured
//! with today's rules.

pub mod circles;
pub mod modules;
pub mod names;
pub mod prose;
pub mod shape;
pub mod source;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use self::{
    circles::Circle,
    modules::Crate,
    prose::{Finding, Prose},
    shape::Sized,
    source::Sources,
};

/// What a checkout looks like.
#[derive(Default)]
pub struct House {
    /// Every Rust file and its lines, tests included.
    pub files: Vec<Sized>,
    /// Body lines of every function that is not a test.
    pub functions: Vec<Sized>,
    /// `pub` traits and their required methods.
    pub traits: Vec<Sized>,
    /// Circles of files, by the folder of the package.
    pub circles: BTreeMap<String, Vec<Circle>>,
    /// Public type names that a library uses twice, by the folder of the package.
    pub shared: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
    /// Comments of Rust files, and words of Markdown files.
    pub prose: Prose,
}

impl House {
    /// Reads every Rust and Markdown file below `root`.
    pub fn read(root: &Path) -> Result<Self, String> {
        let mut house = Self::default();
        let sources = source::read_all(root)?;
        for (path, source) in &sources {
            house.files.push(Sized { place: path.display().to_string(), size: source.text.lines().count() });
            house.prose.append(prose::comments(path, &source.text));
            if !source::is_test(path) {
                let shape = shape::shape(path, &source.syntax);
                house.functions.extend(shape.functions);
                house.traits.extend(shape.traits);
            }
        }
        for path in source::files(root, "md") {
            let text = std::fs::read_to_string(root.join(&path))
                .map_err(|error| format!("{}: {error}", path.display()))?;
            house.prose.words.extend(prose::markdown(&path, &text));
        }
        for (package, crate_root) in crate_roots(&sources) {
            let tree = Crate::read(&sources, &crate_root)?;
            house.circles.entry(package.clone()).or_default().extend(circles::circles(&tree));
            if crate_root.ends_with("lib.rs") {
                house.shared.insert(package, names::shared(&tree));
            }
        }
        Ok(house)
    }

    /// The circles of the packages that `wanted` picks by their folder.
    pub fn circles_of(&self, wanted: impl Fn(&str) -> bool) -> Vec<&Circle> {
        let packages = self.circles.iter().filter(|(package, _)| wanted(package));
        packages.flat_map(|(_, circles)| circles).collect()
    }
}

impl Prose {
    fn append(&mut self, other: Prose) {
        self.doc_lines += other.doc_lines;
        let pairs: [(&mut Vec<Finding>, Vec<Finding>); 3] =
            [(&mut self.short, other.short), (&mut self.wide, other.wide), (&mut self.words, other.words)];
        pairs.into_iter().for_each(|(mine, theirs)| mine.extend(theirs));
    }
}

/// The libraries and programs: the folder of the package, and the file that its modules begin in.
fn crate_roots(sources: &Sources) -> Vec<(String, PathBuf)> {
    let is_root = |file: &Path| {
        let folder = |file: &Path| file.parent().is_some_and(|folder| folder.ends_with("src/bin"));
        let program = folder(file) || (file.ends_with("main.rs") && file.parent().is_some_and(folder));
        program || file.ends_with("src/lib.rs") || file.ends_with("src/main.rs")
    };
    let roots = sources.keys().filter(|file| is_root(file));
    let package =
        |file: &Path| file.ancestors().find(|folder| folder.ends_with("src"))?.parent().map(Path::to_owned);
    roots.filter_map(|file| Some((package(file)?.display().to_string(), file.clone()))).collect()
}
