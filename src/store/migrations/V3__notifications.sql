-- Up to when each target has been told of what.
CREATE TABLE notified (
    target TEXT NOT NULL,
    event TEXT NOT NULL,
    through BIGINT NOT NULL,
    PRIMARY KEY (target, event)
);

-- When a decision was taken in: one that was away for a while comes later than its time says.
ALTER TABLE decision ADD COLUMN taken BIGINT NOT NULL DEFAULT 0;
CREATE INDEX decision_denied ON decision (taken) WHERE allowed = 0;
