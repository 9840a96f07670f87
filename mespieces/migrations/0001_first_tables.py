"""The first tables: offices, deposits, recipients, accesses, sessions, the journal, the outbox."""

from typing import Any

import peewee as pw

from mespieces import migrations

TABLES = """
CREATE TABLE office (
  id {uuid} PRIMARY KEY, name TEXT NOT NULL CHECK (name <> ''), address TEXT NOT NULL, phone TEXT NOT NULL,
  email TEXT NOT NULL, time_zone TEXT NOT NULL, territory TEXT NOT NULL, created_at {instant} NOT NULL){strict};;

CREATE TABLE member (
  id {uuid} PRIMARY KEY, office_id {uuid} NOT NULL REFERENCES office (id) ON DELETE RESTRICT,
  name TEXT NOT NULL CHECK (name <> ''), email TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('administrateur', 'commissaire', 'clerc', 'auditeur')),
  password_hash TEXT, totp_key {bytes}, totp_enrolled_at {instant}, totp_last_step {bigint} NOT NULL,
  created_at {instant} NOT NULL, left_at {instant}){strict};;
CREATE INDEX member_office_id ON member (office_id);;
CREATE UNIQUE INDEX member_email ON member (email) WHERE left_at IS NULL;;

CREATE TABLE invitation (
  id {uuid} PRIMARY KEY, member_id {uuid} NOT NULL UNIQUE REFERENCES member (id) ON DELETE CASCADE,
  token_hash TEXT NOT NULL UNIQUE, sealed_token {bytes} NOT NULL, created_at {instant} NOT NULL){strict};;

CREATE TABLE recovery_code (
  id {uuid} PRIMARY KEY, member_id {uuid} NOT NULL REFERENCES member (id) ON DELETE CASCADE,
  code_hash TEXT NOT NULL, drawn_at {instant} NOT NULL, used_at {instant}){strict};;
CREATE INDEX recovery_code_member_id ON recovery_code (member_id);;

CREATE TABLE deposit (
  id {uuid} PRIMARY KEY, office_id {uuid} NOT NULL REFERENCES office (id) ON DELETE RESTRICT,
  office_reference TEXT NOT NULL, creditor TEXT NOT NULL, court TEXT NOT NULL, order_number TEXT NOT NULL,
  order_date {date} NOT NULL, replaces_id {uuid} REFERENCES deposit (id) ON DELETE RESTRICT,
  created_at {instant} NOT NULL, created_by_id {uuid} REFERENCES member (id) ON DELETE RESTRICT,
  filed_at {instant}, filed_by_id {uuid} REFERENCES member (id) ON DELETE RESTRICT, filed_sequence {bigint},
  expires_at {instant}, prolonged_until {date}, withdrawn_at {instant},
  withdrawn_by_id {uuid} REFERENCES member (id) ON DELETE RESTRICT, withdrawn_because TEXT, ended_at {instant},
  purge_told_at {instant}, dossier_at {instant}, purged_at {instant}, forgotten_at {instant},
  erased_at {instant},
  CHECK ((filed_at IS NULL) = (expires_at IS NULL)),
  CHECK ((withdrawn_at IS NULL) = (withdrawn_because IS NULL)),
  CHECK (withdrawn_at IS NULL OR filed_at IS NOT NULL)){strict};;
CREATE INDEX deposit_office_id ON deposit (office_id, created_at);;
CREATE INDEX deposit_expires_at ON deposit (expires_at);;
CREATE INDEX deposit_filed_at ON deposit (filed_at) WHERE purged_at IS NULL;;
CREATE UNIQUE INDEX deposit_replaces_id ON deposit (replaces_id);;

CREATE TABLE document (
  id {uuid} PRIMARY KEY, deposit_id {uuid} NOT NULL REFERENCES deposit (id) ON DELETE RESTRICT,
  number INTEGER NOT NULL, title TEXT NOT NULL, nature TEXT NOT NULL, dated {date}, filename TEXT NOT NULL,
  media_type TEXT NOT NULL, size {bigint} NOT NULL CHECK (size > 0), pages INTEGER NOT NULL CHECK (pages > 0),
  fingerprint TEXT NOT NULL CHECK (length(fingerprint) = 64), notices TEXT NOT NULL, wrapped_key {bytes},
  added_at {instant} NOT NULL, added_by_id {uuid} REFERENCES member (id) ON DELETE RESTRICT,
  previews_at {instant}, previews_tries INTEGER NOT NULL, deleted_at {instant},
  CHECK (wrapped_key IS NULL OR deleted_at IS NULL)){strict};;
CREATE UNIQUE INDEX document_deposit_id_number ON document (deposit_id, number);;

CREATE TABLE recipient (
  id {uuid} PRIMARY KEY, deposit_id {uuid} NOT NULL REFERENCES deposit (id) ON DELETE RESTRICT,
  kind TEXT NOT NULL CHECK (kind IN ('person', 'company')), name TEXT NOT NULL CHECK (name <> ''),
  representative TEXT NOT NULL, address TEXT NOT NULL, email TEXT NOT NULL,
  email_set_by TEXT NOT NULL CHECK (email_set_by IN ('', 'recipient', 'office')),
  way TEXT NOT NULL CHECK (way IN ('', 'act', 'app', 'email', 'office')),
  way_set_by TEXT NOT NULL CHECK (way_set_by IN ('', 'recipient', 'office')),
  way_required TEXT NOT NULL CHECK (way_required IN ('', 'app')), second_step_waived_because TEXT, mail_refused_at {instant}, mail_refused_because TEXT NOT NULL, added_at {instant} NOT NULL,
  added_by_id {uuid} REFERENCES member (id) ON DELETE RESTRICT){strict};;
CREATE INDEX recipient_deposit_id ON recipient (deposit_id);;

CREATE TABLE signification (
  id {uuid} PRIMARY KEY, recipient_id {uuid} NOT NULL REFERENCES recipient (id) ON DELETE RESTRICT,
  signified_on {date} NOT NULL, manner TEXT NOT NULL, recorded_at {instant} NOT NULL,
  recorded_by_id {uuid} REFERENCES member (id) ON DELETE RESTRICT, cancelled_at {instant}){strict};;
CREATE INDEX signification_recipient_id ON signification (recipient_id);;

CREATE TABLE access (
  id {uuid} PRIMARY KEY, recipient_id {uuid} NOT NULL UNIQUE REFERENCES recipient (id) ON DELETE RESTRICT,
  reference TEXT UNIQUE CHECK (length(reference) = 8), secret_hash TEXT, issued_at {instant},
  issued_by_id {uuid} REFERENCES member (id) ON DELETE RESTRICT, first_identified_at {instant},
  created_at {instant} NOT NULL){strict};;

CREATE TABLE code_key (
  id {uuid} PRIMARY KEY, access_id {uuid} NOT NULL REFERENCES access (id) ON DELETE CASCADE,
  way TEXT NOT NULL CHECK (way IN ('app', 'email', 'office')), sealed_key {bytes} NOT NULL,
  last_step {bigint} NOT NULL, failures INTEGER NOT NULL, created_at {instant} NOT NULL){strict};;
CREATE UNIQUE INDEX code_key_access_id_way ON code_key (access_id, way);;

CREATE TABLE sign_in (
  id {uuid} PRIMARY KEY, token_hash TEXT NOT NULL UNIQUE,
  access_id {uuid} REFERENCES access (id) ON DELETE CASCADE, member_id {uuid} REFERENCES member (id) ON DELETE CASCADE,
  way TEXT NOT NULL, email TEXT NOT NULL, sealed_key {bytes}, code_step {bigint}, code_issued_at {instant},
  codes_issued INTEGER NOT NULL, tries INTEGER NOT NULL, created_at {instant} NOT NULL, closed_at {instant},
  CHECK ((access_id IS NULL) <> (member_id IS NULL))){strict};;
CREATE INDEX sign_in_access_id ON sign_in (access_id);;
CREATE INDEX sign_in_member_id ON sign_in (member_id);;

CREATE TABLE session (
  id {uuid} PRIMARY KEY, token_hash TEXT NOT NULL UNIQUE,
  access_id {uuid} REFERENCES access (id) ON DELETE CASCADE, member_id {uuid} REFERENCES member (id) ON DELETE CASCADE,
  way TEXT NOT NULL, agent TEXT NOT NULL, created_at {instant} NOT NULL, seen_at {instant} NOT NULL,
  proved_at {instant} NOT NULL, ended_at {instant},
  CHECK ((access_id IS NULL) <> (member_id IS NULL))){strict};;
CREATE INDEX session_access_id ON session (access_id);;
CREATE INDEX session_member_id ON session (member_id);;

CREATE TABLE throttle (
  key TEXT PRIMARY KEY, failures INTEGER NOT NULL, since {instant} NOT NULL, until {instant}){strict};;

CREATE TABLE consultation (
  id {uuid} PRIMARY KEY, session_id {uuid} NOT NULL REFERENCES session (id) ON DELETE RESTRICT,
  document_id {uuid} NOT NULL REFERENCES document (id) ON DELETE RESTRICT, opened_at {instant} NOT NULL,
  log TEXT NOT NULL, sequence {bigint} NOT NULL){strict};;
CREATE UNIQUE INDEX consultation_session_id_document_id ON consultation (session_id, document_id);;
CREATE INDEX consultation_document_id ON consultation (document_id);;
CREATE INDEX consultation_log_sequence ON consultation (log, sequence);;

CREATE TABLE delivery (
  id {uuid} PRIMARY KEY, consultation_id {uuid} NOT NULL REFERENCES consultation (id) ON DELETE CASCADE,
  mode TEXT NOT NULL CHECK (mode IN ('page', 'text', 'file', 'bundle')), started_at {instant} NOT NULL,
  outcome TEXT NOT NULL CHECK (outcome IN ('', 'delivered', 'interrupted'))){strict};;
CREATE UNIQUE INDEX delivery_consultation_id_mode ON delivery (consultation_id, mode);;

CREATE TABLE journal_log (
  log TEXT PRIMARY KEY CHECK (length(log) = 32), origin TEXT NOT NULL, size {bigint} NOT NULL, head TEXT NOT NULL,
  time TEXT NOT NULL, opened_at {instant} NOT NULL, closed_at {instant}){strict};;

CREATE TABLE journal_record (
  log TEXT NOT NULL REFERENCES journal_log (log) ON DELETE RESTRICT, sequence {bigint} NOT NULL CHECK (sequence >= 0),
  previous TEXT NOT NULL, hash TEXT NOT NULL, operation TEXT NOT NULL, time TEXT NOT NULL, header {bytes} NOT NULL,
  PRIMARY KEY (log, sequence), UNIQUE (log, previous)){clustered};;
CREATE INDEX journal_record_anomaly ON journal_record (log, sequence) WHERE operation = 'clock.anomaly';;
CREATE INDEX journal_record_purged ON journal_record (log, sequence) WHERE operation = 'journal.purged';;

CREATE TABLE journal_payload (
  log TEXT NOT NULL, sequence {bigint} NOT NULL, payload_group TEXT NOT NULL CHECK (payload_group IN ('proof', 'trace')),
  salt {bytes}, body {bytes}, deposit {uuid}, office {uuid}, PRIMARY KEY (log, sequence, payload_group),
  FOREIGN KEY (log, sequence) REFERENCES journal_record (log, sequence) ON DELETE RESTRICT,
  CHECK ((salt IS NULL) = (body IS NULL))){clustered};;
CREATE INDEX journal_payload_deposit ON journal_payload (deposit, sequence) WHERE deposit IS NOT NULL;;
CREATE INDEX journal_payload_office ON journal_payload (office, sequence) WHERE office IS NOT NULL;;

CREATE TABLE journal_subtree (
  log TEXT NOT NULL REFERENCES journal_log (log) ON DELETE RESTRICT, level INTEGER NOT NULL,
  subtree_index {bigint} NOT NULL, hash {bytes} NOT NULL, PRIMARY KEY (log, level, subtree_index)){strict};;

CREATE TABLE journal_checkpoint (
  log TEXT NOT NULL REFERENCES journal_log (log) ON DELETE RESTRICT, size {bigint} NOT NULL, note {bytes} NOT NULL,
  created_at {instant} NOT NULL, PRIMARY KEY (log, size)){strict};;

CREATE TABLE journal_day (
  log TEXT NOT NULL REFERENCES journal_log (log) ON DELETE RESTRICT, day TEXT NOT NULL CHECK (length(day) = 10),
  deposits {bigint} NOT NULL, consultations {bigint} NOT NULL, refusals {bigint} NOT NULL, others {bigint} NOT NULL,
  size {bigint} NOT NULL, PRIMARY KEY (log, day)){strict};;
CREATE INDEX journal_day_log_size ON journal_day (log, size);;

CREATE TABLE journal_timestamp (
  log TEXT NOT NULL, size {bigint} NOT NULL, number INTEGER NOT NULL CHECK (number >= 1), der {bytes} NOT NULL,
  time {instant} NOT NULL, authority TEXT NOT NULL, qualified INTEGER NOT NULL CHECK (qualified IN (0, 1)),
  asked_at {instant} NOT NULL, answered_at {instant} NOT NULL, PRIMARY KEY (log, size, number),
  FOREIGN KEY (log, size) REFERENCES journal_checkpoint (log, size) ON DELETE RESTRICT){strict};;

CREATE TABLE journal_attestation (
  fingerprint TEXT PRIMARY KEY, log TEXT NOT NULL, sequence {bigint} NOT NULL,
  FOREIGN KEY (log, sequence) REFERENCES journal_record (log, sequence) ON DELETE RESTRICT){strict};;

CREATE TABLE journal_export (
  id {uuid} PRIMARY KEY, office_id {uuid} NOT NULL REFERENCES office (id) ON DELETE RESTRICT,
  asked_by_id {uuid} NOT NULL REFERENCES member (id) ON DELETE RESTRICT, asked_at {instant} NOT NULL,
  tries INTEGER NOT NULL, seen_at {instant}, done {bigint} NOT NULL, total {bigint} NOT NULL, bytes {bigint}, fingerprint TEXT,
  wrapped_key {bytes}, finished_at {instant}, failed_at {instant}, deleted_at {instant},
  CHECK (finished_at IS NULL OR failed_at IS NULL),
  CHECK (wrapped_key IS NULL OR (finished_at IS NOT NULL AND deleted_at IS NULL))){strict};;
CREATE UNIQUE INDEX journal_export_office_id ON journal_export (office_id)
  WHERE finished_at IS NULL AND failed_at IS NULL AND deleted_at IS NULL;;

CREATE TABLE message (
  id {uuid} PRIMARY KEY, kind TEXT NOT NULL, message_id TEXT NOT NULL UNIQUE CHECK (message_id <> ''),
  address TEXT NOT NULL, office_id {uuid} REFERENCES office (id) ON DELETE CASCADE,
  recipient_id {uuid} REFERENCES recipient (id) ON DELETE CASCADE,
  member_id {uuid} REFERENCES member (id) ON DELETE CASCADE, sign_in_id {uuid} REFERENCES sign_in (id) ON DELETE SET NULL,
  document_id {uuid} REFERENCES document (id) ON DELETE CASCADE,
  about_id {uuid} REFERENCES message (id) ON DELETE CASCADE, created_at {instant} NOT NULL,
  due_at {instant} NOT NULL, tries INTEGER NOT NULL, sent_at {instant}, given_up_at {instant},
  refused_at {instant}, reason TEXT NOT NULL){strict};;
CREATE INDEX message_due_at ON message (due_at);;
CREATE INDEX message_recipient_id ON message (recipient_id);;
CREATE INDEX message_sign_in_id ON message (sign_in_id);;
CREATE INDEX message_document_id ON message (document_id);;
CREATE INDEX message_about_id ON message (about_id);;

CREATE TABLE fact (name TEXT PRIMARY KEY, at {instant} NOT NULL, detail TEXT NOT NULL){strict};;
"""

