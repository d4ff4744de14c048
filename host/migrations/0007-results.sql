-- What is learned from runs: how each came out, what its variants did, what became of its fix. Derived.

-- A run that found a real failure, or flakes.
CREATE TABLE results (
  run          TEXT PRIMARY KEY,
  project      TEXT NOT NULL,
  at           INTEGER NOT NULL,           -- when it opened
  kind         TEXT NOT NULL,              -- real, flaky
  class        TEXT NOT NULL,
  language     TEXT NOT NULL,
  confidence   REAL,                       -- of the winner
  approved     INTEGER NOT NULL DEFAULT 0, -- by people
  how          TEXT,                       -- as the delivery calls it
  delivered_at INTEGER,
  offered      TEXT                        -- the commit that was delivered, or is offered
) STRICT, WITHOUT ROWID;
CREATE INDEX results_by_project ON results (project, at);

ALTER TABLE heats ADD COLUMN digest TEXT NOT NULL DEFAULT '';
ALTER TABLE heats ADD COLUMN model TEXT;
ALTER TABLE heats ADD COLUMN tree TEXT;
ALTER TABLE heats ADD COLUMN clean INTEGER; -- NULL before its trial
ALTER TABLE heats ADD COLUMN cost_usd REAL NOT NULL DEFAULT 0;

-- The last that was seen of a fix.
CREATE TABLE outcomes (
  run  TEXT PRIMARY KEY,
  fate TEXT NOT NULL,
  at   INTEGER NOT NULL,
  id   TEXT NOT NULL                       -- of the event; of two of one moment the greater one counts
) STRICT, WITHOUT ROWID;
