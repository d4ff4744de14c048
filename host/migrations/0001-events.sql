-- The log: the only truth. Everything below it is derived from it and can be rebuilt.
CREATE TABLE events (
  seq     INTEGER PRIMARY KEY,     -- from 1, without gaps
  id      TEXT NOT NULL UNIQUE,    -- UUID v7
  at      INTEGER NOT NULL,        -- nanoseconds since 1970, UTC
  project TEXT NOT NULL,
  run     TEXT,
  version INTEGER,                 -- position in the run's own stream, from 1
  type    TEXT NOT NULL,
  subject TEXT NOT NULL,
  body    TEXT NOT NULL,           -- the fact as JSON, byte for byte as it was hashed
  hash    BLOB NOT NULL,           -- SHA-256 over the hash before it and every column above
  CHECK ((run IS NULL) = (version IS NULL)),
  UNIQUE (run, version)
) STRICT;
CREATE INDEX events_by_type ON events (project, type, seq);
CREATE INDEX events_by_time ON events (type, at);

CREATE TRIGGER events_stay_as_they_are BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
CREATE TRIGGER events_are_kept BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'events are never removed'); END;
-- The second half keeps INSERT OR REPLACE from removing one: it would not fire the trigger above.
CREATE TRIGGER events_are_appended BEFORE INSERT ON events
WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM events)
  OR EXISTS (SELECT 1 FROM events WHERE id = NEW.id)
  OR EXISTS (SELECT 1 FROM events WHERE run = NEW.run AND version = NEW.version)
BEGIN SELECT RAISE(ABORT, 'events are appended one after the other'); END;

-- How far each named consumer of the bus has come. Not derived: the consumers say so.
CREATE TABLE cursors (
  consumer TEXT PRIMARY KEY,
  seq      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Derived from here on.
CREATE TABLE runs (
  run        TEXT PRIMARY KEY,
  project    TEXT NOT NULL,
  opened_seq INTEGER NOT NULL,
  winner     TEXT,
  status     TEXT                  -- NULL while the run is open
) STRICT, WITHOUT ROWID;
CREATE INDEX runs_by_project ON runs (project, opened_seq);
CREATE INDEX runs_open ON runs (opened_seq) WHERE status IS NULL;

CREATE TABLE tips (
  seq     INTEGER PRIMARY KEY,
  project TEXT NOT NULL,
  tip     TEXT NOT NULL
) STRICT;
CREATE INDEX tips_by_project ON tips (project, seq);

CREATE TABLE own_commits (
  project TEXT NOT NULL,
  oid     TEXT NOT NULL,
  onto    TEXT,                    -- the tip it was made on, where that is known
  PRIMARY KEY (project, oid)
) STRICT, WITHOUT ROWID;

CREATE TABLE tested (
  seq     INTEGER PRIMARY KEY,
  project TEXT NOT NULL,
  tree    TEXT NOT NULL,
  suite   TEXT NOT NULL
) STRICT;
CREATE INDEX tested_by_tree ON tested (project, tree, suite, seq);

CREATE TABLE spending (
  seq                INTEGER PRIMARY KEY,
  at                 INTEGER NOT NULL,
  input_tokens       INTEGER NOT NULL,
  output_tokens      INTEGER NOT NULL,
  cache_read_tokens  INTEGER NOT NULL,
  cache_write_tokens INTEGER NOT NULL,
  cost_usd           REAL NOT NULL
) STRICT;
CREATE INDEX spending_by_time ON spending (at);

-- One variant in one run's tournament.
CREATE TABLE heats (
  run      TEXT NOT NULL,
  variant  TEXT NOT NULL,
  strategy TEXT NOT NULL,
  proposed INTEGER NOT NULL DEFAULT 0,
  refused  INTEGER NOT NULL DEFAULT 0,
  won      INTEGER NOT NULL DEFAULT 0,
  merged   INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (run, variant)
) STRICT, WITHOUT ROWID;
