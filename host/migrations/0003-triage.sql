-- What triage asks of earlier runs. Derived.

-- A test that was bad and not bad on one and the same tree, in this run.
CREATE TABLE flips (
  project TEXT NOT NULL,
  test    TEXT NOT NULL,
  run     TEXT NOT NULL,
  at      INTEGER NOT NULL,
  PRIMARY KEY (project, test, run)
) STRICT, WITHOUT ROWID;

-- A failure that a run started work on, by its print.
CREATE TABLE failures (
  run   TEXT NOT NULL,
  test  TEXT NOT NULL,
  print TEXT NOT NULL,
  PRIMARY KEY (run, test)
) STRICT, WITHOUT ROWID;
