-- Since when each namespace enforces a policy, as audits have seen it; what is outside namespaces has an empty one.
CREATE TABLE enforcing (
    cluster TEXT NOT NULL,
    namespace TEXT NOT NULL,
    policy TEXT NOT NULL,
    -- The least severity that is denied, empty where all are.
    severity TEXT NOT NULL,
    -- The last audit that saw it otherwise began then.
    not_before BIGINT,
    -- The first audit that saw it so ended then.
    since BIGINT NOT NULL,
    PRIMARY KEY (cluster, namespace, policy, severity)
);
