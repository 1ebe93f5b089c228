-- Every booking checked eight foreign keys, and three of them say what is known already.
--
-- The tenant of a row is that of the session (make_tenant_table) or of the row that it is about, and tenants are never
-- deleted. To check it, each transaction locks the one row of the clinic, together with all others of that moment, and
-- writes down who they are. A transition is written by the statement that has the appointment in hand.

ALTER TABLE appointment DROP CONSTRAINT appointment_tenant_id_fkey;
ALTER TABLE transition DROP CONSTRAINT transition_tenant_id_fkey;
ALTER TABLE transition DROP CONSTRAINT transition_appointment_id_fkey;
