//! Which file names which other one: every `use`, and every path in code and macros, whether it
//! begins with `crate`, `self`, `super`, a module below, or an imported name.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::UseTree;
use syn::visit::Visit;

/// The names from the crate's root down.
type Way = Vec<String>;

#[derive(Debug, Default)]
struct Module {
    file: String,
    /// Imported names, and their paths as written.
    names: BTreeMap<String, Way>,
    /// Paths as written, but not those that are only handed on (`pub use`).
    paths: BTreeSet<Way>,
    handed_on: BTreeSet<Way>,
}

impl Module {
    /// A folder's own file hands on what is in the folder, which makes it depend on nothing there.
    fn is_face_of(&self, target: &[String]) -> bool {
        self.file.ends_with("/mod.rs") && target.starts_with(&way_of(&self.file))
    }
}

/// The modules of a crate.
#[derive(Debug, Default)]
pub(crate) struct Modules(BTreeMap<Way, Module>);

impl Modules {
    /// Read files, each with its path from the root of the package.
    pub(crate) fn read(files: &[(String, String)]) -> Self {
        let mut modules = Self::default();
        for (file, text) in files {
            let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
            let way = way_of(file);
            let mut reader = Reader {
                modules: &mut modules,
                file,
                way,
            };
            reader.module();
            reader.visit_file(&parsed);
        }
        modules
    }

    /// The rooms (modules right below the root) that a file names.
    pub(crate) fn rooms_named_by(&self, file: &str) -> BTreeSet<String> {
        let mut rooms = BTreeSet::new();
        for (way, module) in self.0.iter().filter(|(_, module)| module.file == file) {
            for path in module.paths.union(&module.handed_on) {
                rooms.extend(absolute(way, path).into_iter().flatten().next());
            }
        }
        rooms
    }

    /// Each file with the other files that it names, but for its unit tests.
    pub(crate) fn edges(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let tests = |way: &Way| way.last().is_some_and(|name| name == "tests");
        for (way, module) in self.0.iter().filter(|(way, _)| !tests(way)) {
            let resolve = |path: &Way| self.resolve(way, path, 0);
            let handed_on = module.handed_on.iter().filter_map(resolve);
            let handed_on = handed_on.filter(|target| !module.is_face_of(target));
            let named = module.paths.iter().filter_map(resolve).chain(handed_on);
            let files = named.map(|way| self.0[&way].file.as_str());
            edges
                .entry(&module.file)
                .or_default()
                .extend(files.filter(|file| *file != module.file));
        }
        edges
    }

    /// The module in which a path ends. A name that a module hands on is followed to where it is.
    fn resolve(&self, from: &[String], path: &[String], depth: u8) -> Option<Way> {
        if let Some(names) = absolute(from, path) {
            return self.descend(Vec::new(), &names, depth);
        }
        let (first, rest) = path.split_first()?;
        let below = [from, std::slice::from_ref(first)].concat();
        if self.0.contains_key(&below) {
            return self.descend(below, rest, depth);
        }
        let target = self.0.get(from)?.names.get(first)?;
        let on = [target, rest].concat();
        (depth < 16).then(|| self.resolve(from, &on, depth + 1))?
    }

    fn descend(&self, mut at: Way, path: &[String], depth: u8) -> Option<Way> {
        for (index, name) in path.iter().enumerate() {
            at.push(name.clone());
            if self.0.contains_key(&at) {
                continue;
            }
            at.pop();
            let names = &self.0.get(&at)?.names;
            if let Some(target) = names.get(name).filter(|_| depth < 16) {
                let on = [target, &path[index + 1..]].concat();
                return self.resolve(&at, &on, depth + 1).or(Some(at));
            }
            break;
        }
        Some(at)
    }
}

/// The module of a file: `src/a/b.rs` and `src/a/b/mod.rs` are `a::b`.
fn way_of(file: &str) -> Way {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let mut way: Way = path.split('/').map(str::to_owned).collect();
    way.pop_if(|last| last == "mod" || path == "lib");
    way
}

/// A path of this crate from the root down.
fn absolute(from: &[String], path: &[String]) -> Option<Way> {
    let mut at = from.to_vec();
    let mut rest = path;
    match rest.first()?.as_str() {
        "crate" => at.clear(),
        "self" => {}
        "super" => {
            while rest.get(1).is_some_and(|name| name == "super") {
                at.pop();
                rest = &rest[1..];
            }
            at.pop();
        }
        _ => return None,
    }
    at.extend_from_slice(&rest[1..]);
    Some(at)
}

