//! The page of the sandbox, compared with the code: which kind of thread may make which system
//! calls.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::conformance::{names, table};
use super::tidy::root;

const PAGE: &str = "docs/internals/sandbox.md";
const CODE: &str = "src/daemon/host/sandbox";

type Names = BTreeSet<String>;

fn code(file: &str) -> String {
    fs::read_to_string(root().join(CODE).join(file)).unwrap()
}

/// What stands between these two, once.
fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let (_, rest) = text.split_once(before).expect(before);
    rest.split_once(after).expect(after).0
}

/// The lists by the names of their constants: name, calls with any arguments, calls with some.
fn lists() -> BTreeMap<String, (String, Names, Names)> {
    let mut lists = BTreeMap::new();
    for list in code("calls.rs").split("pub(super) const ").skip(1) {
        let Some((constant, rest)) = list.split_once(": List = ") else {
            continue;
        };
        let rest = rest.split_once(");\n").expect("its end").0;
        let name = between(rest, "\"", "\"").to_owned();
        let (mut any, mut some) = (Names::new(), Names::new());
        for call in rest.split("Call(c::SYS_").skip(1) {
            let (call, args) = call.split_once(", ").expect("arguments");
            let into = if args.starts_with("Any)") {
                &mut any
            } else {
                &mut some
            };
            into.insert(call.to_owned());
        }
        // Of a list that only some architectures have, the longer one counts.
        let known: &mut (String, Names, Names) = lists.entry(constant.to_owned()).or_default();
        if known.0.is_empty() || !any.is_empty() {
            *known = (name, any, some);
        }
    }
    lists
}

/// The lists of each kind.
fn kinds() -> BTreeMap<String, Names> {
    let (calls, kinds) = (code("calls.rs"), code("kind.rs"));
    let lists = lists();
    let spoken = between(&kinds, "fn name(self)", "\n    }\n");
    let name = |kind: &str| between(spoken, &format!("Self::{kind} => \""), "\"").to_owned();
    let of_kinds = between(&calls, "fn lists(", "\n}\n");
    let rows = of_kinds.split("Kind::").skip(1).map(|row| {
        let (kind, rest) = row.split_once(" => ").unwrap();
        let words = between(rest, "[", "]").split(|c: char| c != '_' && !c.is_alphanumeric());
        let named = words.filter_map(|word| lists.get(word));
        (name(kind), named.map(|(name, ..)| name.clone()).collect())
    });
    rows.collect()
}

fn cell(text: &str) -> Names {
    names(text).into_iter().map(str::to_owned).collect()
}

#[test]
fn the_page_of_the_sandbox_has_exactly_the_calls_of_each_list() {
    let known: BTreeMap<String, (Names, Names)> = lists()
        .into_values()
        .map(|(name, any, some)| (name, (any, some)))
        .collect();
    assert!(known.len() > 5);
    assert!(known["common"].0.contains("futex") && known["common"].1.contains("mmap"));
    let rows = table(PAGE, "calls with any arguments");
    let listed = rows.iter().map(|row| {
        let name = names(&row["list"])[0].to_owned();
        let some = cell(&row["calls with some arguments"]);
        (name, (cell(&row["calls with any arguments"]), some))
    });
    assert_eq!(listed.collect::<BTreeMap<_, _>>(), known);
}

#[test]
fn the_page_of_the_sandbox_has_exactly_the_lists_of_each_kind_of_thread() {
    let rows = table(PAGE, "kind of thread");
    let listed = rows.iter().map(|row| {
        let name = names(&row["kind of thread"])[0].to_owned();
        (name, cell(&row["lists"]))
    });
    assert_eq!(listed.collect::<BTreeMap<_, _>>(), kinds());
}
