//! Signed URLs: AWS Signature Version 4, in the query.

use std::fmt::{self, Debug, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::{Method, Url};
use sha2::{Digest as _, Sha256};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// SHA-256's block, by which HMAC (RFC 2104) pads its key.
const HMAC_BLOCK_BYTES: usize = 64;

/// What signs requests.
#[derive(Clone)]
pub(super) struct Credentials {
    key: String,
    secret: String,
    token: Option<String>,
}

impl Credentials {
    pub(super) fn new(key: String, secret: String, token: Option<String>) -> Self {
        Self { key, secret, token }
    }
}

impl Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// Who signs, where and when.
pub(super) struct Signing<'a> {
    pub(super) credentials: &'a Credentials,
    pub(super) region: &'a str,
    pub(super) now: SystemTime,
    pub(super) valid: Duration,
}

impl Signing<'_> {
    /// The query of a request, signed with its host. Its body isn't part of what is signed.
    pub(super) fn query(&self, method: &Method, url: &Url, query: &[(&str, &str)]) -> String {
        let time = time(self.now);
        let scope = format!("{}/{}/s3/aws4_request", &time[..8], self.region);
        let credential = format!("{}/{scope}", self.credentials.key);
        let valid = self.valid.as_secs().to_string();
        let mut all = query.to_vec();
        all.extend([
            ("X-Amz-Algorithm", ALGORITHM),
            ("X-Amz-Credential", &credential),
            ("X-Amz-Date", &time),
            ("X-Amz-Expires", &valid),
            ("X-Amz-SignedHeaders", "host"),
        ]);
        if let Some(token) = &self.credentials.token {
            all.push(("X-Amz-Security-Token", token));
        }
        let query = plain(&all);
        let host = super::super::http::request::host(url);
        let request = format!(
            "{method}\n{}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD",
            url.path()
        );
        let digest = hex(&Sha256::digest(request.as_bytes()));
        let text = format!("{ALGORITHM}\n{time}\n{scope}\n{digest}");
        let mut key = hmac(
            format!("AWS4{}", self.credentials.secret).as_bytes(),
            &time[..8],
        );
        for part in [self.region, "s3", "aws4_request", &text] {
            key = hmac(&key, part);
        }
        format!("{query}&X-Amz-Signature={}", hex(&key))
    }
}

/// A query in the order that is signed.
pub(super) fn plain(query: &[(&str, &str)]) -> String {
    let pairs = query.iter();
    let pairs =
        pairs.map(|(name, value)| format!("{}={}", encode(name, false), encode(value, false)));
    let mut pairs: Vec<String> = pairs.collect();
    pairs.sort_unstable();
    pairs.join("&")
}

/// Encode all but what no URL needs encoded (RFC 3986 §2.3), and slashes of a path.
pub(super) fn encode(text: &str, is_path: bool) -> String {
    let mut coded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                coded.push(char::from(byte));
            }
            b'/' if is_path => coded.push('/'),
            _ => drop(write!(coded, "%{byte:02X}")),
        }
    }
    coded
}

fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    let mut block = [0; HMAC_BLOCK_BYTES];
    match key.len() > HMAC_BLOCK_BYTES {
        true => block[..32].copy_from_slice(&Sha256::digest(key)),
        false => block[..key.len()].copy_from_slice(key),
    }
    let keyed = |pad: u8| Sha256::new().chain_update(block.map(|byte| byte ^ pad));
    let inner = keyed(0x36).chain_update(text.as_bytes()).finalize();
    keyed(0x5c).chain_update(inner).finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A time as in `20130524T000000Z`.
fn time(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, second) = (seconds / 86400, seconds % 86400);
    let (year, month, day) = date(days);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!(
        "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{:02}Z",
        second % 60
    )
}

/// The date that is this many days after 1970-01-01. Years are counted from March, so that the
/// leap day is the last one of a year.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, more) = match month < 10 {
        true => (month + 3, 0),
        false => (month - 9, 1),
    };
    (era * 400 + year_of_era + more, month, day)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, wanted) in [
            (0, "19700101T000000Z"),
            (951_782_400, "20000229T000000Z"),
            (1_369_353_600, "20130524T000000Z"),
            (1_735_689_599, "20241231T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(time(UNIX_EPOCH + Duration::from_secs(seconds)), wanted);
        }
    }

    /// The example of Amazon's page on signed URLs.
    #[test]
    fn a_signature_is_that_of_the_example() {
        let (key, secret) = (
            "AKIAIOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        );
        let credentials = Credentials::new(key.into(), secret.into(), None);
        let signing = Signing {
            credentials: &credentials,
            region: "us-east-1",
            now: UNIX_EPOCH + Duration::from_secs(1_369_353_600),
            valid: Duration::from_secs(86_400),
        };
        let url = Url::parse("https://examplebucket.s3.amazonaws.com/test.txt").unwrap();
        let query = signing.query(&Method::GET, &url, &[]);
        let wanted = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        assert!(query.ends_with(wanted), "{query}");
    }

    /// RFC 4231, test cases 1, 2 and 6.
    #[test]
    fn hmac_is_that_of_the_rfc() {
        for (key, text, wanted) in [
            (
                vec![0x0b; 20],
                "Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe".to_vec(),
                "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                vec![0xaa; 131],
                "Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            assert_eq!(hex(&hmac(&key, text)), wanted);
        }
    }
}
