//! The handler that streams the content of a disk.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::apart::Apart;
use super::delta;
use crate::daemon::api::input::{Asked, At, Moment, Named};
use crate::daemon::api::state::{Api, Permit};
use crate::daemon::api::wire::accept::wanted;
use crate::daemon::api::wire::failure::Failure;
use crate::daemon::api::wire::produced::produced;
use crate::daemon::disks::{Target, content};
use crate::model::frames::{self, CONTENT_ID, FRAMES_TYPE, HEADER_BYTES};
use crate::model::{Problem, ProblemKind};

/// The media type of plain bytes.
pub(crate) const PLAIN_TYPE: &str = "application/octet-stream";
/// How many bytes to read at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// How much of a list is made at a time.
const LIST_BYTES: usize = 64 << 10;
/// The content of unmapped sectors. An array would be a megabyte of the program's file.
static ZEROS: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(vec![0; CHUNK_BYTES]));

/// Which content to return.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DownloadQuery {
    /// A snapshot of the disk instead of the disk.
    #[param(
        value_type = Option<String>,
        pattern = "^([A-Za-z0-9][A-Za-z0-9._-]{0,63}|(flush|time|written):[1-9][0-9]{0,17})$"
    )]
    snapshot: Option<Moment>,
    /// Another snapshot of the disk, or a snapshot of another one as `NAME@SNAPSHOT`: return how
    /// the content differs from that one, as `application/vnd.ramblk.delta`.
    #[param(
        value_type = Option<String>,
        pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(@[A-Za-z0-9][A-Za-z0-9._-]{0,63})?$",
    )]
    base: Option<String>,
    /// The unit of what differs: frames begin and end at multiples of it, or at the end.
    #[param(value_type = Option<u64>, minimum = 512, maximum = 2097152)]
    unit_bytes: Option<u64>,
    /// Begin with a list of where all frames will be, for what must know that before its first
    /// byte.
    list: bool,
}

/// Read content
///
/// Returns the content as of this moment, whatever guests write meanwhile. As
/// `application/octet-stream` it has every byte, or those of one `Range`. As
/// `application/vnd.ramblk.extents` it has the mapped parts as a sequence of frames: an offset and
/// a length (8 bytes each, little-endian), then that many bytes, at most 1 MiB. The last frame has
/// the disk's size as its offset, and length 0.
///
/// With `base` it is a change of that content, for `put_data` of a disk that has it. Its frames are
/// the same, but what lies between them is as in the base, and a frame whose length has its topmost
/// bit set has no data: that many bytes read as zeros now.
///
/// With `list` the offsets and lengths of all frames come first, without their data, whose lengths
/// have no bound there, and with the last frame. Then comes the content of the same moment.
///
/// The headers `ramblk-content-id` and `ramblk-base-id` have the identifiers of both contents, as
/// far as they have one.
#[utoipa::path(
    get,
    path = "/v1/disks/{name}/data",
    tag = "content",
    operation_id = "get_data",
    params(Named, DownloadQuery),
    responses(
        (status = 200, description = "the content", content(
            (Vec<u8> = "application/octet-stream"),
            (Vec<u8> = "application/vnd.ramblk.extents"),
            (Vec<u8> = "application/vnd.ramblk.delta"),
        )),
        (status = 206, description = "a range of the content", body = Vec<u8>,
            content_type = "application/octet-stream"),
        (status = 404, description = "no such disk or snapshot"),
        (status = 409, description = "its first content is incomplete"),
        (status = 406, description = "no media type of the content is accepted"),
        (status = 416, description = "the range lies beyond the end"),
    ),
)]
pub(crate) async fn content(
    State(api): State<Api>,
    At(at): At<Named>,
    Asked(query): Asked<DownloadQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let target = Target {
        disk: at.name.into_string(),
        snapshot: query.snapshot.map(Moment::into_string),
    };
    if let Some(base) = &query.base {
        let how = (query.unit_bytes, query.list);
        return delta::content(&api, target, base, how, &headers).await;
    }
    if query.unit_bytes.is_some() {
        let detail = "unit_bytes is for a change of another content: name that with base";
        return Err(Failure::invalid(detail).at("unit_bytes"));
    }
    let as_frames = wants_frames(&headers)?;
    if query.list && !as_frames {
        let detail = format!("list is for {FRAMES_TYPE}: accept that");
        return Err(Failure::invalid(detail).at("list"));
    }
    let permit = api.permit(Permit::Transfer)?;
    let reader = api.work(move |disks| content::reader(disks, &target).map(Apart::new));
    let reader = reader.await??;
    let size = reader.size_bytes();
    let id = reader.content_id();
    let (source, response) = if as_frames {
        let source = ContentStream::frames(reader, query.list);
        (source, [(CONTENT_TYPE, FRAMES_TYPE)].into_response())
    } else {
        match range(&headers, size) {
            Asking::All => (ContentStream::plain(reader, 0, size), plain(size, None)),
            Asking::Part(start, end) => {
                let said = format!("bytes {start}-{}/{size}", end.saturating_sub(1));
                (
                    ContentStream::plain(reader, start, end),
                    plain(end - start, Some(said)),
                )
            }
            Asking::Beyond => return Ok(beyond(size)),
        }
    };
    let body = produced(source, ContentStream::next, permit, api.options().idle_time);
    let response = response.map(|_| body);
    Ok(delta::identified(response, CONTENT_ID, id))
}

