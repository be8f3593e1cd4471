//! The log of `run` and `serve`: lines on stderr, or messages for the journal.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::panic::{self, PanicHookInfo};
use std::process::ExitCode;
use std::time::SystemTime;

use serde_json::{Value, json};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Layer, Registry};

use super::error::Error;
use super::print::output::{complain, say};

/// The variable that sets the log's filter.
const LOG: &str = "RAMBLK_LOG";
/// The variable that sets its format.
const FORMAT: &str = "RAMBLK_LOG_FORMAT";

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// Lines for people.
    Text,
    /// A JSON object in each line.
    Json,
    /// Messages with fields for systemd's journal.
    Journald,
}

/// Log as `RAMBLK_LOG_FORMAT` says, by default to stderr as text, what `RAMBLK_LOG` says, or from
/// this level on.
///
/// # Errors
/// [`Error::Usage`] if `RAMBLK_LOG` has anything but levels and targets with levels, if there is no
/// such format, or no journal.
pub(super) fn start_log(default: &str) -> Result<(), Error> {
    let filter = match std::env::var_os(LOG) {
        Some(wanted) if !wanted.is_empty() => log_filter(&wanted.to_string_lossy())?,
        _ => log_filter(default)?,
    };
    let format = match std::env::var_os(FORMAT) {
        Some(wanted) if !wanted.is_empty() => Format::parse(&wanted.to_string_lossy())?,
        _ => Format::Text,
    };
    if format == Format::Json {
        panic::set_hook(Box::new(panicked));
    }
    let log = tracing_subscriber::registry().with(format.layer()?.with_filter(filter));
    let _ = log.try_init();
    Ok(())
}

/// Print why the process doesn't start, or ends, to stderr: a line of the log if that is JSON, and
/// else a line for people.
pub(super) fn tell_end(error: &str, exit_code: u8) {
    let wanted = std::env::var_os(FORMAT).unwrap_or_default();
    match Format::parse(&wanted.to_string_lossy()) {
        Ok(Format::Json) => say(&line(error, json!({"exit_code": exit_code})).to_string()),
        _ => complain(error),
    }
}

/// The exit code of a process that serves, after at most one more line of its log.
pub(super) fn ended(result: Result<(), Error>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    tell_end(&error.to_string(), error.exit_code());
    ExitCode::from(error.exit_code())
}

/// A line as those of the log, which may be what can't be written.
fn line(message: &str, mut fields: Value) -> Value {
    fields["timestamp"] = humantime::format_rfc3339_micros(SystemTime::now())
        .to_string()
        .into();
    fields["level"] = "ERROR".into();
    fields["message"] = message.into();
    fields
}

/// Log a panic. The log itself may be where it happened, so nothing of it is used.
fn panicked(about: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let mut fields = json!({
        "thread": thread.name().unwrap_or("unnamed"),
        "at": about.location().map(ToString::to_string),
    });
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        fields["backtrace"] = trace.to_string().into();
    }
    let why = about.payload_as_str().unwrap_or("no reason");
    say(&line(&format!("bug: a thread panicked: {why}"), fields).to_string());
}

impl Format {
    fn parse(wanted: &str) -> Result<Self, Error> {
        match wanted {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "journald" => Ok(Self::Journald),
            _ => Err(Error::Usage(format!(
                "{FORMAT} has {wanted:?}: use text, json or journald"
            ))),
        }
    }

    fn layer(self) -> Result<Box<dyn Layer<Registry> + Send + Sync>, Error> {
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_target(false)
            // An error of stderr can't be written to stderr: that would panic.
            .log_internal_errors(false);
        match self {
            Self::Text => Ok(lines.with_ansi(std::io::stderr().is_terminal()).boxed()),
            Self::Json => {
                let lines = lines.json().flatten_event(true);
                Ok(lines.with_span_list(false).boxed())
            }
            Self::Journald => {
                let journal = tracing_journald::layer().map_err(|error| {
                    Error::Usage(format!(
                        "{FORMAT}=journald: there is no journal to write to ({error}); use text or \
                         json"
                    ))
                })?;
                let journal = journal.with_syslog_identifier("ramblk".into());
                Ok(journal.with_field_prefix(None).boxed())
            }
        }
    }
}

/// Parse a filter. A misspelt level would be taken for a target that never logs.
fn log_filter(wanted: &str) -> Result<Targets, Error> {
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    let stray = wanted
        .split(',')
        .map(str::trim)
        .find(|word| !word.contains(['=', '[']) && !is_level(word));
    let refused = |word: &str| {
        Error::Usage(format!(
            "{LOG} has {word:?}: use error, warn, info, debug, trace or off, or TARGET=LEVEL as in \
             ramblk::store=debug, with commas between"
        ))
    };
    match stray {
        Some(word) => Err(refused(word)),
        None => wanted.parse().map_err(|_| refused(wanted)),
    }
}
