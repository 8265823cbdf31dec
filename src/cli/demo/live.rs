//! The live table, and what to do next in a second terminal.

use std::time::Duration;

use super::Scene;
use crate::cli::error::CliError;
use crate::cli::output::{self, Screen};
use crate::cli::status;
use crate::clock::{Clock as _, SystemClock};
use crate::model::status::Status;

/// How often the table is drawn again.
const TICK: Duration = Duration::from_millis(500);

/// Shows the table until the demo is stopped: drawn over itself on a terminal, elsewhere whenever something changed.
pub(super) async fn show(scene: &Scene) -> Result<(), CliError> {
    let screen = Screen::stdout();
    let guide = guide(scene);
    if !screen.terminal {
        output::print(&format!("{guide}\n"))?;
    }
    let mut shown = String::new();
    while !scene.stop.is_cancelled() {
        let snapshot = Status::from(&**scene.status.borrow());
        if screen.terminal {
            let table = status::render(&snapshot, SystemClock.now(), screen);
            output::print(&status::redraw(&format!("{table}\n{guide}")))?;
        } else {
            let lines: String = snapshot
                .environments
                .values()
                .flat_map(|environment| environment.targets.values())
                .map(|target| {
                    let reason = target.reason.as_deref().unwrap_or("");
                    format!("{} {} {} {reason}\n", target.target, target.state, target.desired)
                })
                .collect();
            if lines != shown {
                output::print(&format!("{lines}\n"))?;
                shown = lines;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = scene.stop.cancelled() => {}
        }
    }
    Ok(())
}

/// What to type in a second terminal.
fn guide(scene: &Scene) -> String {
    let clone = scene.workshop.clone_dir();
    let pid = std::process::id();
    let program = std::env::current_exe().map_or_else(|_| "pinion".to_owned(), |path| path.display().to_string());
    format!(
        "Try it, in a second terminal:\n\n  \
         cd {clone}\n  \
         sed -i 's/^frontend = .*/frontend = \"1.4.2\"/' environments/dev/pins.toml    # 1.5.1 never gets healthy\n  \
         git commit -am 'dev: frontend 1.4.2' && git push origin main                  # the merge is the deployment\n\n  \
         kill -USR1 {pid}                          # resync now;  -USR2 also retries quarantined pins\n  \
         {program} status --watch --address http://{address}\n  \
         curl http://{address}/metrics               # or open http://{address}/ in a browser\n  \
         curl {endpoint}/_sim/fleet            # what really runs, by the simulator's own account\n  \
         tail -f {log}\n\n\
         Ctrl-C ends the demo; starting it again goes on.\n",
        clone = clone.display(),
        address = scene.address,
        endpoint = scene.hands.endpoint(),
        log = scene.workshop.log().display(),
    )
}
