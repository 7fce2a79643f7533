-- +goose Up
CREATE TABLE server_states (
    tenant TEXT NOT NULL,
    server TEXT NOT NULL,
    url TEXT NOT NULL,
    approved_url TEXT NOT NULL,
    ever_approved BOOLEAN NOT NULL,
    quarantined BOOLEAN NOT NULL,
    quarantine_reason TEXT NOT NULL,
    quarantined_by TEXT NOT NULL,
    looked BOOLEAN NOT NULL,
    instructions TEXT NOT NULL,
    seen_instructions TEXT NOT NULL,
    instructions_problem TEXT NOT NULL,
    versions TEXT NOT NULL,
    server_info TEXT NOT NULL,
    capabilities TEXT NOT NULL,
    seen_at TEXT NOT NULL,
    definitions TEXT NOT NULL,
    PRIMARY KEY (tenant, server)
);
CREATE TABLE kills (
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    reason TEXT NOT NULL,
    killed_by TEXT NOT NULL,
    killed_at TEXT NOT NULL,
    PRIMARY KEY (tenant, kind, name)
);

-- +goose Down
DROP TABLE kills;
DROP TABLE server_states;
