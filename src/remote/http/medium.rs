//! The bytes of an object, as every format reads them.

use std::sync::Arc;

use super::super::digest::Sum;
use super::super::error::{Error, Fault};
use super::blocks::{BLOCK_BYTES, Beside, Object};
use super::source::{Found, Source};
use super::whole::Whole;
use crate::image::{Digest, Medium, Stream};

/// The bytes of an object, which must have this digest.
pub(in crate::remote) fn medium(
    source: Arc<Source>,
    beside: Option<Beside>,
    digest: Option<Digest>,
) -> Result<Medium, Error> {
    let net = source.net;
    let looking = source.clone();
    let found = net.wait(async move { looking.find(BLOCK_BYTES).await });
    let found = found.map_err(|fault| failed(&source.name, fault))?;
    let sum = digest.map(Sum::new);
    Ok(match found {
        Found::Ranged(version, first) => {
            let object = Object::new(source, beside, (version, first), sum);
            Medium::Seekable(Arc::new(object))
        }
        Found::Whole(answer, size_bytes, strong) => {
            let name = source.name.clone();
            let etag = strong.map(|etag| format!("etag {etag} of {name}"));
            Medium::Stream(Stream {
                identity: digest.map(|digest| digest.to_string()).or(etag),
                bytes: Box::new(Whole::new(source, answer, size_bytes, sum)),
                name,
                size_bytes,
            })
        }
    })
}

/// An object that can't be read.
pub(in crate::remote) fn failed(name: &str, fault: Fault) -> Error {
    Error::Failed {
        verb: "read",
        name: name.to_owned(),
        fault,
    }
}
