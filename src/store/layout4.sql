-- Layout 4: who has answered an alert and how, and how often nobody had.

ALTER TABLE alerts ADD COLUMN engine TEXT NOT NULL DEFAULT 'unknown';
ALTER TABLE alerts ADD COLUMN reminders INTEGER NOT NULL DEFAULT 0;
ALTER TABLE alerts ADD COLUMN reminded_at INTEGER;

-- Of every role the last word. What an alert was is copied: a later revision takes its place.
CREATE TABLE acknowledgements (
    event_id  TEXT NOT NULL,
    role      TEXT NOT NULL,
    opinion   TEXT,
    at        INTEGER NOT NULL,
    study_key TEXT NOT NULL,
    revision  INTEGER NOT NULL,
    verdict   TEXT NOT NULL,
    engine    TEXT NOT NULL,
    raised_at INTEGER NOT NULL,
    PRIMARY KEY (event_id, role)
) STRICT;
