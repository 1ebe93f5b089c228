-- Of a class each patient reads their own conversation with the staff: a message to one of them names whom.

ALTER TABLE waiting_message ADD COLUMN to_patient uuid REFERENCES person;
