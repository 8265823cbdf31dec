//! What the simulator holds: accounts, their regions, and what is in them; and the passing of time.
//!
//! Engine time is a count of milliseconds that only `advance` moves, in whole ticks, so that a rollout's course does
//! not depend on how often somebody looks. Everything shown to clients carries the wall-clock time of the event.

mod compute;
mod container;
mod refresh;
mod registry;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub(crate) use compute::*;
pub(crate) use container::*;
pub(crate) use refresh::*;
pub(crate) use registry::*;

use super::engine;
use super::iam::Policy;
use super::wire::Caller;

/// One step of the engines, in milliseconds of engine time.
pub(crate) const TICK: u64 = 1000;
/// Engine time at the start: late enough for what a world file holds to be old.
const START: u64 = 3_600_000;
/// How many events the log keeps.
const LOG_LENGTH: usize = 20_000;

/// The whole simulator: every account with all it holds, issued credentials, and the position in time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct World {
    /// Engine time in milliseconds; a multiple of `TICK`.
    pub(crate) now: u64,
    /// Wall-clock milliseconds since 1970 that events happening now are stamped with.
    pub(crate) wall: i64,
    pub(crate) segment: Segment,
    /// Milliseconds that were jumped over: history is so much older than its dates say.
    #[serde(default)]
    pub(crate) skipped: u64,
    pub(crate) seed: u64,
    /// How many sessions were ever issued.
    pub(crate) issued: u64,
    /// How many calls were ever made: as far as this goes, the journal tells of what happened to this world.
    #[serde(default)]
    pub(crate) calls: u64,
    pub(crate) timing: Timing,
    /// The region that is meant where none is named.
    pub(crate) default_region: String,
    /// The account that base credentials belong to.
    pub(crate) controller: String,
    pub(crate) accounts: BTreeMap<String, Account>,
    pub(crate) sessions: BTreeMap<String, Session>,
    /// Who holds the long-lived access keys that the world file names; all others are the controller's.
    #[serde(default)]
    pub(crate) keys: BTreeMap<String, Caller>,
    pub(crate) log: VecDeque<Event>,
}

/// How engine time maps to the wall clock since it was last anchored.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Segment {
    pub(crate) engine: u64,
    pub(crate) wall: i64,
    /// Engine milliseconds per wall millisecond; 0: time stands still but for `advance`.
    pub(crate) speed: f64,
}

impl Segment {
    fn wall_at(self, engine: u64) -> i64 {
        if self.speed > 0.0 {
            self.wall.saturating_add((engine.saturating_sub(self.engine) as f64 / self.speed) as i64)
        } else {
            self.wall
        }
    }

    /// Engine time at a wall-clock time, in milliseconds.
    pub(crate) fn engine_at(self, wall: i64) -> u64 {
        self.engine.saturating_add((wall.saturating_sub(self.wall).max(0) as f64 * self.speed) as u64)
    }
}

/// How long things take, in seconds of engine time.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Timing {
    /// From launch to `InService`, unless the image says otherwise.
    pub(crate) boot: u64,
    /// From `InService` to `Unhealthy`, for images that never get healthy.
    pub(crate) unhealthy: u64,
    /// From `Terminating` to gone.
    pub(crate) terminate: u64,
    /// From `Pending` to `InProgress`, for a refresh.
    pub(crate) refresh_start: u64,
    /// A refresh without progress for this long fails.
    pub(crate) no_progress: u64,
    /// `PROVISIONING` of a task.
    pub(crate) provision: u64,
    /// `PENDING` of a task: the pull.
    pub(crate) pull: u64,
    /// From `RUNNING` to `HEALTHY` or to the failure of a bad image.
    pub(crate) settle: u64,
    /// From a stop to `STOPPED`.
    pub(crate) drain: u64,
    /// From a service deployment's SUCCESSFUL to its deployment's COMPLETED.
    pub(crate) complete: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            boot: 20,
            unhealthy: 20,
            terminate: 10,
            refresh_start: 3,
            no_progress: 3600,
            provision: 4,
            pull: 6,
            settle: 8,
            drain: 8,
            complete: 0,
        }
    }
}

/// An account.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) roles: BTreeMap<String, Role>,
    /// The permission policies of users, by name; none: a user may do everything.
    #[serde(default)]
    pub(crate) users: BTreeMap<String, Option<Vec<Policy>>>,
    pub(crate) regions: BTreeMap<String, Region>,
}

/// A role that `AssumeRole` gives out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) external_id: Option<String>,
    /// Longest session in seconds.
    pub(crate) max_session: i64,
    /// Who may assume it; without, anybody who may assume roles at all and knows the external id.
    #[serde(default)]
    pub(crate) trust: Option<Policy>,
    /// What it may do; without, everything in its account.
    #[serde(default)]
    pub(crate) policies: Option<Vec<Policy>>,
}

