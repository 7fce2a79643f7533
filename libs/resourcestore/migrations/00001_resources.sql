-- +goose Up
CREATE TABLE resources (
    kind TEXT NOT NULL,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    hash TEXT NOT NULL,
    previous_hash TEXT NOT NULL,
    revision BIGINT NOT NULL,
    updated_at TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (kind, tenant, name)
);
CREATE INDEX resources_revision ON resources (revision);
CREATE TABLE resource_deletions (
    kind TEXT NOT NULL,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (kind, tenant, name)
);
CREATE INDEX resource_deletions_revision ON resource_deletions (revision);
CREATE TABLE resource_revision (
    id BIGINT PRIMARY KEY,
    revision BIGINT NOT NULL
);
INSERT INTO resource_revision (id, revision) VALUES (1, 0);

-- +goose Down
DROP TABLE resource_revision;
DROP TABLE resource_deletions;
DROP TABLE resources;
