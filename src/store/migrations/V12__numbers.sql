-- Findings, and objects that they show, are numbered as they come. Lists break their ties by that, and findings say by it what
-- they show: what an audit writes then comes to stand at the end of each index's part, where a hash stood on a page of its own.
CREATE TABLE content_numbered (
    number ROW_NUMBER,
    digest TEXT NOT NULL UNIQUE,
    text TEXT NOT NULL
);
INSERT INTO content_numbered (digest, text) SELECT digest, text FROM content;
DROP TABLE content;
ALTER TABLE content_numbered RENAME TO content;
CREATE TABLE finding_numbered (
    number ROW_NUMBER,
    id TEXT NOT NULL UNIQUE,
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
    brought_at BIGINT,
    exemption TEXT,
    brought_app_namespace TEXT,
    brought_application TEXT,
    brought_revision TEXT,
    content_number BIGINT
);
INSERT INTO finding_numbered (id, cluster, api_group, kind, namespace, name, api_version, uid, owner, app_kind, app_namespace,
    application, content, rule, place, result, gravity, category, policies, action, path, message, state, closed_because,
    closed_at, first_seen, seen, opened_at, reopened, brought_by, brought_user, brought_at, exemption, brought_app_namespace,
    brought_application, brought_revision, content_number)
SELECT id, cluster, api_group, kind, namespace, name, api_version, uid, owner, app_kind, app_namespace,
    application, content, rule, place, result, gravity, category, policies, action, path, message, state, closed_because,
    closed_at, first_seen, seen, opened_at, reopened, brought_by, brought_user, brought_at, exemption, brought_app_namespace,
    brought_application, brought_revision, (SELECT content.number FROM content WHERE content.digest = finding.content)
FROM finding ORDER BY first_seen, cluster, api_group, kind, namespace, name, id;
DROP TABLE finding;
ALTER TABLE finding_numbered RENAME TO finding;
CREATE INDEX finding_object ON finding (cluster, api_group, kind, namespace, name, state, gravity);
CREATE INDEX finding_gravity ON finding (state, gravity, number);
CREATE INDEX finding_namespace ON finding (namespace, state, gravity, number);
CREATE INDEX finding_name ON finding (state, namespace, kind, name, number);
CREATE INDEX finding_rule ON finding (state, rule, gravity, number);
CREATE INDEX finding_first_seen ON finding (state, first_seen, number);
CREATE INDEX finding_content ON finding (content_number);
CREATE INDEX finding_closed ON finding (closed_at) WHERE closed_at IS NOT NULL;
CREATE INDEX finding_opened ON finding (opened_at);
CREATE INDEX finding_exempt ON finding (cluster, api_group, kind, namespace, name)
    WHERE closed_because = 'exempt' AND exemption IS NOT NULL;
CREATE INDEX finding_unsynced ON finding (brought_at) WHERE brought_at IS NOT NULL AND brought_revision IS NULL;