/// What an account holds in one region.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Region {
    /// State of the region's own random sequence, so that what happens elsewhere changes nothing here; 0: not begun.
    pub(crate) seed: u64,
    pub(crate) images: BTreeMap<String, Image>,
    /// By id.
    pub(crate) templates: BTreeMap<String, LaunchTemplate>,
    pub(crate) groups: BTreeMap<String, Group>,
    /// CloudWatch alarms that aren't OK, by name. All others are there and OK.
    pub(crate) alarms: BTreeMap<String, AlarmState>,
    /// What lifecycle hooks answer, by their target's ARN: `SUCCEEDED` (where nothing is said), `FAILED`, `IN_PROGRESS`.
    #[serde(default)]
    pub(crate) hooks: BTreeMap<String, String>,
    pub(crate) task_definitions: BTreeMap<String, Vec<TaskDefinition>>,
    pub(crate) clusters: BTreeMap<String, Cluster>,
    pub(crate) repositories: BTreeMap<String, Repository>,
    pub(crate) parameters: BTreeMap<String, Parameter>,
}

/// The state of a CloudWatch alarm that isn't `OK`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum AlarmState {
    Alarm,
    InsufficientData,
}

impl AlarmState {
    /// CloudWatch's word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Alarm => "ALARM",
            Self::InsufficientData => "INSUFFICIENT_DATA",
        }
    }
}

impl Region {
    /// Whether an alarm is in `ALARM`.
    pub(crate) fn is_raised(&self, alarm: &str) -> bool {
        self.alarms.get(alarm) == Some(&AlarmState::Alarm)
    }
}

/// Credentials that `AssumeRole` issued.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) account: String,
    pub(crate) role: String,
    pub(crate) name: String,
    pub(crate) token: String,
    /// Wall-clock milliseconds.
    pub(crate) expires: i64,
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) transitive: BTreeSet<String>,
}

/// One line of the story: what happened to what, when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Event {
    /// Engine milliseconds.
    pub(crate) at: u64,
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) subject: String,
    pub(crate) event: String,
}

/// Identifiers and jitter, from the world's seed alone.
#[derive(Debug)]
pub(crate) struct Chance(fastrand::Rng);

impl Chance {
    pub(crate) fn hex(&mut self, length: usize) -> String {
        (0..length).map(|_| char::from_digit(self.0.u32(..16), 16).unwrap_or('0')).collect()
    }

    pub(crate) fn digits(&mut self, length: usize) -> String {
        (0..length).map(|_| self.0.digit(10)).collect()
    }

    pub(crate) fn upper(&mut self, length: usize) -> String {
        (0..length).map(|_| self.0.alphanumeric().to_ascii_uppercase()).collect()
    }

    pub(crate) fn uuid(&mut self) -> String {
        format!("{}-{}-{}-{}-{}", self.hex(8), self.hex(4), self.hex(4), self.hex(4), self.hex(12))
    }

    /// Up to a quarter more than `seconds`, in milliseconds.
    pub(crate) fn about(&mut self, seconds: u64) -> u64 {
        seconds.saturating_mul(1000).saturating_add(self.0.u64(..=seconds.saturating_mul(250)))
    }
}

/// What an engine sees of the world beside the thing it moves, and where it leaves its traces.
pub(crate) struct Scene<'a> {
    pub(crate) world: &'a World,
    pub(crate) account: &'a str,
    pub(crate) region: &'a str,
    pub(crate) chance: &'a mut Chance,
    pub(crate) events: &'a mut Vec<Event>,
}

impl Scene<'_> {
    pub(crate) fn now(&self) -> u64 {
        self.world.now
    }

    pub(crate) fn wall(&self) -> i64 {
        self.world.wall
    }

    pub(crate) fn tell(&mut self, subject: &str, event: impl Into<String>) {
        self.events.push(Event {
            at: self.world.now,
            account: self.account.to_owned(),
            region: self.region.to_owned(),
            subject: subject.to_owned(),
            event: event.into(),
        });
    }
}

