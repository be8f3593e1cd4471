//! A chain of images: each is a change of the next one, and only the first must be qcow2.

use std::sync::Arc;

use super::super::medium::ReadAt;
use super::super::opening::{Opening, probe_medium};
use super::super::{Error, Format};
use super::header::Header;
use super::layer::{Layer, Place};

/// The most images of a chain.
const MOST_LAYERS: usize = 64;

/// Bytes that are in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) start_bytes: u64,
    pub(super) length_bytes: u64,
    /// Which image has them.
    pub(super) layer: usize,
    pub(super) place: Place,
}

impl Run {
    /// Its first `length_bytes`, and what is left of it.
    pub(super) fn cut(self, length_bytes: u64) -> (Self, Option<Self>) {
        if self.length_bytes <= length_bytes {
            return (self, None);
        }
        let place = match self.place {
            Place::Data(at) => Place::Data(at + length_bytes),
            Place::Packed {
                at,
                packed_bytes,
                skip_bytes,
            } => Place::Packed {
                at,
                packed_bytes,
                // A run of a compressed cluster is shorter than 4 MiB.
                skip_bytes: skip_bytes.saturating_add(u32::try_from(length_bytes).unwrap_or(0)),
            },
            place => place,
        };
        let rest = Self {
            start_bytes: self.start_bytes + length_bytes,
            length_bytes: self.length_bytes - length_bytes,
            place,
            ..self
        };
        let first = Self {
            length_bytes,
            ..self
        };
        (first, Some(rest))
    }
}

/// Images, the changed one first.
#[derive(Clone, Debug)]
pub(in crate::image) struct Chain {
    layers: Vec<Layer>,
    /// Everything before this was looked for.
    at: u64,
}

impl Chain {
    /// Open a qcow2 image and its bases.
    pub(in crate::image) fn open(
        medium: Arc<dyn ReadAt>,
        how: &Opening<'_>,
    ) -> Result<Self, Error> {
        let mut layers = vec![Layer::qcow2(medium)?];
        let mut given = how.backing.iter();
        while let Some(top) = layers.last() {
            let (name, base) = (top.medium.name(), base_of(top));
            let Some(base) = base.filter(|_| !how.without_base) else {
                return match given.next() {
                    None => Ok(Self { layers, at: 0 }),
                    Some(extra) => Err(unsupported(
                        name,
                        format!("has no base: leave out --backing {}", extra.name()),
                    )),
                };
            };
            let base_name = base.name.as_deref().unwrap_or_default();
            let medium = match given.next() {
                Some(medium) => Arc::clone(medium),
                None if how.follow_backing && is_plain(base_name) => {
                    top.medium.beside(base_name)?
                }
                None => return Err(no_base(name, base_name, how.follow_backing)),
            };
            let is_twice = |layer: &Layer| {
                layer.medium.identity().is_some() && layer.medium.identity() == medium.identity()
            };
            if layers.iter().any(is_twice) || layers.len() == MOST_LAYERS {
                return Err(Error::Damaged {
                    name: name.to_owned(),
                    what: format!("its base {base_name:?} is a change of it in turn"),
                });
            }
            let layer = base_layer(medium, base.format.as_deref())?;
            layers.push(layer);
        }
        Ok(Self { layers, at: 0 })
    }

    /// The header of the changed image.
    pub(in crate::image) fn header(&self) -> Option<&Header> {
        self.layers.first()?.header.as_deref()
    }

    pub(super) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The size of the disk.
    pub(super) fn size_bytes(&self) -> u64 {
        self.layers.first().map_or(0, Layer::size_bytes)
    }

    /// The largest unit of any image, which is a power of two.
    pub(super) fn largest_cluster_bytes(&self) -> u64 {
        let sizes = self.layers.iter().map(Layer::cluster_bytes);
        sizes.max().unwrap_or(512)
    }

    /// Where the next bytes are. Runs follow each other from the beginning to the end of the disk.
    pub(super) fn next_run(&mut self) -> Result<Option<Run>, Error> {
        let (start_bytes, size_bytes) = (self.at, self.size_bytes());
        if start_bytes >= size_bytes {
            return Ok(None);
        }
        let mut run = Run {
            start_bytes,
            length_bytes: size_bytes - start_bytes,
            layer: 0,
            place: Place::Hole,
        };
        for (number, layer) in self.layers.iter_mut().enumerate() {
            run.layer = number;
            if start_bytes >= layer.size_bytes() {
                // A base may be shorter, and is zeros from its end on.
                run.place = Place::Zero;
                break;
            }
            let (place, length_bytes) = layer.look(start_bytes)?;
            run.length_bytes = run.length_bytes.min(length_bytes);
            run.place = place;
            if let Place::Data(_) = place {
                layer.take(run.length_bytes)?;
            }
            if place != Place::Hole {
                break;
            }
        }
        self.at += run.length_bytes;
        Ok(Some(run))
    }
}

fn base_of(layer: &Layer) -> Option<super::super::writer::Base> {
    layer.header.as_ref()?.labels.base.clone()
}

/// A base, in the format that the image above names. If it names none, the base must be clear.
fn base_layer(medium: Arc<dyn ReadAt>, format: Option<&str>) -> Result<Layer, Error> {
    match format {
        Some("raw") => Ok(Layer::raw(medium)),
        Some("qcow2") => Layer::qcow2(medium),
        Some(other) => Err(unsupported(
            medium.name(),
            format!(
                "is a base of the format {other:?}, and only raw and qcow2 are read: convert the \
                 image with 'qemu-img convert -O qcow2'"
            ),
        )),
        None => match probe_medium(&*medium)?.map(|known| known.format) {
            None => Ok(Layer::raw(medium)),
            Some(Format::Qcow2) => Layer::qcow2(medium),
            Some(other) => Err(unsupported(
                medium.name(),
                format!(
                    "is a base that begins like {other:?}, and its format isn't named: name it \
                     with 'qemu-img rebase -u -F raw', or convert the image"
                ),
            )),
        },
    }
}

/// Whether this is the name of a file in the same folder.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

fn no_base(name: &str, base: &str, follow: bool) -> Error {
    let base: String = base.chars().take(255).collect();
    unsupported(
        name,
        match follow {
            true => {
                format!("is a change of {base:?}, which is a path: give it with --backing FILE")
            }
            false => format!(
                "is a change of {base:?}: give that with --backing FILE, or look for it in the \
                 same folder with --follow-backing"
            ),
        },
    )
}

fn unsupported(name: &str, what: String) -> Error {
    Error::Unsupported {
        name: name.to_owned(),
        what,
    }
}
