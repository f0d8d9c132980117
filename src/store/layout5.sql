-- Layout 5: results on their way to archives.

-- AUTOINCREMENT: what is sent first is sent first, also after rows were pruned.
CREATE TABLE deliveries (
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    target     TEXT NOT NULL,
    study_key  TEXT NOT NULL,
    revision   INTEGER NOT NULL,
    -- Below the folder of the result.
    path       TEXT NOT NULL,
    state      TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'refused')),
    attempts   INTEGER NOT NULL DEFAULT 0,
    not_before INTEGER NOT NULL DEFAULT 0,
    code       TEXT,
    created    INTEGER NOT NULL,
    ended_at   INTEGER,
    UNIQUE (target, study_key, revision, path)
) STRICT;
CREATE INDEX deliveries_waiting ON deliveries (target, n) WHERE state = 'waiting';
