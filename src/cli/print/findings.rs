//! What a sanitizer has found, as text.

use super::layout::table;
use super::states::sanitizer_counts;
use crate::model::{Finding, Findings, Sanitize};

/// `ramblk findings`.
pub(in crate::cli) fn findings(found: &Findings) -> String {
    let mut text = match found.sanitize {
        Sanitize::Off => "the sanitizer is off\n".to_owned(),
        _ => String::new(),
    };
    text += &sanitizer_counts(found.counts);
    if !found.findings.is_empty() {
        let rows = found.findings.iter().map(row).collect();
        let head = ["NUMBER", "TIME", "FOUND", "REQUEST", "LENGTH", "AT", "FOR"];
        text += &table(&head, &[0, 3, 4, 5, 6], rows);
    }
    text
}

fn row(finding: &Finding) -> Vec<String> {
    vec![
        finding.number.to_string(),
        clock(finding.at_ms),
        finding.kind.word().into(),
        finding.request_start_bytes.to_string(),
        finding.request_length_bytes.to_string(),
        finding.start_bytes.to_string(),
        finding.length_bytes.to_string(),
    ]
}

/// A time of day in UTC, with milliseconds. The whole time is in the JSON.
pub(in crate::cli) fn clock(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!(
        "{hours:02}:{minutes:02}:{:02}.{:03}Z",
        seconds % 60,
        unix_ms % 1000
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FindingKind, SanitizerCounts};

    #[test]
    fn findings_are_a_table_below_the_counts() {
        let found = Findings {
            disk: "vm1".into(),
            sanitize: Sanitize::Log,
            counts: SanitizerCounts {
                unwritten_reads: 1,
                no_flush: 0,
                second_writer: 2,
            },
            findings: vec![Finding {
                number: 1,
                at_ms: 86_400_000 + 3_661_007,
                kind: FindingKind::UnwrittenRead,
                request_start_bytes: 4096,
                request_length_bytes: 8192,
                start_bytes: 8192,
                length_bytes: 4096,
            }],
        };
        assert_eq!(
            findings(&found),
            "sanitizer: 1 reads of unwritten sectors, 0 times 256 MiB written without a flush, \
             2 changes by a second front end\n\
             NUMBER  TIME           FOUND           REQUEST  LENGTH    AT   FOR\n     \
             1  01:01:01.007Z  unwritten-read     4096    8192  8192  4096\n"
        );
    }
}
