//! A browser that does what a test says: Chromium, by way of `browser.py`.

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::stage::process::{TIMEOUT, now};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn tools() -> PathBuf {
    std::env::var_os("PINION_TOOLS").map_or_else(|| Path::new(ROOT).join(".tools"), PathBuf::from)
}

/// How a page is looked at.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) dark: bool,
    pub(crate) script: bool,
    pub(crate) print: bool,
}

pub(crate) const DESK: Look = Look { width: 1440, height: 900, dark: false, script: true, print: false };
pub(crate) const PHONE: Look = Look { width: 390, height: 844, ..DESK };
pub(crate) const DARK: Look = Look { dark: true, ..DESK };
/// As on a sheet of A4.
pub(crate) const PRINT: Look = Look { width: 794, height: 1123, print: true, ..DESK };
pub(crate) const PLAIN: Look = Look { script: false, ..DESK };

pub(crate) struct Browser {
    child: Child,
    pipe: RefCell<(Option<ChildStdin>, BufReader<ChildStdout>)>,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let python = tools().join("python/bin/python");
        let mut child = Command::new(&python)
            .arg(Path::new(ROOT).join("tests/page/browser.py"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("can't start {}: {error}; `make setup` installs it", python.display()));
        let pipe = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, pipe: RefCell::new(pipe) }
    }

    fn order(&self, order: &Value) -> Value {
        let mut pipe = self.pipe.borrow_mut();
        writeln!(pipe.0.as_mut().unwrap(), "{order}").expect("the browser listens");
        let mut line = String::new();
        pipe.1.read_line(&mut line).unwrap();
        let mut answer: Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("the browser broke off at {order}"));
        assert!(answer.get("error").is_none(), "{order}: {}", answer["error"]);
        answer["value"].take()
    }

    pub(crate) fn open(&self, url: &str, look: Look) {
        let Look { width, height, dark, script, print } = look;
        self.order(&json!({
            "do": "open", "url": url, "width": width, "height": height, "dark": dark, "script": script, "paper": print,
        }));
    }

    /// The value of an expression in the page.
    pub(crate) fn eval(&self, js: &str) -> Value {
        self.order(&json!({"do": "eval", "js": js}))
    }

    /// The text of what a selector finds first.
    pub(crate) fn text(&self, selector: &str) -> String {
        let text = self.eval(&format!("document.querySelector({}).innerText", json!(selector)));
        text.as_str().unwrap().trim().to_owned()
    }

    /// How many elements a selector finds.
    pub(crate) fn count(&self, selector: &str) -> u64 {
        self.eval(&format!("document.querySelectorAll({}).length", json!(selector))).as_u64().unwrap()
    }

    pub(crate) fn key(&self, key: &str) {
        self.order(&json!({"do": "key", "key": key}));
    }

    pub(crate) fn write(&self, text: &str) {
        self.order(&json!({"do": "key", "text": text}));
    }

    /// Waits until an expression is true.
    pub(crate) fn wait_for(&self, what: &str, js: &str) {
        let limit = now() + TIMEOUT;
        while self.eval(js) != Value::Bool(true) {
            assert!(now() < limit, "not within {TIMEOUT:?}: {what}; the page says\n{}", self.text("body"));
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// A picture, kept if somebody wants to look at it: in the folder that PINION_SCREENSHOTS names.
    pub(crate) fn picture(&self, name: &str, full: bool) {
        if let Some(folder) = std::env::var_os("PINION_SCREENSHOTS") {
            let path = Path::new(&folder).join(format!("{name}.png"));
            self.order(&json!({"do": "shot", "path": path, "full": full}));
        }
    }

    /// A picture for the documentation, in the folder that PINION_IMAGES names; see `make screenshots`.
    pub(crate) fn illustration(&self, name: &str, scale: u32) {
        if let Some(folder) = std::env::var_os("PINION_IMAGES") {
            self.wait_for(
                "the page keeps itself up to date",
                "document.getElementById('live').innerText.startsWith('live')",
            );
            let path = Path::new(&folder).join(format!("{name}.webp"));
            self.order(&json!({"do": "shot", "path": path, "scale": scale}));
        }
    }

    /// Makes sure that nothing has gone wrong in the page, that people who see or hear it otherwise can use it, and that
    /// it isn't wider than its window.
    pub(crate) fn is_sound(&self, what: &str) {
        let axe = tools().join("axe/axe.min.js");
        assert!(axe.exists(), "{} is missing; `make setup` puts it there", axe.display());
        let found = self.order(&json!({"do": "axe", "source": axe}));
        assert_eq!(found, json!([]), "{what}");
        self.is_quiet(what);
        let wide = self.eval("document.documentElement.scrollWidth - document.documentElement.clientWidth");
        assert_eq!(wide, json!(0), "{what} has to be scrolled sideways");
    }

    /// Makes sure that the page complained of nothing.
    pub(crate) fn is_quiet(&self, what: &str) {
        assert_eq!(self.order(&json!({"do": "problems"})), json!([]), "{what}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends Chromium when it is told nothing more, which it couldn't do if it were killed.
        self.pipe.get_mut().0.take();
        self.child.wait().ok();
    }
}
