-- The log of what was mailed to whom and what became of it. It never holds a body, a name or an address: those are read
-- when a mail is sent. `sending` is written before the server is spoken to and `sent` after it has taken the mail; a row
-- left at `sending` by a crash is sent again under the same Message-ID.

CREATE TABLE mail (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    person_id uuid NOT NULL REFERENCES person,
    appointment_id uuid REFERENCES appointment,
    kind text NOT NULL,                          -- booking/mail/texts.py
    locale text NOT NULL DEFAULT '',             -- of the mail that was sent
    state text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'sending', 'sent', 'failed', 'withdrawn', 'skipped')),
    dedupe text NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    last_error text,                             -- a code: why it failed, waits, or was skipped
    message_id text,
    sent_at timestamptz,
    created_at timestamptz NOT NULL,
    CHECK ((state = 'sent') = (sent_at IS NOT NULL)),
    UNIQUE (tenant_id, dedupe)
);
CALL make_tenant_table('mail');
CREATE INDEX mail_person ON mail (person_id, created_at);
CREATE INDEX mail_appointment ON mail (appointment_id) WHERE appointment_id IS NOT NULL;

-- The job of a mail has the mail as its subject.
CREATE INDEX job_subject ON job (subject);
