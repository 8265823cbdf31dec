//! The store, and what it makes of notes.

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use super::*;

const WEB: &str = "prod/asg/web";

fn time(minute: i64) -> Timestamp {
    "2026-01-02T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minute)
}

/// An event of a target, of the pin that a commit made at minute 0.
fn event(minute: i64, kind: EventKind, target: &str, commit: &str) -> EventRecord {
    let key = match kind {
        EventKind::TargetDiscovered | EventKind::Drifted => format!("{kind}|{target}"),
        EventKind::DriftCorrected => format!("{}|{target}", EventKind::Drifted),
        _ => format!("{kind}|{target}|{commit}"),
    };
    EventRecord {
        at: time(minute),
        kind,
        key,
        environment: target.split('/').next().map(str::to_owned),
        target: Some(target.to_owned()),
        component: Some("frontend".to_owned()),
        version: Some(format!("1.{commit}")),
        commit: Some(commit.to_owned()),
        committed: Some(time(0)),
        ..EventRecord::default()
    }
}

fn rolled(event: EventRecord, id: &str, result: &str) -> EventRecord {
    let key = format!("{}|{}|{id}", event.kind, event.target.as_deref().unwrap());
    EventRecord { key, rollout: Some(id.to_owned()), result: Some(result.to_owned()), ..event }
}

/// An `in-sync` to which a rollout led.
fn deployed(minute: i64, target: &str, commit: &str) -> EventRecord {
    EventRecord { rollout: Some("r".to_owned()), ..event(minute, EventKind::InSync, target, commit) }
}

fn kinds(store: &Store) -> Vec<EventKind> {
    let mut kinds: Vec<EventKind> = store.page(&Query::newest(500)).events.iter().map(|event| event.kind).collect();
    kinds.reverse();
    kinds
}

fn memory() -> Store {
    Store::in_memory(Retention::default())
}

#[test]
fn what_is_told_again_is_known() {
    use EventKind::{InSync, PinChanged, RolloutEnded, RolloutStarted, TargetDiscovered};
    let store = memory();
    let first_look = || vec![event(1, TargetDiscovered, WEB, "a"), event(1, InSync, WEB, "a")];
    assert_eq!(store.append(first_look(), time(1)).unwrap(), 1, "it was in sync before anybody looked");
    assert_eq!(store.append(first_look(), time(2)).unwrap(), 0);
    let release = || {
        vec![
            event(10, PinChanged, WEB, "b"),
            rolled(event(11, RolloutStarted, WEB, "b"), "r1", ""),
            rolled(event(15, RolloutEnded, WEB, "b"), "r1", "succeeded"),
            deployed(15, WEB, "b"),
        ]
    };
    assert_eq!(store.append(release(), time(15)).unwrap(), 4);
    assert_eq!(store.append(release(), time(16)).unwrap(), 0);
    assert_eq!(kinds(&store), [TargetDiscovered, PinChanged, RolloutStarted, RolloutEnded, InSync]);
    // A process that starts after another commit was merged finds it, and finds the target where that wants it.
    let later = || vec![event(60, TargetDiscovered, WEB, "c"), event(60, InSync, WEB, "c")];
    assert_eq!(store.append(later(), time(60)).unwrap(), 2);
    assert_eq!(store.append(later(), time(61)).unwrap(), 0);
    let newest = store.page(&Query::newest(2)).events;
    assert_eq!(newest.iter().map(|event| event.kind).collect::<Vec<_>>(), [InSync, PinChanged]);
    assert_eq!(newest[0].seconds, Some(3600), "from the commit");
}

#[test]
fn drift_ends_before_it_begins_anew() {
    use EventKind::{DriftCorrected, Drifted};
    let store = memory();
    for (kind, expected) in
        [(DriftCorrected, 0), (Drifted, 1), (Drifted, 0), (DriftCorrected, 1), (DriftCorrected, 0), (Drifted, 1)]
    {
        assert_eq!(store.append(vec![event(1, kind, WEB, "a")], time(1)).unwrap(), expected, "{kind}");
    }
    assert_eq!(kinds(&store), [Drifted, DriftCorrected, Drifted]);
}

