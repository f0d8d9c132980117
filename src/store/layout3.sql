-- Layout 3: the queue goes by age alone, and is found by its state; no job has a priority.

DROP INDEX jobs_queued;
CREATE INDEX jobs_state ON jobs (state);
ALTER TABLE jobs DROP COLUMN priority;
