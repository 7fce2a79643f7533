-- +goose Up
CREATE TABLE relation_checks (
    tenant TEXT NOT NULL PRIMARY KEY,
    checked_at TEXT NOT NULL
);

-- +goose Down
DROP TABLE relation_checks;
