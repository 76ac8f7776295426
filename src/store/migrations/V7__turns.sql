-- Whose turn it is to do what only one of several processes may do.
CREATE TABLE turn (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    taken BIGINT NOT NULL
);
