-- Coming to a visit: who is there and on which device, who stands in line, what was said while waiting, who was asked in
-- beside the two, what happened in the call, and visits with whoever is free now.
--
-- An appointment says that a visit is to be; these tables say how it goes. Rank orders a line and is a time in
-- milliseconds (of the visit's start, of a walk-in's arrival), so that a swap exchanges two ranks and touches nobody else.

CREATE TABLE visit (
    appointment_id uuid PRIMARY KEY REFERENCES appointment,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    reopened_until timestamptz,                  -- the doctor calls once more: links of this epoch work until then
    last_message integer NOT NULL DEFAULT 0
);
CALL make_tenant_table('visit');

CREATE TABLE join_invite (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    appointment_id uuid NOT NULL REFERENCES appointment,
    kind text NOT NULL CHECK (kind IN ('interpreter', 'family', 'colleague', 'other')),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    language text NOT NULL,
    made_by uuid NOT NULL REFERENCES person,
    made_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CALL make_tenant_table('join_invite');
CREATE INDEX join_invite_appointment ON join_invite (appointment_id);

-- Who takes part in a visit. `holder` is a person, for a third seat the invitation. `device` names the pass that holds the
-- seat now: one device at a time. `seen_at` is the last sign of life of that device.
CREATE TABLE visit_seat (
    appointment_id uuid NOT NULL REFERENCES appointment,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    seat text NOT NULL CHECK (seat IN ('patient', 'doctor', 'third')),
    holder uuid NOT NULL,
    device uuid,
    state text NOT NULL DEFAULT 'away' CHECK (state IN ('away', 'waiting', 'admitted', 'denied', 'left')),
    device_check jsonb NOT NULL DEFAULT '{}',
    birth_tries smallint NOT NULL DEFAULT 0,
    arrived_at timestamptz,
    admitted_at timestamptz,
    here boolean NOT NULL DEFAULT false,         -- its page is open; old news after 45 s (a server may have died)
    seen_at timestamptz,
    PRIMARY KEY (appointment_id, seat, holder)
);
CALL make_tenant_table('visit_seat');

-- One provider's day: the counter of its tickets, the delay that was announced, and the lock of whoever changes the line.
CREATE TABLE queue_day (
    provider_id uuid NOT NULL REFERENCES provider,
    day date NOT NULL,                           -- in the provider's zone, turning at three in the morning
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    last_no integer NOT NULL DEFAULT 0,
    delay_minutes smallint NOT NULL DEFAULT 0 CHECK (delay_minutes BETWEEN 0 AND 480),
    delay_told_at timestamptz,
    PRIMARY KEY (provider_id, day)
);
CALL make_tenant_table('queue_day');

CREATE TABLE queue_ticket (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    provider_id uuid NOT NULL REFERENCES provider,
    day date NOT NULL,
    no integer NOT NULL,
    kind text NOT NULL CHECK (kind IN ('booked', 'walk_in')),
    appointment_id uuid REFERENCES appointment,  -- of a walk-in: null until called
    epoch integer NOT NULL DEFAULT 1,            -- the appointment's when it was taken: a moved visit has a new line
    patient_id uuid NOT NULL REFERENCES person,
    state text NOT NULL CHECK (state IN ('waiting', 'admitted', 'done', 'left', 'denied', 'cancelled', 'no_show')),
    rank bigint NOT NULL,
    joined_at timestamptz NOT NULL,
    here boolean NOT NULL DEFAULT true,
    seen_at timestamptz NOT NULL,
    admitted_at timestamptz,
    ended_at timestamptz,
    UNIQUE (provider_id, day, no)
);
CALL make_tenant_table('queue_ticket');
CREATE INDEX queue_ticket_line ON queue_ticket (provider_id, day, rank);
CREATE UNIQUE INDEX queue_ticket_visit ON queue_ticket (appointment_id, patient_id) WHERE state IN ('waiting', 'admitted');
CREATE UNIQUE INDEX queue_ticket_walk_in ON queue_ticket (provider_id, patient_id)
    WHERE kind = 'walk_in' AND state = 'waiting';

-- The order of a line changed by hand: who, which two, and why. Never free text.
CREATE TABLE queue_swap (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    first_ticket uuid NOT NULL REFERENCES queue_ticket,
    second_ticket uuid NOT NULL REFERENCES queue_ticket,
    reason text NOT NULL CHECK (reason IN ('urgent', 'late', 'agreed', 'interpreter', 'technical')),
    actor uuid NOT NULL REFERENCES person,
    at timestamptz NOT NULL
);
CALL make_tenant_table('queue_swap');
CALL make_append_only('queue_swap');

CREATE TABLE waiting_message (
    appointment_id uuid NOT NULL REFERENCES appointment,
    seq integer NOT NULL,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    from_seat text NOT NULL CHECK (from_seat IN ('patient', 'doctor', 'third', 'clinic')),
    sender uuid NOT NULL,
    body text NOT NULL CHECK (length(body) BETWEEN 1 AND 500),
    at timestamptz NOT NULL,
    PRIMARY KEY (appointment_id, seq)
);
CALL make_tenant_table('waiting_message');

-- One stay of one person in the call. Both of doctor and patient open and connected for a minute: the visit has begun.
CREATE TABLE call_session (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    appointment_id uuid NOT NULL REFERENCES appointment,
    epoch integer NOT NULL,
    seat text NOT NULL CHECK (seat IN ('patient', 'doctor', 'third')),
    holder uuid NOT NULL,
    call_key text NOT NULL,                      -- the signalling side's id of this stay
    joined_at timestamptz NOT NULL,
    connected_at timestamptz,                    -- media flows
    left_at timestamptz,
    reason text,                                 -- of the leaving: left, connection_lost, replaced, revoked, ...
    UNIQUE (appointment_id, call_key)
);
CALL make_tenant_table('call_session');
CREATE INDEX call_session_appointment ON call_session (appointment_id, joined_at);

CREATE TABLE instant_request (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    patient_id uuid NOT NULL REFERENCES person,
    specialty text NOT NULL,
    language text NOT NULL,
    reason text NOT NULL DEFAULT '' CHECK (length(reason) <= 2000), -- for the doctor's eyes only
    patient_timezone text NOT NULL DEFAULT 'UTC',
    state text NOT NULL CHECK (state IN ('ringing', 'accepted', 'unanswered', 'cancelled')),
    ring smallint NOT NULL DEFAULT 0,
    ring_until timestamptz NOT NULL,
    provider_id uuid REFERENCES provider,        -- who accepted
    appointment_id uuid REFERENCES appointment,
    created_at timestamptz NOT NULL,
    ended_at timestamptz,
    CHECK ((state = 'accepted') = (provider_id IS NOT NULL))
);
CALL make_tenant_table('instant_request');
CREATE UNIQUE INDEX instant_request_one_per_patient ON instant_request (patient_id) WHERE state = 'ringing';

CREATE TABLE instant_ring (
    request_id uuid NOT NULL REFERENCES instant_request,
    provider_id uuid NOT NULL REFERENCES provider,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    ring smallint NOT NULL,
    rung_at timestamptz NOT NULL,
    answer text CHECK (answer IN ('accepted', 'declined', 'missed', 'withdrawn')),
    answered_at timestamptz,
    PRIMARY KEY (request_id, provider_id)
);
CALL make_tenant_table('instant_ring');
CREATE INDEX instant_ring_provider ON instant_ring (provider_id) WHERE answer IS NULL;
