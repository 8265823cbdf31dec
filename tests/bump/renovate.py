"""What Renovate's regex manager does with a configuration, as far as that is documented.

Expressions are RE2's: neither looking around nor back-references. They are matched with the flag `g` alone, so that `^` is the
start of the file. Named groups become fields; a `...Template` stands in for a field that no group gives. The text that
matched is replaced: by `autoReplaceStringTemplate` if there is one, else by itself with the new value and the new digest.

Reads {"config", "files": {path: text}, "newValue", "newDigest"}, writes {path: {"text", "found": [depName]}}.
"""

import json
import re
import sys

asked = json.load(sys.stdin)
answer = {}


def compiled(expression):
    for forbidden in ("(?=", "(?!", "(?<=", "(?<!"):
        if forbidden in expression:
            sys.exit(f"RE2 has no {forbidden} …): {expression}")
    if re.search(r"\\[1-9]|\\k<|\(\?P=", expression):
        sys.exit(f"RE2 has no back-references: {expression}")
    return re.compile(re.sub(r"\(\?<(\w+)>", r"(?P<\1>", expression), re.ASCII)


def rendered(template, fields):
    text = re.sub(r"\{\{\{(\w+)\}\}\}", lambda match: fields[match[1]], template)
    if "{{" in text:
        sys.exit(f"this isn't the raw form of a template: {template}")
    return text


for path, text in asked["files"].items():
    found = []
    for manager in asked["config"]["customManagers"]:
        assert manager["customType"] == "regex", manager
        patterns = manager["managerFilePatterns"]
        # What stands between slashes is an expression, all else a glob.
        assert all(pattern[0] == pattern[-1] == "/" for pattern in patterns), patterns
        if not any(compiled(pattern[1:-1]).search(path) for pattern in patterns):
            continue
        for expression in manager["matchStrings"]:
            for match in list(compiled(expression).finditer(text)):
                fields = {key: value for key, value in match.groupdict().items() if value}
                for key in ("depName", "packageName", "datasource", "versioning"):
                    if f"{key}Template" in manager:
                        fields.setdefault(key, rendered(manager[f"{key}Template"], fields))
                # Without these it isn't a dependency at all.
                assert fields.get("depName") and fields.get("datasource") and fields.get("currentValue"), fields
                found.append(fields["depName"])
                old = match[0]
                new = {"newValue": asked["newValue"], "newDigest": asked["newDigest"]}
                if "autoReplaceStringTemplate" in manager:
                    replacement = rendered(manager["autoReplaceStringTemplate"], fields | new)
                else:
                    replacement = old.replace(fields["currentValue"], new["newValue"], 1)
                    if "currentDigest" in fields:
                        replacement = replacement.replace(fields["currentDigest"], new["newDigest"], 1)
                assert text.count(old) == 1, f"{old!r} isn't the only one in {path}"
                text = text.replace(old, replacement)
    answer[path] = {"text": text, "found": found}

json.dump(answer, sys.stdout)
