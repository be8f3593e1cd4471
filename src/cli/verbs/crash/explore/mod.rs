//! `crash-explore`: a check of each state that a crash may leave.
//!
//! | file | what it holds |
//! |---|---|
//! | `stage` | the file that a check sees |
//! | `folder` | the directory of an exploration |
//! | `check` | running a check |
//! | `disk` | states as disks of the daemon |
//! | `report` | what was found |
//! | `job` | going through the states, on one thread |

mod check;
mod disk;
mod folder;
mod job;
mod report;
mod stage;

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use self::check::Check;
use self::disk::Wanted;
pub(super) use self::folder::Folder;
use self::job::{Job, Shared};
use self::report::Report;
use super::record::fetch;
use crate::cli::error::{EXIT_DIFFERENT, Error};
use crate::cli::print::output::OutputArgs;
use crate::cli::values::power::{Keep, parse_tear_unit};
use crate::cli::values::span::parse_timeout;
use crate::client::{Client, path};
use crate::crash::explore::{At, Plan, StateName, points};
use crate::crash::log::{Log, ReadAt};
use crate::crash::{self, Policy, TearUnit};
use crate::daemon::interruption;
use crate::model::Recording;
use crate::threads::{self, Role};

#[derive(Debug, Args)]
pub(in crate::cli) struct Explore {
    /// The disk, whose recording is explored.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,

    /// When the crash is: any, flush:K (just before the K-th flush completes), mark:TEXT, write:K.
    #[arg(long, value_name = "MOMENT", default_value = "any")]
    at: At,

    /// Check only this state, as a report names it. May be given more than once.
    #[arg(long = "state", value_name = "STATE")]
    states: Vec<StateName>,

    /// Check no more than this many of the states, which the seed picks.
    #[arg(long, value_name = "N")]
    count: Option<NonZeroUsize>,

    /// Random states of each moment that has more than can all be tried.
    #[arg(long, value_name = "N", default_value_t = 8)]
    random: u64,

    /// The seed of the random states.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Which of the volatile writes are there. Without it, as with reorder, and torn.
    #[arg(long, value_enum)]
    keep: Option<Keep>,

    /// Tear writes that are there: with all and prefix, the last one. It is the default without
    /// --keep.
    #[arg(long, overrides_with = "no_torn")]
    torn: bool,

    /// Tear no writes: each is there or lost.
    #[arg(long)]
    no_torn: bool,

    /// Leave random bytes in place of some writes.
    #[arg(long)]
    garbage: bool,

    /// What the device promises to write whole: 512 to 64K. The default is the disk's physical
    /// block.
    #[arg(long, value_name = "SIZE", value_parser = parse_tear_unit, default_value = "4096")]
    tear_unit: TearUnit,

    /// How many checks run at the same time. The default is one per processor.
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// Make each state that is found smaller, to the fewest lost or torn writes that are still
    /// found.
    #[arg(long)]
    minimize: bool,

    /// End after this many states were found.
    #[arg(long, value_name = "N")]
    stop_at: Option<NonZeroUsize>,

    /// How long a check may take, as in 30s, 500ms or 2m; a plain number is in seconds. One that
    /// takes longer counts as found.
    #[arg(long, value_name = "TIME", value_parser = parse_timeout, default_value = "60s")]
    timeout: Duration,

    /// A state, or a file with content, that the check must find good. It is tried first.
    #[arg(long, value_name = "STATE|FILE")]
    good: Option<PathBuf>,

    /// A state, or a file with content, that the check must find bad. It is tried first.
    #[arg(long, value_name = "STATE|FILE")]
    bad: Option<PathBuf>,

    /// Make the states, and run no check: for how fast that is.
    #[arg(long)]
    no_check: bool,

    /// A directory for the files of states. The default is one in memory: /dev/shm.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    #[command(flatten)]
    output: OutputArgs,

    /// The check: {file} in it is the path of a state's content, which it may change; {socket} is a
    /// vhost-user socket of a disk that has it, and {nbd} a URI for NBD. It finds the state bad if
    /// its exit code isn't 0. $RAMBLK_MARKS has the marks before the crash, a line each, and
    /// $RAMBLK_STATE the state's name.
    #[arg(
        last = true,
        required_unless_present = "no_check",
        value_name = "COMMAND"
    )]
    command: Vec<String>,
}

impl Explore {
    /// Exits with 0 if nothing was found, with 1 if something was, and with more if that isn't
    /// known.
    pub(in crate::cli) fn run_with(
        self,
        ask: impl FnOnce() -> Result<Client, Error>,
    ) -> Result<(), Error> {
        let failed = |error| Error::NoAnswer(Box::new(error));
        let output = self.output;
        let report = ask().and_then(|client| self.explore(&client));
        let report = report.map_err(failed)?;
        output.print(&report, Report::text).map_err(failed)?;
        if report.found.is_empty() && report.interrupted {
            let text = "it was interrupted: of the states that are left nothing is known";
            return Err(failed(Error::Other(text.into())));
        }
        if report.found.is_empty() {
            return Ok(());
        }
        Err(Error::Told {
            exit_code: EXIT_DIFFERENT,
        })
    }

