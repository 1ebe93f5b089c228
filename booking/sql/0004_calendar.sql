-- When providers can be booked: hours in wall-clock time, exceptions, time that other calendars take, feeds out.
--
-- Times of day and dates are of the schedule's zone and never stored as instants or offsets (booking/calendar/hours.py).
-- Zone names come from the tzdata package of the application; the server's own zone data are not used.

CREATE TABLE schedule (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    provider_id uuid NOT NULL REFERENCES provider,
    name text NOT NULL DEFAULT '',
    location_id uuid REFERENCES location,        -- null: hours for visits anywhere
    timezone text NOT NULL,
    daily_cap smallint CHECK (daily_cap BETWEEN 1 AND 500), -- visits that may begin on one local date
    created_at timestamptz NOT NULL
);
CALL make_tenant_table('schedule');
CREATE INDEX schedule_provider ON schedule (provider_id);

-- Hours, or with `closed` a break. closes <= opens: until the next date.
CREATE TABLE schedule_rule (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    schedule_id uuid NOT NULL REFERENCES schedule ON DELETE CASCADE,
    opens time NOT NULL,
    closes time NOT NULL,
    closed boolean NOT NULL DEFAULT false,
    weekdays smallint[] NOT NULL DEFAULT '{1,2,3,4,5,6,7}' CHECK (weekdays <@ '{1,2,3,4,5,6,7}'), -- ISO 8601
    rrule text CHECK (length(rrule) <= 300),     -- in place of weekdays; dates are counted from valid_from
    exdates date[] NOT NULL DEFAULT '{}',
    valid_from date,
    valid_until date,
    CHECK (rrule IS NULL OR valid_from IS NOT NULL),
    CHECK (valid_from <= valid_until)
);
CALL make_tenant_table('schedule_rule');
CREATE INDEX schedule_rule_schedule ON schedule_rule (schedule_id);

-- The hours of one date in place of the rules; opens[n] to closes[n], none: closed.
CREATE TABLE schedule_override (
    schedule_id uuid NOT NULL REFERENCES schedule ON DELETE CASCADE,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    day date NOT NULL,
    opens time[] NOT NULL DEFAULT '{}',
    closes time[] NOT NULL DEFAULT '{}' CHECK (cardinality(closes) = cardinality(opens)),
    PRIMARY KEY (schedule_id, day)
);
CALL make_tenant_table('schedule_override');

-- Of the whole clinic, of one location, or of one provider.
CREATE TABLE holiday (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    provider_id uuid REFERENCES provider,
    location_id uuid REFERENCES location,
    name text NOT NULL DEFAULT '',
    first_day date NOT NULL,
    last_day date NOT NULL CHECK (last_day >= first_day),
    created_at timestamptz NOT NULL
);
CALL make_tenant_table('holiday');
CREATE INDEX holiday_tenant ON holiday (tenant_id, last_day);

-- A calendar elsewhere whose entries take time..
CREATE TABLE ics_source (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    provider_id uuid NOT NULL REFERENCES provider,
    name text NOT NULL DEFAULT '',
    url text NOT NULL CHECK (length(url) <= 2000),
    etag text,
    fetched_at timestamptz,                      -- last time that it was read well
    error text,                                  -- code of why the last try failed
    entries integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL
);
CALL make_tenant_table('ics_source');
CREATE INDEX ics_source_provider ON ics_source (provider_id);

CREATE TABLE busy (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    provider_id uuid NOT NULL REFERENCES provider,
    source_id uuid REFERENCES ics_source ON DELETE CASCADE, -- null: entered here
    during tstzrange NOT NULL CHECK (NOT isempty(during) AND NOT lower_inf(during) AND NOT upper_inf(during)),
    uid text NOT NULL DEFAULT '' CHECK (length(uid) <= 255) -- of the entry elsewhere; no titles: they are not ours
);
CALL make_tenant_table('busy');
CREATE INDEX busy_provider ON busy (provider_id, upper(during));
CREATE INDEX busy_source ON busy (source_id) WHERE source_id IS NOT NULL;

-- A secret address under which a person's appointments can be read as a calendar. Only the hash is kept.
CREATE TABLE feed (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    person_id uuid NOT NULL REFERENCES person,
    secret_hash bytea NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    created_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CALL make_tenant_table('feed');
CREATE UNIQUE INDEX feed_person ON feed (person_id) WHERE revoked_at IS NULL;
