-- What every other series stands on: the two roles, the tenant of a session, and the tables of the plumbing.
--
-- A session of the application is always in one of two roles, neither of which owns anything or bypasses row security:
-- wadud_app sees the rows of the tenant in the setting app.tenant and none without it; wadud_platform (relays, schedulers,
-- sweepers, platform admins) sees all. Nothing here needs an extension.

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['wadud_app', 'wadud_platform'] LOOP
        -- roles belong to the whole cluster: another database may hold them already, or be creating them just now
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE', role);
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = role AND (rolsuper OR rolbypassrls)) THEN
            RAISE EXCEPTION 'role % bypasses row security: ALTER ROLE % NOSUPERUSER NOBYPASSRLS', role, role;
        END IF;
        IF NOT EXISTS (
            SELECT FROM pg_auth_members
            WHERE roleid = (SELECT oid FROM pg_roles WHERE rolname = role)
              AND member = (SELECT oid FROM pg_roles WHERE rolname = current_user)
        ) THEN
            BEGIN
                EXECUTE format('GRANT %I TO %I', role, current_user);
            EXCEPTION WHEN unique_violation OR internal_error THEN
                NULL;
            END;
        END IF;
    END LOOP;
END $$;

DO $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO wadud_app, wadud_platform', current_schema());
END $$;

-- The tenant of this session; NULL, which equals nothing, when none is set.
CREATE FUNCTION app_tenant() RETURNS bigint
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('app.tenant', true), '')::bigint;

-- Makes a table that has the column tenant_id visible to its tenant only.
CREATE PROCEDURE make_tenant_table(name text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', name::regclass);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', name::regclass);
    EXECUTE format(
        'CREATE POLICY tenant ON %s TO wadud_app USING (tenant_id = app_tenant()) WITH CHECK (tenant_id = app_tenant())',
        name::regclass);
    EXECUTE format('CREATE POLICY platform ON %s TO wadud_platform USING (true) WITH CHECK (true)', name::regclass);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO wadud_app, wadud_platform', name::regclass);
END $$;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;

-- Makes a table one that only grows; comes after make_tenant_table.
CREATE PROCEDURE make_append_only(name text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('REVOKE ALL ON %s FROM wadud_app, wadud_platform', name::regclass);
    EXECUTE format('GRANT SELECT, INSERT ON %s TO wadud_app, wadud_platform', name::regclass);
    EXECUTE format(
        'CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION refuse_change()',
        name::regclass);
    EXECUTE format(
        'CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()',
        name::regclass);
END $$;

-- What has happened and is still to be told to the bus. tx: a row may be relayed once every transaction before it has
-- ended, otherwise one that commits late would be skipped.
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id uuid NOT NULL UNIQUE,
    tenant_id bigint NOT NULL DEFAULT app_tenant(),
    aggregate text NOT NULL,
    aggregate_id uuid NOT NULL,
    type text NOT NULL,
    payload jsonb NOT NULL,
    traceparent text,
    at timestamptz NOT NULL,
    tx xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CALL make_tenant_table('outbox');

-- Events a consumer has dealt with, so that a second delivery does nothing. No tenant: event ids are random.
CREATE TABLE consumed_event (
    consumer text NOT NULL,
    event_id uuid NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (consumer, event_id)
);
CREATE INDEX consumed_event_at ON consumed_event (at);
GRANT SELECT, INSERT ON consumed_event TO wadud_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON consumed_event TO wadud_platform;

-- Events that a consumer gave up on; an operator replays them.
CREATE TABLE dead_letter (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer text NOT NULL,
    event_id uuid NOT NULL,
    event jsonb NOT NULL,
    error text NOT NULL,
    at timestamptz NOT NULL,
    replayed_at timestamptz
);
CREATE INDEX dead_letter_waiting ON dead_letter (id) WHERE replayed_at IS NULL;
GRANT SELECT, INSERT, UPDATE, DELETE ON dead_letter TO wadud_platform;

-- Work for a later time.
CREATE TABLE job (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant(),
    key text NOT NULL,
    kind text NOT NULL,
    subject uuid NOT NULL,
    payload jsonb NOT NULL DEFAULT '{}',
    run_at timestamptz NOT NULL,
    attempts int NOT NULL DEFAULT 0,
    locked_until timestamptz,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'done', 'failed', 'withdrawn')),
    last_error text,
    UNIQUE (tenant_id, key)
);
CREATE INDEX job_due ON job (run_at) WHERE state = 'waiting';
CREATE INDEX job_running ON job (locked_until) WHERE state = 'running';
CALL make_tenant_table('job');

-- Answers to requests that carried an Idempotency-Key.
CREATE TABLE idempotency (
    tenant_id bigint NOT NULL DEFAULT app_tenant(),
    principal text NOT NULL,
    route text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    state text NOT NULL,
    status int,
    body bytea,
    content_type text,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, principal, route, key)
);
CREATE INDEX idempotency_expires ON idempotency (expires_at);
CALL make_tenant_table('idempotency');

-- Who did what.
CREATE TABLE audit_entry (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant(),
    at timestamptz NOT NULL,
    actor uuid,
    actor_role text NOT NULL,
    action text NOT NULL,
    subject_kind text NOT NULL,
    subject_id uuid NOT NULL,
    facts jsonb NOT NULL,
    tx xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX audit_entry_tenant ON audit_entry (tenant_id, id);
CREATE INDEX audit_entry_tx ON audit_entry (tx);
CREATE INDEX audit_entry_subject ON audit_entry (tenant_id, subject_kind, subject_id, id);
CALL make_tenant_table('audit_entry');
CALL make_append_only('audit_entry');

-- The chain over the entries of a tenant: hash = sha256(prev_hash || canonical bytes of the entry).
CREATE TABLE audit_seal (
    tenant_id bigint NOT NULL DEFAULT app_tenant(),
    n bigint NOT NULL,
    entry_id bigint NOT NULL UNIQUE,
    prev_hash bytea NOT NULL,
    hash bytea NOT NULL,
    PRIMARY KEY (tenant_id, n)
);
CALL make_tenant_table('audit_seal');
CALL make_append_only('audit_seal');
