-- Layout 1. Times are milliseconds since 1970, UTC.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE jobs (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    study_key   TEXT NOT NULL,
    revision    INTEGER NOT NULL,
    setting     TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    files_json  TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN
                ('queued', 'running', 'done', 'rejected', 'dead', 'superseded')),
    attempts    INTEGER NOT NULL DEFAULT 0,
    priority    INTEGER NOT NULL DEFAULT 0,
    not_before  INTEGER NOT NULL DEFAULT 0,
    received_at INTEGER NOT NULL,
    started_at  INTEGER,
    finished_at INTEGER,
    reason_code TEXT,
    UNIQUE (study_key, fingerprint),
    UNIQUE (study_key, revision)
) STRICT;
CREATE INDEX jobs_queued ON jobs (priority DESC, id) WHERE state = 'queued';

CREATE TABLE reports (
    study_key            TEXT NOT NULL,
    revision             INTEGER NOT NULL,
    pipeline_fingerprint TEXT NOT NULL,
    report_json          TEXT NOT NULL,
    artefacts_json       TEXT NOT NULL,
    created              INTEGER NOT NULL,
    PRIMARY KEY (study_key, revision, pipeline_fingerprint),
    FOREIGN KEY (study_key, revision) REFERENCES jobs (study_key, revision)
) STRICT;

-- AUTOINCREMENT: a number is never given twice, not even after its row was pruned.
CREATE TABLE outbox (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    topic      TEXT NOT NULL CHECK (topic LIKE 'event/%'),
    kind       TEXT NOT NULL,
    subject    TEXT,
    revision   INTEGER NOT NULL,
    supersedes TEXT,
    boot       INTEGER NOT NULL,
    time       INTEGER NOT NULL,
    data       TEXT NOT NULL,
    created    INTEGER NOT NULL,
    sent_at    INTEGER,
    attempts   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX outbox_unsent ON outbox (seq) WHERE sent_at IS NULL;
CREATE INDEX outbox_subject ON outbox (subject, topic, revision);

CREATE TABLE alerts (
    study_key       TEXT PRIMARY KEY,
    event_id        TEXT NOT NULL UNIQUE,
    verdict         TEXT NOT NULL,
    revision        INTEGER NOT NULL,
    raised_at       INTEGER NOT NULL,
    closed_at       INTEGER,
    acknowledged_by TEXT
) STRICT;

-- Each row seals the one before it: nothing can be changed or taken out unseen.
CREATE TABLE audit (
    n         INTEGER PRIMARY KEY AUTOINCREMENT,
    at        INTEGER NOT NULL,
    what      TEXT NOT NULL,
    detail    TEXT NOT NULL,
    prev_hash TEXT NOT NULL,
    hash      TEXT NOT NULL
) STRICT;
