-- +goose Up
CREATE TABLE relation_models (
    tenant TEXT NOT NULL PRIMARY KEY,
    model TEXT NOT NULL,
    previous TEXT NOT NULL,
    program TEXT NOT NULL,
    author TEXT NOT NULL,
    pinned_at TEXT NOT NULL
);

-- +goose Down
DROP TABLE relation_models;
