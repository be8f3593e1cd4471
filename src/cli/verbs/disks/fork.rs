//! `fork`: disks with the content of others, in numbers.

use std::io::Read;
use std::path::Path;

use clap::Args;

use super::create::OnFull;
use super::life::LifeArgs;
use super::limits::LimitArgs;
use crate::cli::error::{Error, in_options};
use crate::cli::print::output::{OutputArgs, json, line, out};
use crate::cli::values::label::{parse_label, unique};
use crate::cli::values::names::NamePattern;
use crate::cli::values::or_none::{OrNone, parse_name_or_none, parse_size_or_none};
use crate::cli::values::power::WriteCache;
use crate::cli::values::sanitize::Sanitize;
use crate::cli::values::share::Share;
use crate::cli::values::size::parse_size;
use crate::cli::values::target::parse_target;
use crate::cli::verbs::images::address::on_host;
use crate::cli::verbs::select::Selector;
use crate::client::{Client, Method};
use crate::model::{
    Disk, ForkSettings, ForkSource, Forked, ForksRequest, ProblemKind, StateChoice,
};

/// The most bytes of names on stdin.
const MOST_STDIN_BYTES: u64 = 8 << 20;

#[derive(Debug, Args)]
#[command(
    override_usage = "ramblk fork [OPTIONS] <NAME[@SNAPSHOT]|image://NAME> <NEW>...\n       \
                            ramblk fork [OPTIONS] -l <KEY=VALUE> <NEW>..."
)]
pub(in crate::cli) struct Fork {
    /// What to fork: a disk as it is now, NAME@SNAPSHOT, or image://NAME. Then names of new disks,
    /// or patterns: 'vm-{001..200}', '{web,db}-test', '{name}-copy' with the name of what is
    /// forked. - reads names from stdin. With -l there are only new names, and each has {name} in
    /// it.
    #[arg(required = true, value_names = ["FROM", "NEW"], num_args = 1..)]
    words: Vec<String>,

    #[command(flatten)]
    selector: Selector,

    /// Fork a saved state: its number, as 'ramblk show' has it, or last. A VMM that restores the VM
    /// can use each of the new disks with this state.
    #[arg(long, value_name = "NUMBER")]
    state: Option<StateChoice>,

    /// Size of the new disks, at least that of what is forked.
    #[arg(long, value_parser = parse_size)]
    size: Option<u64>,

    /// Logical block size of the new disks in bytes: 512 or 4096. Without --size, what is forked is
    /// rounded up to whole blocks.
    #[arg(long, value_name = "BYTES")]
    block_size: Option<u64>,

    /// The most memory that each new disk may take.
    #[arg(long, value_name = "SIZE", value_parser = parse_size_or_none)]
    quota: Option<OrNone<u64>>,

    /// What happens to a write that finds no memory.
    #[arg(long, value_enum)]
    on_full: Option<OnFull>,

    /// The most request queues that a front end may use.
    #[arg(long)]
    queues: Option<u16>,

    /// Whether the new disks are read-only.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    read_only: Option<bool>,

    /// Serial that guests see, as in 'ci-{name}'; {name} stands for the disk's name, which is the
    /// default.
    #[arg(long)]
    serial: Option<String>,

    /// Front ends that may use a disk at the same time.
    #[arg(long, value_enum)]
    share: Option<Share>,

    /// Whether requests complete in the order in which they were made.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    in_order: Option<bool>,

    /// Whether zeros that a guest writes take no memory.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    detect_zeroes: Option<bool>,

    /// What to do about requests that a correct guest wouldn't make.
    #[arg(long, value_enum)]
    sanitize: Option<Sanitize>,

    /// When writes are stable.
    #[arg(long, value_enum)]
    write_cache: Option<WriteCache>,

    /// The most memory for the log of volatile writes.
    #[arg(long, value_name = "SIZE", value_parser = parse_size_or_none)]
    log_limit: Option<OrNone<u64>>,

    /// Label of the new disks; may be given more than once.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,

    /// Group whose limits the disks share; none for no group.
    #[arg(long, value_parser = parse_name_or_none)]
    group: Option<OrNone<String>>,

    /// User and group that own each new disk's socket, as in 'jail-{name}:kvm'; {name} stands for
    /// the disk's name. The default is the daemon's own: it is not inherited.
    #[arg(long, value_name = "OWNER", value_parser = parse_name_or_none)]
    socket_owner: Option<OrNone<String>>,

    /// Fault on command; may be given more than once. See 'ramblk fault add --help'.
    #[arg(long = "fault", value_name = "RULE")]
    faults: Vec<String>,

    /// Leave disks alone that exist, whatever they were made from.
    #[arg(long)]
    if_not_exists: bool,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    limits: LimitArgs,

    #[command(flatten)]
    life: LifeArgs,
}

