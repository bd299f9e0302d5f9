-- Version 1 of a memory file.

CREATE TABLE shelves (
    id INTEGER PRIMARY KEY,
    -- `semantic`, or the JSON of owner, namespace and scope
    name TEXT NOT NULL UNIQUE,
    name_bytes INTEGER NOT NULL,
    -- the higher, the later it was written or closed
    used INTEGER NOT NULL,
    -- these two by the triggers below
    entries INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE entries (
    -- the order of insertion
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    shelf INTEGER NOT NULL,
    -- the canonical form of the key
    id TEXT NOT NULL,
    key TEXT NOT NULL,
    content TEXT NOT NULL,
    -- a JSON array
    tags TEXT NOT NULL,
    source TEXT NOT NULL,
    score REAL NOT NULL,
    -- 64 bits without sign
    ttl INTEGER NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    -- microseconds since the Unix epoch; null is never
    end_us INTEGER,
    bytes INTEGER NOT NULL,
    UNIQUE (shelf, id)
);
CREATE INDEX entries_by_place ON entries (shelf, place);
CREATE INDEX entries_by_end ON entries (end_us) WHERE end_us IS NOT NULL;

-- What queries are looked for in, in lower case. The index is one of trigrams: a word is found inside
-- of longer ones, and what is shorter than three characters is not in it.
CREATE VIRTUAL TABLE words USING fts5 (
    text, content = '', contentless_delete = 1, tokenize = 'trigram case_sensitive 1'
);

CREATE TRIGGER entry_added AFTER INSERT ON entries BEGIN
    UPDATE shelves SET entries = entries + 1, bytes = bytes + new.bytes WHERE id = new.shelf;
END;
CREATE TRIGGER entry_changed AFTER UPDATE ON entries BEGIN
    UPDATE shelves SET bytes = bytes - old.bytes + new.bytes WHERE id = new.shelf;
END;
CREATE TRIGGER entry_removed AFTER DELETE ON entries BEGIN
    UPDATE shelves SET entries = entries - 1, bytes = bytes - old.bytes WHERE id = old.shelf;
    DELETE FROM words WHERE rowid = old.place;
END;
