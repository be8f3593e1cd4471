//! Options for rates and bursts.

use clap::Args;

use crate::cli::values::or_none::{OrNone, parse_count_or_none, parse_size_or_none};
use crate::model::{Limits, LimitsPatch, RatePatch};

type Bound = OrNone<u64>;

/// A given option sets a limit, `none` removes it, and the others stay.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Limits (none removes one)")]
pub(in crate::cli) struct LimitArgs {
    /// Requests per second of all kinds.
    #[arg(long, value_name = "N", value_parser = parse_count_or_none)]
    iops: Option<Bound>,
    /// Requests that may come at once after a pause.
    #[arg(long, value_name = "N", value_parser = parse_count_or_none)]
    iops_burst: Option<Bound>,
    /// Bytes per second in both directions.
    #[arg(long, value_name = "SIZE", value_parser = parse_size_or_none)]
    bps: Option<Bound>,
    /// Bytes that may be moved at once after a pause.
    #[arg(long, value_name = "SIZE", value_parser = parse_size_or_none)]
    bps_burst: Option<Bound>,
    /// Reads per second.
    #[arg(long, value_name = "N", value_parser = parse_count_or_none)]
    read_iops: Option<Bound>,
    /// Reads that may come at once after a pause.
    #[arg(long, value_name = "N", value_parser = parse_count_or_none)]
    read_iops_burst: Option<Bound>,
    /// Bytes read per second.
    #[arg(long, value_name = "SIZE", value_parser = parse_size_or_none)]
    read_bps: Option<Bound>,
    /// Bytes that may be read at once after a pause.
    #[arg(long, value_name = "SIZE", value_parser = parse_size_or_none)]
    read_bps_burst: Option<Bound>,
    /// Writes, discards and write-zeroes per second.
    #[arg(long, value_name = "N", value_parser = parse_count_or_none)]
    write_iops: Option<Bound>,
    /// Writes that may come at once after a pause.
    #[arg(long, value_name = "N", value_parser = parse_count_or_none)]
    write_iops_burst: Option<Bound>,
    /// Bytes written per second.
    #[arg(long, value_name = "SIZE", value_parser = parse_size_or_none)]
    write_bps: Option<Bound>,
    /// Bytes that may be written at once after a pause.
    #[arg(long, value_name = "SIZE", value_parser = parse_size_or_none)]
    write_bps_burst: Option<Bound>,
}

impl LimitArgs {
    /// Whether no option was given.
    pub(in crate::cli) fn is_empty(&self) -> bool {
        self.all().iter().all(|bound| bound.is_none())
    }

    /// The given options. The API refuses a burst without a rate.
    pub(in crate::cli) fn patch(&self) -> LimitsPatch {
        let rate = |bounds: &[&Option<Bound>]| {
            let mut bounds = bounds
                .iter()
                .map(|bound| (*bound).clone().map(OrNone::option));
            let mut next = || bounds.next().flatten();
            RatePatch {
                iops: next(),
                iops_burst: next(),
                bytes_per_second: next(),
                bytes_burst: next(),
            }
        };
        let all = self.all();
        LimitsPatch {
            total: rate(&all[..4]),
            read: rate(&all[4..8]),
            write: rate(&all[8..]),
        }
    }

    /// These limits, changed by the given options.
    pub(in crate::cli) fn change(&self, limits: Limits) -> Limits {
        self.patch().over(limits)
    }

    fn all(&self) -> [&Option<Bound>; 12] {
        [
            &self.iops,
            &self.iops_burst,
            &self.bps,
            &self.bps_burst,
            &self.read_iops,
            &self.read_iops_burst,
            &self.read_bps,
            &self.read_bps_burst,
            &self.write_iops,
            &self.write_iops_burst,
            &self.write_bps,
            &self.write_bps_burst,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Rate;

    #[test]
    fn what_is_said_changes_and_the_rest_stays() {
        let mut before = Limits::default();
        before.read.iops = Some(100);
        before.read.iops_burst = Some(10);
        before.write.iops = Some(7);
        let said = LimitArgs {
            read_iops: Some(OrNone::None),
            bps: Some(OrNone::Some(1 << 20)),
            write_iops_burst: Some(OrNone::Some(9)),
            ..LimitArgs::default()
        };
        let after = said.change(before);
        assert_eq!(after.read, Rate::default(), "the burst goes with its rate");
        assert_eq!(after.total.bytes_per_second, Some(1 << 20));
        assert_eq!(
            (after.write.iops, after.write.iops_burst),
            (Some(7), Some(9))
        );
        assert!(LimitArgs::default().is_empty() && !said.is_empty());
    }

    #[test]
    fn a_burst_without_its_rate_is_not_dropped() {
        let said = LimitArgs {
            write_iops_burst: Some(OrNone::Some(9)),
            ..LimitArgs::default()
        };
        assert_eq!(said.change(Limits::default()).write.iops_burst, Some(9));
    }
}
