//! The handler that waits for something to become true of a disk.

use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use utoipa::IntoParams;

use crate::daemon::api::input::{Asked, At, Named};
use crate::daemon::api::state::{Api, Permit};
use crate::daemon::api::wire::failure::Failure;
use crate::daemon::disks::{Disks, describe};
use crate::model::{Condition, Event, Problem, Stats, Waited};

/// The longest wait of one request, in milliseconds.
const MOST_MS: u32 = 3_600_000;
/// How often counters are read, which no event reports: at first, and after a while.
const OFTEN: Duration = Duration::from_millis(10);
const SELDOM: Duration = Duration::from_millis(100);

/// What to wait for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaitQuery {
    /// What to wait for: `attached`, `detached`, `imported`, `quiet=2000ms` (no request for that
    /// time), or a figure's least value. Figures in requests are `reads`, `writes`, `flushes`,
    /// `discards` and `errors`, figures in bytes `read`, `written`, `discarded`, `mapped` and
    /// `charged`, as in `written>=67108864`.
    #[serde(rename = "for")]
    #[param(
        rename = "for",
        pattern = "^(attached|detached|imported|quiet=[0-9]{1,9}ms|[a-z]{4,9}>=[0-9]{1,19})$"
    )]
    condition: String,
    /// The longest time to wait, in milliseconds; 30 s by default, and an hour at most.
    #[serde(default = "usual_ms")]
    #[param(value_type = Option<u32>, maximum = 3600000)]
    timeout_ms: u32,
}

fn usual_ms() -> u32 {
    30_000
}

/// Wait for a disk
///
/// The answer comes as soon as the condition holds, which may be at once, or when the time is up;
/// `met` says which. The daemon follows its own events for that, and looks at the counters of
/// requests 10 to 100 times a second while it waits for one.
#[utoipa::path(
    get,
    path = "/v1/disks/{name}/wait",
    tag = "disks",
    operation_id = "wait_for_disk",
    params(Named, WaitQuery),
    responses(
        (status = 200, description = "it holds, or the time is up", body = Waited),
        (status = 404, description = "there is no such disk, or no longer"),
    ),
)]
pub(crate) async fn wait(
    State(api): State<Api>,
    At(at): At<Named>,
    Asked(query): Asked<WaitQuery>,
) -> Result<Response, Failure> {
    let _permit = api.permit(Permit::Listener)?;
    let condition: Result<Condition, String> = query.condition.parse();
    let condition = condition.map_err(|refused| Failure::invalid(refused).at("for"))?;
    if query.timeout_ms > MOST_MS {
        let detail = format!("timeout_ms is more than {MOST_MS}: wait again instead");
        return Err(Failure::invalid(detail).at("timeout_ms"));
    }
    let name = at.name.into_string();
    let began = Instant::now();
    let limit = Duration::from_millis(query.timeout_ms.into());
    let mut stopped = api.stopped();
    let met = tokio::select! {
        met = until(&api, &name, condition) => met.map(|()| true)?,
        () = tokio::time::sleep(limit) => false,
        _ = stopped.wait_for(|stopped| *stopped) => false,
    };
    let waited = Waited {
        disk: name,
        condition: condition.to_string(),
        met,
        waited_ns: u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX),
    };
    api.ok(move |_| Ok(waited)).await
}

/// Return once it holds.
async fn until(api: &Api, name: &str, condition: Condition) -> Result<(), Failure> {
    // Before the first look, so that nothing is missed between the two.
    let mut events = api.disks().events().listen();
    let mut observed = Observed::new(condition);
    let mut pause = OFTEN;
    loop {
        let of = name.to_owned();
        let look = move |disks: &Disks| {
            let disk = describe::of(disks, &of)?;
            Ok::<_, Problem>((disk, describe::stats(disks, &of)?))
        };
        let (disk, stats) = api.work(look).await??;
        if condition.holds(&disk, &stats) || observed.is_quiet(&stats) {
            return Ok(());
        }
        match condition {
            Condition::Attached | Condition::Detached | Condition::Imported => {
                of_disk(&mut events, name).await;
            }
            Condition::Quiet { .. } | Condition::Reached { .. } => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(SELDOM);
            }
        }
    }
}

/// Return at the next event of a disk, or when some were missed.
async fn of_disk(events: &mut Receiver<Event>, name: &str) {
    loop {
        match events.recv().await {
            Ok(event) if !event.is_about(name) => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            // The registry ends, and so does the server.
            Err(RecvError::Closed) => return tokio::time::sleep(SELDOM).await,
        }
    }
}

/// What was observed of a disk's requests.
struct Observed {
    quiet_for: Option<Duration>,
    /// The counters, and since when they are the same.
    last: Option<(u64, Instant)>,
}

impl Observed {
    fn new(condition: Condition) -> Self {
        let quiet_for = match condition {
            Condition::Quiet { ms } => Some(Duration::from_millis(ms)),
            _ => None,
        };
        Self {
            quiet_for,
            last: None,
        }
    }

    /// Whether there was no request for the time that is waited for.
    fn is_quiet(&mut self, stats: &Stats) -> bool {
        let Some(quiet_for) = self.quiet_for else {
            return false;
        };
        let waiting = stats.in_flight + stats.throttled + stats.stalled + stats.held;
        let done = stats.operations.values().map(|it| it.completed).sum();
        let (now, is_busy) = (Instant::now(), waiting > 0);
        let since = match self.last {
            Some((count, since)) if count == done && !is_busy => since,
            _ => now,
        };
        self.last = Some((done, since));
        !is_busy && now - since >= quiet_for
    }
}
