//! Public type names of a crate, as its users can write them.

use std::collections::{BTreeMap, BTreeSet};

use super::modules::{Crate, Exported, Id, Target};

/// Names that two or more different public types of the crate share, each with the files that
/// declare them.
pub fn shared(tree: &Crate) -> BTreeMap<String, BTreeSet<String>> {
    let mut public = Public { tree, seen: BTreeSet::new(), names: BTreeMap::new() };
    public.enter(0);
    let shared = public.names.into_iter().filter(|(_, owners)| owners.len() > 1);
    shared
        .map(|(name, owners)| {
            (name, owners.iter().map(|(id, _)| tree.modules[*id].file.display().to_string()).collect())
        })
        .collect()
}

struct Public<'a> {
    tree: &'a Crate,
    seen: BTreeSet<Id>,
    /// The public name, and each declaration that has it: a module and the name there.
    names: BTreeMap<String, BTreeSet<(Id, String)>>,
}

impl Public<'_> {
    fn enter(&mut self, id: Id) {
        if !self.seen.insert(id) {
            return;
        }
        let module = &self.tree.modules[id];
        for (name, item) in &module.items {
            if item.public && item.is_type {
                self.names.entry(name.clone()).or_default().insert((id, name.clone()));
            }
        }
        for (child, public) in module.children.values() {
            if *public {
                self.enter(*child);
            }
        }
        for import in module.imports.iter().filter(|import| import.exported == Exported::Public) {
            match self.tree.resolve(id, &import.path) {
                Some(Target::Module(inner)) => self.enter(inner),
                Some(Target::Item(owner, declared)) => {
                    let is_type =
                        self.tree.modules[owner].items.get(&declared).is_some_and(|item| item.is_type);
                    if let (true, Some(name)) = (is_type, &import.name) {
                        self.names.entry(name.clone()).or_default().insert((owner, declared));
                    }
                }
                None => {}
            }
        }
    }
}
