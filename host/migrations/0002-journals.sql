-- Journals of plugin calls, compressed, by the SHA-256 of what they unfold to. The facts that name them are in
-- the chain, so a journal that was changed is found out.
CREATE TABLE journals (
    digest TEXT PRIMARY KEY,
    body BLOB NOT NULL
) STRICT, WITHOUT ROWID;
