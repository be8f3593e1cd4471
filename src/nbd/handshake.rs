//! The negotiation: a client's options, one after the other, until it goes on with the export or
//! leaves.

use std::time::Instant;

use super::error::Error;
use super::export::{About, Export};
use super::numbers::{
    ALLOCATION, BITMAP_PREFIX, CAN_MULTI_CONN, FIXED_NEWSTYLE, HAS_FLAGS, IHAVEOPT,
    INFO_BLOCK_SIZE, INFO_DESCRIPTION, INFO_EXPORT, INFO_NAME, MOST_PAYLOAD_BYTES, NBDMAGIC,
    NO_ZEROES, OPT_EXPORT_NAME, OPT_SET_META_CONTEXT, OPTION_REPLY_MAGIC, PREFERRED_BYTES,
    READ_ONLY, REP_ACK, REP_ERR_INVALID, REP_ERR_TOO_BIG, REP_ERR_UNKNOWN, REP_ERR_UNSUP, REP_INFO,
    REP_META_CONTEXT, REP_SERVER, SEND_CACHE, SEND_DF, SEND_FAST_ZERO, SEND_FLUSH, SEND_FUA,
    SEND_TRIM, SEND_WRITE_ZEROES,
};
use super::options::{Asked, Contexts, MOST_DATA_BYTES, Wanted};
use super::stream::Wire;

/// The most options of one negotiation.
const MOST_OPTIONS: u32 = 1024;
/// The most data of an option that is skipped rather than the client cut off.
const MOST_SKIPPED_BYTES: u32 = 32 << 20;
/// The most metadata contexts of one connection.
const MOST_CONTEXTS: usize = 64;
const WHAT: &str = "its negotiation";

/// How a negotiation ended.
#[derive(Debug)]
pub(super) enum Negotiated {
    /// The client left.
    Left,
    /// The client goes on with the export.
    Go(Agreed),
}

/// What was agreed.
#[derive(Debug, Default)]
pub(super) struct Agreed {
    pub(super) structured: bool,
    /// Metadata contexts, numbered from 0.
    pub(super) contexts: Vec<Context>,
}

/// A metadata context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Context {
    /// What is mapped.
    Allocation,
    /// What has changed since the snapshot of this name.
    Changes(String),
}

impl Context {
    fn name(&self) -> String {
        match self {
            Self::Allocation => ALLOCATION.to_owned(),
            Self::Changes(since) => format!("{BITMAP_PREFIX}{since}"),
        }
    }

    /// The context of exactly this name.
    fn named(name: &str, export: &dyn Export) -> Option<Self> {
        if name == ALLOCATION {
            return Some(Self::Allocation);
        }
        let since = name.strip_prefix(BITMAP_PREFIX)?;
        let is_there = !since.is_empty() && export.has_bitmap(since);
        is_there.then(|| Self::Changes(since.to_owned()))
    }

    /// The contexts that a query of a list means: one, or all of a namespace.
    fn listed(query: &str, export: &dyn Export) -> Vec<Self> {
        match query {
            "base:" => vec![Self::Allocation],
            "qemu:" | BITMAP_PREFIX => {
                let all = export.bitmaps().into_iter();
                all.map(Self::Changes).collect()
            }
            name => Self::named(name, export).into_iter().collect(),
        }
    }
}

/// Negotiate.
pub(super) fn negotiate(wire: &mut Wire<'_>, export: &dyn Export) -> Result<Negotiated, Error> {
    let by = Instant::now() + wire.pace.negotiation;
    let hello = FIXED_NEWSTYLE | NO_ZEROES;
    wire.put(&NBDMAGIC.to_be_bytes())?;
    wire.put(&IHAVEOPT.to_be_bytes())?;
    wire.put(&hello.to_be_bytes())?;
    let flags = u32::from_be_bytes(wire.take(by, WHAT)?);
    if flags & !u32::from(hello) != 0 {
        return Err(Error::ClientFlags(flags));
    }
    let mut negotiation = Negotiation {
        wire,
        export,
        by,
        agreed: Agreed::default(),
        with_zeroes: flags & u32::from(NO_ZEROES) == 0,
    };
    for _ in 0..MOST_OPTIONS {
        match negotiation.step()? {
            Step::Next => {}
            Step::Left => return Ok(Negotiated::Left),
            Step::Go => return Ok(Negotiated::Go(negotiation.agreed)),
        }
    }
    Err(Error::ManyOptions(MOST_OPTIONS))
}

