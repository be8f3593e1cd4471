//! Objects over HTTP, from servers that misbehave.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use ramblk::image::{Medium, ReadAt};
use ramblk::remote::{Error, Opening, Patience, Place, open};

use super::site::{Reply, Request, Site, object};
use crate::driver::data::pattern;

/// A size that is no multiple of anything.
const SIZE: usize = (23 << 20) + 12_345;

fn content() -> &'static [u8] {
    static CONTENT: OnceLock<Vec<u8>> = OnceLock::new();
    CONTENT.get_or_init(|| {
        let page = pattern(1 << 20, 7);
        let mut all: Vec<u8> = page.iter().copied().cycle().take(SIZE).collect();
        // No block is like another one.
        for (at, byte) in all.iter_mut().enumerate().step_by(4096) {
            *byte ^= (at >> 12) as u8;
        }
        all
    })
}

fn patience() -> Patience {
    Patience {
        quiet: Duration::from_secs(1),
        tries: 10,
        first_pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(20),
        longest_asked: Duration::from_secs(5),
    }
}

fn opened(url: &str) -> Result<Medium, Error> {
    let how = Opening {
        patience: patience(),
        ..Opening::default()
    };
    open(&Place::parse(Path::new(url))?, &how).map(|opened| opened.medium)
}

fn seekable(url: &str) -> Arc<dyn ReadAt> {
    match opened(url).unwrap() {
        Medium::Seekable(medium) => medium,
        Medium::Stream(stream) => panic!("{stream:?} has no ranges"),
    }
}

/// All bytes, in pieces that don't fit anything.
fn all(medium: &dyn ReadAt) -> std::io::Result<Vec<u8>> {
    let mut all = vec![0; medium.size_bytes() as usize];
    let mut at = 0;
    for piece in all.chunks_mut(700_001) {
        medium.read_at(at, piece)?;
        at += piece.len() as u64;
    }
    Ok(all)
}

/// Requests for a range other than the first.
fn later(request: &Request) -> bool {
    !request
        .header("range")
        .is_some_and(|range| range.starts_with("bytes=0-"))
}

#[test]
fn an_object_is_read_in_any_order_by_several_ranges_at_the_same_time() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, highest) = (now.clone(), most.clone());
    let site = Site::start(move |_, request| {
        let at_once = counted.fetch_add(1, Ordering::SeqCst) + 1;
        highest.fetch_max(at_once, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(10));
        let reply = object(request, content(), "\"v1\"");
        counted.fetch_sub(1, Ordering::SeqCst);
        reply
    });
    let medium = seekable(&site.url("/disk.raw?secret"));
    assert_eq!(medium.name(), site.url("/disk.raw"));
    let identity = medium.identity().unwrap();
    assert!(
        identity.contains("\"v1\"") && !identity.contains("secret"),
        "{identity}"
    );
    assert!(all(&*medium).unwrap() == content());
    let (asked, at_once) = (site.seen().len(), most.load(Ordering::SeqCst));
    assert!(
        (2..=8).contains(&at_once),
        "{at_once} requests at the same time"
    );
    assert!(asked <= 16, "{asked} requests for 24 blocks");
    for at in [SIZE - 5, 0, 11 << 20, (11 << 20) - 3, 4096] {
        let mut some = [0; 5];
        medium.read_at(at as u64, &mut some).unwrap();
        assert_eq!(some, content()[at..at + 5]);
    }
    assert!(medium.read_at(SIZE as u64 - 4, &mut [0; 5]).is_err());
    medium.verify().unwrap();
    let pinned = site.seen();
    let mut pinned = pinned.iter().filter(|request| later(request));
    assert!(pinned.all(|request| request.header("if-match") == Some("\"v1\"")));
}

#[test]
fn several_threads_read_an_object_larger_than_what_is_kept() {
    let large: &'static [u8] = Box::leak(content().repeat(5).into_boxed_slice());
    let site = Site::start(move |_, request| object(request, large, "\"v1\""));
    let medium = seekable(&site.url("/disk.raw"));
    std::thread::scope(|scope| {
        for nth in 0..4 {
            let medium = &medium;
            scope.spawn(move || {
                let mut at = nth * 300_000;
                let mut piece = vec![0; 3_000_000];
                while at < large.len() {
                    let length = piece.len().min(large.len() - at);
                    medium.read_at(at as u64, &mut piece[..length]).unwrap();
                    assert!(piece[..length] == large[at..at + length], "at {at}");
                    at += 4 * 2_000_000;
                }
            });
        }
    });
}

#[test]
fn transfers_that_break_off_go_on_at_the_byte_that_they_had_reached() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let site = Site::start(move |number, request| {
        let reply = object(request, content(), "\"v1\"");
        let reply = match number % 7 {
            1 => reply.cut(300_000),
            2 => Reply::status(503),
            3 => reply.stall(200_000, Duration::from_secs(4)),
            4 => Reply::status(429).with("Retry-After", "0"),
            5 => reply.cut(0),
            _ => reply,
        };
        counted.fetch_add(reply.sent_bytes(), Ordering::SeqCst);
        reply
    });
    let medium = seekable(&site.url("/disk.raw"));
    assert!(all(&*medium).unwrap() == content());
    // No byte that had come was sent again, up to what was in a socket when its connection ended.
    let sent = sent.load(Ordering::SeqCst);
    assert!(sent < SIZE + (1 << 20), "{sent} of {SIZE} bytes were sent");
    let resumed = site.seen();
    let resumed = resumed
        .iter()
        .filter(|it| it.range(SIZE).unwrap().start % (1 << 20) != 0);
    assert!(resumed.count() > 0);
}

