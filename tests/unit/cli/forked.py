"""Runs the installed program many times: imported once, then a process for each, with its own arguments and folder.

What comes of it is what a user gets, less the time that Python takes to import it. The argument is a list of
[arguments, environment, folder], standard output gets a list of [status, output, errors], both in JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from typing import NoReturn

from kharden import commands, personal, supply
from kharden.cli import main

# What the tasks import when they run.
IMPORTED = (commands, personal, supply)


def become(arguments: list[str], environment: dict[str, str], folder: str, outputs: tuple[int, int]) -> NoReturn:
    """The program itself, in a process of its own."""
    os.dup2(outputs[0], 1)
    os.dup2(outputs[1], 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(folder)
    os.environ.update(environment)
    sys.argv = ["kharden", *arguments]
    status = 1
    try:
        main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1 if end.code else 0
    except BaseException:  # noqa: BLE001  # as Python itself does at the top
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def answer(arguments: list[str], environment: dict[str, str], folder: str) -> tuple[int, str, str]:
    """Status, output and errors of one run."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            become(arguments, environment, folder, (output.fileno(), errors.fileno()))
        _, ended = os.waitpid(child, 0)
        for stream in (output, errors):
            stream.seek(0)
        said = [stream.read().decode(errors="surrogateescape") for stream in (output, errors)]
        return os.waitstatus_to_exitcode(ended), said[0], said[1]


if __name__ == "__main__":
    sys.stdout.write(json.dumps([answer(*each) for each in json.loads(sys.argv[1])]))
