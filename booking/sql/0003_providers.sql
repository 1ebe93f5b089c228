-- Onboarding of providers, and the search that finds them.

-- A file that somebody sent us; the bytes are in the document store under the id (booking/documents.py).
CREATE TABLE document (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    owner_id uuid NOT NULL REFERENCES person,
    provider_id uuid REFERENCES provider,
    kind text NOT NULL CHECK (kind IN ('licence', 'identity', 'degree', 'insurance', 'other')),
    media_type text NOT NULL,
    bytes integer NOT NULL CHECK (bytes > 0),
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    scan text NOT NULL CHECK (scan IN ('clean', 'unscanned')),
    created_at timestamptz NOT NULL,
    deleted_at timestamptz
);
CALL make_tenant_table('document');
CREATE INDEX document_owner ON document (owner_id);
CREATE INDEX document_provider ON document (provider_id) WHERE deleted_at IS NULL;

-- What a provider claims to hold. A licence number stands in a public registry; other kinds carry no number.
CREATE TABLE credential (
    id uuid PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    provider_id uuid NOT NULL REFERENCES provider,
    kind text NOT NULL CHECK (kind IN ('licence', 'identity', 'degree', 'insurance', 'other')),
    number text NOT NULL DEFAULT '',
    issuer text NOT NULL DEFAULT '',
    country text NOT NULL CHECK (country ~ '^[A-Z]{2}$'),
    expires_at timestamptz,
    document_id uuid REFERENCES document,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'verified', 'refused', 'replaced')),
    registry text NOT NULL DEFAULT 'not_asked' CHECK (registry IN ('not_asked', 'found', 'differs', 'unknown', 'unreachable')),
    created_at timestamptz NOT NULL,
    decided_at timestamptz,
    CHECK (kind <> 'licence' OR number <> '')
);
CALL make_tenant_table('credential');
CREATE INDEX credential_provider ON credential (provider_id);
-- one holder each; beside the verified one its renewal may wait
CREATE UNIQUE INDEX credential_licence ON credential (tenant_id, country, issuer, number, state)
    WHERE kind = 'licence' AND state IN ('pending', 'verified');

-- Where an application stands beside provider.status: who reviews it and whose turn it is.
CREATE TABLE application (
    provider_id uuid PRIMARY KEY REFERENCES provider,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    reviewer_id uuid,                            -- of the platform's tenant, or of this one
    waiting_for text NOT NULL DEFAULT 'applicant' CHECK (waiting_for IN ('applicant', 'reviewer', 'nobody')),
    applied_at timestamptz NOT NULL,
    submitted_at timestamptz,
    decided_at timestamptz
);
CALL make_tenant_table('application');
CREATE INDEX application_waiting ON application (tenant_id, submitted_at) WHERE waiting_for = 'reviewer';

CREATE TABLE application_review (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    provider_id uuid NOT NULL REFERENCES provider,
    step text NOT NULL CHECK (step IN (
        'applied', 'submitted', 'assigned', 'noted', 'asked', 'approved', 'rejected', 'suspended', 'reinstated', 'lapsed')),
    actor_id uuid,                               -- null: the clock
    note text NOT NULL DEFAULT '',
    for_applicant boolean NOT NULL DEFAULT false,
    at timestamptz NOT NULL
);
CALL make_tenant_table('application_review');
CALL make_append_only('application_review');
CREATE INDEX application_review_provider ON application_review (provider_id, id);

-- Search. A provider has a row in provider_search while it is listed and none otherwise, so nothing that searches can
-- forget to ask. `words` and `facets` begin with the tenant's number, so that an index entry belongs to one tenant.
CREATE FUNCTION plane(tenant bigint, latitude float8, longitude float8) RETURNS point
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    -- Mercator: true to shape, so nearest on it is nearest on the ground (error below 1 % within 100 km). Tenants lie
    -- side by side, further apart than the earth is wide, so one index serves all and the nearest are one's own.
    RETURN point(tenant * 16 + radians(longitude), atanh(sin(radians(greatest(-85, least(85, latitude))))));

CREATE FUNCTION ground_km(latitude float8, longitude float8, other_latitude float8, other_longitude float8) RETURNS float8
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    -- haversine
    RETURN 12742.0176 * asin(sqrt(least(1, sin(radians(other_latitude - latitude) / 2) ^ 2
        + cos(radians(latitude)) * cos(radians(other_latitude)) * sin(radians(other_longitude - longitude) / 2) ^ 2)));

