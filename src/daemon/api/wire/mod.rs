//! The parts of HTTP: the caller, media types, headers and JSON, problem documents.
//!
//! | file | what it holds |
//! |---|---|
//! | `peer` | the client of a connection |
//! | `failure` | problem documents as answers |
//! | `accept` | which media type the caller prefers |
//! | `contract` | parameters and headers, checked against the OpenAPI document |
//! | `query` | parameters, as what their fields are |
//! | `strict` | JSON, read strictly by its schemas |
//! | `frames` | parsing uploaded content |
//! | `linger` | bodies whose request is answered before all of them has come |
//! | `produced` | a body that work threads make |
//! | `upgrade` | connections that become those of another protocol |

pub(crate) mod accept;
pub(crate) mod contract;
pub(crate) mod failure;
pub(crate) mod frames;
pub(crate) mod linger;
pub(crate) mod peer;
pub(crate) mod produced;
pub(crate) mod query;
pub(crate) mod strict;
pub(crate) mod upgrade;
