-- +goose Up
CREATE TABLE resource_relations (
    tenant TEXT NOT NULL,
    object TEXT NOT NULL,
    relation TEXT NOT NULL,
    subject TEXT NOT NULL,
    ends_at TEXT NOT NULL,
    author TEXT NOT NULL,
    written_at TEXT NOT NULL,
    PRIMARY KEY (tenant, object, relation, subject)
);
CREATE INDEX resource_relations_by_subject ON resource_relations (tenant, subject);
CREATE TABLE resource_revisions (
    tenant TEXT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL
);

-- +goose Down
DROP TABLE resource_revisions;
DROP TABLE resource_relations;
