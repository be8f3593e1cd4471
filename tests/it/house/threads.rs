//! Threads start in one place: no other file of the program can start one unseen.

use syn::visit::Visit;

use super::tidy::sources;

/// The one file that may.
const HOME: &str = "src/threads.rs";

/// What a file starts threads with, tests aside.
#[derive(Default)]
struct Starts {
    found: Vec<String>,
    /// Names of scopes that a thread may be started in, where the visitor is.
    scopes: Vec<String>,
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        matches!(&attribute.meta, syn::Meta::List(list)
            if list.path.is_ident("cfg") && list.tokens.to_string() == "test")
    })
}

fn is_start(module: &str, name: &str) -> bool {
    module == "thread" && ["spawn", "Builder"].contains(&name)
}

impl Starts {
    fn path(&mut self, segments: &[String]) {
        let start = segments.windows(2).any(|pair| is_start(&pair[0], &pair[1]));
        if start {
            self.found.push(segments.join("::"));
        }
    }

    fn import(&mut self, tree: &syn::UseTree, before: &mut Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.import(&path.tree, before);
                before.pop();
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, before);
                }
            }
            syn::UseTree::Name(syn::UseName { ident })
            | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
                before.push(ident.to_string());
                self.path(before);
                let renamed = matches!(tree, syn::UseTree::Rename(_)) && ident == "thread";
                if renamed {
                    self.found.push("another name for `thread`".into());
                }
                before.pop();
            }
            syn::UseTree::Glob(_) => {
                if before.last().is_some_and(|last| last == "thread") {
                    self.found.push("all of `thread`".into());
                }
            }
        }
    }
}

impl<'a> Visit<'a> for Starts {
    fn visit_item_mod(&mut self, module: &'a syn::ItemMod) {
        if !is_test(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.import(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names: Vec<_> = path
            .segments
            .iter()
            .map(|it| it.ident.to_string())
            .collect();
        self.path(&names);
        syn::visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'a syn::ExprMethodCall) {
        let on_scope = matches!(&*call.receiver, syn::Expr::Path(path)
            if path.path.get_ident().is_some_and(|it| self.scopes.contains(&it.to_string())));
        if call.method == "spawn_scoped" || call.method == "spawn" && on_scope {
            self.found.push(call.method.to_string());
        }
        syn::visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_call(&mut self, call: &'a syn::ExprCall) {
        let is_scope = matches!(&*call.func, syn::Expr::Path(path)
            if path.path.segments.last().is_some_and(|it| it.ident == "scope"));
        let names = call.args.iter().filter_map(|argument| match argument {
            syn::Expr::Closure(closure) if is_scope => closure.inputs.first(),
            _ => None,
        });
        let before = self.scopes.len();
        self.scopes.extend(names.filter_map(|name| match name {
            syn::Pat::Ident(name) => Some(name.ident.to_string()),
            _ => None,
        }));
        syn::visit::visit_expr_call(self, call);
        self.scopes.truncate(before);
    }
}

fn starts(text: &str) -> Vec<String> {
    let mut starts = Starts::default();
    starts.visit_file(&syn::parse_file(text).expect("Rust"));
    starts.found
}

#[test]
fn every_thread_starts_in_one_file() {
    for (name, text) in sources("src") {
        assert_eq!(
            !starts(&text).is_empty(),
            name == HOME,
            "{name}: {:?}",
            starts(&text)
        );
    }
}

#[test]
fn the_check_sees_every_form() {
    for text in [
        "fn f() { std::thread::spawn(g); }",
        "fn f() { thread::Builder::new().spawn(g); }",
        "use std::thread::{self, Builder};",
        "use std::{fs, thread::spawn as start};",
        "use std::thread as t;",
        "use std::thread::*;",
        "fn f() { builder.spawn_scoped(scope, g); }",
        "fn f() { std::thread::scope(|s| { s.spawn(g); }); }",
    ] {
        assert!(!starts(text).is_empty(), "{text}");
    }
    for text in [
        "use std::thread::{self, JoinHandle};",
        "fn f() { Command::new(a).spawn(); tasks.spawn(g); }",
        "fn f() { thread::scope(|s| threads::spawn_scoped(s, role, g)); }",
        "#[cfg(test)] mod tests { fn f() { std::thread::spawn(g); } }",
    ] {
        assert_eq!(starts(text), Vec::<String>::new(), "{text}");
    }
}
