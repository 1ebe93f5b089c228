-- Of a class each patient reads their own conversation with the staff: a message to one of them names whom.
ALTER TABLE waiting_message ADD COLUMN to_patient uuid REFERENCES person;
CREATE INDEX waiting_message_to_patient ON waiting_message (to_patient) WHERE to_patient IS NOT NULL;
CREATE INDEX waiting_message_sender ON waiting_message (sender);

-- Whether the page of who asked for a doctor now is open: a doctor who takes the request should know.
ALTER TABLE instant_request ADD COLUMN here boolean NOT NULL DEFAULT true;
