-- +goose Up
ALTER TABLE relation_checks ADD COLUMN claimed_until TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE relation_checks DROP COLUMN claimed_until;
