"""Runs the program: where it is, one JSON document per run, failures by name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any


class Failed(RuntimeError):
    """The program did not do it: `error` is failed, usage, engine, broker or config."""

    def __init__(self, error: str, code: str | None, message: str) -> None:
        super().__init__(message if code is None else f"{code}: {message}")
        self.error = error
        self.code = code
        self.message = message


class Refused(Failed):
    """The input was refused, for the reason `code`."""


def program() -> Path:
    """The program that is run: the environment's HEPALERT, or the one in PATH."""
    named = os.environ.get("HEPALERT") or shutil.which("hepalert")
    if not named or not Path(named).is_file():
        raise Failed("failed", None, "the program hepalert is not there: install its package, or name it in HEPALERT")
    return Path(named)


def version() -> str:
    """The program's version."""
    ended = _ended("--version")
    if ended.returncode != 0 or not ended.stdout.startswith("hepalert "):
        raise Failed("failed", None, f"{program()} is not the program hepalert: name that in HEPALERT")
    return ended.stdout.split()[-1]


def _ended(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """The program after a run, if there can be one."""
    place = program()
    try:
        return subprocess.run([place, *map(str, words)], capture_output=True, text=True)
    except OSError as error:
        why = f"{place} cannot be run ({error.strerror}): name the program hepalert in HEPALERT"
        raise Failed("failed", None, why) from error


def run(*words: str | Path) -> Any:
    """The document that a command prints with --json."""
    ended = _ended("--json", *words)
    try:
        document = json.loads(ended.stdout)
    except json.JSONDecodeError:
        document = None
    if ended.returncode == 0 and document is not None:
        return document
    if isinstance(document, dict) and {"error", "code", "message"} <= document.keys():
        kind = Refused if document["error"] == "refused" else Failed
        raise kind(document["error"], document["code"], document["message"])
    raise Failed("failed", None, ended.stderr.strip() or f"hepalert ended with {ended.returncode}")
