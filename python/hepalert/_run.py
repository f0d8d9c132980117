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
    said = subprocess.run([program(), "--version"], capture_output=True, text=True, check=True)
    return said.stdout.split()[-1]


def run(*words: str | Path) -> Any:
    """The document that a command prints with --json."""
    ended = subprocess.run([program(), "--json", *map(str, words)], capture_output=True, text=True)
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
