-- Which state the hours of a clinic are in, so that who keeps a doctor's calendar in memory knows whether it still holds.
--
-- Raised at the end of every transaction that changes schedules, rules, overrides or holidays, once, and then at the
-- very end: the row is locked after everything else, so two who edit wait for each other but never in a circle.

CREATE TABLE calendar_version (
    tenant_id bigint PRIMARY KEY DEFAULT app_tenant(),
    version bigint NOT NULL DEFAULT 1
);
CALL make_tenant_table('calendar_version');

CREATE FUNCTION raise_calendar_version() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    tenant bigint := CASE TG_OP WHEN 'DELETE' THEN OLD.tenant_id ELSE NEW.tenant_id END;
BEGIN
    IF current_setting('app.calendar_raised', true) IS DISTINCT FROM tenant::text THEN
        INSERT INTO calendar_version AS v (tenant_id) VALUES (tenant)
        ON CONFLICT (tenant_id) DO UPDATE SET version = v.version + 1;
        PERFORM set_config('app.calendar_raised', tenant::text, true);
    END IF;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER calendar_version AFTER INSERT OR UPDATE OR DELETE ON schedule
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION raise_calendar_version();
CREATE CONSTRAINT TRIGGER calendar_version AFTER INSERT OR UPDATE OR DELETE ON schedule_rule
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION raise_calendar_version();
CREATE CONSTRAINT TRIGGER calendar_version AFTER INSERT OR UPDATE OR DELETE ON schedule_override
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION raise_calendar_version();
CREATE CONSTRAINT TRIGGER calendar_version AFTER INSERT OR UPDATE OR DELETE ON holiday
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION raise_calendar_version();
