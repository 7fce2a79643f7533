-- +goose Up
ALTER TABLE events ADD COLUMN alert TEXT NOT NULL DEFAULT '';

CREATE INDEX events_alert ON events (tenant, time) WHERE alert <> '';

-- +goose Down
DROP INDEX events_alert;
ALTER TABLE events DROP COLUMN alert;