struct Negotiation<'a, 'w> {
    wire: &'a mut Wire<'w>,
    export: &'a dyn Export,
    by: Instant,
    agreed: Agreed,
    /// Whether the answer to EXPORT_NAME ends with zeros.
    with_zeroes: bool,
}

enum Step {
    Next,
    Left,
    Go,
}

impl Negotiation<'_, '_> {
    /// One option.
    fn step(&mut self) -> Result<Step, Error> {
        let magic = u64::from_be_bytes(self.wire.take(self.by, WHAT)?);
        if magic != IHAVEOPT {
            let what = "an option";
            return Err(Error::Magic { what, found: magic });
        }
        let option = u32::from_be_bytes(self.wire.take(self.by, WHAT)?);
        let len_bytes = u32::from_be_bytes(self.wire.take(self.by, WHAT)?);
        if option == OPT_SET_META_CONTEXT {
            // Whatever comes of it, the contexts before are no longer agreed.
            self.agreed.contexts.clear();
        }
        if len_bytes > MOST_DATA_BYTES {
            if len_bytes > MOST_SKIPPED_BYTES || option == OPT_EXPORT_NAME {
                return Err(Error::LongOption { option, len_bytes });
            }
            let by = self.by;
            self.wire.skip(len_bytes.into(), || by, WHAT)?;
            let why = "the option has too much data";
            return self.reply(option, REP_ERR_TOO_BIG, why.as_bytes());
        }
        let mut data = vec![0; usize::try_from(len_bytes).unwrap_or_default()];
        self.wire.take_into(&mut data, self.by, WHAT)?;
        match Asked::parse(option, &data) {
            Ok(asked) => self.answer(option, asked),
            Err(_) if option == OPT_EXPORT_NAME => {
                let name = String::from_utf8_lossy(&data).chars().take(64).collect();
                Err(Error::NoExport(name))
            }
            Err(malformed) => self.reply(option, REP_ERR_INVALID, malformed.0.as_bytes()),
        }
    }

    fn answer(&mut self, option: u32, asked: Asked) -> Result<Step, Error> {
        match asked {
            Asked::ExportName(name) => self.go_at_once(name),
            Asked::Abort => {
                self.reply(option, REP_ACK, &[])?;
                Ok(Step::Left)
            }
            Asked::List => {
                let name = self.export.about().name.clone();
                self.reply(option, REP_SERVER, &string(&name))?;
                self.reply(option, REP_ACK, &[])
            }
            Asked::Info(wanted) => {
                self.describe(option, &wanted)?;
                Ok(Step::Next)
            }
            Asked::Go(wanted) => match self.describe(option, &wanted)? {
                true => Ok(Step::Go),
                false => Ok(Step::Next),
            },
            Asked::StructuredReply => {
                self.agreed.structured = true;
                self.reply(option, REP_ACK, &[])
            }
            Asked::ListContexts(contexts) => self.list_contexts(option, &contexts),
            Asked::SetContexts(contexts) => self.set_contexts(option, &contexts),
            Asked::Unknown => self.reply(option, REP_ERR_UNSUP, b"the option is not supported"),
        }
    }

    /// Reply to an option.
    fn reply(&mut self, option: u32, kind: u32, data: &[u8]) -> Result<Step, Error> {
        let len_bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
        self.wire.put(&OPTION_REPLY_MAGIC.to_be_bytes())?;
        for number in [option, kind, len_bytes] {
            self.wire.put(&number.to_be_bytes())?;
        }
        self.wire.put(data)?;
        Ok(Step::Next)
    }

    /// Whether the name means the export. If not, say so.
    fn is_ours(&mut self, option: u32, name: &str) -> Result<bool, Error> {
        if is_name(self.export.about(), name) {
            return Ok(true);
        }
        let ours = &self.export.about().name;
        let why = format!("there is no such export here: name {ours:?}, or none");
        self.reply(option, REP_ERR_UNKNOWN, why.as_bytes())?;
        Ok(false)
    }

    /// EXPORT_NAME, whose answer has no head.
    fn go_at_once(&mut self, name: String) -> Result<Step, Error> {
        let about = self.export.about();
        if !is_name(about, &name) {
            return Err(Error::NoExport(name.chars().take(64).collect()));
        }
        let (size_bytes, flags) = (about.size_bytes, self.flags());
        self.wire.put(&size_bytes.to_be_bytes())?;
        self.wire.put(&flags.to_be_bytes())?;
        if self.with_zeroes {
            self.wire.put(&[0; 124])?;
        }
        Ok(Step::Go)
    }