#[test]
fn pages_follow_each_other_and_scopes_are_apart() {
    let store = memory();
    let events = (0..250).map(|minute| {
        let target = if minute % 5 == 0 { "dev/fargate/api" } else { WEB };
        EventRecord {
            component: Some(format!("c{}", minute % 2)),
            ..event(minute, EventKind::PinChanged, target, &minute.to_string())
        }
    });
    store.append(events.collect(), time(250)).unwrap();
    let walk = |mut query: Query| {
        let mut minutes = Vec::new();
        loop {
            let page = store.page(&query);
            minutes.extend(page.events.iter().map(|event| event.commit.clone().unwrap().parse::<i64>().unwrap()));
            match page.next {
                Some(next) => query.before = Some(next.parse().unwrap()),
                None => return minutes,
            }
        }
    };
    let all: Vec<i64> = (0..250).rev().collect();
    for limit in [1, 7, 250, 400] {
        assert_eq!(walk(Query::newest(limit)), all, "{limit}");
    }
    let of = |scope: &str| walk(Query { scope: Some(scope.to_owned()), ..Query::newest(20) });
    let api: Vec<i64> = all.iter().copied().filter(|minute| minute % 5 == 0).collect();
    assert_eq!((of("dev"), of("dev/fargate/api"), of("dev/fargate/ap")), (api.clone(), api, Vec::new()));
    let query = Query { since: Some(time(240)), component: Some("c1".to_owned()), ..Query::newest(3) };
    assert_eq!(walk(query), [249, 247, 245, 243, 241]);
    let none = Query { kinds: [EventKind::Drifted].into(), ..Query::newest(3) };
    assert_eq!(store.page(&none), EventPage::default());
    assert!("12".parse::<Cursor>().is_err());
}

#[test]
fn it_stays_within_its_limits() {
    let limits = Retention { events: 100, age: Duration::from_secs(3600) };
    let folder = TempDir::new().unwrap();
    let store = Store::create(&folder.path().join(FILE), limits).unwrap();
    let text = "ö".repeat(2000);
    for minute in 0..40 {
        let events = (0..10).map(|number| {
            let commit = format!("{minute}-{number}");
            EventRecord { subject: Some(text.clone()), ..event(minute, EventKind::PinChanged, WEB, &commit) }
        });
        store.append(events.collect(), time(minute)).unwrap();
    }
    let page = store.page(&Query::newest(500));
    assert_eq!((page.events.len(), page.events.last().unwrap().at), (100, time(30)));
    assert!(page.events[0].subject.as_ref().unwrap().chars().count() <= 501, "long texts are cut");
    store.append(vec![event(95, EventKind::PinChanged, WEB, "x")], time(95)).unwrap();
    let page = store.page(&Query::newest(500));
    assert_eq!(page.events.last().unwrap().at, time(35), "an hour is kept");
    // What has gone from the events has gone from the keys and scopes, too.
    assert_eq!(store.append(vec![event(95, EventKind::PinChanged, WEB, "0-0")], time(95)).unwrap(), 1);
    let scoped = store.page(&Query { scope: Some(WEB.to_owned()), ..Query::newest(500) });
    assert_eq!(scoped.events.len(), page.events.len() + 1);
    let bytes = std::fs::metadata(folder.path().join(FILE)).unwrap().len();
    println!("a history of 100 events with long texts: {} KiB", bytes / 1024);
    assert!(bytes < 8 * 1024 * 1024, "{bytes} bytes");
}

fn fill(path: &Path) {
    let store = Store::create(path, Retention::default()).unwrap();
    let events = (0..300).map(|minute| event(minute, EventKind::PinChanged, WEB, &minute.to_string()));
    store.append(events.collect(), time(300)).unwrap();
}

