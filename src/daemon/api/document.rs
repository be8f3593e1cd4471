//! The OpenAPI document. An unoptimised build makes it from the routes (`derived`), and a test
//! holds it against the one that is kept in `tests/it/snapshots`. An optimised build has that one:
//! what would make it is a megabyte of code.

use serde_json::Value;

/// The OpenAPI 3.1 document of the whole API, as JSON.
#[cfg(not(ramblk_kept_document))]
pub fn document() -> Value {
    super::derived::document()
}

/// The OpenAPI 3.1 document of the whole API, as JSON.
#[cfg(ramblk_kept_document)]
pub fn document() -> Value {
    let packed = include_bytes!(concat!(env!("OUT_DIR"), "/openapi.json.z"));
    // Built in, so it can't be anything but JSON.
    serde_json::from_str(&crate::kept::text(packed)).unwrap_or_default()
}
