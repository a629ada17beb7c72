//! The Rust files of a checkout, parsed once.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use walkdir::{DirEntry, WalkDir};

/// Folders that tools write, and the fuzz corpus.
const SKIPPED: [&str; 6] = [".git", "target", "node_modules", "dist", "corpus", "sdk-venv"];

/// Parsed files by their path, which is relative to the root of the checkout.
pub type Sources = BTreeMap<PathBuf, Source>;

/// One parsed Rust file.
pub struct Source {
    /// The whole file.
    pub text: String,
    /// The syntax tree; spans carry lines.
    pub syntax: syn::File,
}

/// Whether a file holds only tests: an integration test, or the unit tests of a module that have a
/// file of their own.
pub fn is_test(path: &Path) -> bool {
    let named = |name: &str| name == "tests" || name == "tests.rs";
    path.components().any(|part| part.as_os_str().to_str().is_some_and(named))
}

/// Every Rust file below `root`.
pub fn read_all(root: &Path) -> Result<Sources, String> {
    files(root, "rs").into_iter().map(|path| Ok((path.clone(), read(root, &path)?))).collect()
}

/// Every file below `root` with this extension, without what tools wrote; paths are relative to
/// `root` and sorted.
pub fn files(root: &Path, extension: &str) -> Vec<PathBuf> {
    let wanted = |entry: &DirEntry| !SKIPPED.iter().any(|skip| entry.file_name() == *skip);
    let entries = WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(wanted).flatten();
    entries
        .filter(|entry| entry.file_type().is_file())
        .filter(|entry| entry.path().extension().is_some_and(|found| found == extension))
        .filter_map(|entry| entry.path().strip_prefix(root).map(Path::to_owned).ok())
        .collect()
}

fn read(root: &Path, path: &Path) -> Result<Source, String> {
    let text = fs::read_to_string(root.join(path)).map_err(|error| format!("{}: {error}", path.display()))?;
    let syntax = syn::parse_file(&text)
        .map_err(|error| format!("{}:{}: {error}", path.display(), error.span().start().line))?;
    Ok(Source { text, syntax })
}

/// Whether an item is compiled only for tests: `#[test]`, `#[cfg(test)]`, or a `cfg` that needs
/// `test` among others. `any(test, feature = "..")` is code that users can have.
pub fn only_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        if path.segments.last().is_some_and(|last| last.ident == "test") {
            return true;
        }
        path.is_ident("cfg") && attribute.parse_args::<syn::Meta>().is_ok_and(|meta| needs_test(&meta))
    })
}

fn needs_test(meta: &syn::Meta) -> bool {
    if meta.path().is_ident("test") {
        return true;
    }
    let syn::Meta::List(list) = meta else { return false };
    let inner =
        list.parse_args_with(syn::punctuated::Punctuated::<syn::Meta, syn::Token![,]>::parse_terminated);
    list.path.is_ident("all") && inner.is_ok_and(|inner| inner.iter().any(needs_test))
}
