//! Going through the states, on one thread of several: each makes every state whose turn is its
//! own, in the same order, so that what is found doesn't depend on time.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::check::{Check, Verdict, tail};
use super::disk::{StateDisk, Wanted};
use super::report::{Found, Report, losses, marks};
use super::stage::{Data, Stage};
use crate::cli::error::Error;
use crate::client::Client;
use crate::crash::explore::{Plan, Point, Shape, StateName, Walk, WalkError, minimise, states};
use crate::crash::log::Log;
use crate::crash::{Draws, Window};

/// How often a state that was found is tried again to make it smaller.
const MOST_TRIES: usize = 400;
/// The part of what a seed decides that picks states; moments are the others.
const COUNT_PART: u64 = u64::MAX;

/// What there is to do.
#[derive(Debug)]
pub(super) struct Job<'a> {
    /// `None` makes the states alone.
    pub(super) check: Option<Check>,
    /// The disk that was recorded, and where the daemon is, for states that are disks.
    pub(super) disk: &'a str,
    pub(super) api: &'a Path,
    pub(super) wanted: Wanted,
    pub(super) log: &'a Log,
    /// The file of the log.
    pub(super) data: &'a File,
    pub(super) base: &'a File,
    pub(super) points: &'a [Point],
    /// Only these states, unless there are none.
    pub(super) only: &'a [StateName],
    pub(super) plan: Plan,
    /// The most states, which the seed picks.
    pub(super) most: Option<usize>,
    pub(super) minimises: bool,
    pub(super) stop_at: usize,
    pub(super) jobs: usize,
}

/// What the threads share.
#[derive(Debug)]
pub(super) struct Shared<'a> {
    job: Job<'a>,
    /// Which of all states are looked at, if not all.
    picked: Option<Vec<bool>>,
    /// The content of states, and how many marks had been made: a check may find one bad that it
    /// found good when less was acknowledged.
    seen: Mutex<HashSet<(u128, usize)>>,
    /// What was found, with the number of the state.
    found: Mutex<Vec<(u64, Found)>>,
    made: AtomicU64,
    good: AtomicU64,
    ends: AtomicBool,
}

/// A state whose turn it is.
struct Turn<'t> {
    number: u64,
    thread: usize,
    name: &'t StateName,
    point: &'t Point,
    window: &'t Window,
}

impl<'a> Shared<'a> {
    pub(super) fn new(job: Job<'a>) -> Result<Self, Error> {
        let mut shared = Self {
            job,
            picked: None,
            seen: Mutex::default(),
            found: Mutex::default(),
            made: AtomicU64::new(0),
            good: AtomicU64::new(0),
            ends: AtomicBool::new(false),
        };
        if let Some(most) = shared.job.most {
            shared.picked = Some(shared.pick(most as u64)?);
        }
        Ok(shared)
    }

    /// Pick as many of the states as were asked for.
    fn pick(&self, most: u64) -> Result<Vec<bool>, Error> {
        let mut walk = self.walk()?;
        let mut count = 0;
        for point in self.points()? {
            let (_, window) = walk.go_to(point.moment).map_err(walked)?;
            count += self.names(&point, &window).len();
        }
        let mut draws = Draws::part(self.job.plan.seed, COUNT_PART);
        let mut wanted = most;
        let picked = (0..count).map(|number| {
            let left = (count - number) as u64;
            let is_picked = draws.below(left) < wanted;
            wanted -= u64::from(is_picked);
            is_picked
        });
        Ok(picked.collect())
    }

