-- Runs that wait for people, or did. Derived.
CREATE TABLE reviews (
  run     TEXT PRIMARY KEY,
  project TEXT NOT NULL,
  seq     INTEGER NOT NULL,          -- of the event that asked for people
  state   TEXT NOT NULL              -- waiting, rejected, moot
) STRICT, WITHOUT ROWID;
CREATE INDEX reviews_waiting ON reviews (seq) WHERE state = 'waiting';
