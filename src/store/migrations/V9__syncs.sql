-- Which sync of an Application of Argo CD brought a finding in. The revision is NULL while nobody has looked, and empty
-- where no sync was under way then.
ALTER TABLE finding ADD COLUMN brought_app_namespace TEXT;
ALTER TABLE finding ADD COLUMN brought_application TEXT;
ALTER TABLE finding ADD COLUMN brought_revision TEXT;
CREATE INDEX finding_unsynced ON finding (brought_at) WHERE brought_at IS NOT NULL AND brought_revision IS NULL;