impl Fork {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let sources = match self.selector.is_given() {
            true => self.selected(client)?,
            false => vec![self.named()?],
        };
        let request = ForksRequest {
            settings: self.settings()?,
            sources,
            if_not_exists: self.if_not_exists,
        };
        let answer = client.send(Method::POST, "/v1/forks", &request);
        let (_, forked): (_, Forked) = answer.map_err(|error| {
            let names = request.sources.iter().map(|source| source.names.len());
            let names: usize = names.sum();
            let error = in_options(error).advise(ProblemKind::TooLarge, |_| {
                format!("these are {names} names of new disks: fork fewer at once")
            });
            error.advise_maker()
        })?;
        if !self.output.is_json() {
            let from = match request.sources.as_slice() {
                [_] => self.words[0].clone(),
                sources => format!("{} disks", sources.len()),
            };
            return out(&said(&from, &forked));
        }
        // A line for each disk, as where there is only one.
        let lines: Result<Vec<String>, Error> = forked.disks.iter().map(json).collect();
        line(&lines?.join("\n"))
    }

    /// What the first word names, with the names of all forks.
    fn named(&self) -> Result<ForkSource, Error> {
        let Some((from, names)) = self.words.split_first().filter(|(_, new)| !new.is_empty())
        else {
            return Err(Error::Usage(
                "give what to fork and a new name, as in 'ramblk fork golden vm1'".into(),
            ));
        };
        let mut source = match on_host(Path::new(from)) {
            Some(image) => ForkSource {
                image: Some(image.to_owned()),
                state: self.state,
                ..ForkSource::default()
            },
            None => {
                let target = parse_target(from).map_err(Error::Usage)?;
                ForkSource {
                    disk: Some(target.disk),
                    snapshot: target.snapshot,
                    state: self.state,
                    ..ForkSource::default()
                }
            }
        };
        let name = source.disk.clone().or_else(|| source.image.clone());
        let patterns = patterns(names)?;
        let names = patterns
            .iter()
            .flat_map(|pattern| pattern.names(name.as_deref().unwrap_or_default()));
        source.names = names.collect();
        Ok(source)
    }

    /// Each disk that the selector selects, with the names of its forks.
    fn selected(&self, client: &Client) -> Result<Vec<ForkSource>, Error> {
        let patterns = patterns(&self.words)?;
        if !patterns.iter().all(NamePattern::names_source) {
            return Err(Error::Usage(
                "several disks are forked: give names with {name} in them, as in '{name}-copy'"
                    .into(),
            ));
        }
        let disks = self.selector.disks(client)?.into_iter();
        let sources = disks.map(|disk| ForkSource {
            names: patterns
                .iter()
                .flat_map(|it| it.names(&disk.name))
                .collect(),
            disk: Some(disk.name),
            state: self.state,
            ..ForkSource::default()
        });
        Ok(sources.collect())
    }

    fn settings(&self) -> Result<ForkSettings, Error> {
        Ok(ForkSettings {
            size_bytes: self.size,
            block_size: self.block_size,
            serial: self.serial.clone(),
            queues: self.queues,
            read_only: self.read_only,
            share: self.share.map(Into::into),
            in_order: self.in_order,
            detect_zeroes: self.detect_zeroes,
            on_full: self.on_full.map(Into::into),
            sanitize: self.sanitize.map(Into::into),
            write_cache: self.write_cache.map(Into::into),
            log_limit_bytes: self.log_limit.clone().map(OrNone::option),
            quota_bytes: self.quota.clone().map(OrNone::option),
            limits: self.limits.patch(),
            group: self.group.clone().map(OrNone::option),
            life: self.life.patch(),
            protected: None,
            socket_owner: self.socket_owner.clone().and_then(OrNone::option),
            labels: unique(&self.labels)?,
            faults: self.faults.clone(),
        })
    }
}

/// The patterns that these words are; `-` reads words from stdin.
fn patterns(words: &[String]) -> Result<Vec<NamePattern>, Error> {
    // Before stdin is read, which may wait for a user who types.
    if words.iter().filter(|word| *word == "-").count() > 1 {
        return Err(Error::Usage("- is given twice: give it once".into()));
    }
    let mut patterns = Vec::new();
    for word in words {
        if word != "-" {
            patterns.push(NamePattern::parse(word).map_err(Error::Usage)?);
            continue;
        }
        let stdin = stdin()?;
        let before = patterns.len();
        for word in stdin.split_whitespace() {
            patterns.push(NamePattern::parse(word).map_err(Error::Usage)?);
        }
        if patterns.len() == before {
            return Err(Error::Usage("there are no names on stdin".into()));
        }
    }
    Ok(patterns)
}

fn stdin() -> Result<String, Error> {
    let mut text = String::new();
    let read = std::io::stdin()
        .lock()
        .take(MOST_STDIN_BYTES)
        .read_to_string(&mut text);
    match read {
        Ok(bytes) if (bytes as u64) < MOST_STDIN_BYTES => Ok(text),
        Ok(_) => Err(Error::Usage(format!(
            "stdin has more than {MOST_STDIN_BYTES} bytes of names: give fewer at once"
        ))),
        Err(error) => Err(Error::Usage(format!(
            "can't read names from stdin: {error}"
        ))),
    }
}

fn said(from: &str, forked: &Forked) -> String {
    match forked.disks.as_slice() {
        [disk] if forked.created == 1 => format!("{} is at {}\n", disk.name, disk.socket),
        [disk] => format!("{} exists already, as asked\n", disk.name),
        disks => several(from, forked.created, disks),
    }
}

fn several(from: &str, created: usize, disks: &[Disk]) -> String {
    let (first, last) = match disks {
        [first, .., last] => (first.name.as_str(), last.name.as_str()),
        _ => return String::new(),
    };
    let existing = disks.len() - created;
    let existing = match (created, existing) {
        (_, 0) => String::new(),
        (0, _) => return format!("{first} to {last}: all {existing} exist already, as asked\n"),
        (_, existing) => format!("; {existing} existed already, as asked"),
    };
    format!("{first} to {last}: {created} disks are forked from {from}{existing}\n")
}
