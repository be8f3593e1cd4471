//! Server-sent events: the text after `data:`, one event at a time.

/// The longest line, and the longest event, that is kept.
const MOST_BYTES: usize = 1 << 20;
/// What the daemon did, in an error, if one is longer.
pub(super) const ENDLESS: &str = "sent an event without an end";

/// An event is longer than any that a daemon sends.
#[derive(Debug)]
pub(super) struct TooLong;

/// Joins lines, wherever the stream is cut.
#[derive(Debug, Default)]
pub(super) struct Lines {
    line: Vec<u8>,
    data: String,
}

impl Lines {
    /// Take the next bytes, and return the data of each event that they complete.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Vec<String>, TooLong> {
        let mut events = Vec::new();
        for &byte in bytes {
            if byte != b'\n' {
                if self.line.len() >= MOST_BYTES {
                    return Err(TooLong);
                }
                self.line.push(byte);
                continue;
            }
            let line = String::from_utf8_lossy(&self.line).into_owned();
            self.line.clear();
            let line = line.trim_end_matches('\r');
            if line.is_empty() {
                if !self.data.is_empty() {
                    events.push(std::mem::take(&mut self.data));
                }
            } else if let Some(data) = line.strip_prefix("data:") {
                if self.data.len() + data.len() > MOST_BYTES {
                    return Err(TooLong);
                }
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
            }
        }
        Ok(events)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_wherever_they_are_cut() {
        let text =
            b": alive\n\nid: 1\nevent: created\ndata: {\"a\":1}\n\ndata:b\r\ndata: c\r\n\r\n";
        for cut in 0..text.len() {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            for part in [&text[..cut], &text[cut..]] {
                found.extend(lines.take(part).unwrap());
            }
            assert_eq!(found, ["{\"a\":1}", "b\nc"], "cut at {cut}");
        }
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut lines = Lines::default();
        let long = vec![b'x'; MOST_BYTES + 1];
        assert!(lines.take(&long).is_err());
    }
}