/// A hexadecimal string that depends on nothing but its input: identifiers for what a world file names.
pub(crate) fn stable_hex(parts: &[&str], length: usize) -> String {
    let digest = Sha256::digest(parts.join("\n").as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.chars().cycle().take(length).collect()
}

impl World {
    pub(crate) fn empty(controller: &str, default_region: &str, timing: Timing) -> Self {
        Self {
            now: START,
            wall: 0,
            segment: Segment { engine: START, wall: 0, speed: 1.0 },
            skipped: 0,
            seed: 1,
            issued: 0,
            calls: 0,
            timing,
            default_region: default_region.to_owned(),
            controller: controller.to_owned(),
            accounts: BTreeMap::new(),
            sessions: BTreeMap::new(),
            keys: BTreeMap::new(),
            log: VecDeque::new(),
        }
    }

    /// The region of an account, made if it holds nothing yet.
    pub(crate) fn region_mut(&mut self, account: &str, region: &str) -> &mut Region {
        let entry = self.accounts.entry(account.to_owned()).or_default();
        entry.id = account.to_owned();
        entry.regions.entry(region.to_owned()).or_default()
    }

    pub(crate) fn region(&self, account: &str, region: &str) -> Option<&Region> {
        self.accounts.get(account)?.regions.get(region)
    }

    /// Gives every region a random sequence that depends on `seed` alone, and isn't the one that named what the world
    /// began with: no id may come twice.
    pub(crate) fn reseed(&mut self, seed: u64) {
        self.seed = seed;
        for (account, held) in &mut self.accounts {
            for (name, region) in &mut held.regions {
                let hex = stable_hex(&["story", &seed.to_string(), account, name], 16);
                region.seed = u64::from_str_radix(&hex, 16).unwrap_or(1);
            }
        }
    }

    /// Runs `step` on one region with the rest of the world in view. What `step` holds is taken out of the view.
    pub(crate) fn with_region<T>(
        &mut self,
        account: &str,
        region: &str,
        step: impl FnOnce(&mut BTreeMap<String, Group>, &mut BTreeMap<String, Cluster>, &mut Scene<'_>) -> T,
    ) -> T {
        let held = self.region_mut(account, region);
        let mut groups = std::mem::take(&mut held.groups);
        let mut clusters = std::mem::take(&mut held.clusters);
        let seed = match held.seed {
            0 => {
                let hex = stable_hex(&[&self.seed.to_string(), account, region], 16);
                u64::from_str_radix(&hex, 16).unwrap_or(1)
            }
            seed => seed,
        };
        let mut chance = Chance(fastrand::Rng::with_seed(seed));
        let mut events = Vec::new();
        let result = step(
            &mut groups,
            &mut clusters,
            &mut Scene { world: self, account, region, chance: &mut chance, events: &mut events },
        );
        let seed = chance.0.get_seed();
        let held = self.region_mut(account, region);
        held.seed = seed;
        held.groups = groups;
        held.clusters = clusters;
        self.log.extend(events);
        while self.log.len() > LOG_LENGTH {
            self.log.pop_front();
        }
        result
    }

    /// Lets time pass until `to` (engine milliseconds), tick by tick. Says whether anything moved.
    pub(crate) fn advance(&mut self, to: u64) -> bool {
        let mut moved = false;
        while self.now + TICK <= to {
            let busy: Vec<(String, String)> = self
                .accounts
                .iter()
                .flat_map(|(id, account)| account.regions.iter().map(move |(name, region)| (id, name, region)))
                .filter(|(_, _, region)| engine::is_busy(region))
                .map(|(id, name, _)| (id.clone(), name.clone()))
                .collect();
            if busy.is_empty() {
                self.now = to - to % TICK;
                self.wall = self.segment.wall_at(self.now);
                break;
            }
            self.now += TICK;
            self.wall = self.segment.wall_at(self.now);
            for (account, region) in busy {
                self.with_region(&account, &region, |groups, clusters, scene| {
                    engine::step(groups, clusters, scene);
                });
                moved = true;
            }
        }
        moved
    }

    /// Whether something is older than so many milliseconds, by its date and what was jumped over since.
    pub(crate) fn is_older(&self, date: i64, skipped: u64, than: i64) -> bool {
        let jumped = i64::try_from(self.skipped.saturating_sub(skipped)).unwrap_or(i64::MAX);
        self.wall.saturating_sub(date).saturating_add(jumped) >= than
    }

    /// Ties engine time to the wall clock from here on.
    pub(crate) fn anchor(&mut self, wall: i64, speed: f64) {
        self.wall = wall;
        self.segment = Segment { engine: self.now, wall, speed };
    }

    /// Brings every group and service to its wanted size at once, as if it had run for long.
    pub(crate) fn settle(&mut self) {
        let places: Vec<(String, String)> = self
            .accounts
            .iter()
            .flat_map(|(id, account)| account.regions.keys().map(|name| (id.clone(), name.clone())))
            .collect();
        for (account, region) in places {
            self.with_region(&account, &region, |groups, clusters, scene| {
                engine::settle(groups, clusters, scene);
            });
        }
        self.log.clear();
    }
}
