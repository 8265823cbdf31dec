"""A browser for tests: headless Chromium, told over its DevTools protocol what to do.

Reads one JSON object a line from standard input and answers each with one: `{"value": …}` or `{"error": "…"}`.

    {"do": "open", "url": …, "width": 1440, "height": 900, "dark": false, "script": true, "paper": false}
    {"do": "eval", "js": …}             the value of an expression in the page, awaited
    {"do": "key", "key": "Tab"}         a key, pressed and let go; {"text": …} is typed instead
    {"do": "shot", "path": …, "full": false, "scale": 1}     a PNG or, by the path's end, a WebP
    {"do": "axe", "source": …}          what axe-core finds wrong
    {"do": "problems"}                  what the page complained about since it was opened: errors, breaches of its policy
"""

import base64
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import websocket

KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowDown": 40}


class Browser:
    def __init__(self, folder):
        program = next((path for path in map(shutil.which, ["chromium", "chromium-browser", "google-chrome"]) if path), None)
        if not program:
            raise RuntimeError("there is no chromium; `make setup` installs it")
        arguments = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
            "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--mute-audio",
            "--force-color-profile=srgb", "--font-render-hinting=none", "--remote-debugging-port=0", "--remote-allow-origins=*",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            [program, *arguments, f"--user-data-dir={folder}/profile", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.number = 0
        self.events = []
        port = pathlib.Path(folder, "profile/DevToolsActivePort")
        for _ in range(1200):
            if port.exists() and port.read_text().count("\n") >= 1:
                break
            if self.process.poll() is not None:
                raise RuntimeError("chromium ended as soon as it was started")
            time.sleep(0.05)
        number, path = port.read_text().splitlines()[:2]
        self.socket = websocket.create_connection(f"ws://127.0.0.1:{number}{path}", timeout=120, max_size=None)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Audits"]:
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)

    session = None

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.socket.send(json.dumps(message))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def open(self, url, width=1440, height=900, dark=False, script=True, paper=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="print" if paper else "", features=[scheme])
        self.call("Emulation.setScriptExecutionDisabled", value=not script)
        # Another document first, so that not even the same address with another fragment is taken for this one.
        self.go("about:blank")
        self.events.clear()
        self.go(url)

    def go(self, url):
        went = self.call("Page.navigate", url=url)
        if went.get("errorText"):
            raise RuntimeError(f"{url}: {went['errorText']}")
        limit = time.monotonic() + 60
        while not any(self.is_loaded(event, went["loaderId"]) for event in self.events):
            if time.monotonic() > limit:
                raise RuntimeError(f"{url} isn't loaded after a minute")
            self.listen(1)

    @staticmethod
    def is_loaded(event, loader):
        parameters = event.get("params", {})
        return event.get("method") == "Page.lifecycleEvent" and (parameters["loaderId"], parameters["name"]) == (loader, "load")

    def listen(self, seconds):
        """Takes the next thing that the browser tells by itself; says whether there was one within so long."""
        self.socket.settimeout(seconds)
        try:
            self.events.append(json.loads(self.socket.recv()))
            return True
        except websocket.WebSocketTimeoutException:
            return False
        finally:
            self.socket.settimeout(120)

    def eval(self, js):
        done = self.call("Runtime.evaluate", expression=js, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            details = done["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description") or details["text"])
        return done["result"].get("value")

    def key(self, key=None, text=None):
        if text is not None:
            self.call("Input.insertText", text=text)
            return
        press = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        typed = {"text": "\r"} if key == "Enter" else {"text": " "} if key == " " else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **press, **typed)
        self.call("Input.dispatchKeyEvent", type="keyUp", **press)

    def shot(self, path, full=False, scale=1):
        kind = {"format": "webp", "quality": 90} if path.endswith(".webp") else {"format": "png"}
        metrics = self.call("Page.getLayoutMetrics")
        if full:
            size = metrics["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16000), "scale": scale}
        else:
            view = metrics["cssLayoutViewport"]
            at = {"x": view["pageX"], "y": view["pageY"]}
            clip = {**at, "width": view["clientWidth"], "height": view["clientHeight"], "scale": scale}
        options = {**kind, "captureBeyondViewport": full, "clip": clip}
        pathlib.Path(path).write_bytes(base64.b64decode(self.call("Page.captureScreenshot", **options)["data"]))

    def axe(self, source):
        self.eval(pathlib.Path(source).read_text() + ";true")
        found = self.eval("axe.run(document, {resultTypes: ['violations'], rules: {region: {enabled: true}}})")
        return [
            f"{it['id']}: {it['help']}: " + "; ".join(node["html"][:160] for node in it["nodes"][:3])
            for it in found["violations"]
        ]

    def problems(self):
        while self.listen(0.1):
            pass
        found = []
        for event in self.events:
            parameters = event.get("params", {})
            match event.get("method"):
                case "Log.entryAdded" if parameters["entry"]["level"] in {"error", "warning"}:
                    found.append(f"{parameters['entry']['source']}: {parameters['entry']['text']}")
                case "Runtime.exceptionThrown":
                    found.append(json.dumps(parameters["exceptionDetails"])[:300])
                case "Runtime.consoleAPICalled" if parameters["type"] in {"error", "warning", "assert"}:
                    found.append(json.dumps(parameters["args"])[:300])
                case "Audits.issueAdded" if "ContentSecurityPolicy" in parameters["issue"]["code"]:
                    found.append(json.dumps(parameters["issue"])[:300])
                case "Page.javascriptDialogOpening":
                    found.append(f"a dialog: {parameters['message']}")
        return found


def main():
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(folder)
        try:
            for line in sys.stdin:
                order = json.loads(line)
                try:
                    answer = {"value": getattr(browser, order.pop("do"))(**order)}
                except (RuntimeError, OSError, websocket.WebSocketException) as error:
                    answer = {"error": str(error)}
                print(json.dumps(answer), flush=True)
        finally:
            browser.process.kill()
            browser.process.wait()


if __name__ == "__main__":
    main()
