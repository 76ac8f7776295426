-- What excused a finding when it was last seen, as JSON; none where nothing did, or where nobody wrote it down.
ALTER TABLE finding ADD COLUMN exemption TEXT;
CREATE INDEX finding_exempt ON finding (cluster, api_group, kind, namespace, name)
    WHERE closed_because = 'exempt' AND exemption IS NOT NULL;
