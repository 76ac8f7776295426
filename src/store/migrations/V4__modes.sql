-- What was changed of modes through Gatepost.
CREATE TABLE mode_change (
    id SERIAL_ID,
    changed BIGINT NOT NULL,
    namespace TEXT NOT NULL,
    requester TEXT NOT NULL,
    reason TEXT NOT NULL,
    before_it TEXT NOT NULL,
    after_it TEXT NOT NULL,
    takes_back BIGINT
);
CREATE INDEX mode_change_changed ON mode_change (changed, id);
