-- +goose Up
CREATE TABLE policy_misfits (
    tenant TEXT NOT NULL,
    policy TEXT NOT NULL,
    misfit TEXT NOT NULL,
    told_at TEXT NOT NULL,
    claimed_until TEXT NOT NULL,
    PRIMARY KEY (tenant, policy)
);

-- +goose Down
DROP TABLE policy_misfits;
