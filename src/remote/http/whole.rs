//! An object whose server has no ranges: one answer, read from its beginning to its end.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use bytes::{Buf, Bytes, BytesMut};
use reqwest::Response;

use super::super::digest::Sum;
use super::super::error::Fault;
use super::request::{chunk, host};
use super::source::Source;

/// How much is read ahead.
const AHEAD_BYTES: usize = 1 << 20;

/// An answer's bytes. A part of them is always on its way while another one is used.
#[derive(Debug)]
pub(in crate::remote) struct Whole {
    source: Arc<Source>,
    coming: Option<Receiver<Part>>,
    ready: Bytes,
    read_bytes: u64,
    size_bytes: Option<u64>,
    sum: Option<Sum>,
}

/// The next bytes, and the answer if it isn't at its end.
type Part = Result<(Bytes, Option<Response>), Fault>;

impl Whole {
    pub(in crate::remote) fn new(
        source: Arc<Source>,
        answer: Response,
        size_bytes: Option<u64>,
        sum: Option<Sum>,
    ) -> Self {
        let mut whole = Self {
            source,
            coming: None,
            ready: Bytes::new(),
            read_bytes: 0,
            size_bytes,
            sum,
        };
        whole.fetch(answer);
        whole
    }

    fn fetch(&mut self, mut answer: Response) {
        let (done, coming) = sync_channel(1);
        let patience = self.source.patience;
        self.source.net.spawn(async move {
            let host = host(answer.url());
            let mut bytes = BytesMut::new();
            let mut rest = Ok(true);
            while bytes.len() < AHEAD_BYTES {
                match chunk(&mut answer, &host, &patience).await {
                    Ok(Some(more)) => bytes.extend_from_slice(&more),
                    Ok(None) => {
                        rest = Ok(false);
                        break;
                    }
                    Err(fault) => {
                        rest = Err(fault);
                        break;
                    }
                }
            }
            let _ = done.send(rest.map(|more| (bytes.freeze(), more.then_some(answer))));
        });
        self.coming = Some(coming);
    }

    fn next(&mut self) -> Result<(), Fault> {
        let Some(coming) = self.coming.take() else {
            return Ok(());
        };
        let lost = || Fault::Answer("bug: the work on it panicked".into());
        let (bytes, answer) = coming.recv().map_err(|_| lost())??;
        self.ready = bytes;
        match answer {
            Some(answer) => self.fetch(answer),
            None => {
                let end = self.read_bytes + self.ready.len() as u64;
                if let Some(size_bytes) = self.size_bytes.filter(|&it| it != end) {
                    let text = format!("it ended after {end} of {size_bytes} bytes");
                    return Err(Fault::Answer(text));
                }
            }
        }
        if let Some(sum) = &mut self.sum {
            sum.add(&self.ready);
            if self.coming.is_none() {
                sum.check()?;
            }
        }
        Ok(())
    }
}

impl Read for Whole {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.ready.is_empty() && self.coming.is_some() {
            self.next().map_err(Fault::into_io)?;
        }
        let count = self.ready.len().min(into.len());
        self.ready.copy_to_slice(&mut into[..count]);
        self.read_bytes += count as u64;
        Ok(count)
    }
}
