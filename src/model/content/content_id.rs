//! Identifiers of content.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// An identifier of content, which no other content has: random, 32 hexadecimal digits. Each
/// snapshot has one, and so has what was imported from an export of it. That of a golden image
/// follows from the digest of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ContentId(pub u128);

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl From<ContentId> for String {
    fn from(id: ContentId) -> Self {
        id.to_string()
    }
}

impl FromStr for ContentId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let fits = text.len() == 32 && text.bytes().all(is_digit);
        let id = fits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        id.map(Self)
            .ok_or_else(|| format!("{text:?} is no content id: it has 32 of 0-9 and a-f"))
    }
}

impl TryFrom<String> for ContentId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl PartialSchema for ContentId {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String);
        text.pattern(Some("^[0-9a-f]{32}$")).build().into()
    }
}

impl ToSchema for ContentId {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("ContentId")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_32_lower_case_digits_and_nothing_else() {
        let text = "00112233445566778899aabbccddeeff";
        let id: ContentId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(ContentId(1).to_string().len(), 32);
        for wrong in [
            "",
            "1",
            &text[1..],
            &text.to_uppercase(),
            &format!("+{}", &text[1..]),
        ] {
            assert!(wrong.parse::<ContentId>().is_err(), "{wrong}");
        }
    }
}
