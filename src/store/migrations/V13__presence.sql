-- Processes that answer requests, by who they say they are: since when, and when they were last heard of.
CREATE TABLE presence (
    cluster TEXT NOT NULL,
    source TEXT NOT NULL,
    since BIGINT NOT NULL,
    heard BIGINT NOT NULL,
    PRIMARY KEY (cluster, source, since)
);
CREATE INDEX presence_heard ON presence (cluster, heard);
