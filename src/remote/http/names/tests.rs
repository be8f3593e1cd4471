//! Servers of our own: what is asked of them, and what becomes of their answers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::*;
use crate::threads::{Role, spawn};

const SERVER_FAILED: u8 = 2;
const NO_SUCH_NAME: u8 = 3;
const TRUNCATED: u8 = 2;

/// The name in a question, with dots, and whether it is for version 6.
fn asked(message: &[u8]) -> (String, bool) {
    let (mut parts, mut at) = (Vec::new(), 12);
    while message[at] != 0 {
        let end = at + 1 + usize::from(message[at]);
        parts.push(String::from_utf8(message[at + 1..end].to_vec()).unwrap());
        at = end;
    }
    (parts.join("."), message[at + 2] == 28)
}

/// The answer with a code, and the address if there is one.
fn answer(question: &[u8], code: u8, address: Option<[u8; 4]>) -> Vec<u8> {
    let mut message = question.to_vec();
    message[2] |= 0x80;
    message[3] = code;
    if let Some(address) = address {
        message[7] = 1;
        message.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04");
        message.extend(address);
    }
    message
}

/// A server that answers each question with these messages. Returns where it is, and what it is
/// asked.
fn server(
    answers: impl Fn(&[u8], &str, bool) -> Vec<Vec<u8>> + Send + 'static,
) -> (SocketAddr, Receiver<String>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let place = socket.local_addr().unwrap();
    let (sender, names) = channel();
    spawn(Role::Remote, move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            let (name, is_six) = asked(&question[..length]);
            for answer in answers(&question[..length], &name, is_six) {
                let _ = socket.send_to(&answer, from);
            }
            let _ = sender.send(name);
        }
    })
    .unwrap();
    (place, names)
}

fn find(servers: &Servers, name: &str) -> Result<Vec<IpAddr>, NoAddress> {
    let mut event_loop = tokio::runtime::Builder::new_current_thread();
    let event_loop = event_loop.enable_all().build().unwrap();
    event_loop.block_on(addresses(servers, name))
}

fn servers(of: &[SocketAddr], text: &str) -> Servers {
    let mut servers = Servers::parse(text);
    servers.servers = of.to_vec();
    servers
}

const HERE: [u8; 4] = [10, 0, 0, 7];

/// As a server that knows one name, which has no address of version 6.
fn knows(known: &str, question: &[u8], name: &str, is_six: bool) -> Vec<u8> {
    match name == known {
        true => answer(question, 0, (!is_six).then_some(HERE)),
        false => answer(question, NO_SUCH_NAME, None),
    }
}

#[test]
fn a_short_name_is_found_by_its_endings_in_order() {
    let (place, names) =
        server(|question, name, is_six| vec![knows("images.lab.example", question, name, is_six)]);
    let servers = servers(&[place], "search rack.example lab.example");
    assert_eq!(find(&servers, "images"), Ok(vec![HERE.into()]));
    let mut asked: Vec<String> = names.try_iter().collect();
    asked.dedup();
    assert_eq!(asked, ["images.rack.example", "images.lab.example"]);
    let unknown = NoAddress::Unknown("disks".into());
    assert_eq!(find(&servers, "disks"), Err(unknown));
    let wrong = NoAddress::Name("a..b".into());
    assert_eq!(find(&servers, "a..b"), Err(wrong));
}

#[test]
fn a_server_that_cannot_say_is_followed_by_the_next_one() {
    let (fails, _) = server(|question, _, _| vec![answer(question, SERVER_FAILED, None)]);
    let (knows, _) = server(|question, name, is_six| vec![knows("vm", question, name, is_six)]);
    assert_eq!(
        find(&servers(&[fails, knows], ""), "vm"),
        Ok(vec![HERE.into()])
    );
    let error = find(&servers(&[fails], ""), "vm").unwrap_err();
    assert!(error.to_string().contains("answers with code 2"), "{error}");
}

#[test]
fn a_forged_answer_is_passed_over() {
    let (place, _) = server(|question, name, is_six| {
        let mut forged = answer(question, 0, Some([6, 6, 6, 6]));
        forged[0] ^= 1;
        vec![forged, b"no".to_vec(), knows("vm", question, name, is_six)]
    });
    assert_eq!(find(&servers(&[place], ""), "vm"), Ok(vec![HERE.into()]));
}

#[test]
fn a_server_that_is_silent_about_version_6_holds_nobody_up() {
    let (place, _) = server(|question, name, is_six| match is_six {
        true => vec![],
        false => vec![knows("vm", question, name, is_six)],
    });
    let began = std::time::Instant::now();
    assert_eq!(find(&servers(&[place], ""), "vm"), Ok(vec![HERE.into()]));
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_server_that_is_silent_is_named() {
    let (place, names) = server(|_, _, _| vec![]);
    let mut servers = servers(&[place], "options attempts:3");
    servers.timeout = Duration::from_millis(20);
    let error = find(&servers, "vm").unwrap_err().to_string();
    assert!(
        error.contains(&format!("{place} doesn't answer within 0.02 s")),
        "{error}"
    );
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(names.try_iter().count(), 6, "both versions, three times");
}

#[test]
fn an_answer_that_is_cut_off_is_asked_for_by_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(place).unwrap();
    spawn(Role::Remote, move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            let mut cut = answer(&question[..length], 0, None);
            cut[2] |= TRUNCATED;
            let _ = socket.send_to(&cut, from);
        }
    })
    .unwrap();
    spawn(Role::Remote, move || {
        for stream in listener.incoming() {
            let (mut stream, mut length) = (stream.unwrap(), [0; 2]);
            stream.read_exact(&mut length).unwrap();
            let mut question = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut question).unwrap();
            let (name, is_six) = asked(&question);
            let answer = knows("vm", &question, &name, is_six);
            let length = u16::try_from(answer.len()).unwrap();
            let _ = stream.write_all(&length.to_be_bytes());
            let _ = stream.write_all(&answer);
        }
    })
    .unwrap();
    assert_eq!(find(&servers(&[place], ""), "vm"), Ok(vec![HERE.into()]));
    let by_tcp = servers(&[place], "options use-vc");
    assert_eq!(find(&by_tcp, "vm"), Ok(vec![HERE.into()]));
}

#[test]
fn this_host_is_never_asked_for() {
    for name in ["localhost", "LOCALHOST.", "vm.localhost"] {
        assert!(is_this_host(name), "{name}");
    }
    for name in ["localhost.example", "notlocalhost", ""] {
        assert!(!is_this_host(name), "{name}");
    }
}