# The journal's headers, and what was published of it, never change (art. 6): the database itself refuses, whoever asks.
SQLITE_GUARDS = """
CREATE TRIGGER journal_record_no_replace BEFORE INSERT ON journal_record
  WHEN EXISTS (SELECT 1 FROM journal_record WHERE log = NEW.log AND sequence = NEW.sequence)
    OR EXISTS (SELECT 1 FROM journal_record WHERE log = NEW.log AND previous = NEW.previous)
  BEGIN SELECT RAISE(ABORT, 'journal_record never changes'); END;;
CREATE TRIGGER journal_record_no_update BEFORE UPDATE ON journal_record
  BEGIN SELECT RAISE(ABORT, 'journal_record never changes'); END;;
CREATE TRIGGER journal_record_no_delete BEFORE DELETE ON journal_record
  BEGIN SELECT RAISE(ABORT, 'journal_record never changes'); END;;
CREATE TRIGGER journal_checkpoint_no_replace BEFORE INSERT ON journal_checkpoint
  WHEN EXISTS (SELECT 1 FROM journal_checkpoint WHERE log = NEW.log AND size = NEW.size)
  BEGIN SELECT RAISE(ABORT, 'journal_checkpoint never changes'); END;;
CREATE TRIGGER journal_checkpoint_no_update BEFORE UPDATE ON journal_checkpoint
  BEGIN SELECT RAISE(ABORT, 'journal_checkpoint never changes'); END;;
CREATE TRIGGER journal_checkpoint_no_delete BEFORE DELETE ON journal_checkpoint
  BEGIN SELECT RAISE(ABORT, 'journal_checkpoint never changes'); END;;
CREATE TRIGGER journal_timestamp_no_replace BEFORE INSERT ON journal_timestamp
  WHEN EXISTS (SELECT 1 FROM journal_timestamp WHERE log = NEW.log AND size = NEW.size AND number = NEW.number)
  BEGIN SELECT RAISE(ABORT, 'journal_timestamp never changes'); END;;
CREATE TRIGGER journal_timestamp_no_update BEFORE UPDATE ON journal_timestamp
  BEGIN SELECT RAISE(ABORT, 'journal_timestamp never changes'); END;;
CREATE TRIGGER journal_timestamp_no_delete BEFORE DELETE ON journal_timestamp
  BEGIN SELECT RAISE(ABORT, 'journal_timestamp never changes'); END;;
"""

