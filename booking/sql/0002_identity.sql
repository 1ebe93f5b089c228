-- Who somebody is and how they prove it: contacts, passwords, codes, sessions, second factors, roles, dependants.
--
-- No secret stands here in the clear. What is random and long is kept as its SHA-256; what is short (codes of six digits,
-- recovery codes) as an HMAC under a key of the server; what must be read again (TOTP secrets, private keys, secrets of
-- sign-in providers) is sealed with a key of the server (backplane/sealed.py).

SET LOCAL ROLE wadud_platform;
INSERT INTO tenant (id, slug, name) VALUES (1, 'platform', 'Wadud') ON CONFLICT DO NOTHING;
RESET ROLE;

-- A contact or an outside account that leads to one person. Only what was proven gets here.
CREATE TABLE identity (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    person_id uuid NOT NULL REFERENCES person,
    kind text NOT NULL CHECK (kind IN ('email', 'phone', 'oidc')),
    value text NOT NULL CHECK (length(value) BETWEEN 3 AND 400), -- normalised: booking/identity/contacts.py
    verified_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    UNIQUE (tenant_id, kind, value)
);
CALL make_tenant_table('identity');
CREATE INDEX identity_person ON identity (person_id);

CREATE TABLE password (
    person_id uuid PRIMARY KEY REFERENCES person,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    hash text NOT NULL,                          -- argon2id with its parameters
    changed_at timestamptz NOT NULL
);
CALL make_tenant_table('password');

