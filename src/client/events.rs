//! Server-sent events: what follows `data:`, an event at a time.

use super::error::Error;

/// The longest line that is kept; a longer one is no event of ours.
const MOST_BYTES: usize = 1 << 20;

/// Puts lines together, however they are cut.
#[derive(Debug, Default)]
pub(super) struct Lines {
    line: Vec<u8>,
    data: String,
}

impl Lines {
    /// Take the next bytes, and say the data of each event that is whole.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&str) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for &byte in bytes {
            if byte != b'\n' {
                if self.line.len() >= MOST_BYTES {
                    return Err("sent an event without an end".into());
                }
                self.line.push(byte);
                continue;
            }
            let line = String::from_utf8_lossy(&self.line).into_owned();
            self.line.clear();
            let line = line.trim_end_matches('\r');
            if line.is_empty() {
                if !self.data.is_empty() {
                    each(&self.data)?;
                }
                self.data.clear();
            } else if let Some(data) = line.strip_prefix("data:") {
                if self.data.len() + data.len() > MOST_BYTES {
                    return Err("sent an event without an end".into());
                }
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
            }
        }
        Ok(())
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
                let mut keep = |data: &str| {
                    found.push(data.to_owned());
                    Ok(())
                };
                lines.feed(part, &mut keep).unwrap();
            }
            assert_eq!(found, ["{\"a\":1}", "b\nc"], "cut at {cut}");
        }
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut lines = Lines::default();
        let long = vec![b'x'; MOST_BYTES + 1];
        assert!(lines.feed(&long, |_| Ok(())).is_err());
    }
}