fn plain(length: u64, range: Option<String>) -> Response {
    let headers = [
        (CONTENT_TYPE, PLAIN_TYPE.to_owned()),
        (CONTENT_LENGTH, length.to_string()),
        (ACCEPT_RANGES, "bytes".to_owned()),
    ];
    match range {
        None => headers.into_response(),
        Some(range) => {
            let range = [(CONTENT_RANGE, range)];
            (StatusCode::PARTIAL_CONTENT, headers, range).into_response()
        }
    }
}

fn beyond(size: u64) -> Response {
    let status = StatusCode::RANGE_NOT_SATISFIABLE;
    let detail = format!("the range lies beyond the disk's {size} bytes");
    let failure = Failure::new(ProblemKind::Invalid, detail).with_status(status);
    ([(CONTENT_RANGE, format!("bytes */{size}"))], failure).into_response()
}

/// Whether the client prefers frames to plain bytes.
fn wants_frames(headers: &HeaderMap) -> Result<bool, Failure> {
    let (frames, plain) = (wanted(headers, FRAMES_TYPE), wanted(headers, PLAIN_TYPE));
    match (frames.quality, plain.quality) {
        (0, 0) => {
            let detail = format!("content comes as {PLAIN_TYPE} or {FRAMES_TYPE}: accept one");
            let failure = Failure::invalid(detail).with_status(StatusCode::NOT_ACCEPTABLE);
            Err(failure.at("accept"))
        }
        (_, 0) => Ok(true),
        (frames_weight, weight) => Ok(frames.named && frames_weight >= weight),
    }
}

/// The part of the content that the client asks for, in bytes.
#[derive(Debug, PartialEq, Eq)]
enum Asking {
    All,
    /// From the first offset up to, and not including, the second.
    Part(u64, u64),
    /// A range beyond the end.
    Beyond,
}

/// The range that the headers ask for. One that can't be parsed, and several ranges, count as none
/// (RFC 9110). So does one with `If-Range`, since content has no entity tag (13.1.5).
fn range(headers: &HeaderMap, size: u64) -> Asking {
    if headers.contains_key(IF_RANGE) {
        return Asking::All;
    }
    let value = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let Some((first, last)) = value
        .and_then(|value| value.strip_prefix("bytes="))
        .and_then(|value| value.split_once('-'))
    else {
        return Asking::All;
    };
    let (start, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.saturating_add(1).min(size)),
        (Ok(first), Err(_)) if last.is_empty() => (first, size),
        (Err(_), Ok(last)) if first.is_empty() => (size.saturating_sub(last), size),
        _ => return Asking::All,
    };
    if start < end {
        Asking::Part(start, end)
    } else {
        Asking::Beyond
    }
}

/// The content that a download sends, chunk by chunk.
pub(in crate::daemon::api::handlers) struct ContentStream {
    reader: Apart,
    at_bytes: u64,
    end_bytes: u64,
    frames: bool,
    /// Whether the list of all frames is still to be sent.
    lists: bool,
    ended: bool,
}

