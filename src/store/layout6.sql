-- Layout 6: studies of one patient, so that findings are followed from the one to the other. The key is
-- a keyed hash, and goes with the result.

ALTER TABLE jobs ADD COLUMN patient_key TEXT;
CREATE INDEX jobs_patient ON jobs (patient_key) WHERE patient_key IS NOT NULL;