#[test]
fn a_server_may_ask_to_wait() {
    let site = Site::start(|number, request| match number {
        0 => Reply::status(503).with("Retry-After", "1"),
        _ => object(request, content(), "\"v1\""),
    });
    let start = Instant::now();
    seekable(&site.url("/disk.raw"));
    assert!(start.elapsed() >= Duration::from_secs(1));
    let site = Site::start(|_, _| Reply::status(503).with("Retry-After", "3600"));
    let start = Instant::now();
    let error = opened(&site.url("/disk.raw")).unwrap_err().to_string();
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(
        error.contains("503") && error.contains("try again later"),
        "{error}"
    );
    assert_eq!(site.seen().len(), 1);
}

#[test]
fn another_version_midway_is_an_error_also_where_the_server_has_no_conditions() {
    // It refuses the old tag; it ignores conditions, and tells the new tag; it has no strong tag;
    // it has only another size, or another date.
    type Later = fn(&Request) -> Reply;
    let good: fn(&Request) -> Reply = |request| object(request, content(), "\"v1\"");
    let cases: [(Later, Later); 5] = [
        (good, |request| object(request, content(), "\"v2\"")),
        (good, |request| {
            let mut request = request.clone();
            request.headers.remove("if-match");
            object(&request, content(), "\"v2\"")
        }),
        (
            |request| object(request, content(), "W/\"v1\""),
            |request| object(request, content(), "W/\"v2\""),
        ),
        (
            |request| without_tag(request, content()).with("Last-Modified", "Mon"),
            |request| without_tag(request, content()).with("Last-Modified", "Tue"),
        ),
        (
            |request| without_tag(request, content()),
            |request| without_tag(request, &content()[..SIZE - 1]),
        ),
    ];
    for (nth, (first, then)) in cases.into_iter().enumerate() {
        let site = Site::start(move |number, request| match number {
            0..3 => first(request),
            _ => then(request),
        });
        let medium = seekable(&site.url("/disk.raw"));
        let error = all(&*medium).unwrap_err().to_string();
        assert!(
            error.contains("changed while it was read"),
            "{nth}: {error}"
        );
    }
}

fn without_tag(request: &Request, content: &[u8]) -> Reply {
    let mut reply = object(request, content, "");
    reply.headers.retain(|(name, _)| name != "ETag");
    reply
}

#[test]
fn a_server_without_ranges_is_read_as_a_stream() {
    let site = Site::start(|_, _| Reply::status(200).with("ETag", "\"v1\"").body(content()));
    let medium = opened(&site.url("/disk.raw")).unwrap();
    assert_eq!(medium.size_bytes(), Some(SIZE as u64));
    assert!(medium.identity().unwrap().contains("\"v1\""));
    let Medium::Stream(mut stream) = medium else {
        panic!("it has ranges");
    };
    let mut all = Vec::new();
    stream.bytes.read_to_end(&mut all).unwrap();
    assert!(all == content());
    // Once, or on a busy machine, where the server seems to stall, again from the beginning.
    assert!(site.seen().len() <= 4, "{} requests", site.seen().len());
    // One that breaks off has no end.
    let site = Site::start(|_, _| Reply::status(200).body(content()).cut(5_000_000));
    let Medium::Stream(mut stream) = opened(&site.url("/disk.raw")).unwrap() else {
        panic!("it has ranges");
    };
    let error = stream.bytes.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("broke"), "{error}");
    let time = Duration::from_secs(4);
    let site = Site::start(move |_, _| Reply::status(200).body(content()).stall(5_000_000, time));
    let Medium::Stream(mut stream) = opened(&site.url("/disk.raw")).unwrap() else {
        panic!("it has ranges");
    };
    let error = stream.bytes.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(
        error.to_string().contains("sent nothing for 1 s"),
        "{error}"
    );
}

#[test]
fn each_refusal_is_one_line_that_says_what_to_do() {
    for (status, advice) in [
        (401, "credentials"),
        (403, "signed URL"),
        (404, "check the name"),
        (410, "check the name"),
        (418, "check the URL"),
        (500, "server's log"),
    ] {
        let site = Site::start(move |_, _| {
            Reply::status(status).body(b"<Error><Code>Some\nCode</Code></Error>")
        });
        let url = format!("http://user:pass@127.0.0.1:{}/disk?sig=secret", site.port);
        let error = opened(&url).unwrap_err().to_string();
        let wanted = format!("the server answers {status}");
        assert!(error.contains(&wanted) && error.contains(advice), "{error}");
        assert!(
            error.contains("SomeCode") && !error.contains('\n'),
            "{error}"
        );
        assert!(
            !error.contains("pass") && !error.contains("secret"),
            "{error}"
        );
        let credentials = site.seen()[0].header("authorization").map(str::to_owned);
        assert_eq!(credentials.as_deref(), Some("Basic dXNlcjpwYXNz"));
    }
    let refused = opened("http://127.0.0.1:1/disk").unwrap_err().to_string();
    assert!(refused.contains("can't be reached"), "{refused}");
    let unknown = opened("http://no-such-host.invalid/disk")
        .unwrap_err()
        .to_string();
    assert!(
        unknown.contains("no-such-host.invalid has no address"),
        "{unknown}"
    );
}

