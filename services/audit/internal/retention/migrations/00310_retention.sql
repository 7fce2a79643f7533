-- +goose Up
CREATE TABLE legal_holds (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    reason TEXT NOT NULL,
    made_by TEXT NOT NULL,
    made_at TEXT NOT NULL,
    released_by TEXT NOT NULL,
    released_at TEXT NOT NULL
);
CREATE INDEX legal_holds_tenant ON legal_holds (tenant, released_at);
CREATE TABLE retention (
    tenant TEXT NOT NULL PRIMARY KEY,
    classes TEXT NOT NULL,
    days INTEGER NOT NULL,
    set_by TEXT NOT NULL,
    set_at TEXT NOT NULL
);

-- +goose Down
DROP TABLE retention;
DROP TABLE legal_holds;
