"""Writes dashboard.json: figures of all devices. Run after a change: python3 make_dashboard.py"""
import json
from pathlib import Path

DEVICE = '{device=~"$device"}'


def panel(kind, title, where, targets, unit="short", description="", **more):
    x, y, w, h = where
    return {
        "type": kind, "title": title, "description": description,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"x": x, "y": y, "w": w, "h": h},
        "fieldConfig": {"defaults": {"unit": unit, **more.pop("defaults", {})}, "overrides": []},
        "options": more.pop("options", {}),
        "targets": [
            {"refId": chr(65 + n), "expr": expr, "legendFormat": legend, "instant": kind in ("stat", "table"),
             "range": kind not in ("stat", "table"), **({"format": "table"} if kind == "table" else {})}
            for n, (expr, legend) in enumerate(targets)
        ],
        **more,
    }


def bad_above(*steps):
    return {"thresholds": {"mode": "absolute", "steps": [{"color": "green", "value": None}, *[
        {"color": color, "value": value} for value, color in steps]]}, "color": {"mode": "thresholds"}}


def bad_below(value):
    return {"thresholds": {"mode": "absolute", "steps": [{"color": "red", "value": None},
                                                         {"color": "green", "value": value}]},
            "color": {"mode": "thresholds"}}


LAST = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
PANELS = [
    panel("stat", "Devices alive", (0, 0, 4, 4), [("sum(hepalert_alive)", "alive")], options=LAST),
    panel("stat", "Devices silent", (4, 0, 4, 4), [("count(hepalert_alive == 0) or vector(0)", "silent")],
          options=LAST, defaults=bad_above((1, "red")),
          description="Health older than it may be, whatever the broker says."),
    panel("stat", "Open alerts", (8, 0, 4, 4), [(f"sum(hepalert_open_alerts{DEVICE})", "open")], options=LAST,
          description="Nobody has acknowledged them. Which studies they are, only MQTT tells."),
    panel("stat", "Studies waiting", (12, 0, 4, 4), [(f'sum(hepalert_studies{{state="queued",device=~"$device"}})', "waiting")],
          options=LAST, defaults=bad_above((10, "orange"), (30, "red"))),
    panel("stat", "Oldest unsent message", (16, 0, 4, 4), [(f"max(hepalert_outbox_oldest_seconds{DEVICE})", "oldest")],
          unit="s", options=LAST, defaults=bad_above((60, "orange"), (600, "red"))),
    panel("stat", "Self-tests failed", (20, 0, 4, 4), [(f"count(hepalert_selftest_passed{DEVICE} == 0) or vector(0)", "failed")],
          options=LAST, defaults=bad_above((1, "red"))),
    panel("state-timeline", "Alive", (0, 4, 24, 6), [(f"hepalert_alive{DEVICE}", "{{device}}")], defaults=bad_below(1)),
    panel("timeseries", "Studies waiting and in work", (0, 10, 12, 8),
          [(f'hepalert_studies{{state=~"queued|running",device=~"$device"}}', "{{device}} {{state}}")]),
    panel("timeseries", "Messages the broker has not taken", (12, 10, 12, 8),
          [(f"hepalert_outbox_messages{DEVICE}", "{{device}}")]),
    panel("timeseries", "Free space", (0, 18, 12, 8), [(f"hepalert_disk_free_bytes{DEVICE}", "{{device}}")], unit="bytes"),
    panel("timeseries", "Temperature", (12, 18, 12, 8), [(f"hepalert_temperature_celsius{DEVICE}", "{{device}}")],
          unit="celsius"),
    panel("table", "What is wrong", (0, 26, 12, 8), [(f"hepalert_degraded_reason{DEVICE}", "")],
          description="docs/codes.md says what each code means."),
    panel("table", "Versions and engines", (12, 26, 12, 8),
          [(f"hepalert_build_info{DEVICE}", ""), (f'hepalert_engine_info{{role="segment",device=~"$device"}}', "")]),
    panel("timeseries", "Clock ahead of ours", (0, 34, 12, 6), [(f"hepalert_clock_ahead_seconds{DEVICE}", "{{device}}")],
          unit="s"),
    panel("timeseries", "Studies given up", (12, 34, 12, 6),
          [(f'hepalert_studies{{state="dead",device=~"$device"}}', "{{device}}")]),
]

DASHBOARD = {
    "title": "hepalert", "uid": "hepalert-fleet", "tags": ["hepalert"], "schemaVersion": 39, "version": 1,
    "editable": True, "refresh": "30s", "time": {"from": "now-24h", "to": "now"}, "timezone": "browser",
    "description": "Devices, not patients. Triage aid; absence of an alert is not a negative result.",
    "templating": {"list": [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
        {"name": "device", "type": "query", "label": "Device", "multi": True, "includeAll": True, "allValue": ".*",
         "datasource": {"type": "prometheus", "uid": "${datasource}"},
         "query": {"query": "label_values(hepalert_alive, device)", "refId": "devices"}, "refresh": 2, "sort": 1},
    ]},
    "annotations": {"list": []},
    "panels": [{"id": number, **one} for number, one in enumerate(PANELS, 1)],
}

if __name__ == "__main__":
    Path(__file__).with_name("dashboard.json").write_text(json.dumps(DASHBOARD, indent=1) + "\n")
