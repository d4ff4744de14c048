-- Several hosts, one story: every host keeps every event, whoever stated it.
CREATE TABLE events_of_all (
  seq     INTEGER PRIMARY KEY,        -- from 1, without gaps, of this host
  id      TEXT NOT NULL UNIQUE,
  at      INTEGER NOT NULL,           -- nanoseconds since 1970, UTC, by the clock of the host that stated it
  project TEXT NOT NULL,
  run     TEXT,
  version INTEGER,                    -- position in the run's own stream, from 1
  epoch   INTEGER NOT NULL DEFAULT 0, -- tenure of the project
  origin  TEXT,                       -- the host that stated it; NULL for this one
  type    TEXT NOT NULL,
  subject TEXT NOT NULL,
  body    TEXT NOT NULL,              -- the fact as JSON, byte for byte as it was hashed
  hash    BLOB NOT NULL,              -- SHA-256 over the hash before it and every column above
  CHECK ((run IS NULL) = (version IS NULL)),
  UNIQUE (run, epoch, version)
) STRICT;
INSERT INTO events_of_all (seq, id, at, project, run, version, type, subject, body, hash)
  SELECT seq, id, at, project, run, version, type, subject, body, hash FROM events;
DROP TABLE events;
ALTER TABLE events_of_all RENAME TO events;
CREATE INDEX events_by_type ON events (project, type, seq);
CREATE INDEX events_by_time ON events (type, at);
CREATE INDEX events_by_epoch ON events (project, epoch);

CREATE TRIGGER events_stay_as_they_are BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
CREATE TRIGGER events_are_kept BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'events are never removed'); END;
-- The second half keeps INSERT OR REPLACE from removing one: it would not fire the trigger above.
CREATE TRIGGER events_are_appended BEFORE INSERT ON events
WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM events)
  OR EXISTS (SELECT 1 FROM events WHERE id = NEW.id)
  OR EXISTS (SELECT 1 FROM events WHERE run = NEW.run AND epoch = NEW.epoch AND version = NEW.version)
BEGIN SELECT RAISE(ABORT, 'events are appended one after the other'); END;

-- Events that are still to be told to the fleet; in the transaction that keeps the event. Not derived.
CREATE TABLE outbox (
  seq INTEGER PRIMARY KEY
) STRICT;

-- What could not be told, or not be understood. Not derived.
CREATE TABLE dead (
  id       TEXT PRIMARY KEY,          -- of the event, or of the message
  coming   INTEGER NOT NULL,          -- 1: it came from outside; 0: it could not be told
  subject  TEXT NOT NULL,
  body     BLOB NOT NULL,             -- at most 64 KiB of what came; empty for what could not be told
  size     INTEGER NOT NULL,          -- of all that came
  why      TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What this host knows of others, by name: which stream it told last. Not derived.
CREATE TABLE notes (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

ALTER TABLE tips ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
DROP INDEX tips_by_project;
CREATE INDEX tips_by_project ON tips (project, epoch, seq);
