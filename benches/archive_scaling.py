"""Studies per hour of `hepalert archive run` on one and two tasks, and where the time goes.

    python3 benches/archive_scaling.py target/release/hepalert FOLDER [--engine BUNDLE]

FOLDER holds a few studies. Prints a table; nothing else may run meanwhile.
"""
import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def run(program, words):
    return subprocess.Popen([program, "--json", "archive", *map(str, words)], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL)


def done(process):
    out, _ = process.communicate()
    if process.returncode:
        sys.exit(out.decode())
    return json.loads(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("folder")
    parser.add_argument("--engine")
    args = parser.parse_args()
    engine = ["--engine", args.engine] if args.engine else []
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        listing = time.monotonic()
        listed = done(run(args.program, ["list", args.folder, "--out", here / "list.jsonl", *engine]))
        listing = time.monotonic() - listing
        size = (here / "list.jsonl").stat().st_size
        print(f"list: {listed['studies']} studies, {listed['files']} files, {listing:.2f} s, {size} bytes")
        print("| tasks | threads each | studies/h | wall s | start s | engine s | phases s | cascade s | writing s | rest s "
              "| not analysis, % |")
        print("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
        for tasks, threads in ((1, 1), (2, 1), (1, 2)):
            results = here / f"results-{tasks}-{threads}"
            began = time.monotonic()
            running = [run(args.program, ["run", "--list", here / "list.jsonl", "--results", results, "--shard",
                                          f"{n}/{tasks}", "--threads", threads, *engine]) for n in range(1, tasks + 1)]
            told = [done(process) for process in running]
            wall = time.monotonic() - began
            reports = [json.loads(path.read_text()) for path in results.glob("studies/*/*/report/report.json")]
            stages = [stage for report in reports for stage in report["timing"]["stages"]]
            writing = sum(stage["seconds"] for stage in stages if stage["stage"] == "report")
            cascade = sum(report["timing"]["total_s"] for report in reports) - writing
            in_studies = sum(one["seconds"]["studies"] for one in told)
            # Before the report's own clock begins a study's phases are told by its images; after it ends
            # the folder is synced and renamed, which counts among them here.
            phases = in_studies - cascade - writing
            engine_s = sum(one["seconds"]["engine"] for one in told)
            spent = sum(one["seconds"]["total"] for one in told)
            start = max(0.0, wall - max(one["seconds"]["total"] for one in told))
            whole = spent + start * tasks
            rest = spent - engine_s - in_studies
            print(f"| {tasks} | {threads} | {3600 * len(reports) / wall:.0f} | {wall:.1f} | {start:.2f} | {engine_s:.2f} "
                  f"| {phases:.2f} | {cascade:.1f} | {writing:.2f} | {rest:.3f} "
                  f"| {100 * (whole - cascade - phases) / whole:.1f} |")
        first = here / "results-1-1"
        words = ["--list", here / "list.jsonl", "--results", first]
        for command, more in (("status", []), ("merge", ["--out", here / "merged"])):
            began = time.monotonic()
            done(run(args.program, [command, *words, *more]))
            print(f"{command}: {1000 * (time.monotonic() - began):.0f} ms")
        files = [path for path in first.rglob("*") if path.is_file()]
        print(f"results: {len(files)} files, {sum(path.stat().st_size for path in files)} bytes for {len(reports)} studies")


if __name__ == "__main__":
    main()
