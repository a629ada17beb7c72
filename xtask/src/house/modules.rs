//! The modules of one crate: what each declares, imports and names, and how a path resolves.
//!
//! This is name resolution as far as a reader needs it: modules, items, imports and re-exports,
//! also through `*`. A path in the arguments of a macro counts too.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use super::source::{Sources, only_for_tests};

/// Imports that lead to imports: longer chains are circles of names.
const MAX_HOPS: usize = 16;

/// Where a module stands in [`Crate::modules`].
pub type Id = usize;

/// One module, in a file of its own or inline.
pub struct Module {
    /// The file, relative to the root of the checkout.
    pub file: PathBuf,
    /// `None` for the root of the crate.
    pub parent: Option<Id>,
    /// Child modules: where they stand, and whether they are `pub`.
    pub children: BTreeMap<String, (Id, bool)>,
    /// Items by name.
    pub items: BTreeMap<String, Item>,
    /// Imports, those inside functions too.
    pub imports: Vec<Import>,
    /// Paths that the code names, without its imports.
    pub paths: BTreeSet<Vec<String>>,
}

/// What a name declares, as far as the numbers care.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// `pub` without a restriction.
    pub public: bool,
    /// A struct, enum, union, trait or type alias.
    pub is_type: bool,
}

/// One leaf of a `use`.
pub struct Import {
    /// The path as written.
    pub path: Vec<String>,
    /// The name it brings; `None` for `*`.
    pub name: Option<String>,
    /// Whether other modules see it.
    pub exported: Exported,
}

/// Who sees an import.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Exported {
    /// The module alone.
    No,
    /// Some of the crate: `pub(crate)`, `pub(super)`.
    Within,
    /// Everyone who sees the module.
    Public,
}

/// What a path leads to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A module itself.
    Module(Id),
    /// An item, in the module that declares it.
    Item(Id, String),
}

/// A library or a program: a tree of modules.
pub struct Crate {
    /// The root first.
    pub modules: Vec<Module>,
}

impl Crate {
    /// The tree that begins in `root`, a `lib.rs` or a `main.rs`, without tests.
    pub fn read(sources: &Sources, root: &Path) -> Result<Self, String> {
        let folder = root.parent().unwrap_or(root);
        let mut builder = Builder { sources, modules: Vec::new() };
        builder.file(Place { file: root.to_owned(), folder: folder.to_owned() }, None)?;
        Ok(Self { modules: builder.modules })
    }

    /// What `path` leads to when it is written in `from`; `None` for other crates and for what this
    /// resolution cannot see.
    pub fn resolve(&self, from: Id, path: &[String]) -> Option<Target> {
        self.resolve_within(from, path, MAX_HOPS)
    }

    fn resolve_within(&self, from: Id, path: &[String], hops: usize) -> Option<Target> {
        let hops = hops.checked_sub(1)?;
        let (first, rest) = path.split_first()?;
        let mut reached = match first.as_str() {
            "crate" => Target::Module(0),
            "self" => Target::Module(from),
            "super" => Target::Module(self.modules[from].parent?),
            name => self.look_up(from, name, hops)?,
        };
        for segment in rest {
            let Target::Module(module) = reached else { break };
            reached = match segment.as_str() {
                "super" => Target::Module(self.modules[module].parent?),
                "self" => Target::Module(module),
                name => self.look_up(module, name, hops)?,
            };
        }
        Some(reached)
    }

    /// What `name` is inside a module.
    fn look_up(&self, module: Id, name: &str, hops: usize) -> Option<Target> {
        let here = &self.modules[module];
        if let Some((child, _)) = here.children.get(name) {
            return Some(Target::Module(*child));
        }
        if here.items.contains_key(name) {
            return Some(Target::Item(module, name.to_owned()));
        }
        let named = here.imports.iter().filter(|import| import.name.as_deref() == Some(name));
        let mut found = named.filter_map(|import| self.resolve_within(module, &import.path, hops));
        found.next().or_else(|| {
            let globs = here.imports.iter().filter(|import| import.name.is_none());
            globs.filter_map(|glob| self.resolve_within(module, &glob.path, hops)).find_map(|target| {
                match target {
                    Target::Module(inner) if inner != module => {
                        self.look_up(inner, name, hops.checked_sub(1)?)
                    }
                    _ => None,
                }
            })
        })
    }
}

/// The file of a module, and the folder that its child modules are in.
#[derive(Clone)]
struct Place {
    file: PathBuf,
    folder: PathBuf,
}

struct Builder<'a> {
    sources: &'a Sources,
    modules: Vec<Module>,
}

