//! What is wrong in an arena.

/// The most findings to keep. Further ones are only counted.
const MOST_FINDINGS: usize = 1000;
/// The most disks to name in a finding.
const MOST_NAMED: usize = 100;

/// Something that is wrong in an arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong, and where.
    pub what: String,
    /// Keys of disks whose content it damages, at most a hundred; empty if they are unknown.
    pub keys: Vec<String>,
}

/// All that was found to be wrong.
#[derive(Debug, Default)]
pub(super) struct Findings {
    kept: Vec<Finding>,
    more: u64,
}

impl Findings {
    /// Add a finding. Returns its number, if it is kept.
    pub(super) fn add(&mut self, what: String) -> Option<u32> {
        if self.kept.len() >= MOST_FINDINGS {
            self.more += 1;
            return None;
        }
        let keys = Vec::new();
        self.kept.push(Finding { what, keys });
        u32::try_from(self.kept.len() - 1).ok()
    }

    /// Note that finding `number` damages the disk with this key.
    pub(super) fn hurts(&mut self, number: u32, key: &str) {
        let finding = self.kept.get_mut(number as usize);
        if let Some(finding) = finding.filter(|it| it.keys.len() < MOST_NAMED) {
            finding.keys.push(key.to_owned());
        }
    }

    /// The findings that were kept.
    pub(super) fn kept(&self) -> &[Finding] {
        &self.kept
    }

    /// How many were left out.
    pub(super) fn more(&self) -> u64 {
        self.more
    }
}
