//! Looking at a host without changing it: what would keep a daemon from starting there
//! (`ramblk serve --check`).
//!
//! | file | what it holds |
//! |---|---|
//! | `diagnosis` | one result: how bad it is, what was found, and what to do |
//! | `process` | other processes: which one listens at a socket, or has locked a file |
//! | `places` | the directory of sockets, the API's socket, the place of the disks |
//! | `kept` | the disks that are there, and whether this version can take them up |
//! | `declared` | the disks and groups that a configuration declares |
//! | `limits` | limits of the system, beside what a daemon would need |
//! | `mod` | all of it, in order |

mod declared;
pub(crate) mod diagnosis;
mod kept;
mod limits;
mod places;
mod process;

use rustix::thread::CapabilitySet;

use self::diagnosis::Diagnosis;
use self::kept::Kept;
use self::places::Places;
use super::error::Error;
use super::host::socket::SocketAccess;
use super::host::workers;
use super::serve::config::{Readers, ServeOptions, import_timeout, memory_limit, metrics_labels};

/// What a daemon with these options would find at its start, in order. It can start if none is a
/// [`Severity::Problem`](diagnosis::Severity::Problem).
///
/// A daemon that runs in the same places is no problem: an upgrade stops it first. Nothing is
/// changed, and that daemon notices nothing.
pub fn check(options: &ServeOptions) -> Vec<Diagnosis> {
    let options = &options.clone().with_whole_paths();
    let mut told = Vec::new();
    let places = Places::look(options, &mut told);
    let kept = Kept::look(&options.state, &places, &mut told);
    let limit = places
        .location
        .as_ref()
        .map(|location| memory_limit(options.asked_limit(), location));
    let pool_bytes = match &limit {
        Some(Ok(limit)) => {
            let is_asked = options.memory_limit_bytes.is_some();
            told.extend(limits::memory(limit, is_asked, kept.memory_bytes));
            told.extend(limits::arena(
                limit.bytes,
                options.lock_memory,
                kept.size_bytes,
            ));
            limit.bytes
        }
        Some(Err(error)) => {
            told.push(Diagnosis::refused("memory-limit", error));
            u64::MAX
        }
        None => u64::MAX,
    };
    let disks = declared::disks(&options.declaration, &kept);
    told.push(limits::descriptors(disks));
    told.push(check_workers(options));
    told.push(check_access(options));
    told.extend(check_readers(options, &places));
    told.extend(refusal(
        "import-timeout",
        import_timeout(options.import_timeout),
    ));
    let labels = metrics_labels(options.metrics_labels.clone());
    told.extend(refusal("metrics-label", labels));
    if let Some(address) = options.metrics_listen {
        told.push(limits::metrics(address, places.is_served));
    }
    let declaration = &options.declaration;
    if !declaration.disks.is_empty() || !declaration.groups.is_empty() {
        let run_dir = places.run_dir.as_deref();
        told.extend(declared::check(declaration, &kept, run_dir, pool_bytes));
    }
    told
}

fn refusal<T>(subject: &'static str, result: Result<T, Error>) -> Option<Diagnosis> {
    result
        .err()
        .map(|error| Diagnosis::refused(subject, &error))
}

/// The threads that serve queues, and the processors that they are pinned to.
fn check_workers(options: &ServeOptions) -> Diagnosis {
    const WORKERS: &str = "workers";
    let workers = workers::options(options.workers, options.poll_us, options.cpus.clone());
    let workers = match workers {
        Ok(workers) => workers,
        Err(error) => return Diagnosis::refused(WORKERS, &error),
    };
    let allowed = rustix::thread::sched_getaffinity(None);
    let is_allowed = |cpu: &usize| {
        let most = rustix::thread::CpuSet::MAX_CPU;
        allowed.is_ok_and(|allowed| *cpu < most && allowed.is_set(*cpu))
    };
    match workers.cpus.iter().find(|cpu| !is_allowed(cpu)) {
        Some(cpu) => {
            let what = format!("this process may not run on processor {cpu}");
            Diagnosis::problem(WORKERS, what, "choose others with --pin (taskset -pc $$)")
        }
        None => Diagnosis::ok(WORKERS, format!("{} threads serve queues", workers.count)),
    }
}

/// The socket for clients that only read, if there is one.
fn check_readers(options: &ServeOptions, places: &Places) -> Option<Diagnosis> {
    let api_socket = options.api_socket_in(places.run_dir.as_deref())?;
    match Readers::new(options.readers.clone(), &api_socket) {
        Ok(None) => None,
        Ok(Some(readers)) => {
            let what = format!("{readers}");
            Some(Diagnosis::ok("api-ro-socket", what))
        }
        Err(error) => Some(Diagnosis::refused("api-ro-socket", &error)),
    }
}

/// The mode and the group of sockets.
fn check_access(options: &ServeOptions) -> Diagnosis {
    const GROUP: &str = "socket-group";
    let group = options.socket_group.as_deref();
    let access = match SocketAccess::new(options.socket_mode, group) {
        Ok(access) => access,
        Err(error) => return Diagnosis::refused(GROUP, &error),
    };
    let who = match access.group {
        Some(number) => format!("group {number}"),
        None => "the daemon's group".to_owned(),
    };
    let what = format!("sockets have mode {:04o} and {who}", access.mode);
    if access.group.is_some_and(|number| !is_member(number))
        && !limits::has_capability(CapabilitySet::CHOWN)
    {
        let what = format!("{what}, of which this user is no member");
        let remedy = "add the user to the group (SupplementaryGroups= in a service)";
        return Diagnosis::problem(GROUP, what, remedy);
    }
    if access.mode & 0o006 != 0 {
        let what = format!("{what}: every user can connect, and can read or destroy every disk");
        return Diagnosis::warning(GROUP, what, "give --socket-mode 0660");
    }
    Diagnosis::ok(GROUP, what)
}

fn is_member(group: u32) -> bool {
    let groups = rustix::process::getgroups().unwrap_or_default();
    let own = rustix::process::getegid();
    own.as_raw() == group || groups.iter().any(|it| it.as_raw() == group)
}