#[test]
fn of_a_damaged_file_the_rest_is_read() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(FILE);
    fill(&path);
    let good = std::fs::read(&path).unwrap();
    let mut damaged = vec![Vec::new(), b"not a history".to_vec(), good[..good.len() / 2].to_vec(), vec![0; good.len()]];
    // Every part of the file is hit by some of these.
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..60 {
        let mut bytes = good.clone();
        let used = good.iter().rposition(|byte| *byte != 0).unwrap();
        for _ in 0..random.usize(1..40) {
            let at = random.usize(..used);
            bytes[at] ^= 1 << random.u8(..8);
        }
        damaged.push(bytes);
    }
    for bytes in damaged {
        std::fs::write(&path, bytes).unwrap();
        let store = Store::create(&path, Retention::default()).unwrap();
        let before = store.page(&Query::newest(500)).events.len();
        store.append(vec![event(500, EventKind::PinChanged, WEB, "new")], time(500)).unwrap();
        assert_eq!(store.page(&Query::newest(500)).events.len(), before + 1);
        let now = store.page(&Query::newest(500));
        drop(store);
        assert_eq!(Store::create(&path, Retention::default()).unwrap().page(&Query::newest(500)), now);
    }
}

#[test]
fn what_is_read_from_the_file_is_what_was_kept() {
    use EventKind::{DriftCorrected, Drifted, InSync, PinChanged, TargetDiscovered};
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(FILE);
    let limits = Retention { events: 50, age: Duration::from_secs(36_000) };
    let notes = |minute: i64| {
        let mut notes = vec![event(1, TargetDiscovered, WEB, "a"), event(1, InSync, WEB, "a")];
        notes.push(event(minute, Drifted, WEB, "a"));
        notes.extend((minute % 3 == 0).then(|| event(minute, DriftCorrected, WEB, "a")));
        notes.push(event(minute, PinChanged, "dev/asg/web", &minute.to_string()));
        notes
    };
    let memory = Store::in_memory(limits);
    // Opened again before every batch, and often enough for the file to be written again several times.
    let mut longest = 0;
    for minute in 1..2000 {
        let store = Store::create(&path, limits).unwrap();
        let (added, expected) = (store.append(notes(minute), time(minute)), memory.append(notes(minute), time(minute)));
        assert_eq!(added.unwrap(), expected.unwrap(), "{minute}");
        assert_eq!(store.page(&Query::newest(500)), memory.page(&Query::newest(500)), "{minute}");
        longest = longest.max(std::fs::read(&path).unwrap().split(|byte| *byte == b'\n').count());
    }
    assert!((1000..1200).contains(&longest), "{longest} lines");
    assert!(!path.with_extension("new").exists());
}

#[test]
fn one_process_has_it_and_others_read_what_is_left() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(FILE);
    assert!(matches!(Store::read(&path), Err(StoreError::Missing { .. })));
    let store = Store::create(&path, Retention::default()).unwrap();
    store.append(vec![event(1, EventKind::PinChanged, WEB, "a")], time(1)).unwrap();
    assert!(matches!(Store::create(&path, Retention::default()), Err(StoreError::InUse { .. })));
    assert_eq!(kinds(&Store::read(&path).unwrap()), [EventKind::PinChanged]);
    drop(store);
    assert_eq!(kinds(&Store::read(&path).unwrap()), [EventKind::PinChanged]);
}

#[test]
fn where_nothing_can_be_written_it_is_kept_in_memory() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let history = start(&file);
    history.note(event(1, EventKind::PinChanged, WEB, "a"));
    flush(&history);
    assert_eq!(history.page(&Query::newest(9)).events.len(), 1);
}

#[derive(Debug)]
struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        time(600)
    }
}

fn start(folder: &Path) -> Arc<History> {
    History::start(folder, Retention::default(), Arc::new(Metrics::new().unwrap()), Arc::new(Fixed)).unwrap()
}

fn flush(history: &History) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(history.flush(Duration::from_secs(20)));
}

#[test]
fn noting_never_waits_and_what_was_dropped_is_counted() {
    let folder = TempDir::new().unwrap();
    let history = start(folder.path());
    // Nobody reads or writes while this is held.
    let held = history.store.hold();
    let many = WAITING as u64 + 5000;
    for number in 0..many {
        history.note(event(1, EventKind::PinChanged, WEB, &number.to_string()));
    }
    drop(held);
    flush(&history);
    let page = history.page(&Query::newest(1));
    assert!((2000..=5000).contains(&page.dropped), "{} of {many} were dropped", page.dropped);
    let text = history.metrics.render(&crate::model::status::Snapshot::default(), time(1));
    assert!(text.contains(&format!("pinion_history_dropped_total {}\n", page.dropped)), "{text}");
}