impl ContentStream {
    pub(in crate::daemon::api::handlers) fn plain(
        reader: Apart,
        at_bytes: u64,
        end_bytes: u64,
    ) -> Self {
        Self {
            reader,
            at_bytes,
            end_bytes,
            frames: false,
            lists: false,
            ended: false,
        }
    }

    fn frames(reader: Apart, lists: bool) -> Self {
        let end_bytes = reader.size_bytes();
        Self {
            frames: true,
            lists,
            ..Self::plain(reader, 0, end_bytes)
        }
    }

    pub(in crate::daemon::api::handlers) fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        if self.ended {
            Ok(None)
        } else if self.lists {
            self.next_of_list().map(Some)
        } else if self.frames {
            self.next_frames().map(Some)
        } else {
            self.next_plain()
        }
    }

    fn next_plain(&mut self) -> Result<Option<Bytes>, Problem> {
        let left = self.end_bytes - self.at_bytes;
        let length = usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        if length == 0 {
            return Ok(None);
        }
        let end = self.at_bytes + length as u64;
        let mapped = self.reader.next_mapped(self.at_bytes)?;
        let chunk = if mapped.is_some_and(|(start, _)| start < end) {
            let mut chunk = vec![0; length];
            self.reader.read(self.at_bytes, &mut chunk)?;
            Bytes::from(chunk)
        } else {
            ZEROS.slice(..length)
        };
        self.at_bytes = end;
        Ok(Some(chunk))
    }

    /// The next part of the list of all frames.
    fn next_of_list(&mut self) -> Result<Bytes, Problem> {
        let mut headers = Vec::new();
        while headers.len() < LIST_BYTES {
            let Some((start, length)) = self.reader.next_mapped(self.at_bytes)? else {
                headers.extend_from_slice(&frames::header(self.end_bytes, 0));
                (self.at_bytes, self.lists) = (0, false);
                break;
            };
            headers.extend_from_slice(&frames::header(start, length));
            self.at_bytes = start + length;
        }
        Ok(Bytes::from(headers))
    }

    /// The next frames, several if they are short.
    fn next_frames(&mut self) -> Result<Bytes, Problem> {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES + HEADER_BYTES);
        while chunk.len() + HEADER_BYTES <= CHUNK_BYTES {
            let Some((start, length)) = self.reader.next_mapped(self.at_bytes)? else {
                chunk.extend_from_slice(&frames::header(self.end_bytes, 0));
                self.ended = true;
                break;
            };
            let end = start + length;
            let start = start.max(self.at_bytes);
            let room = (CHUNK_BYTES - HEADER_BYTES - chunk.len()).min(CHUNK_BYTES) & !511;
            if room == 0 {
                break;
            }
            let length = usize::try_from(end - start).map_or(room, |length| length.min(room));
            chunk.extend_from_slice(&frames::header(start, length as u64));
            let from = chunk.len();
            chunk.resize(from + length, 0);
            let Some(into) = chunk.get_mut(from..) else {
                break;
            };
            self.reader.read(start, into)?;
            self.at_bytes = start + length as u64;
        }
        Ok(Bytes::from(chunk))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_specification_says() {
        let asking = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, text.parse().unwrap());
            range(&headers, 1000)
        };
        assert_eq!(range(&HeaderMap::new(), 1000), Asking::All);
        assert_eq!(asking("bytes=0-0"), Asking::Part(0, 1));
        assert_eq!(asking("bytes=5-99"), Asking::Part(5, 100));
        assert_eq!(asking("bytes=5-"), Asking::Part(5, 1000));
        assert_eq!(asking("bytes=-10"), Asking::Part(990, 1000));
        assert_eq!(asking("bytes=-2000"), Asking::Part(0, 1000));
        assert_eq!(
            asking("bytes=999-18446744073709551615"),
            Asking::Part(999, 1000)
        );
        assert_eq!(asking("bytes=1000-"), Asking::Beyond);
        assert_eq!(asking("bytes=-0"), Asking::Beyond);
        for nonsense in [
            "bytes=9-5",
            "bytes=a-b",
            "bytes=1-2,4-5",
            "lines=1-2",
            "bytes=-",
        ] {
            assert_eq!(asking(nonsense), Asking::All, "{nonsense}");
        }
    }
}
