//! The demo without a person: a release from commit to converged, drift, a bad version, a resync, as a readable story.
//!
//! Each chapter can be begun again from wherever an earlier run was killed: it looks at the files before it changes
//! them, and a chapter that was finished is noted in the demo's folder.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Scene;
use crate::cli::error::{CliError, ResultExt as _};
use crate::cli::output;
use crate::model::State;
use crate::model::escape::one_line;
use crate::model::status::{Status, TargetStatus};

const DEV: &str = "222222222222";
const PROD: &str = "444444444444";

/// How long any one thing may take before the script gives up.
const TIMEOUT: Duration = Duration::from_secs(240);

/// A chapter's title and what happens in it.
struct Chapter {
    title: &'static str,
    act: Act,
}

/// What happens in a chapter.
#[derive(Clone, Copy)]
enum Act {
    /// Everything runs what Git says.
    Converge,
    /// A version is pinned in an environment and rolls out.
    Release { environment: &'static str, account: &'static str, component: &'static str, version: &'static str },
    /// A branch that changes prod is merged.
    Merge,
    /// A bad version is pinned in dev; it is rolled back, quarantined, and reverted in Git.
    Bad,
    /// Somebody changes a service by hand.
    Drift,
    /// A resync by signal.
    Resync,
}

const STORY: [Chapter; 6] = [
    Chapter { title: "Everything runs what Git says", act: Act::Converge },
    Chapter {
        title: "A version is bumped in dev",
        act: Act::Release { environment: "dev", account: DEV, component: "frontend", version: "1.4.2" },
    },
    Chapter { title: "The same bump is merged to prod", act: Act::Merge },
    Chapter { title: "A bad version is rolled back, and not tried again", act: Act::Bad },
    Chapter { title: "Somebody changes prod by hand", act: Act::Drift },
    Chapter { title: "A resync by signal", act: Act::Resync },
];

/// Plays the story from where an earlier run was.
pub(super) async fn play(scene: &Scene) -> Result<(), CliError> {
    let done = std::fs::read_to_string(scene.workshop.progress()).unwrap_or_default().trim().parse().unwrap_or(0);
    let player = Player { scene, started: Instant::now(), said: Mutex::default() };
    for (number, chapter) in STORY.iter().enumerate() {
        if number < done {
            player.say(&format!("{}. {}: done before", number + 1, chapter.title))?;
            continue;
        }
        player.say(&format!("\n{}. {}", number + 1, chapter.title))?;
        player.act(chapter.act).await?;
        std::fs::write(scene.workshop.progress(), (number + 1).to_string())?;
    }
    if done >= STORY.len() {
        player.say("\nAll of it has been played in this folder; `pinion demo --script --fresh` starts over.")?;
        player.act(Act::Converge).await?;
    }
    player.say("\nDone. Everything is in sync:\n")?;
    let status = Status::from(&**scene.status.borrow());
    output::print(&crate::cli::status::render(&status, scene.now(), output::Screen::stdout()))?;
    Ok(())
}

struct Player<'a> {
    scene: &'a Scene,
    started: Instant,
    /// What was said last of each target, so that nothing is said twice.
    said: Mutex<BTreeMap<String, String>>,
}

