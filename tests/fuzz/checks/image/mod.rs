//! Images of arbitrary bytes: a qcow2 image against a second reading of the format, and zstd frames
//! found by a seek table against the same file as a stream.
#![allow(clippy::cast_possible_truncation, reason = "the disks are small")]

mod model;

use std::io;
use std::sync::Arc;

use ramblk::image::{
    Content, Error, ImageFormat, ImageReader, Medium, Opening, Packing, Part, ReadAt, open_medium,
};

use super::reached::Reached;
use model::Place;

/// Larger disks would only take time.
const MOST_BYTES: u64 = 8 << 20;

/// A file, whose reader must stay inside of it.
#[derive(Debug)]
struct Memory(Vec<u8>);

impl ReadAt for Memory {
    fn name(&self) -> &str {
        "memory"
    }

    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn identity(&self) -> Option<&str> {
        None
    }

    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        let end = at_bytes + into.len() as u64;
        assert!(end <= self.size_bytes(), "a read at {at_bytes} up to {end}");
        into.copy_from_slice(&self.0[at_bytes as usize..end as usize]);
        Ok(())
    }

    fn verify(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn open(bytes: &[u8], format: ImageFormat) -> Result<Box<dyn ImageReader>, Error> {
    let how = Opening {
        format: Some(format),
        without_base: true,
        ..Opening::default()
    };
    open_medium(Medium::Seekable(Arc::new(Memory(bytes.to_vec()))), &how)
}

/// The kind of an error, which is one line.
fn refused(error: &Error) -> &'static str {
    let text = error.to_string();
    assert!(!text.contains('\n') && text.len() < 4096, "{text}");
    match error {
        Error::Damaged { .. } => "damaged",
        Error::Unsupported { .. } => "unsupported",
        error => panic!("{error:?}"),
    }
}

/// What each sector is, as far as the image was read, and its bytes if it has any.
struct Sectors {
    found: Vec<Option<Vec<u8>>>,
    is_named: Vec<bool>,
    end: Result<u64, Error>,
}

fn read(image: &mut dyn ImageReader, size_bytes: u64) -> Sectors {
    let count = size_bytes.div_ceil(512) as usize;
    let (mut found, mut is_named) = (vec![None; count], vec![false; count]);
    let mut at = 0;
    let end = loop {
        let (start, end, bytes) = match image.next() {
            Err(error) => break Err(error),
            Ok(None) => break image.end_bytes(),
            Ok(Some(Part::Zero(range))) => (range.start, range.end, None),
            Ok(Some(Part::Data { start_bytes, bytes })) => {
                let end = start_bytes + bytes.len() as u64;
                (start_bytes, end, Some(bytes))
            }
        };
        assert!(
            start >= at && end > start && end <= size_bytes,
            "{start}..{end}"
        );
        assert!(start.is_multiple_of(512), "a part at {start}");
        assert!(
            end.is_multiple_of(512) || end == size_bytes,
            "a part up to {end}"
        );
        at = end;
        for sector in start / 512..end.div_ceil(512) {
            let from = (sector * 512 - start) as usize;
            is_named[sector as usize] = true;
            found[sector as usize] =
                bytes.map(|bytes| bytes[from..bytes.len().min(from + 512)].to_vec());
        }
    };
    Sectors {
        found,
        is_named,
        end,
    }
}

/// A qcow2 image without its base.
pub(crate) fn qcow2(input: &[u8]) -> Reached {
    let mut reached = Reached::default();
    let mut image = match open(input, ImageFormat::Qcow2) {
        Ok(image) => image,
        Err(error) => {
            reached.add(refused(&error));
            return reached;
        }
    };
    let about = image.about().clone();
    let size_bytes = about.size_bytes.expect("a size");
    if size_bytes > MOST_BYTES {
        reached.add("large");
        return reached;
    }
    if about.labels.base.is_some() {
        reached.add("base");
    }
    let known = image.extents().is_ok();
    let sectors = read(&mut *image, size_bytes);
    match &sectors.end {
        Err(error) => {
            reached.add(refused(error));
            return reached;
        }
        Ok(end) => assert_eq!(*end, size_bytes),
    }
    assert!(known, "what can be read has extents");
    for (number, (found, named)) in sectors.found.iter().zip(&sectors.is_named).enumerate() {
        let place = model::look(input, number as u64 * 512);
        match (place, found) {
            (Place::Hole, None) => assert!(!named, "sector {number}"),
            (Place::Zero, None) => {
                assert!(named, "sector {number}");
                reached.add("zeros");
            }
            (Place::Data(at), Some(bytes)) => {
                assert_eq!(bytes, &input[at..at + bytes.len()], "sector {number}");
                reached.add("data");
            }
            (Place::Packed, Some(_)) => reached.add("compressed"),
            (place, _) => panic!("sector {number} is {place:?}, named {named}"),
        }
    }
    reached.add("read");
    reached
}

/// zstd frames.
pub(crate) fn frames(input: &[u8]) -> Reached {
    let mut reached = Reached::default();
    let format = ImageFormat::Packed(Packing::Zstd, Content::Raw);
    let mut image = match open(input, format) {
        Ok(image) => image,
        Err(error) => {
            reached.add(refused(&error));
            return reached;
        }
    };
    let about = image.about().clone();
    let Some(size_bytes) = about.size_bytes else {
        reached.add("a stream");
        return reached;
    };
    if size_bytes > MOST_BYTES {
        reached.add("large");
        return reached;
    }
    let _ = image.extents();
    let sectors = read(&mut *image, size_bytes);
    if let Err(error) = &sectors.end {
        reached.add(refused(error));
        return reached;
    }
    reached.add(if about.labels.base.is_some() {
        "a change"
    } else {
        "whole"
    });
    let bytes = Box::new(io::Cursor::new(input.to_vec()));
    if about.labels.base.is_none() {
        let how = Opening {
            format: Some(format),
            ..Opening::default()
        };
        let mut stream = open_medium(Medium::stream("stream", bytes), &how).expect("a stream");
        let mut at = 0;
        while let Some(part) = stream.next().expect("frames that were read are a stream") {
            let Part::Data { start_bytes, bytes } = part else {
                panic!("zeros in a stream");
            };
            assert_eq!(start_bytes, at);
            for (number, piece) in (at / 512..).zip(bytes.chunks(512)) {
                match &sectors.found[number as usize] {
                    Some(found) => assert_eq!(found, piece, "sector {number}"),
                    None => assert!(piece.iter().all(|&byte| byte == 0), "sector {number}"),
                }
            }
            at += bytes.len() as u64;
        }
        assert_eq!(at, size_bytes);
    }
    reached.add("read");
    reached
}
