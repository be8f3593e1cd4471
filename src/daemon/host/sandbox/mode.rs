//! How far the process confines itself, and what a system lacks for that.

/// How far a process that serves disks confines itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SandboxMode {
    /// Not at all.
    #[default]
    Off,
    /// Report system calls that [`SandboxMode::On`] would refuse, and refuse nothing.
    Log,
    /// As far as the system can. What it can't do is logged.
    On,
    /// The same, and the process doesn't start where the system can't do all of it.
    Strict,
}

impl SandboxMode {
    /// The modes, by the words of the command line and the configuration file.
    pub const WORDS: [(&str, Self); 4] = [
        ("off", Self::Off),
        ("log", Self::Log),
        ("on", Self::On),
        ("strict", Self::Strict),
    ];

    /// The mode of this word, if it is one.
    pub fn parse(word: &str) -> Option<Self> {
        let found = Self::WORDS.iter().find(|(known, _)| *known == word);
        found.map(|(_, mode)| *mode)
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, mode)| *mode == self);
        found.map_or("off", |(word, _)| word)
    }

    /// Whether anything is refused.
    pub(super) fn refuses(self) -> bool {
        matches!(self, Self::On | Self::Strict)
    }
}

/// Something that a system lacks for a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What it is, and why.
    pub what: String,
    /// Whether it is there in part: the kernel is older than the newest one.
    pub is_part: bool,
}

impl Lack {
    pub(super) fn whole(what: String) -> Self {
        let is_part = false;
        Self { what, is_part }
    }

    pub(super) fn in_part(what: String) -> Self {
        let is_part = true;
        Self { what, is_part }
    }
}
