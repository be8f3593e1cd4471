//! The monitor of a virtual machine, over QEMU's management protocol (QMP).

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use super::{PATIENCE, poll};

/// A connection to a machine's monitor.
pub(crate) struct Qmp {
    stream: BufReader<UnixStream>,
    /// Events that arrived while a command waited for its answer.
    events: Vec<Value>,
}

impl Qmp {
    /// Connect as soon as the machine listens at `path`.
    pub(crate) fn connect(path: &Path) -> Self {
        let stream = poll(PATIENCE, || UnixStream::connect(path).ok())
            .unwrap_or_else(|| panic!("QEMU has no monitor at {}", path.display()));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut qmp = Self {
            stream: BufReader::new(stream),
            events: Vec::new(),
        };
        let greeting = qmp.read();
        assert!(greeting["QMP"].is_object(), "{greeting}");
        qmp.execute("qmp_capabilities", &json!({}));
        qmp
    }

    /// Execute a command, which must succeed, and return its result.
    pub(crate) fn execute(&mut self, command: &str, arguments: &Value) -> Value {
        let line = json!({ "execute": command, "arguments": arguments });
        writeln!(self.stream.get_mut(), "{line}").unwrap();
        loop {
            let answer = self.read();
            if answer["event"].is_string() {
                self.events.push(answer);
                continue;
            }
            assert!(answer["error"].is_null(), "{line}: {answer}");
            return answer["return"].clone();
        }
    }

    /// Wait until the machine reports `event`, or that `device` is gone if that is given.
    pub(crate) fn wait_for(&mut self, event: &str, device: Option<&str>) {
        let end = Instant::now() + PATIENCE;
        let wanted = |said: &Value| {
            said["event"] == event && device.is_none_or(|name| said["data"]["device"] == name)
        };
        while !self.events.iter().any(wanted) {
            assert!(Instant::now() < end, "no {event} among {:?}", self.events);
            let said = self.read();
            self.events.push(said);
        }
        self.events.retain(|said| !wanted(said));
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        let len = self.stream.read_line(&mut line).expect("QEMU says nothing");
        assert_ne!(len, 0, "QEMU closed its monitor");
        serde_json::from_str(&line).unwrap()
    }
}
