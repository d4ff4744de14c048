-- How much each application said. Derived.
CREATE TABLE heard (
  app      TEXT NOT NULL,
  event    TEXT NOT NULL,
  count    INTEGER NOT NULL,
  last_at  INTEGER NOT NULL,          -- nanoseconds since 1970, UTC
  last_seq INTEGER NOT NULL,
  PRIMARY KEY (app, event)
) STRICT, WITHOUT ROWID;
