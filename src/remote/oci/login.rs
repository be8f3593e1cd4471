//! The credentials that `docker login`, `podman login` and `oras login` have stored.

use std::path::PathBuf;

use base64::Engine as _;
use serde_json::Value;

/// The longest file that is read.
const MOST_BYTES: u64 = 1 << 20;

/// What users call Docker's registry.
pub(super) const DOCKER_HUB: &str = "docker.io";

/// A user and a password.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login")
    }
}

impl Login {
    /// The login for a registry, from the first of the usual files that has one.
    pub(super) fn find(registry: &str) -> Option<Self> {
        files().into_iter().find_map(|file| {
            let is_small = std::fs::metadata(&file).ok()?.len() <= MOST_BYTES;
            let text = std::fs::read(file).ok().filter(|_| is_small)?;
            Self::of(&serde_json::from_slice(&text).ok()?, registry)
        })
    }

    fn of(config: &Value, registry: &str) -> Option<Self> {
        let auths = config.get("auths")?.as_object()?;
        let host = |key: &str| {
            let key = key.split_once("://").map_or(key, |(_, rest)| rest);
            key.split('/').next().unwrap_or_default().to_owned()
        };
        let entry = auths.iter().find(|(key, _)| host(key) == registry);
        let hub = || auths.get("https://index.docker.io/v1/");
        let entry = entry
            .map(|(_, entry)| entry)
            .or_else(|| (registry == DOCKER_HUB).then(hub).flatten())?;
        let coded = entry.get("auth")?.as_str()?;
        let text = base64::engine::general_purpose::STANDARD
            .decode(coded)
            .ok()?;
        let text = String::from_utf8(text).ok()?;
        let (user, password) = text.split_once(':')?;
        Some(Self {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }
}

/// The usual files, in order.
pub(in crate::remote) fn files() -> Vec<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let all = [
        folder("REGISTRY_AUTH_FILE"),
        folder("DOCKER_CONFIG").map(|it| it.join("config.json")),
        folder("XDG_RUNTIME_DIR").map(|it| it.join("containers/auth.json")),
        folder("HOME").map(|it| it.join(".docker/config.json")),
    ];
    all.into_iter().flatten().collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_found_by_its_host() {
        let text = r#"{"auths":{"https://host:5000/v2/":{"auth":"dTpwOnE="},
            "index.docker.io":{}, "https://index.docker.io/v1/":{"auth":"aDpo"},
            "other":{"auth":"!"}}}"#;
        let config = serde_json::from_str(text).unwrap();
        let find = |host| {
            let login = Login::of(&config, host)?;
            Some(format!("{} {}", login.user, login.password))
        };
        assert_eq!(find("host:5000").as_deref(), Some("u p:q"));
        assert_eq!(find("docker.io").as_deref(), Some("h h"));
        assert_eq!(find("host"), None);
        assert_eq!(find("other"), None);
    }
}
