"""Checks what a simulator has answered while it recorded: recorded.py FILE, of `pinion sim --record FILE`."""

import json
import sys

from shapes import Checker


def main():
    checker = Checker()
    with open(sys.argv[1]) as file:
        for line in file:
            answer = json.loads(line)
            checker.check(answer["service"], answer["operation"], answer["status"], answer["body"])
    checker.report()


main()
