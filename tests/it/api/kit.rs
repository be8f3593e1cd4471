//! A server in this process, and a client that writes HTTP by hand, so that it can send invalid
//! requests.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ramblk::daemon::SocketAccess;
use ramblk::daemon::api::{Options, Server};
use ramblk::daemon::disks::{Disks, DisksOptions};
use ramblk::store::Store;
use ramblk::vhost_user::{Hub, WorkerOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::driver::memory::MIB;

/// The memory limit of a kit's disks.
pub(super) const POOL_BYTES: u64 = 64 * MIB;

/// A running server with no disks.
pub(super) struct Kit {
    pub(super) disks: Arc<Disks>,
    server: Option<Server>,
    socket: PathBuf,
    folder: TempDir,
}

impl Kit {
    pub(super) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(super) fn with(options: Options) -> Self {
        Self::of(Arc::new(Store::new(POOL_BYTES).unwrap()), options)
    }

    /// A server with the disks of a store.
    pub(super) fn over(store: Arc<Store>) -> Self {
        Self::of(store, Options::default())
    }

    fn of(store: Arc<Store>, options: Options) -> Self {
        let folder = TempDir::new().unwrap();
        let hub = Hub::new(&WorkerOptions {
            count: 1,
            poll: Duration::from_micros(32),
            cpus: Vec::new(),
        });
        let keeping = DisksOptions {
            run_dir: folder.path().to_owned(),
            access: SocketAccess::default(),
            most_disks: 10_000,
            workers: 1,
            limit_from: "a test".to_owned(),
            import_timeout: Duration::from_secs(60),
        };
        let disks = ramblk::daemon::disks::open(store, hub.unwrap(), keeping).unwrap();
        let socket = folder.path().join("api.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = Server::start(listener, Arc::clone(&disks), options).unwrap();
        Self {
            disks,
            server: Some(server),
            socket,
            folder,
        }
    }

    pub(super) fn connect(&self) -> Client {
        Client(BufReader::new(self.dial()))
    }

    pub(super) fn dial(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        let limit = Some(Duration::from_secs(20));
        stream.set_read_timeout(limit).unwrap();
        stream
    }

    pub(super) fn socket(&self) -> &std::path::Path {
        &self.socket
    }

    /// The socket that front ends of a disk connect to.
    pub(super) fn front_end_socket(&self, name: &str) -> PathBuf {
        self.folder.path().join(name).join("vhost.sock")
    }

    pub(super) fn get(&self, path: &str) -> Answer {
        self.connect().ask("GET", path, None)
    }

    pub(super) fn delete(&self, path: &str) -> Answer {
        self.connect().ask("DELETE", path, None)
    }

    pub(super) fn put(&self, path: &str, body: &Value) -> Answer {
        self.connect().ask("PUT", path, Some(body))
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Answer {
        self.connect().ask("POST", path, Some(body))
    }

    pub(super) fn patch(&self, path: &str, body: &Value) -> Answer {
        self.connect().ask("PATCH", path, Some(body))
    }

    /// A disk of 1 MiB.
    pub(super) fn disk(&self, name: &str) {
        let path = format!("/v1/disks/{name}");
        let answer = self.put(&path, &json!({"size_bytes": MIB}));
        assert_eq!(answer.status, 201, "{answer:?}");
    }

    pub(super) fn stop(&mut self) {
        self.server.take().unwrap().stop();
    }
}

impl Drop for Kit {
    fn drop(&mut self) {
        drop(self.server.take());
        self.disks.close();
    }
}

/// An answer as received.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Check for this status and a JSON body, which is returned.
    #[track_caller]
    pub(super) fn json(&self, status: u16) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{text}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Check for status 204 without a body.
    #[track_caller]
    pub(super) fn done(&self) {
        assert_eq!((self.status, self.body.len()), (204, 0), "{self:?}");
    }

    /// Check for a problem document of this kind, with this status in both places. Returns its
    /// detail.
    #[track_caller]
    pub(super) fn problem(&self, status: u16, kind: &str) -> String {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{text}");
        let media = self.header("content-type");
        assert_eq!(media, Some("application/problem+json"), "{text}");
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["type"], format!("urn:ramblk:problem:{kind}"));
        assert_eq!(problem["status"], status);
        assert_eq!(status == 404, problem["missing"].is_string(), "{text}");
        problem["detail"].as_str().unwrap().to_owned()
    }
}

/// A connection.
pub(super) struct Client(BufReader<UnixStream>);

impl Client {
    pub(super) fn ask(&mut self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let body = body.map(|body| body.to_string());
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
        if let Some(body) = &body {
            let length = body.len();
            head += &format!("content-type: application/json\r\ncontent-length: {length}\r\n");
        }
        self.send(format!("{head}\r\n{}", body.unwrap_or_default()).as_bytes());
        self.answer(method)
    }

    /// A request with these header lines, and this body.
    pub(super) fn raw(&mut self, first: &str, headers: &[&str], body: &[u8]) -> Answer {
        let mut head = format!("{first} HTTP/1.1\r\nhost: localhost\r\n");
        for header in headers {
            head += &format!("{header}\r\n");
        }
        if !body.is_empty() {
            head += &format!("content-length: {}\r\n", body.len());
        }
        self.send(format!("{head}\r\n").as_bytes());
        self.send(body);
        self.answer(first.split(' ').next().unwrap())
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        // A client that is refused while it sends still gets its answer.
        let _ = self.0.get_mut().write_all(bytes);
    }

    /// Lines up to an empty one, or to the end.
    fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            let line = line.trim_end().to_owned();
            if line.is_empty() {
                return lines;
            }
            lines.push(line);
        }
    }

    /// Status and headers.
    pub(super) fn head(&mut self) -> Answer {
        let lines = self.lines();
        let (first, rest) = lines.split_first().expect("an answer");
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &String| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_owned(), value.trim().to_owned())
        };
        Answer {
            status,
            headers: rest.iter().map(header).collect(),
            body: Vec::new(),
        }
    }

    /// An answer to this method.
    pub(super) fn answer(&mut self, method: &str) -> Answer {
        let mut answer = self.head();
        if method == "HEAD" || answer.status == 204 {
            return answer;
        }
        if let Some(length) = answer.header("content-length") {
            answer.body = vec![0; length.parse().unwrap()];
            self.0.read_exact(&mut answer.body).unwrap();
        } else if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk() {
                answer.body.extend(chunk);
            }
        }
        answer
    }

    /// A piece of a chunked body; `None` at the end.
    pub(super) fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let length = usize::from_str_radix(line.trim(), 16).expect("a chunk, not a cut");
        let mut chunk = vec![0; length + 2];
        self.0.read_exact(&mut chunk).unwrap();
        chunk.truncate(length);
        (length > 0).then_some(chunk)
    }

    /// Read to the end of the connection. Returns how many bytes came.
    pub(super) fn drain(&mut self) -> usize {
        let mut rest = Vec::new();
        // Cut off, or at an end: either ends it.
        let _ = self.0.read_to_end(&mut rest);
        rest.len()
    }

    /// Fill `into`.
    pub(super) fn read_exact(&mut self, into: &mut [u8]) {
        self.0.read_exact(into).unwrap();
    }

    /// Whether the server closes the connection, without an answer, within this time.
    pub(super) fn closes_within(&mut self, time: Duration) -> bool {
        self.0.get_ref().set_read_timeout(Some(time)).unwrap();
        let mut rest = Vec::new();
        matches!(self.0.read_to_end(&mut rest), Ok(0))
    }
}