impl Builder<'_> {
    fn file(&mut self, place: Place, parent: Option<Id>) -> Result<Id, String> {
        let source = self.sources.get(&place.file);
        let source = source.ok_or_else(|| format!("{} is not there", place.file.display()))?;
        self.module(&source.syntax.items, place, parent)
    }

    fn module(&mut self, items: &[syn::Item], place: Place, parent: Option<Id>) -> Result<Id, String> {
        let id = self.modules.len();
        let mut reader = Reader::default();
        items.iter().for_each(|item| reader.visit_item(item));
        self.modules.push(Module {
            file: place.file.clone(),
            parent,
            children: BTreeMap::new(),
            items: declared(items),
            imports: reader.imports,
            paths: reader.paths,
        });
        for item in items {
            let syn::Item::Mod(module) = item else { continue };
            if only_for_tests(&module.attrs) {
                continue;
            }
            let name = module.ident.to_string();
            let child = match &module.content {
                Some((_, items)) => {
                    let inner = Place { file: place.file.clone(), folder: place.folder.join(&name) };
                    self.module(items, inner, Some(id))?
                }
                None => self.file(self.find(&place, module, &name)?, Some(id))?,
            };
            self.modules[id].children.insert(name, (child, is_public(&module.vis)));
        }
        Ok(id)
    }

    /// Where a declared module is.
    fn find(&self, parent: &Place, module: &syn::ItemMod, name: &str) -> Result<Place, String> {
        if let Some(path) = module.attrs.iter().find_map(path_attribute) {
            let file = parent.file.parent().unwrap_or(&parent.file).join(path);
            let folder = file.parent().unwrap_or(&file).to_owned();
            return Ok(Place { file, folder });
        }
        let folder = parent.folder.join(name);
        let candidates = [folder.with_extension("rs"), folder.join("mod.rs")];
        let file = candidates.into_iter().find(|file| self.sources.contains_key(file));
        let file =
            file.ok_or_else(|| format!("{} declares {name}, which has no file", parent.file.display()))?;
        Ok(Place { file, folder })
    }
}

fn is_public(visibility: &syn::Visibility) -> bool {
    matches!(visibility, syn::Visibility::Public(_))
}

fn path_attribute(attribute: &syn::Attribute) -> Option<String> {
    let syn::Meta::NameValue(pair) = &attribute.meta else { return None };
    let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &pair.value else { return None };
    pair.path.is_ident("path").then(|| text.value())
}

fn declared(items: &[syn::Item]) -> BTreeMap<String, Item> {
    let mut found = BTreeMap::new();
    for item in items {
        let (attributes, visibility, name, is_type) = match item {
            syn::Item::Struct(item) => (&item.attrs, &item.vis, &item.ident, true),
            syn::Item::Enum(item) => (&item.attrs, &item.vis, &item.ident, true),
            syn::Item::Union(item) => (&item.attrs, &item.vis, &item.ident, true),
            syn::Item::Trait(item) => (&item.attrs, &item.vis, &item.ident, true),
            syn::Item::Type(item) => (&item.attrs, &item.vis, &item.ident, true),
            syn::Item::Fn(item) => (&item.attrs, &item.vis, &item.sig.ident, false),
            syn::Item::Const(item) => (&item.attrs, &item.vis, &item.ident, false),
            syn::Item::Static(item) => (&item.attrs, &item.vis, &item.ident, false),
            _ => continue,
        };
        if !only_for_tests(attributes) {
            found.insert(name.to_string(), Item { public: is_public(visibility), is_type });
        }
    }
    found
}

/// Collects the imports and paths of one module, without its child modules and tests.
#[derive(Default)]
struct Reader {
    imports: Vec<Import>,
    paths: BTreeSet<Vec<String>>,
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_mod(&mut self, _: &'ast syn::ItemMod) {}

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !only_for_tests(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !only_for_tests(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !only_for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if only_for_tests(&item.attrs) {
            return;
        }
        let exported = match &item.vis {
            syn::Visibility::Public(_) => Exported::Public,
            syn::Visibility::Restricted(_) => Exported::Within,
            syn::Visibility::Inherited => Exported::No,
        };
        self.flatten(&item.tree, &mut Vec::new(), exported);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            self.paths.insert(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.words(item.tokens.clone());
        visit::visit_macro(self, item);
    }
}

impl Reader {
    fn flatten(&mut self, tree: &syn::UseTree, path: &mut Vec<String>, exported: Exported) {
        let mut add = |mut path: Vec<String>, name: Option<String>| {
            if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
                path.pop();
            }
            let name =
                name.map(|name| if name == "self" { path.last().cloned().unwrap_or(name) } else { name });
            self.imports.push(Import { path, name, exported });
        };
        match tree {
            syn::UseTree::Path(inner) => {
                path.push(inner.ident.to_string());
                self.flatten(&inner.tree, path, exported);
                path.pop();
            }
            syn::UseTree::Name(leaf) => {
                let name = leaf.ident.to_string();
                add([path.as_slice(), std::slice::from_ref(&name)].concat(), Some(name));
            }
            syn::UseTree::Rename(leaf) => {
                add([path.as_slice(), &[leaf.ident.to_string()]].concat(), Some(leaf.rename.to_string()));
            }
            syn::UseTree::Glob(_) => add(path.clone(), None),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.flatten(item, path, exported));
            }
        }
    }

    /// The paths in the arguments of a macro: words joined by `::`.
    fn words(&mut self, tokens: TokenStream) {
        let (mut path, mut colons) = (Vec::new(), 0);
        for token in tokens {
            match token {
                TokenTree::Ident(word) => {
                    if colons != 2 && !path.is_empty() {
                        self.paths.insert(std::mem::take(&mut path));
                    }
                    path.push(word.to_string());
                    colons = 0;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.words(group.stream());
                    colons = 0;
                }
                _ => colons = 0,
            }
        }
        if !path.is_empty() {
            self.paths.insert(path);
        }
    }
}
