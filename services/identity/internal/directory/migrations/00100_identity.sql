-- +goose Up
CREATE TABLE signing_keys (
    id TEXT PRIMARY KEY,
    sealed TEXT NOT NULL,
    public TEXT NOT NULL,
    created_at TEXT NOT NULL,
    -- When the last token that it signed has expired; empty while it signs.
    drop_at TEXT NOT NULL
);
CREATE TABLE revocations (
    tenant TEXT NOT NULL,
    -- Either is empty.
    token_id TEXT NOT NULL,
    person TEXT NOT NULL,
    before_at TEXT NOT NULL,
    until_at TEXT NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (tenant, token_id, person)
);
CREATE INDEX revocations_revision ON revocations (revision);
CREATE TABLE oauth_requests (
    -- SHA-256 of the id that the browser holds.
    id TEXT PRIMARY KEY,
    -- SHA-256 of the code; NULL until the person has signed in.
    code TEXT UNIQUE,
    request TEXT NOT NULL,
    tenant TEXT NOT NULL,
    person TEXT NOT NULL,
    -- The token that the code was exchanged for; a second exchange revokes it.
    token_id TEXT NOT NULL,
    expires_at TEXT NOT NULL
);

-- +goose Down
DROP TABLE oauth_requests;
DROP TABLE revocations;
DROP TABLE signing_keys;
