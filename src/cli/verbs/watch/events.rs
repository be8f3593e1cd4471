//! `events`: what happens to disks, a line each.

use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::cli::error::Error;
use crate::cli::print::events;
use crate::cli::print::layout::{columns, folded};
use crate::cli::print::output::OutputArgs;
use crate::cli::values::span::parse_span;
use crate::client::{Client, path};
use crate::model::{Event, EventId};

#[derive(Debug, Args)]
pub(in crate::cli) struct Events {
    /// Only events of this disk, until it is destroyed.
    #[arg(long, value_name = "NAME")]
    disk: Option<String>,

    /// Begin with the past events of this time, as in 10m. The daemon keeps its last 4096 events.
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    since: Option<Duration>,

    /// Begin with the event after this one, which is the run and the id of its JSON, as in
    /// 3f29a1c0-17.
    #[arg(long, value_name = "RUN-ID", conflicts_with = "since")]
    after: Option<EventId>,

    /// End after the past events.
    #[arg(long)]
    no_follow: bool,

    #[command(flatten)]
    output: OutputArgs,
}

/// Events that the stream does not have.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Gap {
    /// How many came too fast, or are no longer kept.
    Missed(u64),
    /// The daemon was started again, and what happened before isn't known.
    Restarted(bool),
}

impl Events {
    fn query(&self) -> String {
        let disk = self.disk.as_ref();
        let seconds = |since: Duration| since.as_secs_f64().ceil().min(u32::MAX.into());
        let seconds = self.since.map(seconds);
        let all = [
            disk.map(|name| format!("disk={}", path::encode(name))),
            seconds.map(|seconds| format!("since_seconds={seconds}")),
            self.after.map(|id| format!("after={id}")),
            self.no_follow.then(|| "follow=false".to_owned()),
        ];
        all.into_iter().flatten().collect::<Vec<_>>().join("&")
    }

    /// Print a note about a gap, and ignore kinds that only a newer daemon has.
    fn other(&self, data: &str) -> Result<(), Error> {
        match serde_json::from_str::<Gap>(data) {
            Ok(gap) => self.output.print(&gap, |gap| match gap {
                Gap::Missed(count) => {
                    format!("{count} events came too fast or are no longer kept: missed\n")
                }
                Gap::Restarted(_) => {
                    "the daemon was started again since; events before that are missed\n".into()
                }
            }),
            Err(_) => Ok(()),
        }
    }

    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let (mut gone, columns) = (false, columns());
        client.events(&self.query(), |data| {
            match serde_json::from_str::<Event>(data) {
                Ok(event) => {
                    gone = self.disk.as_ref().is_some_and(|disk| event.ends(disk));
                    let fold = |event: &Event| {
                        let line = events::event(event);
                        folded(line.trim_end(), events::INDENT, columns) + "\n"
                    };
                    self.output.print(&event, fold)
                }
                Err(_) => self.other(data),
            }
        })?;
        if gone || self.no_follow {
            return Ok(());
        }
        Err(Error::Other(
            "the stream of events ended, most likely because the daemon ended".into(),
        ))
    }
}