    fn walk(&self) -> Result<Walk<'a>, Error> {
        Walk::new(self.job.log).map_err(walked)
    }

    /// The states of a moment.
    fn names(&self, point: &Point, window: &Window) -> Vec<StateName> {
        let job = &self.job;
        let only = job.only.iter().filter(|name| name.moment == point.moment);
        match job.only.is_empty() {
            true => states(window, point.moment, &job.plan),
            false => only.cloned().collect(),
        }
    }

    /// Make the states of one thread, with files in `folder`.
    pub(super) fn run(&self, thread: usize, folder: &Path) -> Result<(), Error> {
        let done = self.go(thread, folder);
        if done.is_err() {
            self.ends.store(true, Ordering::Relaxed);
        }
        // What was found until then is reported.
        done.or_else(|error| {
            if self.is_interrupted() {
                Ok(())
            } else {
                Err(error)
            }
        })
    }

    fn is_interrupted(&self) -> bool {
        let check = self.job.check.as_ref();
        check.is_some_and(|check| check.interrupted.load(Ordering::Relaxed))
    }

    fn go(&self, thread: usize, folder: &Path) -> Result<(), Error> {
        let job = &self.job;
        let io = |error: io::Error| failed(folder, &error);
        fs::create_dir_all(folder).map_err(io)?;
        let mut stage = Stage::new(folder, job.base).map_err(io)?;
        let data = self.data();
        let mut walk = self.walk()?;
        let (mut number, mut turns) = (0, 0);
        for point in &self.points()? {
            let (settled, window) = walk.go_to(point.moment).map_err(walked)?;
            stage.advance(&settled, &data).map_err(io)?;
            for name in &self.names(point, &window) {
                number += 1;
                if !self.is_picked(number - 1) {
                    continue;
                }
                let is_mine = turns % job.jobs as u64 == thread as u64;
                turns += 1;
                let turn = Turn {
                    number: turns,
                    thread,
                    name,
                    point,
                    window: &window,
                };
                if self.ends.load(Ordering::Relaxed) {
                    return Ok(());
                }
                if is_mine {
                    self.turn(&turn, &mut stage, folder)?;
                }
            }
        }
        Ok(())
    }

    fn is_picked(&self, number: usize) -> bool {
        let picked = self.picked.as_ref();
        picked.is_none_or(|picked| picked.get(number).is_some_and(|&it| it))
    }

    /// The moments to look at: those of the states, if these are named.
    fn points(&self) -> Result<Vec<Point>, Error> {
        let job = &self.job;
        if job.only.is_empty() {
            return Ok(job.points.to_vec());
        }
        let mut moments: Vec<_> = job.only.iter().map(|name| name.moment).collect();
        moments.sort_unstable();
        moments.dedup();
        let flushes = |moment: u64| {
            let requests = job.log.requests.iter();
            let done = requests.filter(|it| it.completed <= moment && !it.changes());
            done.filter(|it| it.mark().is_none()).count() as u64
        };
        let point = |moment: crate::crash::Moment| Point {
            moment,
            flushes: flushes(moment.0),
            marks: marks(job.log, moment.0).len(),
        };
        Ok(moments.into_iter().map(point).collect())
    }

    fn data(&self) -> Data<'_> {
        Data {
            log: self.job.log,
            file: self.job.data,
        }
    }

    fn turn(&self, turn: &Turn<'_>, stage: &mut Stage, folder: &Path) -> Result<(), Error> {
        self.made.fetch_add(1, Ordering::Relaxed);
        let Some(verdict) = self.try_state(turn, turn.name, stage, folder, true)? else {
            return Ok(());
        };
        let Verdict::Bad(reason) = verdict else {
            self.good.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        let output = tail(&folder.join("output"));
        let minimal = match self.job.minimises {
            true => self.smallest(turn, stage, folder)?,
            false => None,
        };
        let shown = minimal.as_ref().unwrap_or(turn.name);
        let choice = shown.choice(turn.window).map_err(named)?;
        let before = marks(self.job.log, turn.point.moment.0);
        let found = Found {
            state: turn.name.to_string(),
            minimal: minimal.as_ref().map(ToString::to_string),
            moment: turn.point.moment.0,
            flushes: turn.point.flushes,
            last_mark: before.last().map(|&mark| mark.to_owned()),
            marks: before.len(),
            verdict: reason,
            output,
            losses: losses(self.job.log, turn.window, &choice),
            volatile: turn.window.volatile().count(),
        };
        let mut all = self.found.lock();
        if all.len() < self.job.stop_at {
            all.push((turn.number, found));
        }
        if all.len() >= self.job.stop_at {
            self.ends.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Check a state. `None` if one with the same content was checked before, and `is_new` asks for
    /// new ones only.
    fn try_state(
        &self,
        turn: &Turn<'_>,
        name: &StateName,
        stage: &mut Stage,
        folder: &Path,
        is_new: bool,
    ) -> Result<Option<Verdict>, Error> {
        let io = |error: io::Error| failed(folder, &error);
        let choice = name.choice(turn.window).map_err(named)?;
        let print = stage.make(turn.window, &choice, &self.data()).map_err(io)?;
        if is_new && !self.seen.lock().insert((print, turn.point.marks)) {
            stage.undo().map_err(io)?;
            return Ok(None);
        }
        stage.seal().map_err(io)?;
        let marks = marks(self.job.log, turn.point.moment.0).join("\n");
        let called = (name.to_string(), Some((turn.thread, name)));
        let verdict = self.check(stage, folder, called, marks)?;
        stage.undo_after_check().map_err(io)?;
        Ok(Some(verdict))
    }

    fn check(
        &self,
        stage: &Stage,
        folder: &Path,
        (called, state): (String, Option<(usize, &StateName)>),
        marks: String,
    ) -> Result<Verdict, Error> {
        let job = &self.job;
        let Some(check) = &job.check else {
            return Ok(Verdict::Good);
        };
        let file = stage.path().display().to_string();
        let environment = [
            ("RAMBLK_FILE", file.clone()),
            ("RAMBLK_STATE", called),
            ("RAMBLK_MARKS", marks),
        ];
        let mut values = vec![("{file}", file)];
        let client = match job.wanted.is_disk() {
            true => Some(Client::new(job.api)?),
            false => None,
        };
        let made = match (&client, state) {
            (None, _) => None,
            (Some(client), Some((thread, state))) => {
                Some(StateDisk::make(client, job.disk, thread, state)?)
            }
            (Some(_), None) => {
                let text = "a file is no disk: for {socket} and {nbd} name states that are known";
                return Err(Error::Usage(text.into()));
            }
        };
        if let Some(made) = &made {
            values.push(("{socket}", made.socket.clone()));
            values.push(("{disk}", made.name.clone()));
        }
        Ok(check.run(&values, &environment, &folder.join("output"))?)
    }

    /// The name of the fewest losses of a state that are still found.
    fn smallest(
        &self,
        turn: &Turn<'_>,
        stage: &mut Stage,
        folder: &Path,
    ) -> Result<Option<StateName>, Error> {
        let choice = turn.name.choice(turn.window).map_err(named)?;
        let losses: Vec<_> = choice
            .losses(turn.window)
            .map(|loss| (loss.write.number, loss.fate.clone()))
            .collect();
        let of = |losses: &[_]| StateName {
            shape: Shape::All(losses.to_vec()),
            ..turn.name.clone()
        };
        let mut fails = |losses: &[_]| {
            let verdict = self.try_state(turn, &of(losses), stage, folder, false)?;
            Ok::<_, Error>(matches!(verdict, Some(Verdict::Bad(_))))
        };
        // In another order of overlapping writes it may be good; then nothing is known of less.
        if !fails(&losses)? {
            return Ok(None);
        }
        // It may be bad with nothing lost at all.
        if fails(&[])? {
            return Ok(Some(of(&[])));
        }
        let least = minimise(&losses, MOST_TRIES, fails)?;
        Ok(Some(of(&least)))
    }

    /// Check what is known to be good and to be bad.
    pub(super) fn known(
        &self,
        folder: &Path,
        good: Option<&Path>,
        bad: Option<&Path>,
    ) -> Result<(), Error> {
        for (known, is_good) in [(good, true), (bad, false)] {
            let Some(known) = known else { continue };
            let verdict = self.verdict_of(folder, known)?;
            let called = known.display();
            match (verdict, is_good) {
                (Verdict::Good, true) | (Verdict::Bad(_), false) => {}
                (Verdict::Bad(reason), true) => {
                    let said = tail(&folder.join("output"));
                    let said = said.lines().last().unwrap_or_default().to_owned();
                    return Err(Error::Other(format!(
                        "the check finds {called} bad, which is known to be good ({reason}; \
                         {said}): what it would find says nothing; correct the check"
                    )));
                }
                (Verdict::Good, false) => {
                    return Err(Error::Other(format!(
                        "the check finds {called} good, which is known to be bad: what it would \
                         not find says nothing; correct the check"
                    )));
                }
            }
        }
        Ok(())
    }

    fn verdict_of(&self, folder: &Path, known: &Path) -> Result<Verdict, Error> {
        let io = |error: io::Error| failed(folder, &error);
        fs::create_dir_all(folder).map_err(io)?;
        let mut stage = Stage::new(folder, self.job.base).map_err(io)?;
        let name = known
            .to_str()
            .and_then(|text| text.parse::<StateName>().ok());
        let Some(name) = name else {
            let content = File::open(known).map_err(|error| failed(known, &error))?;
            stage.show(&content).map_err(io)?;
            let called = (known.display().to_string(), None);
            return self.check(&stage, folder, called, String::new());
        };
        let mut walk = self.walk()?;
        let (settled, window) = walk.go_to(name.moment).map_err(walked)?;
        stage.advance(&settled, &self.data()).map_err(io)?;
        let point = Point {
            moment: name.moment,
            flushes: 0,
            marks: 0,
        };
        let turn = Turn {
            number: 0,
            thread: 0,
            name: &name,
            point: &point,
            window: &window,
        };
        let verdict = self.try_state(&turn, &name, &mut stage, folder, false)?;
        Ok(verdict.unwrap_or(Verdict::Good))
    }

    /// What was found, when all threads have ended.
    pub(super) fn report(&self, disk: &str, took: Duration) -> Report {
        let mut found = self.found.lock().clone();
        found.sort_unstable_by_key(|(number, _)| *number);
        let found: Vec<Found> = found.into_iter().map(|(_, found)| found).collect();
        Report {
            disk: disk.to_owned(),
            points: self.points().map_or(0, |points| points.len()),
            states: self.made.load(Ordering::Relaxed),
            distinct: self.seen.lock().len() as u64,
            good: self.good.load(Ordering::Relaxed),
            tear_unit_bytes: self.job.plan.unit.bytes(),
            seed: self.job.plan.seed,
            seconds: took.as_secs_f64(),
            stopped_early: self.ends.load(Ordering::Relaxed),
            interrupted: self.is_interrupted(),
            found,
        }
    }
}

fn walked(error: WalkError) -> Error {
    Error::Other(error.to_string())
}

fn named(error: crate::crash::explore::NameError) -> Error {
    Error::Usage(error.to_string())
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::Other(format!("can't make states in {}: {error}", path.display()))
}
