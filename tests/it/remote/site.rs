//! A server that answers as a test says, also wrongly.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request that was received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The range that it asks for, within an object of this size.
    pub(crate) fn range(&self, size: usize) -> Option<Range<usize>> {
        let (first, last) = self
            .header("range")?
            .strip_prefix("bytes=")?
            .split_once('-')?;
        let first: usize = first.parse().ok()?;
        let last: usize = last.parse().ok()?;
        Some(first..(last + 1).min(size))
    }
}

/// What to send.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Send only this much of the body, and then close the connection.
    pub(crate) cut: Option<usize>,
    /// Send only this much of the body, and then nothing for so long.
    pub(crate) stall: Option<(usize, Duration)>,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            cut: None,
            stall: None,
        }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    pub(crate) fn cut(mut self, after: usize) -> Self {
        self.cut = Some(after);
        self
    }

    /// How much of the body is sent.
    pub(crate) fn sent_bytes(&self) -> usize {
        let stalled = self.stall.map(|(after, _)| after);
        let sent = stalled.or(self.cut).unwrap_or(usize::MAX);
        sent.min(self.body.len())
    }

    pub(crate) fn stall(mut self, after: usize, time: Duration) -> Self {
        self.stall = Some((after, time));
        self
    }
}

/// An object as a good server sends it: with ranges, and a tag that requests may name.
pub(crate) fn object(request: &Request, content: &[u8], etag: &str) -> Reply {
    if request
        .header("if-match")
        .is_some_and(|wanted| wanted != etag)
    {
        return Reply::status(412).with("ETag", etag);
    }
    let size = content.len();
    match request.range(size) {
        Some(range) if range.start >= size => {
            Reply::status(416).with("Content-Range", &format!("bytes */{size}"))
        }
        Some(range) => {
            let told = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            Reply::status(206)
                .with("Content-Range", &told)
                .with("ETag", etag)
                .body(&content[range])
        }
        None => Reply::status(200).with("ETag", etag).body(content),
    }
}

type Answer = dyn Fn(usize, &Request) -> Reply + Send + Sync;

/// A server on this host, as long as the test runs.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Site {
    /// Answer each request by a function of its number, from 0 on, and of itself.
    pub(crate) fn start(answer: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, answer): (_, Arc<Answer>) = (seen.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, answer) = (log.clone(), answer.clone());
                thread::spawn(move || converse(&stream.unwrap(), &log, &*answer));
            }
        });
        Self { port, seen }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

fn converse(stream: &TcpStream, log: &Mutex<Vec<Request>>, answer: &Answer) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        let number = {
            let mut log = log.lock().unwrap();
            log.push(request.clone());
            log.len() - 1
        };
        let reply = answer(number, &request);
        if write(stream, &request, &reply).is_none() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut request = Request::default();
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    request.method = words.next()?.to_owned();
    request.path = words.next()?.to_owned();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        request
            .headers
            .insert(name.to_lowercase(), value.to_owned());
    }
    let length = request
        .header("content-length")
        .map_or(0, |it| it.parse().unwrap());
    reader.take(length).read_to_end(&mut request.body).ok()?;
    Some(request)
}

/// Send a reply. Returns whether the connection goes on.
fn write(mut stream: &TcpStream, request: &Request, reply: &Reply) -> Option<()> {
    let mut head = format!("HTTP/1.1 {} Said\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {}\r\n\r\n", reply.body.len());
    stream.write_all(head.as_bytes()).ok()?;
    if request.method == "HEAD" {
        return Some(());
    }
    if let Some((_, time)) = reply.stall {
        stream.write_all(&reply.body[..reply.sent_bytes()]).ok()?;
        thread::sleep(time);
        return None;
    }
    if reply.cut.is_some() {
        stream.write_all(&reply.body[..reply.sent_bytes()]).ok()?;
        return None;
    }
    stream.write_all(&reply.body).ok()
}
