//! The OpenAPI document.

use std::collections::BTreeSet;

use serde_json::Value;

use super::kit::Kit;
use crate::driver::disk::Disk;
use crate::house::tidy::{root, sources};

const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

fn document(kit: &Kit) -> Value {
    kit.get("/openapi.json").json(200)
}

/// Each path, method and operation.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let each = paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().unwrap();
        item.iter()
            .map(move |(method, operation)| (&**path, &**method, operation))
    });
    each.collect()
}

#[test]
fn the_document_is_as_it_was() {
    let kit = Kit::new();
    let text = serde_json::to_string_pretty(&document(&kit)).unwrap();
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(root().join("tests/it/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!("openapi", text));
}

#[test]
fn every_route_is_in_the_document() {
    let kit = Kit::new();
    let document = document(&kit);
    let known: BTreeSet<(String, String)> = operations(&document)
        .into_iter()
        .map(|(path, method, _)| (path.to_owned(), method.to_uppercase()))
        .collect();
    assert_eq!(document["openapi"], "3.1.0");
    // For a known path and an unknown method the router answers with the known methods.
    for path in document["paths"].as_object().unwrap().keys() {
        let filled = path.replace("{name}", "a").replace("{snapshot}", "s");
        let answer = kit.connect().raw(&format!("TRACE {filled}"), &[], b"");
        answer.problem(405, "method-not-allowed");
        for method in answer.header("allow").unwrap().split(',') {
            let said = known.contains(&(path.clone(), method.to_owned()));
            assert!(
                said || method == "HEAD",
                "{method} {path} is not in the document"
            );
        }
    }
    // There are no other routes: one macro makes all of them, and documents them.
    let routes = std::fs::read_to_string(root().join("src/daemon/api/routes.rs")).unwrap();
    assert!(
        !routes.contains(".route("),
        "a route that the document doesn't know"
    );
}

#[test]
fn every_operation_says_what_can_go_wrong() {
    let kit = Kit::new();
    let document = document(&kit);
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        assert!(METHODS.contains(&method), "{method} {path}");
        assert!(ids.insert(operation["operationId"].as_str().unwrap()));
        for field in ["summary", "tags"] {
            assert!(
                !operation[field].is_null(),
                "{method} {path} has no {field}"
            );
        }
        let responses = operation["responses"].as_object().unwrap();
        for status in ["403", "500", "503"] {
            assert!(responses.contains_key(status), "{method} {path} {status}");
        }
        let errors = responses
            .iter()
            .filter(|(status, _)| status.as_str() >= "400");
        for (status, response) in errors {
            let content = &response["content"]["application/problem+json"];
            let problem = &content["schema"]["$ref"];
            assert_eq!(
                problem, "#/components/schemas/Problem",
                "{method} {path} {status}"
            );
        }
        if !operation["requestBody"].is_null() {
            for status in ["400", "413", "415"] {
                assert!(responses.contains_key(status), "{method} {path} {status}");
            }
        }
        for parameter in operation["parameters"].as_array().unwrap_or(&Vec::new()) {
            assert!(
                !parameter["description"].is_null(),
                "{method} {path}: {parameter}"
            );
            if parameter["in"] == "path" {
                let pattern = &parameter["schema"]["pattern"];
                let name = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}";
                let wanted = match (path.starts_with("/v1/images"), method) {
                    (true, "put") => "^sha256:[0-9a-f]{64}$".to_owned(),
                    (true, _) => format!("^(sha256:[0-9a-f]{{64}}|{name})$"),
                    (false, "get") if parameter["name"] == "snapshot" => {
                        format!("^({name}|(flush|time|written):[1-9][0-9]{{0,17}})$")
                    }
                    (false, _) => format!("^{name}$"),
                };
                assert_eq!(*pattern, wanted, "{method} {path}");
            }
        }
    }
}

#[test]
fn no_operation_has_one_schema_for_two_media_types_and_content_is_bytes() {
    let kit = Kit::new();
    let document = document(&kit);
    let binary = serde_json::json!({"type": "string", "format": "binary"});
    let mut contents = 0;
    for (path, method, operation) in operations(&document) {
        let responses = operation["responses"].as_object().unwrap();
        let bodies = responses.values().chain([&operation["requestBody"]]);
        for body in bodies.filter_map(|body| body["content"].as_object()) {
            let schemas: Vec<_> = body.values().map(|content| &content["schema"]).collect();
            for schema in &schemas {
                assert_ne!(schema["items"]["format"], "int32", "{method} {path}");
            }
            if body.contains_key("application/octet-stream") {
                assert!(schemas.iter().all(|it| **it == binary), "{method} {path}");
                contents += 1;
            } else {
                assert_eq!(schemas.len(), 1, "{method} {path}");
            }
        }
        let body = &operation["requestBody"];
        assert!(
            body.is_null() || body["required"] == true,
            "{method} {path}"
        );
    }
    let what = "an upload, a download, parts of them, a golden image, and logs";
    assert_eq!(contents, 7, "{what}");
}

#[test]
fn latencies_are_counted_as_the_name_of_their_bound_says() {
    let kit = Kit::new();
    kit.disk("a");
    let mut guest = Disk::attach(&kit.front_end_socket("a"));
    for _ in 0..3 {
        guest.q().read(0, 512).unwrap();
    }
    let stats = kit.get("/v1/disks/a/stats").json(200);
    let read = &stats["operations"]["read"];
    let counts: Vec<u64> = read["latency"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bucket| bucket["count"].as_u64().unwrap())
        .collect();
    assert!(counts.is_sorted(), "{counts:?}");
    assert_eq!(counts.last(), Some(&3), "{read}");
    assert_eq!(read["completed"], 3);
}

/// These texts are for HTTP clients; the command line has its own.
#[test]
fn no_answer_of_the_api_speaks_of_the_command_line() {
    let rooms = ["src/daemon/disks", "src/daemon/api", "src/model"];
    for (name, text) in rooms.into_iter().flat_map(sources) {
        let code = text.split("#[cfg(test)]").next().unwrap();
        for line in code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
        {
            for word in [
                "ramblk list",
                "ramblk set",
                "ramblk group",
                "ramblk resize",
                " --",
            ] {
                assert!(!line.contains(word), "{name}: {line}");
            }
        }
    }
}
