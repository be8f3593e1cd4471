//! Figures of the threads that serve queues.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::row::seconds;

/// Encode how long each worker has polled in vain.
pub(super) fn encode(polled_ns: &[u64], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let name = "ramblk_thread_polled_seconds";
    let help = "Time that a worker looked for requests and found none; a part of its busy share";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (number, &ns) in polled_ns.iter().enumerate() {
        let labels = [("thread", format!("work-{number}"))];
        let mut one = family.encode_family(&labels)?;
        one.encode_counter::<NoLabelSet, _, u64>(&seconds(ns), None)?;
    }
    Ok(())
}
