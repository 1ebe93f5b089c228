-- This transaction gives up rather than waiting long for a lock: who holds rows of many people must not.
CREATE FUNCTION wait_briefly() RETURNS text
    LANGUAGE sql VOLATILE
    RETURN set_config('lock_timeout', '200ms', true);
