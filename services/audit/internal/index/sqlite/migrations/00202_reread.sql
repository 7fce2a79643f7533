-- +goose Up
-- The words are made again from the events, with what this version says that they are; reread says how far.
DROP TABLE words;
CREATE VIRTUAL TABLE words USING fts5(text, content='', columnsize=0, tokenize='unicode61 remove_diacritics 2');
INSERT INTO words (words, rank) VALUES ('automerge', 8);

CREATE TABLE reread (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    version BIGINT NOT NULL,
    next    BIGINT NOT NULL,
    below   BIGINT NOT NULL
);

-- +goose Down
DROP TABLE reread;
DROP TABLE words;
CREATE VIRTUAL TABLE words USING fts5(text, content='', tokenize='unicode61 remove_diacritics 2');
