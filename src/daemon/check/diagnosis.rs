//! A result of looking at a host: how bad it is, what was found, and what to do.

use std::fmt;

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It is as it should be.
    Ok,
    /// Nothing is wrong, and it is good to know.
    Note,
    /// ramblk works, and something is worse than it could be.
    Warning,
    /// ramblk can't start, or a virtual machine can't use a disk.
    Problem,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        })
    }
}

/// A result of looking at a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// How bad it is.
    pub severity: Severity,
    /// What was looked at, as one word.
    pub subject: &'static str,
    /// What was found.
    pub found: String,
    /// What to do about it, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Diagnosis {
    /// It is as it should be.
    pub fn ok(subject: &'static str, found: impl Into<String>) -> Self {
        Self::new(Severity::Ok, subject, found.into(), None)
    }

    /// Nothing is wrong. `remedy` may be empty, as below.
    pub fn note(subject: &'static str, found: impl Into<String>, remedy: &str) -> Self {
        Self::new(Severity::Note, subject, found.into(), Some(remedy))
    }

    /// ramblk works, and something is worse than it could be.
    pub fn warning(subject: &'static str, found: impl Into<String>, remedy: &str) -> Self {
        Self::new(Severity::Warning, subject, found.into(), Some(remedy))
    }

    /// ramblk can't start, or a virtual machine can't use a disk.
    pub fn problem(subject: &'static str, found: impl Into<String>, remedy: &str) -> Self {
        Self::new(Severity::Problem, subject, found.into(), Some(remedy))
    }

    /// A problem whose message says what to do, as all messages of errors do.
    pub fn refused(subject: &'static str, error: &dyn fmt::Display) -> Self {
        Self::new(Severity::Problem, subject, error.to_string(), None)
    }

    fn new(severity: Severity, subject: &'static str, found: String, remedy: Option<&str>) -> Self {
        Self {
            severity,
            subject,
            // One line each, whatever a message of the system has.
            found: found.replace('\n', " "),
            remedy: remedy.filter(|it| !it.is_empty()).map(str::to_owned),
        }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:8} {:14} {}", self.severity, self.subject, self.found)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnosis_is_one_line_with_what_to_do() {
        let told = Diagnosis::problem("state-dir", "it is\nfull", "enlarge it");
        let line = "problem  state-dir      it is full; enlarge it";
        assert_eq!(told.to_string(), line);
        let told = Diagnosis::ok("state-dir", "it has room");
        assert_eq!(told.to_string(), "ok       state-dir      it has room");
        assert!(Severity::Warning < Severity::Problem);
    }
}
