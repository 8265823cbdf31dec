"""Runs the script of docs/plan.md that keeps one note on a merge request, against as much of GitLab as it needs."""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

MARKER = "<!-- pinion:plan -->"
ME, SOMEBODY = 7, 8
NOTES = "/api/v4/projects/1/merge_requests/2/notes"
notes, asked = [], []


class GitLab(BaseHTTPRequestHandler):
    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def go(self):
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode())
        asked.append(f"{self.command} {parts.path.removeprefix('/api/v4')}")
        if self.headers["PRIVATE-TOKEN"] != "t0ken":
            return self.answer(401, {})
        if parts.path == "/api/v4/user":
            return self.answer(200, {"id": ME})
        if self.command == "GET" and parts.path == NOTES:
            # As GitLab has it: the newest first unless asked otherwise, a hundred at most.
            size, page = min(int(query.get("per_page", 20)), 100), int(query.get("page", 1))
            ordered = notes if query.get("sort") == "asc" else notes[::-1]
            return self.answer(200, ordered[(page - 1) * size : page * size])
        if self.command == "POST" and parts.path == NOTES:
            notes.append({"id": len(notes) + 1, "author": {"id": ME}, "body": form["body"][0]})
            return self.answer(201, notes[-1])
        if self.command == "PUT" and (found := re.fullmatch(NOTES + r"/(\d+)", parts.path)):
            note = notes[int(found[1]) - 1]
            if note["author"]["id"] != ME:
                return self.answer(403, {})
            note["body"] = form["body"][0]
            return self.answer(200, note)
        self.answer(404, {})

    do_GET = do_POST = do_PUT = go

    def log_message(self, *_):
        pass


page = open(sys.argv[1], encoding="utf-8").read()
script = re.search(r"\n    #!/bin/sh\n(?:    .*\n|\n)+", page)[0]
script = "\n".join(line[4:] for line in script.strip("\n").split("\n")) + "\n"
server = ThreadingHTTPServer(("127.0.0.1", 0), GitLab)
threading.Thread(target=server.serve_forever, daemon=True).start()


def comment(text):
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (("comment", script), ("plan.md", text)):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(content)
        environment = {
            "PATH": os.environ["PATH"],
            "CI_API_V4_URL": f"http://127.0.0.1:{server.server_port}/api/v4",
            "CI_PROJECT_ID": "1",
            "CI_MERGE_REQUEST_IID": "2",
            "PINION_NOTES_TOKEN": "t0ken",
        }
        asked.clear()
        subprocess.run(["sh", "comment", "plan.md"], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)


def ours():
    return [note["body"] for note in notes if note["author"]["id"] == ME]


# Somebody's that looks like ours, then ours.
notes.append({"id": 1, "author": {"id": SOMEBODY}, "body": f"{MARKER}\nwrong"})
comment(f"{MARKER}\none & 100% <b>\n")
assert ours() == [f"{MARKER}\none & 100% <b>\n"], notes
# However much is written after it, and below it.
for count in (98, 99, 150):
    for _ in range(count):
        notes.append({"id": len(notes) + 1, "author": {"id": SOMEBODY}, "body": "looks good"})
    comment(f"{MARKER}\n{count}\n")
    assert ours() == [f"{MARKER}\n{count}\n"], (count, asked)
notes[1]["author"]["id"] = SOMEBODY
notes.append({"id": len(notes) + 1, "author": {"id": ME}, "body": f"{MARKER}\nat the end"})
comment(f"{MARKER}\nfound\n")
assert ours() == [f"{MARKER}\nfound\n"], asked
notes.pop()
while len(notes) % 100:
    notes.append({"id": len(notes) + 1, "author": {"id": SOMEBODY}, "body": "looks good"})
comment(f"{MARKER}\nnew\n")
assert ours() == [f"{MARKER}\nnew\n"], asked
assert notes[0]["body"] == f"{MARKER}\nwrong"
