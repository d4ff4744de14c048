-- What the log refuses stays refused, for less work with each event.

-- Is there for one purpose: to tell an INSERT OR REPLACE. Statements in a trigger take over the OR of the statement that fired
-- it. What is here already is passed over, unless that said REPLACE: then it is put in again, which the second trigger refuses.
CREATE TABLE replacing (
  here INTEGER PRIMARY KEY
) STRICT;
INSERT INTO replacing (here) VALUES (1);
CREATE TRIGGER events_are_not_replaced AFTER INSERT ON replacing
BEGIN SELECT RAISE(ROLLBACK, 'events are never replaced'); END;
CREATE TRIGGER replacing_stays_as_it_is BEFORE UPDATE ON replacing
BEGIN SELECT RAISE(ABORT, 'without it nothing can be appended'); END;
CREATE TRIGGER replacing_is_kept BEFORE DELETE ON replacing
BEGIN SELECT RAISE(ABORT, 'without it nothing can be appended'); END;

-- That no other event has the id or the place in the run is for the UNIQUE of the table, which holds where nothing is replaced.
-- ROLLBACK and not ABORT: to take back one statement of several, SQLite would copy each page before an insert touches it.
DROP TRIGGER events_are_appended;
CREATE TRIGGER events_are_appended BEFORE INSERT ON events
BEGIN
  SELECT RAISE(ROLLBACK, 'events are appended one after the other')
  WHERE NEW.seq <> 1 + coalesce((SELECT seq FROM events ORDER BY seq DESC LIMIT 1), 0);
  INSERT OR IGNORE INTO replacing (here) VALUES (1);
END;
