-- What was open when an audit ended, where it is otherwise than after the audit before, and what came and went by then.
CREATE TABLE open_count (
    cluster TEXT NOT NULL,
    namespace TEXT NOT NULL,
    rule TEXT NOT NULL,
    gravity BIGINT NOT NULL,
    audit BIGINT NOT NULL,
    standing BIGINT NOT NULL,
    opened BIGINT NOT NULL,
    fixed BIGINT NOT NULL,
    PRIMARY KEY (cluster, namespace, rule, gravity, audit)
);
CREATE INDEX open_count_audit ON open_count (audit);
CREATE INDEX finding_opened ON finding (opened_at);
