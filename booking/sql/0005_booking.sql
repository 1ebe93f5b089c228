-- What booking keeps beside the appointment: seats of classes, series, people who wait for a slot.
--
-- seats_taken is counted under the row lock of its class, so the calendar reads how many are left without looking at
-- seats, and the check below stands behind the last one.

ALTER TABLE appointment
    ADD COLUMN seats_taken smallint NOT NULL DEFAULT 0,
    ADD COLUMN extended smallint NOT NULL DEFAULT 0,     -- how often a hold was extended
    ADD COLUMN moved smallint NOT NULL DEFAULT 0,        -- how often the patient moved it
    ADD COLUMN checked_in_at timestamptz,
    ADD CONSTRAINT a_class_is_not_overfull CHECK (seats_taken BETWEEN 0 AND capacity);
-- The outcome of a class is its own; what each patient did is in the seat.
CREATE INDEX appointment_class ON appointment (service_id, lower(during))
    WHERE kind = 'class' AND status IN ('confirmed', 'checked_in', 'in_progress', 'interrupted');
CREATE INDEX appointment_held ON appointment (provider_id, hold_until) WHERE status = 'held';
CREATE INDEX appointment_held_by ON appointment (booked_by) WHERE status = 'held';

CREATE TABLE seat (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    appointment_id uuid NOT NULL REFERENCES appointment,
    no smallint NOT NULL CHECK (no > 0),
    patient_id uuid NOT NULL REFERENCES person,
    booked_by uuid REFERENCES person,
    status text NOT NULL CHECK (status IN (
        'confirmed', 'cancelled_by_patient', 'cancelled_by_provider', 'cancelled_by_clinic', 'cancelled_by_system')),
    price_minor bigint NOT NULL,
    currency text NOT NULL,
    payment text NOT NULL DEFAULT 'none' CHECK (payment IN ('none', 'due', 'at_clinic', 'authorised', 'paid', 'refund_due', 'refunded')),
    payment_ref text,
    patient_timezone text NOT NULL DEFAULT 'UTC',
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CALL make_tenant_table('seat');
CREATE UNIQUE INDEX seat_once ON seat (appointment_id, no) WHERE status = 'confirmed';
CREATE UNIQUE INDEX seat_one_per_patient ON seat (appointment_id, patient_id) WHERE status = 'confirmed';
CREATE INDEX seat_patient ON seat (patient_id, created_at);

-- A rule by which visits were booked together; the visits carry its id.
CREATE TABLE series (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    service_id uuid NOT NULL REFERENCES service,
    patient_id uuid NOT NULL REFERENCES person,
    rrule text NOT NULL CHECK (length(rrule) <= 300),
    starts_at timestamptz NOT NULL,
    created_by uuid REFERENCES person,
    created_at timestamptz NOT NULL
);
CALL make_tenant_table('series');
ALTER TABLE appointment ADD CONSTRAINT appointment_of_series FOREIGN KEY (series_id) REFERENCES series;

-- Somebody who wants a slot of a service that begins within `during`. The order is that of created_at. An offer is a
-- hold of the appointment table in the patient's name; whether it stands is decided there.
CREATE TABLE waitlist_entry (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    service_id uuid NOT NULL REFERENCES service,
    provider_id uuid NOT NULL REFERENCES provider,
    patient_id uuid NOT NULL REFERENCES person,
    booked_by uuid REFERENCES person,
    during tstzrange NOT NULL CHECK (NOT isempty(during) AND upper(during) IS NOT NULL),
    patient_timezone text NOT NULL DEFAULT 'UTC',
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'offered', 'accepted', 'lapsed', 'left')),
    offer_id uuid REFERENCES appointment,
    offer_until timestamptz,
    created_at timestamptz NOT NULL,
    ended_at timestamptz,
    CHECK (state <> 'offered' OR (offer_id IS NOT NULL AND offer_until IS NOT NULL))
);
CALL make_tenant_table('waitlist_entry');
CREATE INDEX waitlist_line ON waitlist_entry (provider_id, created_at, id) WHERE state = 'waiting';
CREATE UNIQUE INDEX waitlist_once ON waitlist_entry (service_id, patient_id) WHERE state IN ('waiting', 'offered');
CREATE INDEX waitlist_offer ON waitlist_entry (offer_id) WHERE offer_id IS NOT NULL;
CREATE INDEX waitlist_patient ON waitlist_entry (patient_id, created_at);
