//! A guest's serial port, which a thread reads line by line on the host. The whole text is kept for
//! the message of a failure.

use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::PATIENCE;

/// The lines so far.
#[derive(Default)]
struct Heard {
    lines: Vec<String>,
    closed: bool,
    /// Whether it was already part of a failure's message.
    told: bool,
}

/// The reading end of a serial port.
pub(crate) struct Console {
    heard: Arc<(Mutex<Heard>, Condvar)>,
    /// The number of lines that the test has consumed.
    seen: usize,
}

impl Console {
    /// Start the thread that reads `stream` to its end.
    pub(crate) fn listen(stream: impl Read + Send + 'static) -> Self {
        let heard = Arc::new((Mutex::new(Heard::default()), Condvar::new()));
        let shared = Arc::clone(&heard);
        std::thread::spawn(move || read_lines(stream, &shared));
        Self { heard, seen: 0 }
    }

    /// Wait for exactly the line `wanted`, skipping all lines before it. Fails the test when the
    /// guest reports a failure, its console closes, or time is up.
    pub(crate) fn wait_for(&mut self, wanted: &str) {
        self.wait_until(wanted, |line| line == wanted);
    }

    /// The same for a line that starts with `start`. Returns the line.
    pub(crate) fn wait_for_start(&mut self, start: &str) -> String {
        self.wait_until(start, |line| line.starts_with(start))
    }

    fn wait_until(&mut self, wanted: &str, is: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        let (lock, changed) = &*self.heard;
        let mut heard = lock.lock();
        loop {
            while self.seen < heard.lines.len() {
                let line = heard.lines[self.seen].clone();
                self.seen += 1;
                if is(&line) {
                    return line;
                }
                assert!(
                    !line.starts_with("@fail"),
                    "the guest failed: {line}\n{}",
                    heard.transcript()
                );
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(
                !heard.closed,
                "the guest ended without '{wanted}'\n{}",
                heard.transcript()
            );
            assert!(
                !left.is_zero(),
                "the guest never said '{wanted}'\n{}",
                heard.transcript()
            );
            changed.wait_for(&mut heard, left);
        }
    }

    /// Whether the text was already shown, because something failed.
    pub(crate) fn told(&self) -> bool {
        self.heard.0.lock().told
    }

    /// Everything that the guest has printed.
    pub(crate) fn transcript(&self) -> String {
        self.heard.0.lock().transcript()
    }
}

impl Heard {
    fn transcript(&mut self) -> String {
        self.told = true;
        format!(
            "--- the guest's console ---\n{}\n--- end ---",
            self.lines.join("\n")
        )
    }
}

fn read_lines(stream: impl Read, shared: &(Mutex<Heard>, Condvar)) {
    let (lock, changed) = shared;
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    // A read error is treated as the end: nothing more will come.
    while stream.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
        // Not every byte on a serial port is text: a boot may garble some.
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        lock.lock().lines.push(text);
        changed.notify_all();
        line.clear();
    }
    lock.lock().closed = true;
    changed.notify_all();
}
