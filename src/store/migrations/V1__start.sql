-- One text for both dialects: SERIAL_ID and TEXT are replaced, see schema.rs. Times are nanoseconds since 1970.

CREATE TABLE finding (
    id TEXT NOT NULL PRIMARY KEY,
    cluster TEXT NOT NULL,
    api_group TEXT NOT NULL,
    kind TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    api_version TEXT NOT NULL,
    uid TEXT NOT NULL,
    owner TEXT NOT NULL,
    app_kind TEXT NOT NULL,
    app_namespace TEXT NOT NULL,
    application TEXT NOT NULL,
    content TEXT NOT NULL,
    rule TEXT NOT NULL,
    place TEXT NOT NULL,
    result TEXT NOT NULL,
    gravity BIGINT NOT NULL,
    category TEXT NOT NULL,
    policies TEXT NOT NULL,
    action TEXT NOT NULL,
    path TEXT NOT NULL,
    message TEXT NOT NULL,
    state TEXT NOT NULL,
    closed_because TEXT NOT NULL,
    closed_at BIGINT,
    first_seen BIGINT NOT NULL,
    seen BIGINT NOT NULL,
    opened_at BIGINT NOT NULL,
    reopened BIGINT NOT NULL,
    brought_by TEXT,
    brought_user TEXT,
    brought_at BIGINT
);
CREATE INDEX finding_object ON finding (cluster, api_group, kind, namespace, name, state, gravity);
CREATE INDEX finding_gravity ON finding (state, gravity, id);
CREATE INDEX finding_namespace ON finding (namespace, state, gravity, id);
CREATE INDEX finding_name ON finding (state, namespace, kind, name, id);
CREATE INDEX finding_rule ON finding (state, rule, gravity, id);
CREATE INDEX finding_first_seen ON finding (state, first_seen, id);
CREATE INDEX finding_content ON finding (content);
CREATE INDEX finding_closed ON finding (closed_at) WHERE closed_at IS NOT NULL;

-- How many findings there are, so that facets need not count them.
CREATE TABLE finding_count (
    cluster TEXT NOT NULL,
    namespace TEXT NOT NULL,
    api_group TEXT NOT NULL,
    kind TEXT NOT NULL,
    rule TEXT NOT NULL,
    category TEXT NOT NULL,
    gravity BIGINT NOT NULL,
    action TEXT NOT NULL,
    application TEXT NOT NULL,
    state TEXT NOT NULL,
    closed_because TEXT NOT NULL,
    findings BIGINT NOT NULL,
    PRIMARY KEY (cluster, namespace, api_group, kind, rule, category, gravity, action, application, state, closed_because)
);

-- The last complete look over a kind in a namespace, or with '*' in all of them.
CREATE TABLE coverage (
    cluster TEXT NOT NULL,
    api_group TEXT NOT NULL,
    kind TEXT NOT NULL,
    namespace TEXT NOT NULL,
    seen BIGINT NOT NULL,
    PRIMARY KEY (cluster, api_group, kind, namespace)
);

CREATE TABLE content (
    digest TEXT NOT NULL PRIMARY KEY,
    text TEXT NOT NULL
);

CREATE TABLE audit (
    id SERIAL_ID,
    cluster TEXT NOT NULL,
    cause TEXT NOT NULL,
    state TEXT NOT NULL,
    started BIGINT NOT NULL,
    finished BIGINT,
    policies TEXT NOT NULL,
    objects BIGINT NOT NULL,
    evaluated BIGINT NOT NULL,
    opened BIGINT NOT NULL,
    fixed BIGINT NOT NULL,
    closed BIGINT NOT NULL,
    unread TEXT NOT NULL
);
CREATE INDEX audit_running ON audit (cluster) WHERE state = 'running';

-- What an audit counted, where it is otherwise than in the audit before; zeros where nothing is counted any more.
CREATE TABLE rule_count (
    cluster TEXT NOT NULL,
    policy TEXT NOT NULL,
    rule TEXT NOT NULL,
    namespace TEXT NOT NULL,
    audit BIGINT NOT NULL,
    passed BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    skipped BIGINT NOT NULL,
    exempt BIGINT NOT NULL,
    PRIMARY KEY (cluster, policy, rule, namespace, audit)
);

-- What was taken in, so that it is taken in once.
CREATE TABLE batch (
    source TEXT NOT NULL,
    batch_key TEXT NOT NULL,
    taken BIGINT NOT NULL,
    PRIMARY KEY (source, batch_key)
);
CREATE INDEX batch_taken ON batch (taken);

-- Who brought in what no look has found yet, by the fingerprint that it will have.
CREATE TABLE brought_in (
    id TEXT NOT NULL PRIMARY KEY,
    brought_by TEXT NOT NULL,
    brought_user TEXT NOT NULL,
    brought_at BIGINT NOT NULL
);
CREATE INDEX brought_in_at ON brought_in (brought_at);

CREATE TABLE decision (
    uid TEXT NOT NULL PRIMARY KEY,
    decided BIGINT NOT NULL,
    cluster TEXT NOT NULL,
    operation TEXT NOT NULL,
    api_group TEXT NOT NULL,
    kind TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    requester TEXT NOT NULL,
    verified BIGINT NOT NULL,
    dry_run BIGINT NOT NULL,
    allowed BIGINT NOT NULL,
    reason TEXT NOT NULL,
    duration_us BIGINT NOT NULL,
    break_glass TEXT,
    results TEXT NOT NULL
);
CREATE INDEX decision_decided ON decision (decided, uid);
CREATE INDEX decision_namespace ON decision (namespace, decided, uid);

CREATE TABLE judged (
    id SERIAL_ID,
    judged BIGINT NOT NULL,
    cluster TEXT NOT NULL,
    source TEXT NOT NULL,
    revision TEXT NOT NULL,
    policies TEXT NOT NULL,
    passed BIGINT NOT NULL,
    summary TEXT NOT NULL,
    violations TEXT NOT NULL,
    results TEXT NOT NULL
);
CREATE INDEX judged_time ON judged (judged, id);
CREATE INDEX judged_source ON judged (source, judged, id);

CREATE TABLE token (
    id TEXT NOT NULL PRIMARY KEY,
    label TEXT NOT NULL,
    hash TEXT NOT NULL,
    scopes TEXT NOT NULL,
    namespaces TEXT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT
);
