-- What the relay and the consumers keep beside the plumbing.

-- A relayed row stays for a while, because the bus may lose its memory: then everything kept is relayed once more.
ALTER TABLE outbox ADD COLUMN relayed_at timestamptz;
CREATE INDEX outbox_waiting ON outbox (id) WHERE relayed_at IS NULL;
CREATE INDEX outbox_relayed ON outbox (relayed_at) WHERE relayed_at IS NOT NULL;

-- Its one row is the lock that makes relays take turns. incarnation: the bus that relayed_at speaks of. asleep: whether
-- a NOTIFY is worth its price, see backplane/outbox.py.
CREATE TABLE outbox_relay (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    incarnation text NOT NULL DEFAULT '',
    asleep boolean NOT NULL DEFAULT true
);
INSERT INTO outbox_relay DEFAULT VALUES;
GRANT SELECT ON outbox_relay TO wadud_app, wadud_platform;
GRANT UPDATE ON outbox_relay TO wadud_platform;

-- An event whose handling failed waits here for its next try; without retry_at it is dead and waits for an operator.
ALTER TABLE dead_letter
    ADD COLUMN attempts int NOT NULL DEFAULT 0,
    ADD COLUMN retry_at timestamptz,
    ADD CONSTRAINT dead_letter_once UNIQUE (consumer, event_id);
CREATE INDEX dead_letter_retry ON dead_letter (consumer, retry_at) WHERE retry_at IS NOT NULL;

-- This transaction need not wait for the disk: what a crash takes back is only done once more.
CREATE FUNCTION commit_later() RETURNS text
    LANGUAGE sql VOLATILE
    RETURN set_config('synchronous_commit', 'off', true);
