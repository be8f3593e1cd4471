//! Options of the negotiation, parsed.

use super::numbers::{
    MOST_NAME_BYTES, OPT_ABORT, OPT_EXPORT_NAME, OPT_GO, OPT_INFO, OPT_LIST, OPT_LIST_META_CONTEXT,
    OPT_SET_META_CONTEXT, OPT_STRUCTURED_REPLY,
};

/// The most data of an option that is read: room for long names and many queries.
pub(super) const MOST_DATA_BYTES: u32 = 64 << 10;

/// An option that a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Go on with this export; there is no reply for a refusal.
    ExportName(String),
    /// End.
    Abort,
    /// List the exports.
    List,
    /// Describe this export.
    Info(Wanted),
    /// Describe this export and go on with it.
    Go(Wanted),
    /// Use structured replies.
    StructuredReply,
    /// List the metadata contexts that fit these queries, or all without one.
    ListContexts(Contexts),
    /// Use the metadata contexts of these names and no others.
    SetContexts(Contexts),
    /// Something else.
    Unknown,
}

/// An export, and what to say of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) export: String,
    pub(super) infos: Vec<u16>,
}

/// Queries for metadata contexts of an export.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contexts {
    pub(super) export: String,
    pub(super) queries: Vec<String>,
}

/// The data of an option that isn't what it should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

impl Asked {
    /// Parse an option's data.
    pub(super) fn parse(option: u32, data: &[u8]) -> Result<Self, Malformed> {
        let mut data = Data(data);
        let asked = match option {
            OPT_EXPORT_NAME => {
                let len = data.0.len();
                Self::ExportName(data.text(len)?)
            }
            OPT_ABORT => {
                // What an abort says is not looked at.
                return Ok(Self::Abort);
            }
            OPT_LIST => Self::List,
            OPT_STRUCTURED_REPLY => Self::StructuredReply,
            OPT_INFO => Self::Info(data.wanted()?),
            OPT_GO => Self::Go(data.wanted()?),
            OPT_LIST_META_CONTEXT => Self::ListContexts(data.contexts()?),
            OPT_SET_META_CONTEXT => Self::SetContexts(data.contexts()?),
            _ => return Ok(Self::Unknown),
        };
        if data.0.is_empty() {
            Ok(asked)
        } else {
            Err(Malformed("the option has more data than it says"))
        }
    }
}

/// What is left of an option's data.
struct Data<'a>(&'a [u8]);

impl Data<'_> {
    fn take(&mut self, len: usize) -> Result<&[u8], Malformed> {
        let cut = self.0.split_at_checked(len);
        let (head, tail) = cut.ok_or(Malformed("the option has less data than it says"))?;
        self.0 = tail;
        Ok(head)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let bytes = self.take(N)?;
        bytes
            .first_chunk()
            .copied()
            .ok_or(Malformed("a number is cut off"))
    }

    fn text(&mut self, len: usize) -> Result<String, Malformed> {
        let bytes = self.take(len)?;
        if len > MOST_NAME_BYTES {
            return Err(Malformed("a name has more than 4096 bytes"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed("a name is not UTF-8"))?;
        Ok(text.to_owned())
    }

    fn long_text(&mut self) -> Result<String, Malformed> {
        let len = u32::from_be_bytes(self.number()?);
        self.text(usize::try_from(len).unwrap_or(usize::MAX))
    }

    fn wanted(&mut self) -> Result<Wanted, Malformed> {
        let export = self.long_text()?;
        let count = u16::from_be_bytes(self.number()?);
        let infos = (0..count).map(|_| self.number().map(u16::from_be_bytes));
        Ok(Wanted {
            infos: infos.collect::<Result<_, _>>()?,
            export,
        })
    }

    fn contexts(&mut self) -> Result<Contexts, Malformed> {
        let export = self.long_text()?;
        let count = u32::from_be_bytes(self.number()?);
        // Each takes 4 bytes at least, so a count that is a lie ends early.
        let queries = (0..count).map(|_| self.long_text());
        Ok(Contexts {
            queries: queries.collect::<Result<_, _>>()?,
            export,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn string(text: &str) -> Vec<u8> {
        let len = u32::try_from(text.len()).unwrap();
        [&len.to_be_bytes(), text.as_bytes()].concat()
    }

    #[test]
    fn options_are_parsed() {
        let data = [&string("vm1")[..], &[0, 2, 0, 3, 0, 1]].concat();
        let wanted = Wanted {
            export: "vm1".into(),
            infos: vec![3, 1],
        };
        assert_eq!(Asked::parse(OPT_GO, &data), Ok(Asked::Go(wanted)));
        let data = [&string("")[..], &[0, 0, 0, 1], &string("base:")].concat();
        let contexts = Contexts {
            export: String::new(),
            queries: vec!["base:".into()],
        };
        let parsed = Asked::parse(OPT_SET_META_CONTEXT, &data);
        assert_eq!(parsed, Ok(Asked::SetContexts(contexts)));
        let parsed = Asked::parse(OPT_EXPORT_NAME, b"vm1");
        assert_eq!(parsed, Ok(Asked::ExportName("vm1".into())));
        assert_eq!(Asked::parse(OPT_LIST, &[]), Ok(Asked::List));
        assert_eq!(Asked::parse(OPT_ABORT, b"bye"), Ok(Asked::Abort));
        for option in [0, 4, 5, 11, u32::MAX] {
            assert_eq!(Asked::parse(option, b"anything"), Ok(Asked::Unknown));
        }
    }

    #[test]
    fn lengths_that_lie_are_refused_before_anything_is_allocated_for_them() {
        let go = |data: &[u8]| Asked::parse(OPT_GO, data);
        let meta = |data: &[u8]| Asked::parse(OPT_SET_META_CONTEXT, data);
        assert!(go(&[]).is_err());
        assert!(go(&[0xff; 4]).is_err(), "a name of 4 GiB");
        assert!(go(&[0, 0, 0, 0, 0xff, 0xff]).is_err(), "65535 infos");
        assert!(go(&[0, 0, 0, 0, 0, 0, 7]).is_err(), "a byte too many");
        assert!(go(&[&string("\u{e9}")[..5], &[0, 0]].concat()).is_err());
        assert!(meta(&[0; 6]).is_err(), "a count that is cut off");
        assert!(meta(&[[0; 4], [0xff; 4]].concat()).is_err(), "4 G queries");
        assert!(Asked::parse(OPT_LIST, &[1]).is_err());
        assert!(Asked::parse(OPT_STRUCTURED_REPLY, &[1]).is_err());
        let long = vec![b'a'; MOST_NAME_BYTES + 1];
        assert!(Asked::parse(OPT_EXPORT_NAME, &long).is_err());
        assert!(Asked::parse(OPT_EXPORT_NAME, &long[1..]).is_ok());
    }
}
