//! A process of its own begins an upload in parts, and ends it if the process that sends the parts
//! is gone before they are an object: killed, out of memory, or stopped by a signal.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use super::super::error::{Error, Fault};
use super::super::http::net::Net;
use super::super::http::patience::Patience;
use super::super::place::Place;
use super::bucket::Bucket;
use super::parts::Target;

/// What the keeper is told when there is an object.
const DONE: u8 = b'd';

/// An upload that is under way. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Kept {
    id: String,
    target: Target,
    /// The process that ends the upload; without one, this one does.
    keeper: Option<(Child, Option<ChildStdin>)>,
    done: bool,
}

impl Kept {
    /// Begin an upload.
    pub(super) fn begin(
        target: &Target,
        place: &Place,
        keeper: Option<&[String]>,
    ) -> Result<Self, Fault> {
        let (keeper, id) = match keeper {
            Some(words) => {
                let (child, pipe, id) = start(words, place)?;
                (Some((child, pipe)), id)
            }
            None => {
                let begun = target.clone();
                let id = target.net.wait(async move { begun.begin().await })?;
                (None, id)
            }
        };
        Ok(Self {
            id,
            target: target.clone(),
            keeper,
            done: false,
        })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The upload is an object.
    pub(super) fn done(mut self) {
        self.done = true;
        if let Some((child, pipe)) = &mut self.keeper {
            if let Some(mut pipe) = pipe.take() {
                let _ = pipe.write_all(&[DONE]);
            }
            let _ = child.wait();
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        if let Some((child, pipe)) = &mut self.keeper {
            drop(pipe.take());
            if child.wait().is_ok_and(|status| status.success()) {
                return;
            }
        }
        let (target, id) = (self.target.clone(), self.id.clone());
        let ended = target.net.wait(async move { target.abort(&id).await });
        if let Err(fault) = ended {
            tracing::warn!(%fault, "an upload stays in the bucket until its owner ends it");
        }
    }
}

fn start(words: &[String], place: &Place) -> Result<(Child, Option<ChildStdin>, String), Fault> {
    let failed = |why: &dyn std::fmt::Display| {
        Fault::Content(format!(
            "the process that keeps the upload can't start ({why})"
        ))
    };
    let (program, arguments) = words.split_first().ok_or_else(|| failed(&"no name"))?;
    let mut child = Command::new(program)
        .args(arguments)
        .arg(place.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // A signal from the terminal is for the process that sends the parts.
        .process_group(0)
        .spawn()
        .map_err(|error| failed(&error))?;
    let pipe = child.stdin.take();
    let mut line = String::new();
    if let Some(said) = child.stdout.take() {
        let _ = BufReader::new(said.take(64 << 10)).read_line(&mut line);
    }
    let line = line.trim_end();
    match line.split_once(' ') {
        Some(("upload", id)) if !id.is_empty() => Ok((child, pipe, id.to_owned())),
        Some(("error", text)) => {
            let _ = child.wait();
            Err(Fault::Content(text.to_owned()))
        }
        _ => {
            let _ = child.kill();
            let _ = child.wait();
            Err(failed(&"it said nothing"))
        }
    }
}

/// Be the process that keeps an upload: begin one to `place`, name it on `said`, and end it unless
/// `told` says that there is an object.
///
/// # Errors
/// It can't be begun or ended.
pub fn keep(place: &Place, told: &mut dyn Read, said: &mut dyn Write) -> Result<(), Error> {
    let failed = |fault| Error::Failed {
        verb: "write",
        name: place.to_string(),
        fault,
    };
    let Place::S3 { bucket, key } = place else {
        return Err(Error::place(&place.to_string(), "has no uploads"));
    };
    let target = Target {
        bucket: Bucket::from_env(bucket).map_err(failed)?.into(),
        key: key.clone(),
        net: Net::get()?,
        patience: Patience::default(),
        overwrite: true,
    };
    let begun = target.clone();
    let id = match target.net.wait(async move { begun.begin().await }) {
        Ok(id) => id,
        Err(fault) => {
            let _ = writeln!(said, "error {fault}");
            return Err(failed(fault));
        }
    };
    // If the other process is gone already, its end of this pipe is too.
    let _ = writeln!(said, "upload {id}").and_then(|()| said.flush());
    if is_done(told) {
        return Ok(());
    }
    let net = target.net;
    net.wait(async move { target.abort(&id).await })
        .map_err(failed)
}

fn is_done(told: &mut dyn Read) -> bool {
    let mut word = [0];
    loop {
        match told.read(&mut word) {
            Ok(1) => return word[0] == DONE,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return false,
        }
    }
}