struct Reader<'m> {
    modules: &'m mut Modules,
    file: &'m str,
    way: Way,
}

impl Reader<'_> {
    fn module(&mut self) -> &mut Module {
        let module = self.modules.0.entry(self.way.clone()).or_default();
        self.file.clone_into(&mut module.file);
        module
    }

    fn take_use(&mut self, tree: &UseTree, mut path: Way, handed_on: bool) {
        let name = match tree {
            UseTree::Path(more) => {
                path.push(more.ident.to_string());
                return self.take_use(&more.tree, path, handed_on);
            }
            UseTree::Group(group) => {
                let each = group.items.iter();
                return each.for_each(|tree| self.take_use(tree, path.clone(), handed_on));
            }
            UseTree::Name(name) if name.ident == "self" => path.last().cloned(),
            UseTree::Name(name) => {
                path.push(name.ident.to_string());
                path.last().cloned()
            }
            UseTree::Rename(name) => {
                path.push(name.ident.to_string());
                Some(name.rename.to_string())
            }
            UseTree::Glob(_) => None,
        };
        let module = self.module();
        let paths = if handed_on {
            &mut module.handed_on
        } else {
            &mut module.paths
        };
        paths.insert(path.clone());
        module.names.extend(name.map(|name| (name, path)));
    }

    /// Paths among tokens: what a macro is called with need not be Rust.
    fn take_tokens(&mut self, tokens: TokenStream) {
        let mut path = Way::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.take_path(std::mem::take(&mut path));
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
                other => {
                    self.take_path(std::mem::take(&mut path));
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.take_tokens(group.stream());
                    }
                }
            }
        }
        self.take_path(path);
    }

    fn take_path(&mut self, path: Way) {
        if path.len() > 1 {
            self.module().paths.insert(path);
        }
    }
}

impl<'a> Visit<'a> for Reader<'_> {
    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        if item.content.is_some() {
            self.way.push(item.ident.to_string());
            self.module();
            syn::visit::visit_item_mod(self, item);
            self.way.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        let handed_on = !matches!(item.vis, syn::Visibility::Inherited);
        self.take_use(&item.tree, Way::new(), handed_on);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string());
        self.take_path(names.collect());
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'a syn::Macro) {
        self.visit_path(&called.path);
        self.take_tokens(called.tokens.clone());
    }

    // Who may see something is no import.
    fn visit_vis_restricted(&mut self, _: &'a syn::VisRestricted) {}
    fn visit_attribute(&mut self, _: &'a syn::Attribute) {}
}

/// Circles among the children of each folder of a room: files and folders that name each other,
/// directly or through others. Each circle is a folder and the names of its members.
pub(crate) fn circles(edges: &BTreeMap<&str, BTreeSet<&str>>) -> BTreeSet<(String, Vec<String>)> {
    let mut folders: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (from, targets) in edges {
        for to in targets {
            let (from, to) = (parts(from), parts(to));
            let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            let folder = folders.entry(from[..common].join("/")).or_default();
            let (from, to) = (from[common].to_owned(), to[common].to_owned());
            folder.entry(from).or_default().insert(to);
        }
    }
    let mut found = BTreeSet::new();
    for (folder, edges) in &folders {
        let all: BTreeMap<_, _> = edges
            .keys()
            .map(|from| (from, reached(edges, from)))
            .collect();
        for (from, reach) in all.iter().filter(|(from, reach)| reach.contains(*from)) {
            let back = |to: &&&String| all.get(**to).is_some_and(|reach| reach.contains(*from));
            let circle = reach.iter().filter(back).map(|name| (*name).clone());
            found.insert((folder.clone(), circle.collect()));
        }
    }
    found
}

/// All that something leads to, in any number of steps.
fn reached<'e>(
    edges: &'e BTreeMap<String, BTreeSet<String>>,
    from: &'e String,
) -> BTreeSet<&'e String> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(at) = next.pop() {
        let targets = edges.get(at).into_iter().flatten();
        next.extend(targets.filter(|to| seen.insert(*to)));
    }
    seen
}

fn parts(file: &str) -> Vec<&str> {
    file.trim_end_matches(".rs").split('/').collect()
}
