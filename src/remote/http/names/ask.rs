//! Questions to servers: by UDP, or by TCP where an answer doesn't fit; RFC 1035 §4.2.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::rand::{GetRandomFlags, getrandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::files::Servers;
use super::message::{Answer, Question};

/// More than servers send by UDP to those who don't say how much they can take.
const MOST_UDP_BYTES: usize = 4096;

/// Ask one server after another, and all of them again, until one says which addresses there are.
/// There may be none.
///
/// # Errors
/// What the last one did instead.
pub(super) async fn ask(servers: &Servers, question: &Question) -> Result<Vec<IpAddr>, String> {
    let mut why = "it names none that can be asked".to_owned();
    for _ in 0..servers.attempts {
        for server in &servers.servers {
            let answer = tokio::time::timeout(servers.timeout, once(servers, *server, question));
            why = match answer.await {
                Ok(Ok(Answer::Addresses(found))) => return Ok(found),
                Ok(Ok(Answer::Truncated)) => format!("{server} cuts its answer off"),
                Ok(Ok(Answer::Refused(code))) => format!("{server} answers with code {code}"),
                Ok(Err(error)) => format!("{server}: {error}"),
                Err(_) => {
                    let seconds = servers.timeout.as_secs_f32();
                    format!("{server} doesn't answer within {seconds} s")
                }
            };
        }
    }
    Err(why)
}

async fn once(servers: &Servers, server: SocketAddr, question: &Question) -> io::Result<Answer> {
    if !servers.by_tcp {
        let answer = by_udp(server, question).await?;
        if answer != Answer::Truncated {
            return Ok(answer);
        }
    }
    by_tcp(server, question).await
}

/// A number that cannot be guessed: with the port, it tells an answer from a forged one.
fn id() -> io::Result<u16> {
    let mut bytes = [0; 2];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(u16::from_be_bytes(bytes))
}

async fn by_udp(server: SocketAddr, question: &Question) -> io::Result<Answer> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let id = id()?;
    socket.send(&question.message(id)).await?;
    let mut message = vec![0; MOST_UDP_BYTES];
    loop {
        let length = socket.recv(&mut message).await?;
        // Anything else may be a late answer to another question, or forged.
        if let Some(answer) = question.answer(id, &message[..length]) {
            return Ok(answer);
        }
    }
}

/// There, each message comes behind its length.
async fn by_tcp(server: SocketAddr, question: &Question) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(server).await?;
    let id = id()?;
    let message = question.message(id);
    // A question has at most 271 bytes.
    let length = u16::try_from(message.len()).unwrap_or_default();
    stream
        .write_all(&[&length.to_be_bytes()[..], &message].concat())
        .await?;
    let mut message = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut message).await?;
    let answer = question.answer(id, &message);
    answer.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "that is no answer"))
}