# The driver reads %% as one %.
POSTGRESQL_GUARDS = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN RAISE EXCEPTION ''%% never changes'', TG_TABLE_NAME; END';;
CREATE TRIGGER journal_record_no_change BEFORE UPDATE OR DELETE ON journal_record
  FOR EACH ROW EXECUTE FUNCTION refuse_change();;
CREATE TRIGGER journal_record_no_truncate BEFORE TRUNCATE ON journal_record
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();;
CREATE TRIGGER journal_checkpoint_no_change BEFORE UPDATE OR DELETE ON journal_checkpoint
  FOR EACH ROW EXECUTE FUNCTION refuse_change();;
CREATE TRIGGER journal_checkpoint_no_truncate BEFORE TRUNCATE ON journal_checkpoint
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();;
CREATE TRIGGER journal_timestamp_no_change BEFORE UPDATE OR DELETE ON journal_timestamp
  FOR EACH ROW EXECUTE FUNCTION refuse_change();;
CREATE TRIGGER journal_timestamp_no_truncate BEFORE TRUNCATE ON journal_timestamp
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();;
"""


def up(_migrator: Any, database: pw.Database) -> None:
    """Create everything."""
    migrations.run_script(database, TABLES)
    migrations.run_script(database, SQLITE_GUARDS if isinstance(database, pw.SqliteDatabase) else POSTGRESQL_GUARDS)