impl Player<'_> {
    fn say(&self, text: &str) -> Result<(), CliError> {
        Ok(output::print(&format!("{text}\n"))?)
    }

    fn narrate(&self, text: &str) -> Result<(), CliError> {
        let elapsed = self.started.elapsed().as_secs();
        self.say(&format!("   {:>3}:{:02}  {text}", elapsed / 60, elapsed % 60))
    }

    async fn act(&self, act: Act) -> Result<(), CliError> {
        let workshop = &self.scene.workshop;
        match act {
            Act::Converge => {
                self.until("all targets are in sync", |status| {
                    status.ready && !status.environments.is_empty() && targets(status).all(in_sync)
                })
                .await
            }
            Act::Release { environment, account, component, version } => {
                self.narrate(&format!("git commit: {environment}: {component} {version}"))?;
                if workshop.set_pin(environment, component, version)? {
                    workshop.commit(&format!("{environment}: {component} {version}")).await?;
                }
                workshop.push().await?;
                self.converged(environment, account, component, version).await
            }
            Act::Merge => {
                if workshop.pin("prod", "frontend")? != "1.4.2" || workshop.pin("prod", "backend")? != "2.0.1" {
                    self.narrate("git checkout -b promote; frontend 1.4.2, backend 2.0.1; git merge --no-ff promote")?;
                    workshop.git(&["checkout", "--quiet", "-B", "promote", "main"]).await?;
                    workshop.set_pin("prod", "frontend", "1.4.2")?;
                    workshop.set_pin("prod", "backend", "2.0.1")?;
                    workshop.git(&["commit", "--quiet", "--all", "--message", "prod: promote the release"]).await?;
                    workshop.git(&["checkout", "--quiet", "main"]).await?;
                    workshop
                        .git(&["merge", "--quiet", "--no-ff", "--message", "Merge the promotion to prod", "promote"])
                        .await?;
                }
                workshop.push().await?;
                self.narrate("prod/asg/web waits for prod/fargate/api: environment.toml says `after`")?;
                self.converged("prod", PROD, "backend", "2.0.1").await?;
                self.converged("prod", PROD, "frontend", "1.4.2").await
            }
            Act::Bad => {
                let quarantined = workshop.progress().with_extension("bad");
                if !quarantined.exists() {
                    self.narrate("git commit: dev: backend 2.1.1, whose container exits")?;
                    if workshop.set_pin("dev", "backend", "2.1.1")? {
                        workshop.commit("dev: backend 2.1.1").await?;
                    }
                    workshop.push().await?;
                    self.until("dev/fargate/api is quarantined", |status| {
                        target(status, "dev/fargate/api")
                            .is_some_and(|api| api.state == State::Quarantined && api.desired == "2.1.1")
                    })
                    .await?;
                    std::fs::write(&quarantined, "")?;
                }
                self.narrate("git revert: dev: backend 2.0.0 again")?;
                if workshop.set_pin("dev", "backend", "2.0.0")? {
                    workshop.commit("dev: revert backend 2.1.1").await?;
                }
                workshop.push().await?;
                self.converged("dev", DEV, "backend", "2.0.0").await
            }
            Act::Drift => {
                self.narrate("aws ecs update-service --cluster app --service api --task-definition api:1   (in prod)")?;
                self.scene.hands.meddle(PROD).await?;
                self.until("the drift of prod/fargate/api is seen", |status| {
                    target(status, "prod/fargate/api").is_some_and(|api| api.state != State::InSync)
                })
                .await?;
                self.converged("prod", PROD, "backend", "2.0.1").await
            }
            Act::Resync => {
                let before = self.scene.status.borrow().resync.completed;
                let pid = std::process::id().to_string();
                self.narrate(&format!("kill -USR1 {pid}"))?;
                let sent = tokio::process::Command::new("kill").args(["-USR1", &pid]).status().await;
                if !sent.context(|| "can't run `kill`".to_owned())?.success() {
                    return Err(CliError::failed("`kill -USR1` failed"));
                }
                self.until("the resync is acknowledged", |status| status.resync.completed > before).await
            }
        }
    }

    /// Waits until a component runs a version everywhere in an environment, by Pinion's word and by the simulator's.
    async fn converged(
        &self,
        environment: &str,
        account: &str,
        component: &str,
        version: &str,
    ) -> Result<(), CliError> {
        let name = if component == "frontend" { "asg/web" } else { "fargate/api" };
        let reference = format!("{environment}/{name}");
        self.until(&format!("{reference} is in sync with {version}"), |status| {
            target(status, &reference).is_some_and(|target| in_sync(target) && target.desired == version)
        })
        .await?;
        let kind = if component == "frontend" { "asg" } else { "fargate" };
        let running = self.scene.hands.running(account, kind).await?;
        let shown: Vec<String> = running.iter().map(|(image, count)| format!("{count} × {image}")).collect();
        self.narrate(&format!("what really runs there: {}", shown.join(", ")))
    }

    /// Waits for something, with each change of a target's state meanwhile.
    async fn until(&self, what: &str, reached: impl Fn(&Status) -> bool) -> Result<(), CliError> {
        let mut receiver = self.scene.status.clone();
        let limit = tokio::time::sleep(TIMEOUT);
        tokio::pin!(limit);
        loop {
            let status = Status::from(&**receiver.borrow_and_update());
            for target in targets(&status).filter(|target| !in_sync(target)) {
                let now = summary(target);
                let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
                if said.get(&target.target) != Some(&now) {
                    self.narrate(&now)?;
                    said.insert(target.target.clone(), now);
                }
            }
            if reached(&status) {
                return self.narrate(&format!("✓ {what}"));
            }
            tokio::select! {
                changed = receiver.changed() => {
                    if changed.is_err() {
                        return Err(CliError::failed("the controller has ended"));
                    }
                }
                () = &mut limit => {
                    return Err(CliError::failed(format!("this took too long: {what}"))
                        .hint(format!("the log is {}", self.scene.workshop.log().display())));
                }
            }
        }
    }
}

fn targets(status: &Status) -> impl Iterator<Item = &TargetStatus> {
    status.environments.values().flat_map(|environment| environment.targets.values())
}

fn target<'a>(status: &'a Status, reference: &str) -> Option<&'a TargetStatus> {
    targets(status).find(|target| target.target == reference)
}

fn in_sync(target: &TargetStatus) -> bool {
    target.state == State::InSync
}

/// One line about a target on its way, without what changes all the time.
fn summary(target: &TargetStatus) -> String {
    let from = target.running.as_deref().filter(|running| *running != target.desired);
    let way = from.map_or_else(|| target.desired.clone(), |from| format!("{from} → {}", target.desired));
    let progress = match (target.state, &target.reason) {
        (State::RollingOut, _) => format!("{} of {} replaced", target.updated, target.total),
        (_, Some(reason)) => reason.clone(),
        (_, None) => String::new(),
    };
    let drifted = if target.drifted { " (drifted)" } else { "" };
    one_line(&format!("{} {}{drifted} {way}: {progress}", target.target, target.state)).to_string()
}
