//! An object of a bucket that is written front to back, in parts of which several are on their way.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use bytes::Bytes;

use super::super::error::{Error, Fault};
use super::super::http::net::Net;
use super::super::options::Writing;
use super::super::place::Place;
use super::bucket::Bucket;
use super::keeper::Kept;
use super::parts::Target;
use crate::image::{self, Output};

/// The least part. S3 itself wants 5 MiB, and parts of the same size.
const LEAST_PART_BYTES: u64 = 8 << 20;
/// S3 has at most 10,000 parts.
const MOST_PARTS: u64 = 9_900;
/// How many parts are on their way.
const MOST_SENDING: usize = 4;

/// An object that is written front to back. Nothing is there before it is whole.
#[derive(Debug)]
pub(in crate::remote) struct Upload {
    name: String,
    place: Place,
    target: Target,
    keeper: Option<Vec<String>>,
    part_bytes: usize,
    /// The first part, which is sent last, so that its bytes can be replaced.
    head: Option<Vec<u8>>,
    filling: Vec<u8>,
    kept: Option<Kept>,
    etags: Vec<String>,
    sending: VecDeque<Receiver<Result<String, Fault>>>,
    size_bytes: u64,
}

impl Upload {
    pub(in crate::remote) fn new(place: &Place, how: &Writing) -> Result<Self, Error> {
        let name = place.to_string();
        let failed = |fault| Error::Failed {
            verb: "write",
            name: name.clone(),
            fault,
        };
        let Place::S3 { bucket, key } = place else {
            return Err(Error::place(&name, "isn't in a bucket"));
        };
        let target = Target {
            bucket: Arc::new(Bucket::from_env(bucket).map_err(failed)?),
            key: key.clone(),
            net: Net::get()?,
            patience: how.patience,
            overwrite: how.overwrite,
        };
        let checked = target.clone();
        let check = target.net.wait(async move { checked.check().await });
        check.map_err(failed)?;
        let part_bytes = how
            .most_bytes
            .div_ceil(MOST_PARTS)
            .next_multiple_of(1 << 20);
        let part_bytes = part_bytes.max(LEAST_PART_BYTES);
        Ok(Self {
            name,
            place: place.clone(),
            target,
            keeper: how.keeper.clone(),
            part_bytes: usize::try_from(part_bytes).unwrap_or(usize::MAX),
            head: None,
            filling: Vec::new(),
            kept: None,
            etags: Vec::new(),
            sending: VecDeque::new(),
            size_bytes: 0,
        })
    }

    /// Send a part. The first one has number 1 and isn't among the tags yet.
    fn send(&mut self, number: u32, bytes: Bytes) -> Result<(), Fault> {
        if self.kept.is_none() {
            let keeper = self.keeper.as_deref();
            self.kept = Some(Kept::begin(&self.target, &self.place, keeper)?);
        }
        if self.sending.len() == MOST_SENDING {
            self.receive()?;
        }
        let id = self.kept.as_ref().map(|kept| kept.id().to_owned());
        let (id, target) = (id.unwrap_or_default(), self.target.clone());
        let (done, result) = sync_channel(1);
        self.target.net.spawn(async move {
            let _ = done.send(target.part(&id, number, bytes).await);
        });
        self.sending.push_back(result);
        Ok(())
    }

    /// Wait for the oldest part that is on its way.
    fn receive(&mut self) -> Result<(), Fault> {
        let Some(oldest) = self.sending.pop_front() else {
            return Ok(());
        };
        let lost = || Fault::Answer("bug: the work on it panicked".into());
        self.etags.push(oldest.recv().map_err(|_| lost())??);
        Ok(())
    }

    fn fill(&mut self) -> Result<(), Fault> {
        let part = std::mem::take(&mut self.filling);
        match self.head {
            None => self.head = Some(part),
            Some(_) => {
                // Behind the first one, those that have tags, and those that are on their way.
                let number = self.etags.len() + self.sending.len() + 2;
                self.send(u32::try_from(number).unwrap_or(u32::MAX), part.into())?;
            }
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<(), Fault> {
        let Some(head) = self.head.take() else {
            // Less than a part.
            let (target, bytes) = (self.target.clone(), std::mem::take(&mut self.filling));
            return self
                .target
                .net
                .wait(async move { target.put(bytes.into()).await });
        };
        if self.kept.is_none() && self.filling.is_empty() {
            let target = self.target.clone();
            return self
                .target
                .net
                .wait(async move { target.put(head.into()).await });
        }
        if !self.filling.is_empty() {
            self.head = Some(Vec::new());
            self.fill()?;
        }
        while !self.sending.is_empty() {
            self.receive()?;
        }
        self.send(1, head.into())?;
        self.receive()?;
        self.etags.rotate_right(1);
        let Some(kept) = self.kept.take() else {
            return Ok(());
        };
        let (target, id) = (self.target.clone(), kept.id().to_owned());
        let (etags, size_bytes) = (std::mem::take(&mut self.etags), self.size_bytes);
        let completed =
            (self.target.net).wait(async move { target.complete(&id, &etags, size_bytes).await });
        match completed {
            Ok(()) => kept.done(),
            Err(fault) => {
                drop(kept);
                return Err(fault);
            }
        }
        Ok(())
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.part_bytes - self.filling.len();
        let count = bytes.len().min(room);
        self.filling.extend_from_slice(&bytes[..count]);
        self.size_bytes += count as u64;
        if self.filling.len() == self.part_bytes {
            self.fill().map_err(Fault::into_io)?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for Upload {
    fn name(&self) -> &str {
        &self.name
    }

    fn head_bytes(&self) -> u64 {
        self.part_bytes as u64
    }

    fn rewrite_head(&mut self, head: &[u8]) -> io::Result<()> {
        let first = self.head.as_mut().unwrap_or(&mut self.filling);
        let into = first.get_mut(..head.len());
        into.ok_or(io::ErrorKind::NotSeekable)?
            .copy_from_slice(head);
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), image::Error> {
        self.complete().map_err(|fault| image::Error::Write {
            name: self.name.clone(),
            source: fault.into_io(),
        })
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Parts that arrive after the end of their upload would stay.
        while !self.sending.is_empty() {
            let _ = self.receive();
        }
    }
}
