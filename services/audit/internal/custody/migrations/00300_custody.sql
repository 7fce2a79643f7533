-- +goose Up
CREATE TABLE subject_keys (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    subject TEXT NOT NULL,
    public TEXT NOT NULL,
    wrapped TEXT NOT NULL,
    wrapped_by TEXT NOT NULL,
    created_at TEXT NOT NULL,
    erased_at TEXT NOT NULL
);
CREATE UNIQUE INDEX subject_keys_living ON subject_keys (tenant, subject) WHERE erased_at = '';
CREATE INDEX subject_keys_wrapped_by ON subject_keys (wrapped_by);

-- +goose Down
DROP TABLE subject_keys;
