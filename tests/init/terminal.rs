//! A person at a terminal: is asked what nobody can know from AWS, and agrees to what is written.

use super::{Bench, Said};

/// A service with two containers of which either may be the one that is released, and one that leaves no question.
const WORLD: &str = r#"
controller = "111111111111"
region = "us-west-1"

[[account]]
id = "222222222222"
name = "dev"
role = [{ name = "pinion" }]
user = [{ name = "ci" }]
key = [{ id = "AKIACI", user = "ci" }]
repository = [
    { name = "shop", image = [{ tags = ["3"] }] },
    { name = "gateway", image = [{ tags = ["7"] }] },
]

[[account.task_definition]]
[account.task_definition.definition]
family = "shop"
networkMode = "awsvpc"
requiresCompatibilities = ["FARGATE"]
cpu = "256"
memory = "512"
containerDefinitions = [
    { name = "gateway", image = "222222222222.dkr.ecr.us-west-1.amazonaws.com/gateway:7", essential = true },
    { name = "main", image = "222222222222.dkr.ecr.us-west-1.amazonaws.com/shop:3", essential = true },
]

[[account.task_definition]]
[account.task_definition.definition]
family = "gateway"
networkMode = "awsvpc"
requiresCompatibilities = ["FARGATE"]
cpu = "256"
memory = "512"
containerDefinitions = [
    { name = "main", image = "222222222222.dkr.ecr.us-west-1.amazonaws.com/gateway:7", essential = true },
]

[[account.cluster]]
name = "app"
service = [
    { name = "store", task_definition = "shop", desired = 1 },
    { name = "gateway", task_definition = "gateway", desired = 1 },
]
"#;

const ROLE: &str = "Which role does Pinion assume in account 222222222222? It needn't be there yet.\n\
                    [arn:aws:iam::222222222222:role/pinion] ";
const CONTAINER: &str = "Which container of fargate/store is released?\n  \
                         1  gateway  222222222222.dkr.ecr.us-west-1.amazonaws.com/gateway:7\n  \
                         2  main  222222222222.dkr.ecr.us-west-1.amazonaws.com/shop:3\n[1] ";

#[test]
fn a_person_is_asked_and_nothing_is_written_without_a_yes() {
    let bench = Bench::of(WORLD);
    let arguments = ["init", "--environment", "dev", "--region", "us-west-1", "--dir", bench.dir()];
    let begin = || {
        let mut terminal = bench.stage.at_a_terminal("AKIACI", &arguments);
        assert!(terminal.waits_for(ROLE).ends_with(ROLE));
        terminal
    };
    // Ctrl-D, and a no, are no agreement.
    let mut terminal = begin();
    terminal.presses_ctrl(b'D');
    let (code, shown) = terminal.ends();
    assert!(code == 1 && shown.contains("the input ended before an answer: nothing was written"), "{code}\n{shown}");
    let mut terminal = begin();
    terminal.types("");
    terminal.waits_for(CONTAINER);
    terminal.types("");
    let seen = terminal.waits_for("Write environments/dev? [Y/n] ");
    assert!(seen.contains("environments/dev/environment.toml: 2 targets, 0 left out\n"), "{seen}");
    terminal.types("no");
    let (code, shown) = terminal.ends();
    assert!(code == 1 && shown.contains("nothing was written"), "{code}\n{shown}");
    assert!(!bench.path("dev", "").exists());

    // What isn't an answer is asked again.
    let mut terminal = begin();
    terminal.types("pinion-dev");
    terminal.waits_for(CONTAINER);
    terminal.types("3");
    terminal.waits_for("`3` is none of them: say its number or its name\n[1] ");
    terminal.types("main");
    terminal.waits_for("Write environments/dev? [Y/n] ");
    terminal.types("");
    let (code, shown) = terminal.ends();
    assert!(code == 0 && shown.contains("written; `pinion validate` checks the files"), "{code}\n{shown}");
    let text = bench.read("dev", "environment.toml");
    assert!(text.contains("\nrole = \"arn:aws:iam::222222222222:role/pinion-dev\"\n"), "{text}");
    assert!(text.contains("[fargate.store]\ncomponent = \"shop\"\ncontainer = \"main\"\n"), "{text}");
    assert!(!text.contains("guess"), "what was said is no guess: {text}");
    assert_eq!(bench.read("dev", "pins.toml"), "gateway = \"7\"\nshop = \"3\"\n");
}

#[test]
fn yes_asks_nothing_at_a_terminal_either_and_takes_the_guesses() {
    let bench = Bench::of(WORLD);
    let arguments = ["init", "--environment", "dev", "--region", "us-west-1", "--dir", bench.dir(), "--yes"];
    let (code, shown) = bench.stage.at_a_terminal("AKIACI", &arguments).ends();
    assert!(code == 0 && !shown.contains('?'), "{code}\n{shown}");
    let text = bench.read("dev", "environment.toml");
    assert!(text.contains("# guess: nobody has said what the role is called\n"), "{text}");
    assert!(text.contains("# guess: container gateway is the one that is released, not main\n"), "{text}");
    bench.is_in_sync("dev", &Said { code, out: shown, err: String::new() });
    // This terminal doesn't say how wide it is.
    let (code, shown) = bench.stage.at_a_terminal("test", &["plan", "--dir", bench.dir()]).ends();
    assert!(code == 0 && shown.contains("dev/fargate/gateway"), "{code}\n{shown}");
}
