//! A model-based test: random worlds, random commits, random faults, and the ten rules of the product as invariants.
//! The real loop, planner and AWS room run in this process in paused time, against the simulator's own engine.
//!
//! `PINION_HISTORIES=100000` tries more of them than `make test` does, `PINION_SEED=N` begins with another seed, and

//! `PINION_HISTORY=FILE` runs one that is kept as JSON, and shows what happens in it.

mod git;
mod mutants;
mod rules;
mod run;
mod sockets;
mod story;
mod wire;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use mutants::Mutant;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use run::Outcome;
use story::History;

use crate::support::stage::process::{figure, now};
use crate::support::turn;

/// How many histories are tried unless told otherwise.
const HISTORIES: usize = 2000;
/// How many seeds are looked through for histories that may show a mutant, before it counts as not caught.
const FOR_MUTANTS: usize = 20_000;
/// How many smaller histories are tried to shrink one.
const SHRINKS: usize = 300;

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// A runner that makes the same of the same seed.
fn runner(seed: usize) -> TestRunner {
    let mut bytes = [0_u8; 32];
    bytes[..8].copy_from_slice(&u64::try_from(seed).unwrap().to_le_bytes());
    TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// The history of a seed.
fn history(seed: usize) -> History {
    story::history().new_tree(&mut runner(seed)).unwrap().current()
}

/// A smaller history that breaks the same rule.
fn shrink(seed: usize, rule: u8, mutant: Option<Mutant>) -> History {
    let mut tree = story::history().new_tree(&mut runner(seed)).unwrap();
    let mut smallest = tree.current();
    let mut more = tree.simplify();
    for _ in 0..SHRINKS {
        if !more {
            break;
        }
        let smaller = tree.current();
        let fails = run::run(&smaller, mutant).broken.iter().any(|broken| broken.rule == rule);
        more = if fails {
            smallest = smaller;
            tree.simplify()
        } else {
            tree.complicate()
        };
    }
    smallest
}

fn show(outcome: &Outcome) -> String {
    let broken: Vec<String> = outcome.broken.iter().map(|it| format!("rule {}: {}", it.rule, it.what)).collect();
    format!("{}\n{}", outcome.told.join("\n"), broken.join("\n"))
}

/// What all histories together came to.
#[derive(Debug, Default)]
struct Sum {
    calls: usize,
    writes: usize,
    rollouts: usize,
    deaths: usize,
}

fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

#[test]
fn the_ten_rules_hold() {
    let _turn = turn::mine();
    let (count, from) = (number("PINION_HISTORIES", HISTORIES), number("PINION_SEED", 1));
    let (next, started) = (AtomicUsize::new(from), now());
    let (failed, sum): (Mutex<Vec<(usize, Outcome)>>, Mutex<Sum>) = Default::default();
    std::thread::scope(|scope| {
        for _ in 0..workers() {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count || failed.lock().unwrap().len() >= number("PINION_FAILURES", 3) {
                        break;
                    }
                    let outcome = run::run(&history(seed), None);
                    let mut sum = sum.lock().unwrap();
                    sum.calls += outcome.calls;
                    sum.writes += outcome.writes;
                    sum.rollouts += outcome.rollouts;
                    sum.deaths += outcome.deaths;
                    if !outcome.broken.is_empty() {
                        failed.lock().unwrap().push((seed, outcome));
                    }
                }
            });
        }
    });
    let Sum { calls, writes, rollouts, deaths } = sum.into_inner().unwrap();
    let seconds = started.elapsed().as_secs();
    figure(&format!(
        "{count} histories in {seconds} s: {calls} calls, {writes} of them writes, {rollouts} rollouts, {deaths} deaths"
    ));
    let failed = failed.into_inner().unwrap();
    for (seed, outcome) in &failed {
        let rule = outcome.broken[0].rule;
        let smallest = shrink(*seed, rule, None);
        println!("== seed {seed} breaks rule {rule}; keep this as tests/histories/kept/NAME.json:");
        println!("{}", serde_json::to_string(&smallest).unwrap());
        println!("{}", show(&run::run(&smallest, None)));
    }
    assert!(failed.is_empty(), "{} of the histories break a rule", failed.len());
}

/// Histories that break a rule unless something that was found is fixed.
macro_rules! kept {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                replay(include_str!(concat!("histories/kept/", stringify!($name), ".json")));
            }
        )*
    };
}

kept! {
    a_clock_is_ahead_at_a_retry,
    a_list_lags_behind,
    a_refresh_ends_between_two_reads,
    a_second_start_in_vain,
    a_start_stays_unanswered,
    an_answer_is_lost_while_reads_lag,
    reads_lag_a_second_time,
}

fn replay(text: &str) {
    let outcome = run::run(&serde_json::from_str(text).unwrap(), None);
    assert!(outcome.broken.is_empty(), "{}", show(&outcome));
}

/// One history at a time, by hand.
#[test]
fn a_kept_history() {
    let Ok(path) = std::env::var("PINION_HISTORY") else { return };
    let text = std::fs::read_to_string(path).unwrap();
    println!("{}", show(&run::run(&serde_json::from_str(&text).unwrap(), None)));
    replay(&text);
}

/// How many histories go through the built program.
const OVER_SOCKETS: usize = 24;

#[test]
fn the_built_program_comes_to_the_same_ends() {
    let _turn = turn::mine();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let next = AtomicUsize::new(1);
    let failed: Mutex<Vec<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > number("PINION_OVER_SOCKETS", OVER_SOCKETS) {
                        break;
                    }
                    if let Err(why) = sockets::run(&history(seed), &runtime) {
                        failed.lock().unwrap().push(format!("seed {seed}: {why}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[test]
fn each_broken_rule_is_caught() {
    let _turn = turn::mine();
    let left = Mutex::new(Mutant::ALL.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..workers() {
            scope.spawn(|| {
                loop {
                    let Some(mutant) = left.lock().unwrap().next() else { break };
                    is_caught(mutant);
                }
            });
        }
    });
}

fn is_caught(mutant: Mutant) {
    let rule = mutant.rule();
    let mut tried = 0;
    let caught = (1..=FOR_MUTANTS).find(|seed| {
        let history = history(*seed);
        if !mutant.may_show(&history) {
            return false;
        }
        tried += 1;
        run::run(&history, Some(mutant)).broken.iter().any(|broken| broken.rule == rule)
    });
    let Some(seed) = caught else { panic!("{mutant:?} breaks rule {rule}, and nobody sees it") };
    figure(&format!("rule {rule}, broken by {mutant:?}: caught after {tried} histories, by seed {seed}"));
}
