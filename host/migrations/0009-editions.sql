-- What evidence was worth before it was held against outcomes, and which edition of a strategy entered.

ALTER TABLE results ADD COLUMN evidence REAL;  -- NULL where confidence is the same
ALTER TABLE heats ADD COLUMN edition TEXT NOT NULL DEFAULT '';
