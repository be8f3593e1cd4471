//! Where an image will have data, known before its first byte, so that its tables can come first.

use std::ops::Range;

use super::layout::CLUSTER_BYTES;

/// What lies in a cluster of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing that is named: zeros, or the base's bytes.
    #[default]
    Hole,
    /// Zeros that are named.
    Zero,
    /// Data, perhaps beside zeros.
    Data,
}

const CLUSTER: u64 = CLUSTER_BYTES as u64;
/// The clusters of a table of the second level.
const REGION_CLUSTERS: u64 = CLUSTER / 8;

/// Clusters that follow each other.
#[derive(Clone, Debug)]
struct Run {
    clusters: Range<u64>,
    kind: Kind,
}

/// Where an image will have data and zeros, and where it ends.
#[derive(Clone, Debug, Default)]
pub struct Outline {
    end_bytes: u64,
    /// In order, and apart from each other.
    runs: Vec<Run>,
}

impl Outline {
    /// Of an image whose content ends here, and of which nothing is named yet.
    pub fn new(end_bytes: u64) -> Self {
        Self {
            end_bytes,
            runs: Vec::new(),
        }
    }

    /// Name a range of data, which begins at or after the end of the last one.
    pub fn data(&mut self, range_bytes: Range<u64>) {
        self.name(range_bytes, Kind::Data);
    }

    /// Name a range of zeros, which begins at or after the end of the last one.
    pub fn zero(&mut self, range_bytes: Range<u64>) {
        self.name(range_bytes, Kind::Zero);
    }

    fn name(&mut self, range_bytes: Range<u64>, kind: Kind) {
        let end_bytes = range_bytes.end.min(self.end_bytes);
        if range_bytes.start >= end_bytes {
            return;
        }
        let mut clusters = range_bytes.start / CLUSTER..end_bytes.div_ceil(CLUSTER);
        if let Some(last) = self.runs.last_mut() {
            if last.kind == kind && clusters.start <= last.clusters.end {
                last.clusters.end = last.clusters.end.max(clusters.end);
                return;
            }
            // A cluster that both have a part of has data.
            if clusters.start < last.clusters.end {
                match kind {
                    Kind::Data => last.clusters.end = clusters.start,
                    Kind::Zero | Kind::Hole => clusters.start = last.clusters.end,
                }
            }
        }
        let _ = self.runs.pop_if(|last| last.clusters.is_empty());
        if !clusters.is_empty() {
            self.runs.push(Run { clusters, kind });
        }
    }

    /// Where the content ends, in bytes.
    pub(super) fn end_bytes(&self) -> u64 {
        self.end_bytes
    }

    /// The numbers of those tables of the second level that name something, in order.
    pub(super) fn tables(&self) -> impl Iterator<Item = u64> {
        let mut next = 0;
        self.runs.iter().flat_map(move |run| {
            let first = (run.clusters.start / REGION_CLUSTERS).max(next);
            next = run.clusters.end.div_ceil(REGION_CLUSTERS);
            first..next
        })
    }

    /// What lies in the clusters of a table of the second level.
    pub(super) fn table(&self, number: u64) -> Vec<Kind> {
        let start = number * REGION_CLUSTERS;
        let mut kinds = vec![Kind::Hole; CLUSTER_BYTES / 8];
        let within = |cluster: u64| {
            let within = cluster.clamp(start, start + REGION_CLUSTERS) - start;
            usize::try_from(within).unwrap_or_default()
        };
        for run in self.runs_from(start) {
            if run.clusters.start >= start + REGION_CLUSTERS {
                break;
            }
            kinds[within(run.clusters.start)..within(run.clusters.end)].fill(run.kind);
        }
        kinds
    }

    /// The clusters with data from number `from` on, in order.
    pub(super) fn data_from(&self, from: u64) -> impl Iterator<Item = u64> {
        let runs = self.runs_from(from).iter();
        let data = runs.filter(|run| run.kind == Kind::Data);
        data.flat_map(move |run| run.clusters.start.max(from)..run.clusters.end)
    }

    fn runs_from(&self, cluster: u64) -> &[Run] {
        let before = self.runs.partition_point(|run| run.clusters.end <= cluster);
        &self.runs[before..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_name_all_clusters_that_they_touch_and_data_is_more_than_zeros() {
        let kib = |n: u64| n << 10;
        let mut outline = Outline::new((1 << 40) + 512);
        outline.zero(0..kib(64) + 512);
        outline.data(kib(64) + 512..kib(64) + 1024);
        outline.zero(kib(100)..kib(192));
        outline.data((512 << 20) - 1..(512 << 20) + 1);
        outline.data((512 << 20) + 4096..(512 << 20) + 8192);
        outline.data(1 << 40..u64::MAX);
        outline.data(1 << 41..1 << 42);
        let all = REGION_CLUSTERS;
        let data = [1, all - 1, all, (1 << 40) / CLUSTER];
        assert_eq!(outline.data_from(0).collect::<Vec<_>>(), data);
        assert_eq!(outline.data_from(2).collect::<Vec<_>>(), data[1..]);
        assert_eq!(outline.data_from(all).collect::<Vec<_>>(), data[2..]);
        assert_eq!(outline.tables().collect::<Vec<_>>(), [0, 1, 2048]);
        let first = outline.table(0);
        assert_eq!(first[..4], [Kind::Zero, Kind::Data, Kind::Zero, Kind::Hole]);
        assert_eq!(first[CLUSTER_BYTES / 8 - 2..], [Kind::Hole, Kind::Data]);
        let second = outline.table(1);
        assert_eq!(second[..2], [Kind::Data, Kind::Hole]);
    }
}
