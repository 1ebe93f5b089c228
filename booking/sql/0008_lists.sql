-- Lists that read what they show, not the whole clinic.
--
-- Under row-level security an index takes part only with operators that leak nothing: equality and order of uuid, text
-- and timestamptz do, lower(range) does not, so a start within the range was never looked up, only filtered. Hence a
-- column of its own, which Postgres keeps.

ALTER TABLE appointment ADD COLUMN starts_at timestamptz GENERATED ALWAYS AS (lower(during)) STORED;

DROP INDEX appointment_patient;
DROP INDEX appointment_provider;
DROP INDEX appointment_tenant;
CREATE INDEX appointment_patient ON appointment (patient_id, starts_at);
CREATE INDEX appointment_provider ON appointment (provider_id, starts_at);
CREATE INDEX appointment_tenant ON appointment (tenant_id, starts_at);
-- who booked for somebody else; for oneself, which is the rule, costs nothing here
CREATE INDEX appointment_booked_by ON appointment (booked_by, starts_at) WHERE booked_by IS DISTINCT FROM patient_id;
-- the few that somebody has to do something about, or asks for by how they ended
CREATE INDEX appointment_rare ON appointment (tenant_id, status, starts_at)
    WHERE status IN ('requested', 'checked_in', 'in_progress', 'interrupted', 'declined', 'cancelled_by_patient',
        'cancelled_by_provider', 'cancelled_by_clinic', 'cancelled_by_system', 'no_show_patient', 'no_show_provider');
CREATE INDEX appointment_open_class ON appointment (tenant_id, starts_at) WHERE kind = 'class' AND status = 'confirmed';
CREATE INDEX seat_booked_by ON seat (booked_by) WHERE booked_by IS DISTINCT FROM patient_id;
CREATE INDEX waitlist_booked_by ON waitlist_entry (booked_by) WHERE state IN ('waiting', 'offered');
