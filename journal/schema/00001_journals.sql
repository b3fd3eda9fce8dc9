-- +goose Up
-- status is how the run's newest part ended, and 'running' while one has not.
CREATE TABLE runs (
    id         TEXT PRIMARY KEY,
    plan_hash  TEXT NOT NULL,
    verb       TEXT NOT NULL,
    target     TEXT NOT NULL,
    began_at   TEXT NOT NULL,
    status     TEXT NOT NULL
);
CREATE INDEX runs_plan ON runs (plan_hash, began_at);

-- line is the record as it was hashed, byte for byte.
CREATE TABLE records (
    run   TEXT NOT NULL REFERENCES runs (id),
    seq   INTEGER NOT NULL,
    line  TEXT NOT NULL,
    PRIMARY KEY (run, seq)
);

-- One row a server: who may change it, until when. The epoch only grows.
CREATE TABLE leases (
    server     TEXT PRIMARY KEY,
    run        TEXT NOT NULL,
    holder     TEXT NOT NULL,
    epoch      BIGINT NOT NULL,
    expires_at DOUBLE PRECISION NOT NULL
);

-- What somebody wants of a run that is under way.
CREATE TABLE requests (
    run    TEXT PRIMARY KEY REFERENCES runs (id),
    wanted TEXT NOT NULL,
    who    TEXT NOT NULL,
    at     TEXT NOT NULL
);

-- +goose Down
DROP TABLE requests;
DROP TABLE leases;
DROP TABLE records;
DROP TABLE runs;