-- A code that was sent to a contact. `deed` is what entering it does.
CREATE TABLE code (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    kind text NOT NULL CHECK (kind IN ('email', 'phone')),
    value text NOT NULL,
    deed text NOT NULL CHECK (deed IN ('sign_in', 'register', 'add_contact', 'set_password')),
    person_id uuid REFERENCES person,            -- who asked, where somebody was signed in
    payload jsonb NOT NULL DEFAULT '{}',         -- of 'register': name, locale, password hash
    mac bytea NOT NULL,
    attempts smallint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CALL make_tenant_table('code');
CREATE INDEX code_value ON code (tenant_id, kind, value, created_at);
CREATE INDEX code_expires ON code (expires_at);

-- A sign-in on one device; the family of its refresh tokens.
CREATE TABLE session (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    person_id uuid NOT NULL REFERENCES person,
    amr text[] NOT NULL,                         -- RFC 8176
    device text NOT NULL DEFAULT '',             -- browser and system in few words, for the list of sessions
    created_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    stale_before timestamptz,                    -- access tokens issued before it are void: roles or factors changed
    revoked_at timestamptz,
    revoked_cause text CHECK (revoked_cause IN ('logout', 'logout_all', 'reuse', 'merged', 'password', 'admin', 'disabled')),
    CHECK ((revoked_at IS NULL) = (revoked_cause IS NULL))
);
CALL make_tenant_table('session');
CREATE INDEX session_person ON session (person_id, created_at);
CREATE INDEX session_expires ON session (expires_at);

-- The secret of a successor is derived from its predecessor's (booking/identity/refresh.py), so that the answer to a
-- repeated refresh can be given again although only hashes are kept.
CREATE TABLE refresh_token (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    session_id uuid NOT NULL REFERENCES session ON DELETE CASCADE,
    secret_hash bytea NOT NULL,
    previous_id uuid,
    successor_id uuid,
    created_at timestamptz NOT NULL,
    used_at timestamptz,
    expires_at timestamptz NOT NULL,
    CHECK ((used_at IS NULL) = (successor_id IS NULL))
);
CALL make_tenant_table('refresh_token');
CREATE INDEX refresh_token_session ON refresh_token (session_id);
-- A session has one living token, whatever happens at the same time.
CREATE UNIQUE INDEX refresh_token_living ON refresh_token (session_id) WHERE used_at IS NULL;

CREATE TABLE totp (
    person_id uuid PRIMARY KEY REFERENCES person,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    secret_sealed text NOT NULL,
    last_step bigint NOT NULL DEFAULT 0,         -- a step counts once
    tries smallint NOT NULL DEFAULT 0,
    tries_since timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    confirmed_at timestamptz
);
CALL make_tenant_table('totp');

CREATE TABLE recovery_code (
    person_id uuid NOT NULL REFERENCES person,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    mac bytea NOT NULL,
    used_at timestamptz,
    PRIMARY KEY (person_id, mac)
);
CALL make_tenant_table('recovery_code');

CREATE TABLE passkey (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    person_id uuid NOT NULL REFERENCES person,
    credential_id bytea NOT NULL,
    public_key bytea NOT NULL,
    sign_count bigint NOT NULL,
    rp_id text NOT NULL,
    label text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    used_at timestamptz,
    UNIQUE (tenant_id, credential_id)
);
CALL make_tenant_table('passkey');
CREATE INDEX passkey_person ON passkey (person_id);

-- A ceremony that has begun; taken out when it ends, so it ends once.
CREATE TABLE passkey_challenge (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    person_id uuid REFERENCES person,            -- null: a sign-in
    challenge bytea NOT NULL,
    expires_at timestamptz NOT NULL
);
CALL make_tenant_table('passkey_challenge');
CREATE INDEX passkey_challenge_expires ON passkey_challenge (expires_at);

-- What somebody is in this clinic beside a patient.
CREATE TABLE membership (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    person_id uuid NOT NULL REFERENCES person,
    role text NOT NULL CHECK (role IN ('doctor', 'staff', 'clinic_admin', 'platform_admin', 'finance', 'support')),
    location_id uuid REFERENCES location,        -- null: the whole clinic
    granted_by uuid REFERENCES person,
    created_at timestamptz NOT NULL,
    ended_at timestamptz,
    CHECK (tenant_id = 1 OR role <> 'platform_admin')
);
CALL make_tenant_table('membership');
CREATE UNIQUE INDEX membership_once ON membership (person_id, role) WHERE ended_at IS NULL;
CREATE INDEX membership_role ON membership (tenant_id, role) WHERE ended_at IS NULL;

-- Somebody who acts for somebody else: a parent for a child, a caregiver for an adult who asked for it.
CREATE TABLE dependant (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    guardian_id uuid NOT NULL REFERENCES person,
    person_id uuid NOT NULL REFERENCES person,
    relation text NOT NULL CHECK (relation IN ('child', 'parent', 'spouse', 'sibling', 'other')),
    rights text[] NOT NULL CHECK (rights <@ ARRAY['book', 'join', 'read']),
    until date,                                  -- a child grows up
    created_at timestamptz NOT NULL,
    ended_at timestamptz,
    CHECK (guardian_id <> person_id)
);
CALL make_tenant_table('dependant');
CREATE UNIQUE INDEX dependant_once ON dependant (guardian_id, person_id) WHERE ended_at IS NULL;
CREATE INDEX dependant_person ON dependant (person_id) WHERE ended_at IS NULL;

-- An invitation to one role, or to care for one person. The link that is mailed is a signed token that names this row.
CREATE TABLE invite (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    email text NOT NULL,
    role text CHECK (role IN ('doctor', 'staff', 'clinic_admin', 'platform_admin', 'finance', 'support')),
    location_id uuid REFERENCES location,
    caregiver_of uuid REFERENCES person,
    rights text[] NOT NULL DEFAULT '{}',
    relation text,
    created_by uuid REFERENCES person,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    accepted_at timestamptz,
    accepted_by uuid REFERENCES person,
    withdrawn_at timestamptz,
    CHECK ((role IS NULL) <> (caregiver_of IS NULL)),
    CHECK (tenant_id = 1 OR role IS DISTINCT FROM 'platform_admin')
);
CALL make_tenant_table('invite');
CREATE INDEX invite_tenant ON invite (tenant_id, created_at);

-- Keys that sign tokens, of the whole installation. Every server may read them; private parts are sealed.
CREATE TABLE signing_key (
    kid text PRIMARY KEY,
    algorithm text NOT NULL,
    public_jwk jsonb NOT NULL,
    private_sealed text NOT NULL,
    created_at timestamptz NOT NULL,
    signs_from timestamptz NOT NULL,             -- known to all servers before it is used
    signs_until timestamptz NOT NULL,
    verifies_until timestamptz NOT NULL,
    CHECK (created_at <= signs_from AND signs_from < signs_until AND signs_until < verifies_until)
);
ALTER TABLE signing_key ENABLE ROW LEVEL SECURITY;
ALTER TABLE signing_key FORCE ROW LEVEL SECURITY;
CREATE POLICY platform ON signing_key TO wadud_platform USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON signing_key TO wadud_platform;

-- An OpenID Connect issuer that this clinic trusts to say who somebody is.
CREATE TABLE oidc_provider (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    name text NOT NULL CHECK (name ~ '^[a-z0-9-]{1,40}$'),
    label text NOT NULL,
    issuer text NOT NULL,
    client_id text NOT NULL,
    client_secret_sealed text NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL,
    UNIQUE (tenant_id, name)
);
CALL make_tenant_table('oidc_provider');

-- A sign-in that is at its issuer just now; taken out when the browser comes back.
CREATE TABLE oidc_login (
    state_hash bytea PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    provider_id uuid NOT NULL REFERENCES oidc_provider ON DELETE CASCADE,
    browser_hash bytea NOT NULL,                 -- of a cookie: the sign-in ends in the browser that began it
    nonce text NOT NULL,
    verifier_sealed text NOT NULL,               -- RFC 7636
    redirect_uri text NOT NULL,
    return_to text NOT NULL,
    expires_at timestamptz NOT NULL
);
CALL make_tenant_table('oidc_login');
CREATE INDEX oidc_login_expires ON oidc_login (expires_at);
