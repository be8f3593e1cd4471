//! The kinds of devices that a disk can be like.

use std::fmt;
use std::str::FromStr;

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Personality {
    /// A hard disk of 7200 turns a minute.
    Hdd7200,
    /// An SSD behind SATA.
    SataSsd,
    /// An SSD behind NVMe.
    Nvme,
    /// A network volume: Amazon EBS gp3 as it comes.
    EbsGp3,
}

impl Personality {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Hdd7200, Self::SataSsd, Self::Nvme, Self::EbsGp3];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hdd7200 => "hdd-7200",
            Self::SataSsd => "sata-ssd",
            Self::Nvme => "nvme",
            Self::EbsGp3 => "ebs-gp3",
        }
    }
}

impl fmt::Display for Personality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Personality {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut all = Self::ALL.into_iter();
        all.find(|it| it.name() == text).ok_or(())
    }
}