CREATE FUNCTION shrunk_rating(stars bigint, reviews integer) RETURNS float8
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    -- as if five reviews of 4 stars had come before: one lucky review does not lead the list
    RETURN (stars + 20)::float8 / (reviews + 5);

CREATE TABLE provider_search (
    provider_id uuid PRIMARY KEY REFERENCES provider ON DELETE CASCADE,
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    no bigint NOT NULL,
    listed_until timestamptz NOT NULL,           -- end of the last licence, or 'infinity'
    words tsvector NOT NULL,
    facets text[] NOT NULL,
    price_minor bigint,
    currency text,
    rating float8,
    rank float8 NOT NULL,
    latitude float8,
    longitude float8
);
CALL make_tenant_table('provider_search');
CREATE INDEX provider_search_text ON provider_search USING gin (words, facets);
CREATE INDEX provider_search_rank ON provider_search (tenant_id, (-rank), no);
CREATE INDEX provider_search_price ON provider_search (tenant_id, price_minor, no);
CREATE INDEX provider_search_plane ON provider_search
    USING gist (plane(tenant_id, latitude, longitude)) WHERE latitude IS NOT NULL;
CREATE INDEX provider_next_free ON provider (tenant_id, next_free_at, no) WHERE status = 'approved';
CREATE INDEX provider_online ON provider (tenant_id, online_until) WHERE online_until IS NOT NULL;
ALTER TABLE provider_search ALTER words SET STATISTICS 500;

-- What misspelt words are looked up by: every word of a listed name under each of its features (normalise.py).
-- Words are few where names are many, so this is small, and a typo costs a search among words, not among providers.
CREATE TABLE search_feature (
    tenant_id bigint NOT NULL DEFAULT app_tenant() REFERENCES tenant,
    feature text NOT NULL,
    word text NOT NULL,
    PRIMARY KEY (tenant_id, feature, word)
);
CALL make_tenant_table('search_feature');

CREATE FUNCTION keep_rating() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE provider_search
    SET rating = NEW.rating_sum::float8 / nullif(NEW.rating_count, 0), rank = shrunk_rating(NEW.rating_sum, NEW.rating_count)
    WHERE provider_id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER keep_rating AFTER UPDATE OF rating_sum, rating_count ON provider
    FOR EACH ROW WHEN (OLD.rating_sum <> NEW.rating_sum OR OLD.rating_count <> NEW.rating_count)
    EXECUTE FUNCTION keep_rating();

-- One page of listed providers of the session's tenant. A null argument asks for nothing.
--
-- It runs as wadud_platform because row security keeps operators that might leak (@@, @>, <@) out of index scans: under
-- it every search would read the whole table. Here the tenant is a plain condition instead; there is no other way in.
-- The statement is put together from fixed pieces so that each shape gets its own plan; no argument becomes SQL.
CREATE FUNCTION search_providers(
    matching tsquery, excluding tsquery, wanted text[], price_max bigint, price_currency text, rating_min float8,
    free_before timestamptz, online boolean, near_latitude float8, near_longitude float8, radius_km float8,
    sorting text, after_key float8, after_no bigint, most integer, at timestamptz
) RETURNS TABLE (provider_id uuid, provider_no bigint, sort_key float8, distance_km float8)
LANGUAGE plpgsql STABLE SECURITY DEFINER AS $$
DECLARE
    tenant CONSTANT bigint := app_tenant();
    origin CONSTANT point := plane(tenant, near_latitude, near_longitude);
    reach CONSTANT float8 := radius_km / 6371.0088
        / cos(radians(least(85, abs(near_latitude) + radius_km / 111.0)));
    key text;
    ordering text;
    query text := 'SELECT s.provider_id, s.no, ';
