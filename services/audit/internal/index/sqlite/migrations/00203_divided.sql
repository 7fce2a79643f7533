-- +goose Up
-- Words come divided, in lower case and without marks: all that is not a space belongs to one. They are made again from the events, as the version of the derivation says.
DROP TABLE words;
CREATE VIRTUAL TABLE words USING fts5(text, content='', columnsize=0, tokenize='ascii');
INSERT INTO words (words, rank) VALUES ('automerge', 8);

-- +goose Down
DROP TABLE words;
CREATE VIRTUAL TABLE words USING fts5(text, content='', columnsize=0, tokenize='unicode61 remove_diacritics 2');
INSERT INTO words (words, rank) VALUES ('automerge', 8);