#[test]
fn redirects_are_followed_up_to_a_bound_and_carry_no_credentials_elsewhere() {
    let target = Site::start(|_, request| object(request, content(), "\"v1\""));
    let there = target.url("/object?signed");
    let site = Site::start(move |_, request| match request.path.as_str() {
        "/loop" => Reply::status(302).with("Location", "/loop"),
        "/file" => Reply::status(302).with("Location", "file:///etc/passwd"),
        "/nowhere" => Reply::status(302).with("Location", "http://[x"),
        _ => Reply::status(307).with("Location", &there),
    });
    let medium = seekable(&format!("http://user:pass@127.0.0.1:{}/disk", site.port));
    assert!(all(&*medium).unwrap() == content());
    assert_eq!(medium.name(), site.url("/disk"));
    assert!(
        site.seen()
            .iter()
            .all(|it| it.header("authorization").is_some())
    );
    assert!(
        target
            .seen()
            .iter()
            .all(|it| it.header("authorization").is_none())
    );
    for (path, wanted) in [
        ("/loop", "redirects more than 10 times"),
        ("/file", "redirects to file://"),
        ("/nowhere", "redirects to no URL"),
    ] {
        let error = opened(&site.url(path)).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn a_redirect_to_a_url_that_expires_is_followed_once_more_when_it_has() {
    // Each URL is valid for three requests.
    let uses = Mutex::new(HashMap::new());
    let target = Site::start(move |_, request| {
        let mut uses = uses.lock().unwrap();
        let used: &mut usize = uses.entry(request.path.clone()).or_default();
        *used += 1;
        match *used > 3 {
            true => Reply::status(403),
            false => object(request, content(), "\"v1\""),
        }
    });
    let there = target.url("/object");
    let site = Site::start(move |number, _| {
        Reply::status(302).with("Location", &format!("{there}?{number}"))
    });
    let medium = seekable(&site.url("/disk"));
    assert!(all(&*medium).unwrap() == content());
    let (asked, redirected) = (target.seen().len(), site.seen().len());
    assert!(
        redirected < asked && redirected > 1,
        "{redirected} redirects, {asked} requests"
    );
}

#[test]
fn answers_that_cannot_be_are_errors() {
    type Wrong = fn(&Request) -> Reply;
    let cases: [(Wrong, &str); 5] = [
        (|_| Reply::status(206).body(b"abc"), "which range"),
        (
            |request| {
                let size = SIZE;
                let range = request.range(size).unwrap();
                let told = format!("bytes {}-{}/{size}", range.start + 1, range.end - 1);
                Reply::status(206)
                    .with("ETag", "\"v1\"")
                    .with("Content-Range", &told)
                    .body(&content()[range.start + 1..range.end])
            },
            "another range",
        ),
        (
            |request| {
                let mut reply = object(request, content(), "\"v1\"");
                reply.body.push(0);
                reply
            },
            "more bytes than its range",
        ),
        (
            |request| object(request, content(), "\"v1\"").with("Content-Encoding", "br"),
            "encoded",
        ),
        (
            |_| Reply::status(200).with("ETag", "\"v1\"").body(content()),
            "no ranges any more",
        ),
    ];
    for (wrong, wanted) in cases {
        let site = Site::start(move |number, request| match number {
            0..3 => object(request, content(), "\"v1\""),
            _ => wrong(request),
        });
        let medium = seekable(&site.url("/disk.raw"));
        let error = all(&*medium).unwrap_err().to_string();
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
}

#[test]
fn an_empty_object_and_one_smaller_than_a_block_are_read() {
    for size in [0, 1, 4096] {
        let site = Site::start(move |_, request| object(request, &content()[..size], "\"v1\""));
        let medium = seekable(&site.url("/disk.raw"));
        assert!(all(&*medium).unwrap() == content()[..size]);
        medium.verify().unwrap();
    }
}

#[test]
fn what_is_beside_an_object_is_opened_without_its_signature() {
    let site = Site::start(|_, request| match request.path.as_str() {
        "/folder/top?sig=secret" | "/folder/base" => object(request, content(), "\"v1\""),
        _ => Reply::status(404),
    });
    let medium = seekable(&site.url("/folder/top?sig=secret"));
    assert_eq!(
        medium.beside("base").unwrap().name(),
        site.url("/folder/base")
    );
    let error = medium.beside("other").unwrap_err().to_string();
    assert!(error.contains("404"), "{error}");
}