BEGIN
    CASE sorting
        WHEN 'rank' THEN key := '-s.rank'; ordering := '(-s.rank)';
        WHEN 'price' THEN key := 's.price_minor::float8'; ordering := 's.price_minor';
        WHEN 'soonest' THEN key := 'extract(epoch FROM p.next_free_at)::float8'; ordering := 'p.next_free_at';
        WHEN 'distance' THEN key := '(plane(s.tenant_id, s.latitude, s.longitude) <-> $11)'; ordering := key;
    END CASE;
    query := query || key || CASE WHEN near_latitude IS NULL THEN ', NULL::float8'
        ELSE ', ground_km($8, $9, s.latitude, s.longitude)' END || ' FROM provider_search s';
    IF sorting = 'soonest' OR free_before IS NOT NULL OR online THEN
        query := query || ' JOIN provider p ON p.id = s.provider_id AND p.tenant_id = $1 AND p.status = ''approved''';
    END IF;
    query := query || ' WHERE s.tenant_id = $1 AND s.listed_until > $2';
    IF matching IS NOT NULL THEN query := query || ' AND s.words @@ $3'; END IF;
    IF excluding IS NOT NULL THEN query := query || ' AND NOT s.words @@ $4'; END IF;
    IF wanted IS NOT NULL THEN query := query || ' AND s.facets @> $5'; END IF;
    IF price_max IS NOT NULL THEN query := query || ' AND s.price_minor <= $6'; END IF;
    IF price_currency IS NOT NULL THEN query := query || ' AND s.currency = $13'; END IF;
    IF rating_min IS NOT NULL THEN query := query || ' AND s.rating >= $7'; END IF;
    IF free_before IS NOT NULL THEN query := query || ' AND p.next_free_at <= $14'; END IF;
    IF online THEN query := query || ' AND p.online_until > $2'; END IF;
    IF sorting = 'price' THEN query := query || ' AND s.price_minor IS NOT NULL'; END IF;
    IF sorting = 'soonest' THEN query := query || ' AND p.next_free_at IS NOT NULL'; END IF;
    IF near_latitude IS NOT NULL AND (radius_km IS NOT NULL OR sorting = 'distance') THEN
        query := query || ' AND s.latitude IS NOT NULL';
        IF radius_km IS NOT NULL THEN
            query := query || ' AND plane(s.tenant_id, s.latitude, s.longitude) <@ $12'
                || ' AND ground_km($8, $9, s.latitude, s.longitude) <= $10';
        END IF;
    END IF;
    IF after_no IS NOT NULL THEN
        query := query || CASE sorting
            WHEN 'price' THEN format(' AND (%s, s.no) > ($15::bigint, $16)', ordering)
            WHEN 'soonest' THEN format(' AND (%s, %s.no) > (to_timestamp($15), $16)', ordering, 'p')
            ELSE format(' AND (%s, s.no) > ($15, $16)', ordering) END;
    END IF;
    IF sorting = 'distance' THEN
        -- the index gives one order only: those at one address come together, and are put in theirs outside
        query := 'SELECT * FROM (' || query || ' ORDER BY ' || ordering || ' FETCH FIRST ($17) ROWS WITH TIES) near'
            || ' ORDER BY 3, 2 LIMIT $17';
    ELSE
        query := query || ' ORDER BY ' || ordering || CASE sorting WHEN 'soonest' THEN ', p.no' ELSE ', s.no' END
            || ' LIMIT $17';
    END IF;
    RETURN QUERY EXECUTE query USING
        tenant, at, matching, excluding, (SELECT array_agg(tenant || ':' || each) FROM unnest(wanted) each),
        price_max, rating_min, near_latitude, near_longitude, radius_km, origin,
        box(point(origin[0] - reach, origin[1] - reach), point(origin[0] + reach, origin[1] + reach)),
        price_currency, free_before, after_key, after_no, most;
END $$;

DO $$
DECLARE
    signature CONSTANT text := 'search_providers(tsquery, tsquery, text[], bigint, text, float8, timestamptz, boolean, '
        'float8, float8, float8, text, float8, bigint, integer, timestamptz)';
BEGIN
    EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, %I, pg_temp', signature, current_schema());
    EXECUTE format('ALTER FUNCTION %s SET jit = off', signature);
    EXECUTE format('ALTER FUNCTION %s SET max_parallel_workers_per_gather = 0', signature);
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO wadud_app', signature);
    -- a migrator that is no superuser may only give it away to a role that may create here
    EXECUTE format('GRANT CREATE ON SCHEMA %I TO wadud_platform', current_schema());
    EXECUTE format('ALTER FUNCTION %s OWNER TO wadud_platform', signature);
    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM wadud_platform', current_schema());
END $$;
