-- +goose Up
CREATE TABLE policy_history (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    version BIGINT NOT NULL,
    action TEXT NOT NULL,
    hash TEXT NOT NULL,
    previous_hash TEXT NOT NULL,
    author TEXT NOT NULL,
    changed_at TEXT NOT NULL,
    rolled_back_to BIGINT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (tenant, name, sequence)
);
INSERT INTO policy_history (tenant, name, sequence, version, action, hash, previous_hash, author, changed_at, rolled_back_to, document)
SELECT tenant, name, 1, version, 'known', hash, previous_hash, '', updated_at, 0, document FROM resources WHERE kind = 'Policy';

-- +goose Down
DROP TABLE policy_history;
