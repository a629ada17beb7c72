//! Sizes: lines of files and of function bodies, and required methods of traits.

use std::path::Path;

use syn::visit::Visit;

use super::source::only_for_tests;

/// Something with a size, and where it is.
pub struct Sized {
    /// `path` or `path:line name`.
    pub place: String,
    /// Lines or methods.
    pub size: usize,
}

/// The functions and traits of one file, without its tests.
#[derive(Default)]
pub struct Shape {
    /// Lines of each body, from its opening brace to its closing one.
    pub functions: Vec<Sized>,
    /// `pub` traits and how many methods an implementation must write.
    pub traits: Vec<Sized>,
}

/// Reads the shape of one file.
pub fn shape(path: &Path, syntax: &syn::File) -> Shape {
    let mut reader = Reader { path, shape: Shape::default() };
    reader.visit_file(syntax);
    reader.shape
}

/// The value that a share of all are at most, by the nearest rank; 0 for none.
pub fn percentile(sizes: &[Sized], percent: usize) -> usize {
    let mut sizes: Vec<usize> = sizes.iter().map(|sized| sized.size).collect();
    sizes.sort_unstable();
    let rank = (sizes.len() * percent).div_ceil(100);
    sizes.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// The largest, if there is any.
pub fn largest(sizes: &[Sized]) -> Option<&Sized> {
    sizes.iter().max_by_key(|sized| sized.size)
}

struct Reader<'a> {
    path: &'a Path,
    shape: Shape,
}

impl Reader<'_> {
    fn place(&self, name: &syn::Ident) -> String {
        format!("{}:{} {name}", self.path.display(), name.span().start().line)
    }

    fn function(&mut self, name: &syn::Ident, body: &syn::Block) {
        let braces = body.brace_token.span;
        let size = braces.close().start().line - braces.open().start().line + 1;
        self.shape.functions.push(Sized { place: self.place(name), size });
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !only_for_tests(&item.attrs) {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !only_for_tests(&item.attrs) {
            self.function(&item.sig.ident, &item.block);
            syn::visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !only_for_tests(&item.attrs) {
            self.function(&item.sig.ident, &item.block);
            syn::visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.function(&item.sig.ident, body);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        if matches!(item.vis, syn::Visibility::Public(_)) && !only_for_tests(&item.attrs) {
            let required =
                |item: &&syn::TraitItem| matches!(item, syn::TraitItem::Fn(f) if f.default.is_none());
            let size = item.items.iter().filter(required).count();
            self.shape.traits.push(Sized { place: self.place(&item.ident), size });
        }
        syn::visit::visit_item_trait(self, item);
    }
}