#[test]
fn an_unfinished_rollout_is_remembered_across_a_restart() {
    let folder = TempDir::new().unwrap();
    let target = TargetRef::try_from(WEB.to_owned()).unwrap();
    let history = start(folder.path());
    assert!(!history.unfinished(&target));
    history.note(rolled(event(590, EventKind::RolloutStarted, WEB, "b"), "r1", ""));
    assert!(history.unfinished(&target));
    flush(&history);
    let path = folder.path().join(FILE);
    drop(history);
    // The thread that writes ends a moment after the last one who could note something.
    let store = (0..500).find_map(|_| {
        std::thread::sleep(Duration::from_millis(10));
        Store::read(&path).ok()
    });
    drop(store.expect("the file is free again"));
    let history = start(folder.path());
    assert!(history.unfinished(&target));
    history.note(rolled(event(595, EventKind::RolloutEnded, WEB, "b"), "r1", "succeeded"));
    assert!(!history.unfinished(&target));
}

#[test]
fn the_four_figures_are_those_of_the_definitions() {
    use EventKind::{PinChanged, Quarantined, RolloutEnded, TargetDiscovered};
    let (web, api, dev) = (WEB, "prod/asg/api", "dev/asg/web");
    let store = memory();
    let found = [web, api, dev].map(|target| event(-60, TargetDiscovered, target, "0"));
    store.append(found.to_vec(), time(0)).unwrap();
    let seen = |commit: &str, targets: &[&str], minute: i64| -> Vec<EventRecord> {
        let pins = targets
            .iter()
            .map(|target| EventRecord { committed: Some(time(minute)), ..event(minute, PinChanged, target, commit) });
        pins.collect()
    };
    let at = |minute: i64, target: &str, commit: &str, from: i64| EventRecord {
        committed: Some(time(from)),
        ..deployed(minute, target, commit)
    };
    // One deployment of two targets: 20 minutes. One to dev: 6 minutes.
    store.append(seen("a", &[web, api], 0), time(0)).unwrap();
    store.append(seen("a", &[dev], 0), time(0)).unwrap();
    store.append(vec![at(6, dev, "a", 0), at(10, web, "a", 0), at(20, api, "a", 0)], time(20)).unwrap();
    // One that fails on one of two targets, and is reverted: the other target is deployed to, and back.
    store.append(seen("b", &[web, api], 100), time(100)).unwrap();
    let failed = rolled(event(110, RolloutEnded, web, "b"), "r2", "failed");
    store.append(vec![failed, event(110, Quarantined, web, "b"), at(112, api, "b", 100)], time(112)).unwrap();
    store.append(seen("c", &[web, api], 120), time(120)).unwrap();
    // The web never left its version, so it is in sync with the revert without a rollout.
    let back = EventRecord { committed: Some(time(120)), ..event(121, EventKind::InSync, web, "c") };
    store.append(vec![back, at(130, api, "c", 120)], time(130)).unwrap();
    // And one that nobody has fixed yet.
    store.append(seen("d", &[web], 200), time(200)).unwrap();
    store.append(vec![rolled(event(210, RolloutEnded, web, "d"), "r4", "failed")], time(210)).unwrap();

    let day = SignedDuration::from_hours(24);
    let figures = |environment: Option<&str>| {
        let all = store.deliveries(environment, time(0), time(0) + day);
        assert_eq!(all.components.len(), 1);
        all.components[0].clone()
    };
    let prod = figures(Some("prod"));
    assert_eq!((prod.deployments, prod.deployments_per_day), (3, 3.0), "a, b's one half, and c's");
    assert_eq!(prod.lead_time_seconds, Some(12 * 60), "of 20, 12 and 10 minutes");
    assert_eq!((prod.failures, prod.change_failure_rate), (2, Some(0.5)), "b and d of a, b, c and d");
    assert_eq!((prod.time_to_restore_seconds, prod.unrestored), (Some(11 * 60), 1));
    let all = figures(None);
    assert_eq!((all.deployments, all.lead_time_seconds), (4, Some(11 * 60)), "of 6, 10, 12 and 20 minutes");
    assert_eq!(store.deliveries(Some("test"), time(0), time(0) + day).components, []);
    let later = store.deliveries(None, time(300), time(0) + day);
    assert_eq!(later.components, [], "what was before doesn't count");
}
