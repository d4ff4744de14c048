-- Which runs are about updates of dependencies.

ALTER TABLE runs ADD COLUMN is_update INTEGER NOT NULL DEFAULT 0;
CREATE INDEX runs_updates ON runs (project, opened_seq) WHERE is_update = 1;
