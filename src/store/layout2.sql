-- Layout 2: how often the machine went down while a job was running.

ALTER TABLE jobs ADD COLUMN interrupted INTEGER NOT NULL DEFAULT 0;