    /// INFO and GO. Returns whether the export is ours.
    fn describe(&mut self, option: u32, wanted: &Wanted) -> Result<bool, Error> {
        if !self.is_ours(option, &wanted.export)? {
            return Ok(false);
        }
        let about = self.export.about();
        let kind = |kind: u16| kind.to_be_bytes();
        let (size_bytes, flags) = (about.size_bytes.to_be_bytes(), self.flags().to_be_bytes());
        let export = [&kind(INFO_EXPORT)[..], &size_bytes, &flags].concat();
        self.reply(option, REP_INFO, &export)?;
        let preferred = PREFERRED_BYTES.max(about.block_bytes);
        let sizes = [about.block_bytes, preferred, MOST_PAYLOAD_BYTES];
        let sizes = sizes.map(u32::to_be_bytes).concat();
        let sizes = [&kind(INFO_BLOCK_SIZE)[..], &sizes].concat();
        self.reply(option, REP_INFO, &sizes)?;
        for (info, text) in [
            (INFO_NAME, &about.name),
            (INFO_DESCRIPTION, &about.description),
        ] {
            if wanted.infos.contains(&info) {
                let text = [&kind(info)[..], text.as_bytes()].concat();
                self.reply(option, REP_INFO, &text)?;
            }
        }
        self.reply(option, REP_ACK, &[])?;
        Ok(true)
    }

    fn flags(&self) -> u16 {
        let about = self.export.about();
        let mut flags = HAS_FLAGS | SEND_FLUSH | SEND_FUA | SEND_CACHE;
        flags |= if about.is_writable {
            SEND_TRIM | SEND_WRITE_ZEROES | SEND_FAST_ZERO
        } else {
            READ_ONLY
        };
        if self.agreed.structured {
            flags |= SEND_DF;
        }
        if about.is_shared {
            flags |= CAN_MULTI_CONN;
        }
        flags
    }

    /// Whether contexts can be asked for. If not, say so.
    fn may_ask(&mut self, option: u32, contexts: &Contexts) -> Result<bool, Error> {
        if !self.agreed.structured {
            let why = "negotiate structured replies before";
            self.reply(option, REP_ERR_INVALID, why.as_bytes())?;
            return Ok(false);
        }
        self.is_ours(option, &contexts.export)
    }

    fn list_contexts(&mut self, option: u32, asked: &Contexts) -> Result<Step, Error> {
        if !self.may_ask(option, asked)? {
            return Ok(Step::Next);
        }
        let all = ["base:".to_owned(), "qemu:".to_owned()];
        let queries = match &*asked.queries {
            [] => &all[..],
            queries => queries,
        };
        if queries.len() > MOST_CONTEXTS {
            return self.reply(option, REP_ERR_TOO_BIG, b"ask for 64 contexts at most");
        }
        for query in queries {
            for context in Context::listed(query, self.export) {
                self.context(option, 0, &context)?;
            }
        }
        self.reply(option, REP_ACK, &[])
    }

    fn set_contexts(&mut self, option: u32, asked: &Contexts) -> Result<Step, Error> {
        if !self.may_ask(option, asked)? {
            return Ok(Step::Next);
        }
        if asked.queries.len() > MOST_CONTEXTS {
            return self.reply(option, REP_ERR_TOO_BIG, b"ask for 64 contexts at most");
        }
        for query in &asked.queries {
            let Some(context) = Context::named(query, self.export) else {
                continue;
            };
            if !self.agreed.contexts.contains(&context) {
                let number = self.agreed.contexts.len();
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                self.context(option, number, &context)?;
                self.agreed.contexts.push(context);
            }
        }
        self.reply(option, REP_ACK, &[])
    }

    fn context(&mut self, option: u32, number: u32, context: &Context) -> Result<Step, Error> {
        let data = [&number.to_be_bytes()[..], context.name().as_bytes()].concat();
        self.reply(option, REP_META_CONTEXT, &data)
    }
}

/// Whether a client means the export by this name.
fn is_name(about: &About, name: &str) -> bool {
    name.is_empty() || name == about.name
}

/// A string with its length in front.
fn string(text: &str) -> Vec<u8> {
    let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
    [&len.to_be_bytes(), text.as_bytes()].concat()
}
