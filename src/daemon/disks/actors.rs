//! Who causes what happens: a client of the API, a front end, or the daemon by itself.
//!
//! The actor of an API request is a property of its task, and of the work thread that does the
//! work, so that no action needs to pass it on.

use crate::model::{Actor, ActorKind};

tokio::task_local! {
    static ACTOR: Actor;
}

/// Who causes what happens now; the daemon by itself, unless a request is being answered.
pub(crate) fn current() -> Actor {
    ACTOR.try_with(Clone::clone).unwrap_or_default()
}

/// Do `work` as `actor`.
pub(crate) fn acting<T>(actor: Actor, work: impl FnOnce() -> T) -> T {
    ACTOR.sync_scope(actor, work)
}

/// Answer a request of `actor`.
pub(crate) async fn answering<T>(actor: Actor, answer: impl Future<Output = T>) -> T {
    ACTOR.scope(actor, answer).await
}

/// A process as an actor, with the name that it has now.
pub(crate) fn process(kind: ActorKind, uid: Option<u32>, pid: Option<u32>) -> Actor {
    Actor {
        kind,
        uid,
        pid,
        process: pid.and_then(name_of),
        session: None,
    }
}

/// The name of a process, at most 15 bytes of its program's.
fn name_of(pid: u32) -> Option<String> {
    let name = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    let name = String::from_utf8_lossy(&name);
    Some(name.trim_end_matches('\n').to_owned()).filter(|name| !name.is_empty())
}
