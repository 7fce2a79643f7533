-- +goose Up
CREATE TABLE data_keys (
    tenant TEXT NOT NULL PRIMARY KEY,
    wrapped TEXT NOT NULL,
    created_at TEXT NOT NULL
);
CREATE TABLE sealed_secrets (
    tenant TEXT NOT NULL,
    record TEXT NOT NULL,
    version BIGINT NOT NULL,
    sealed TEXT NOT NULL,
    sealed_at TEXT NOT NULL,
    PRIMARY KEY (tenant, record)
);
CREATE TABLE connection_servers (
    tenant TEXT NOT NULL,
    server TEXT NOT NULL,
    connection TEXT NOT NULL,
    PRIMARY KEY (tenant, server),
    UNIQUE (tenant, connection)
);

-- +goose Down
DROP TABLE connection_servers;
DROP TABLE sealed_secrets;
DROP TABLE data_keys;
