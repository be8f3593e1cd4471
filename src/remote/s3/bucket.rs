//! Where a bucket is, and the credentials for it, by the usual variables of the environment.

use std::time::{Duration, SystemTime};

use reqwest::{Method, Url};

use super::super::error::Fault;
use super::super::http::request::Ask;
use super::super::http::source::Origin;
use super::sign::{Credentials, Signing, encode};

/// The region where none is named, as in other programs.
const USUAL_REGION: &str = "us-east-1";
/// How long a signed URL is valid. Each is used at once, and its request may be long.
const VALID: Duration = Duration::from_secs(3600);

/// A bucket.
#[derive(Debug)]
pub(in crate::remote) struct Bucket {
    /// Up to its first key, with a slash at the end.
    base: Url,
    region: String,
    /// `None` for a public one.
    credentials: Option<Credentials>,
}

impl Bucket {
    /// The bucket with this name, by this process's environment.
    ///
    /// # Errors
    /// There are no credentials, or the endpoint can't be.
    pub(in crate::remote) fn from_env(name: &str) -> Result<Self, Fault> {
        Self::new(name, |variable| {
            std::env::var(variable).ok().filter(|it| !it.is_empty())
        })
    }

    fn new(name: &str, get: impl Fn(&str) -> Option<String>) -> Result<Self, Fault> {
        let region = get("AWS_REGION").or_else(|| get("AWS_DEFAULT_REGION"));
        let region = region.unwrap_or_else(|| USUAL_REGION.into());
        let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];
        let endpoint = endpoint.iter().find_map(|it| Some((*it, get(it)?)));
        let base = match endpoint {
            Some((variable, endpoint)) => {
                let url = format!("{}/{name}/", endpoint.trim_end_matches('/'));
                let url = Url::parse(&url).ok().filter(|url| url.has_host());
                let wrong = || Fault::Credentials(format!("{variable} isn't a URL; correct it"));
                let is_http = |url: &Url| matches!(url.scheme(), "http" | "https");
                url.filter(is_http).ok_or_else(wrong)?
            }
            None => amazon(name, &region)?,
        };
        let skips = get("AWS_SKIP_SIGNATURE").is_some_and(|it| it == "true" || it == "1");
        let credentials = match (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")) {
            _ if skips => None,
            (Some(key), Some(secret)) => {
                Some(Credentials::new(key, secret, get("AWS_SESSION_TOKEN")))
            }
            _ => {
                return Err(Fault::Credentials(
                    "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY \
                     ('aws configure export-credentials --format env' prints them), or \
                     AWS_SKIP_SIGNATURE=true for a public bucket"
                        .into(),
                ));
            }
        };
        Ok(Self {
            base,
            region,
            credentials,
        })
    }

    /// A request for an object, signed.
    pub(in crate::remote) fn ask(
        &self,
        method: &Method,
        key: &str,
        query: &[(&str, &str)],
    ) -> Result<Ask, Fault> {
        let path = format!("{}{}", self.base.path(), encode(key, true));
        let mut url = self.base.clone();
        url.set_path(&path);
        let signing = self.credentials.as_ref().map(|credentials| Signing {
            credentials,
            region: &self.region,
            now: SystemTime::now(),
            valid: VALID,
        });
        let query = match signing {
            Some(signing) => signing.query(method, &url, query),
            None => super::sign::plain(query),
        };
        url.set_query(Some(&query).filter(|it| !it.is_empty()).map(String::as_str));
        Ok(Ask::new(method.clone(), url))
    }
}

/// An object of a bucket, to be read.
#[derive(Debug)]
pub(in crate::remote) struct Object {
    bucket: Bucket,
    key: String,
}

impl Object {
    pub(in crate::remote) fn new(bucket: Bucket, key: &str) -> Self {
        let key = key.to_owned();
        Self { bucket, key }
    }
}

impl Origin for Object {
    fn ask(&self) -> Result<Ask, Fault> {
        self.bucket.ask(&Method::GET, &self.key, &[])
    }

    fn is_fresh_each_time(&self) -> bool {
        true
    }
}

/// Where Amazon's buckets are.
fn amazon(name: &str, region: &str) -> Result<Url, Fault> {
    let domain = match region.starts_with("cn-") {
        true => "amazonaws.com.cn",
        false => "amazonaws.com",
    };
    // A certificate covers one label before it.
    let url = match name.contains('.') {
        true => format!("https://s3.{region}.{domain}/{name}/"),
        false => format!("https://{name}.s3.{region}.{domain}/"),
    };
    let wrong = || Fault::Credentials("AWS_REGION isn't a region; correct it".into());
    Url::parse(&url).map_err(|_| wrong())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn bucket(name: &str, set: &[(&str, &str)]) -> Result<Bucket, Fault> {
        Bucket::new(name, |wanted| {
            let found = set.iter().find(|(variable, _)| *variable == wanted);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const KEYS: [(&str, &str); 2] = [
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];

    #[test]
    fn the_endpoint_decides_how_a_bucket_is_named() {
        for (name, more, wanted) in [
            ("b", vec![], "https://b.s3.us-east-1.amazonaws.com/"),
            (
                "b.c",
                vec![("AWS_REGION", "eu-west-1")],
                "https://s3.eu-west-1.amazonaws.com/b.c/",
            ),
            (
                "b",
                vec![("AWS_DEFAULT_REGION", "cn-north-1")],
                "https://b.s3.cn-north-1.amazonaws.com.cn/",
            ),
            (
                "b",
                vec![
                    ("AWS_ENDPOINT_URL", "http://other:1"),
                    ("AWS_ENDPOINT_URL_S3", "http://host:9000/path/"),
                ],
                "http://host:9000/path/b/",
            ),
        ] {
            let set = [&KEYS[..], &more].concat();
            assert_eq!(bucket(name, &set).unwrap().base.as_str(), wanted);
        }
        let wrong = [&KEYS[..], &[("AWS_ENDPOINT_URL", "host:9000")]].concat();
        assert!(bucket("b", &wrong).is_err());
    }

    #[test]
    fn without_credentials_there_is_advice() {
        let error = bucket("b", &KEYS[..1]).unwrap_err().to_string();
        assert!(error.contains("AWS_SECRET_ACCESS_KEY"), "{error}");
        let public = bucket("b", &[("AWS_SKIP_SIGNATURE", "true")]).unwrap();
        let ask = public.ask(&Method::GET, "a b/c+d", &[("uploads", "")]);
        let wanted = "https://b.s3.us-east-1.amazonaws.com/a%20b/c%2Bd?uploads=";
        assert_eq!(ask.unwrap().url.as_str(), wanted);
    }
}
