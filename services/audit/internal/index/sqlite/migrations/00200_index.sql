-- +goose Up
CREATE TABLE events (
    seq     INTEGER PRIMARY KEY,
    id      TEXT    NOT NULL UNIQUE,
    time    BIGINT  NOT NULL,
    tenant  TEXT    NOT NULL,
    person  TEXT    NOT NULL,
    agent   TEXT    NOT NULL,
    server  TEXT    NOT NULL,
    tool    TEXT    NOT NULL,
    effect  TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    started BOOLEAN NOT NULL,
    body    BLOB    NOT NULL
);

CREATE INDEX events_time ON events (time);
CREATE INDEX events_tenant ON events (tenant, time);
CREATE INDEX events_person ON events (tenant, person, time);

-- The words alone: the text is in the events.
CREATE VIRTUAL TABLE words USING fts5(text, content='', tokenize='unicode61 remove_diacritics 2');

-- +goose Down
DROP TABLE words;
DROP TABLE events;
