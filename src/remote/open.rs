//! Opening an image on another host, and making one there.

use std::path::PathBuf;
use std::sync::Arc;

use super::error::{Error, Fault};
use super::http::blocks::Beside;
use super::http::medium::{failed, medium};
use super::http::net::Net;
use super::http::patience::Patience;
use super::http::source::{Origin, Plain, Source};
use super::oci;
use super::options::{Opened, Opening, Writing};
use super::place::Place;
use super::s3::{Bucket, Object, Upload};
use crate::image::{Medium, Output, ReadAt};

/// The files that this room may read: credentials that other programs have stored, and
/// certificates that the user names.
pub fn files() -> Vec<PathBuf> {
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
    let named = named.iter().filter_map(std::env::var_os);
    let named = named.map(PathBuf::from);
    oci::login_files().into_iter().chain(named).collect()
}

/// Open an image on another host.
///
/// # Errors
/// Why it can't be read.
pub fn open(place: &Place, how: &Opening) -> Result<Opened, Error> {
    if let Place::Oci(reference) = place {
        return oci::pull::open(reference, how);
    }
    let name = place.to_string();
    let origin: Box<dyn Origin> = match place {
        Place::Http(url) => Box::new(Plain(url.clone())),
        Place::S3 { bucket, key } => {
            let bucket = Bucket::from_env(bucket).map_err(|fault| failed(&name, fault))?;
            Box::new(Object::new(bucket, key))
        }
        Place::Local(_) | Place::Oci(_) => return Err(Error::place(&name, "isn't an object")),
    };
    let source = Source::new(name, origin, Net::get()?, how.patience);
    Ok(Opened {
        medium: medium(
            Arc::new(source),
            Some(beside(place, how.patience)),
            how.digest,
        )?,
        format: None,
    })
}

/// What opens an object by its name in the folder of `place`.
fn beside(place: &Place, patience: Patience) -> Beside {
    let place = place.clone();
    Beside(Box::new(move |name| {
        let beside = place.beside(name);
        let beside = beside.ok_or_else(|| Error::place(&place.to_string(), "has no folder"))?;
        ranged(&beside, patience)
    }))
}

/// Open an object of which any part can be read.
fn ranged(place: &Place, patience: Patience) -> Result<Arc<dyn ReadAt>, Error> {
    let how = Opening {
        patience,
        ..Opening::default()
    };
    match open(place, &how)?.medium {
        Medium::Seekable(medium) => Ok(medium),
        Medium::Stream(stream) => Err(failed(
            &stream.name,
            Fault::Answer("its server has no ranges, which a base needs".into()),
        )),
    }
}

/// Write an image to another host. Nothing is there before it is finished.
///
/// # Errors
/// Why it can't be written.
pub fn create(place: &Place, how: &Writing) -> Result<Box<dyn Output>, Error> {
    match place {
        Place::S3 { .. } => Ok(Box::new(Upload::new(place, how)?)),
        Place::Oci(reference) => Ok(Box::new(oci::push::Push::new(reference, how)?)),
        Place::Http(_) | Place::Local(_) => Err(Error::place(
            &place.to_string(),
            "can only be read; write to a file, s3://BUCKET/KEY or oci://REGISTRY/REPOSITORY:TAG",
        )),
    }
}