    fn explore(self, client: &Client) -> Result<Report, Error> {
        let unknown = |error: &dyn std::fmt::Display| Error::Usage(error.to_string());
        check::find(&self.command)?;
        let plan = self.plan()?;
        let recording: Recording = client.get(&path::recording(&self.name))?;
        let folder = Folder::new(self.dir.as_deref())?;
        let (base, log_file) = inputs(client, &recording, folder.path())?;
        let size_bytes = file_error("read", folder.path(), base.metadata())?.len();
        let log = Log::read(&LogFile(&log_file), size_bytes);
        let log = log.map_err(|error| Error::Other(error.to_string()))?;
        let points = points(&log, &self.at).map_err(|error| unknown(&error))?;
        let wanted = Wanted::by(&self.command);
        let check = match self.no_check {
            true => None,
            false => Some(Check {
                words: wanted.words(self.command, client.socket())?,
                timeout: self.timeout,
                interrupted: interruption()
                    .map_err(|error| Error::Other(format!("can't handle signals: {error}")))?,
            }),
        };
        let usual = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let jobs = self.jobs.map_or(usual, NonZeroUsize::get);
        let shared = Shared::new(Job {
            check,
            disk: &self.name,
            api: client.socket(),
            wanted,
            log: &log,
            data: &log_file,
            base: &base,
            points: &points,
            only: &self.states,
            plan,
            most: self.count.map(NonZeroUsize::get),
            minimises: self.minimize,
            stop_at: self.stop_at.map_or(usize::MAX, NonZeroUsize::get),
            jobs,
        })?;
        let begun = Instant::now();
        let known = folder.path().join("known");
        shared.known(&known, self.good.as_deref(), self.bad.as_deref())?;
        std::thread::scope(|scope| {
            let start = |number| {
                let (shared, folder) = (&shared, folder.path().join(number_of(number)));
                threads::spawn_scoped(scope, Role::Explore(number), move || {
                    shared.run(number, &folder)
                })
            };
            let started: Vec<_> = (0..jobs).map(start).collect();
            let mut result = Ok(());
            for thread in started {
                let ended = thread.map_err(|error| Error::Other(format!("no thread: {error}")));
                let ended = ended.and_then(|thread| {
                    let gone = |_| Error::Other("a thread of the exploration panicked".into());
                    thread.join().map_err(gone)?
                });
                result = result.and(ended);
            }
            result
        })?;
        Ok(shared.report(&self.name, begun.elapsed()))
    }
}

impl Explore {
    fn plan(&self) -> Result<Plan, Error> {
        let keep = self.keep.map(crash::Keep::from);
        let plan = Plan {
            unit: self.tear_unit,
            keep,
            is_torn: self.torn || (keep.is_none() && !self.no_torn),
            is_garbage: self.garbage,
            random: self.random,
            seed: self.seed,
        };
        let usual = keep.unwrap_or(crash::Keep::Reorder);
        let policy = Policy::new(usual, plan.is_torn, plan.is_garbage, plan.unit);
        policy.map_err(|error| Error::Usage(error.to_string()))?;
        Ok(plan)
    }
}

/// What a recording has, in files: the content before, and the log.
fn inputs(client: &Client, recording: &Recording, folder: &Path) -> Result<(File, File), Error> {
    let (disk, snapshot) = recording.base.rsplit_once('@').unwrap_or_default();
    let base = fetched(&folder.join("base"), |file, path| {
        let from = format!("{}/data?snapshot={snapshot}", path::disk(disk));
        fetch(client, &from, file, path)
    })?;
    let log = fetched(&folder.join("log"), |file, path| {
        let from = format!("{}/log", path::recording(disk));
        fetch(client, &from, file, path)
    })?;
    Ok((base, log))
}

fn number_of(job: usize) -> String {
    format!("job-{job}")
}

fn fetched(
    path: &Path,
    fetch: impl FnOnce(&File, &Path) -> Result<(), Error>,
) -> Result<File, Error> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    let file = file_error("create", path, options.open(path))?;
    fetch(&file, path)?;
    Ok(file)
}

fn file_error<T>(what: &'static str, path: &Path, done: std::io::Result<T>) -> Result<T, Error> {
    done.map_err(|source| Error::File {
        what,
        path: path.to_owned(),
        source,
    })
}

/// A log in a file.
pub(super) struct LogFile<'f>(pub(super) &'f File);

impl ReadAt for LogFile<'_> {
    fn length_bytes(&self) -> u64 {
        self.0.metadata().map_or(0, |about| about.len())
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> std::io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self.0, into, at)
    }
}
