-- What a write to a Namespace changed of its modes, as JSON.
ALTER TABLE decision ADD COLUMN changes TEXT NOT NULL DEFAULT '[]';
