//! How many findings there are: kept beside them by whoever writes them, so that facets need not count a million rows.

use std::collections::BTreeMap;

use super::findings::{gravities, narrow, narrow_common, narrow_state, severity};
use super::select::Select;
use super::session::{Cells, Param, Row, Session, unreadable};
use super::{Facet, Filter, OpenCount, Stored};

/// What is counted apart: the key of `finding_count`, and columns of `finding` too.
pub(super) const KEY: &str =
    "cluster, namespace, api_group, kind, rule, category, gravity, action, application, state, closed_because";

const ADD: &str = "INSERT INTO finding_count (cluster, namespace, api_group, kind, rule, category, gravity, action, \
    application, state, closed_because, findings) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
    ON CONFLICT (cluster, namespace, api_group, kind, rule, category, gravity, action, application, state, \
    closed_because) DO UPDATE SET findings = finding_count.findings + excluded.findings";

/// What becomes more and what becomes less, by the columns of [`KEY`].
#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<Vec<Param>, i64>);

impl Tally {
    pub(super) fn add(&mut self, key: Vec<Param>, findings: i64) {
        let sum = self.0.entry(key).or_default();
        *sum = sum.saturating_add(findings);
    }

    pub(super) async fn write(self, session: &mut dyn Session) -> Stored<()> {
        let changed = self.0.into_iter().filter(|(_, findings)| *findings != 0);
        let each = changed.map(|(mut key, findings)| {
            key.push(findings.into());
            key
        });
        session.run_each(ADD, each.collect()).await.map(drop)
    }
}

/// Returns how many findings there are for each value of a facet.
pub(super) async fn facet(
    session: &mut dyn Session,
    filter: &Filter,
    facet: Facet,
    limit: usize,
) -> Stored<Vec<(String, u64)>> {
    let rows = counted(session, filter, &[facet], limit).await?;
    let values = rows.into_iter().map(|row| {
        let mut cells = row.cells();
        Ok((value(&mut cells, facet)?, cells.count()?))
    });
    values.collect()
}

/// Returns the same for several facets.
pub(super) async fn facets(
    session: &mut dyn Session,
    asked: &[(Filter, Facet)],
    limit: usize,
) -> Stored<Vec<Vec<(String, u64)>>> {
    let is_apart = |(filter, facet): &(Filter, Facet)| is_counted(filter) || *facet == Facet::Owner;
    let together: Vec<(usize, &(Filter, Facet))> = asked.iter().enumerate().filter(|(_, one)| !is_apart(one)).collect();
    let mut together = self::together(session, &together, limit).await?;
    let mut found = Vec::with_capacity(asked.len());
    for (at, (filter, facet)) in asked.iter().enumerate() {
        found.push(match together.remove(&at) {
            Some(values) => values,
            None => self::facet(session, filter, *facet, limit).await?,
        });
    }
    Ok(found)
}

/// Counts facets by one pass over findings, for filters that ask for the same of what is not counted apart.
async fn together(
    session: &mut dyn Session,
    asked: &[(usize, &(Filter, Facet))],
    limit: usize,
) -> Stored<BTreeMap<usize, Vec<(String, u64)>>> {
    let Some(shared) = asked.iter().map(|(_, (filter, _))| filter.clone()).reduce(|a, b| what_both_ask(a, &b)) else {
        return Ok(BTreeMap::new());
    };
    let mut each = Select::new(format!("{KEY}, COUNT(*) AS findings"), "finding");
    narrow(&mut each, &shared);
    each.any_of("gravity", gravities(&shared.severity));
    narrow_state(&mut each, &shared);
    each.group_by(KEY);
    let (found, mut params) = each.build("");
    let mut parts = Vec::new();
    for (at, (filter, facet)) in asked {
        let column = column(*facet);
        let columns = format!("CAST({at} AS BIGINT), CAST({column} AS TEXT), CAST(SUM(findings) AS BIGINT)");
        let mut part = Select::beside(params, columns, "found");
        narrow_common(&mut part, filter);
        part.any_of("gravity", gravities(&filter.severity));
        narrow_state(&mut part, filter);
        part.group_by(column);
        let (part, so_far) = part.build(&format!("ORDER BY 3 DESC, {column} LIMIT {limit}"));
        parts.push(format!("SELECT * FROM ({part}) AS part{at}"));
        params = so_far;
    }
    let sql = format!("WITH found AS MATERIALIZED ({found}) {}", parts.join(" UNION ALL "));
    let mut values: BTreeMap<usize, Vec<(String, u64)>> = asked.iter().map(|(at, _)| (*at, Vec::new())).collect();
    for row in session.rows(&sql, params).await? {
        let mut cells = row.cells();
        let at = usize::try_from(cells.int()?).map_err(unreadable)?;
        let value = cells.text()?;
        let is_severity = asked.iter().any(|(other, (_, facet))| *other == at && *facet == Facet::Severity);
        let value = if is_severity { severity(value.parse().map_err(unreadable)?)?.to_string() } else { value };
        values.entry(at).or_default().push((value, cells.count()?));
    }
    Ok(values)
}

/// Returns what two filters both ask for; what only one of them does is left to them.
fn what_both_ask(mut one: Filter, other: &Filter) -> Filter {
    let lists = [
        (&mut one.cluster, &other.cluster),
        (&mut one.namespace, &other.namespace),
        (&mut one.application, &other.application),
        (&mut one.rule, &other.rule),
        (&mut one.severity, &other.severity),
        (&mut one.kind, &other.kind),
        (&mut one.state, &other.state),
        (&mut one.action, &other.action),
    ];
    for (list, other) in lists {
        if list != other {
            list.clear();
        }
    }
    one
}

/// Returns how many findings there are for each pair of values of two facets.
pub(super) async fn cross(
    session: &mut dyn Session,
    filter: &Filter,
    facets: [Facet; 2],
    limit: usize,
) -> Stored<Vec<(String, String, u64)>> {
    let rows = counted(session, filter, &facets, limit).await?;
    let [first, second] = facets;
    let pairs = rows.into_iter().map(|row| {
        let mut cells = row.cells();
        Ok((value(&mut cells, first)?, value(&mut cells, second)?, cells.count()?))
    });
    pairs.collect()
}

/// Returns rows of values of facets, and how many findings have them.
async fn counted(session: &mut dyn Session, filter: &Filter, facets: &[Facet], limit: usize) -> Stored<Vec<Row>> {
    let columns = facets.iter().map(|facet| column(*facet)).collect::<Vec<_>>().join(", ");
    let mut select = if is_counted(filter) && !facets.contains(&Facet::Owner) {
        let mut select = Select::new(format!("{columns}, CAST(SUM(findings) AS BIGINT)"), "finding_count");
        narrow_common(&mut select, filter);
        select.only("findings > 0");
        select
    } else {
        let mut select = Select::new(format!("{columns}, COUNT(*)"), "finding");
        narrow(&mut select, filter);
        select
    };
    select.any_of("gravity", gravities(&filter.severity));
    narrow_state(&mut select, filter);
    select.group_by(columns.as_str());
    let last = facets.len().saturating_add(1);
    select.rows(session, &format!("ORDER BY {last} DESC, {columns} LIMIT {limit}")).await
}

fn value(cells: &mut Cells, facet: Facet) -> Stored<String> {
    if facet == Facet::Severity { Ok(severity(cells.int()?)?.to_string()) } else { cells.text() }
}

/// Returns how many objects of each kind have findings, by their top owner.
pub(super) async fn owned(session: &mut dyn Session, filter: &Filter) -> Stored<Vec<(String, String, u64)>> {
    let object = "cluster || '/' || api_group || '/' || namespace || '/' || name";
    let mut select = Select::new(format!("owner, kind, COUNT(DISTINCT {object})"), "finding");
    narrow(&mut select, filter);
    select.any_of("gravity", gravities(&filter.severity));
    narrow_state(&mut select, filter);
    select.only("owner <> ''");
    select.group_by("owner, kind");
    let rows = select.rows(session, "ORDER BY owner, kind").await?.into_iter().map(|row| {
        let mut cells = row.cells();
        Ok((cells.text()?, cells.text()?, cells.count()?))
    });
    rows.collect()
}

/// Returns how many findings are open, by namespace, rule, severity and action.
pub(super) async fn open(session: &mut dyn Session, filter: &Filter) -> Stored<Vec<OpenCount>> {
    let columns = "namespace, rule, gravity, action, CAST(SUM(findings) AS BIGINT)";
    let mut select = Select::new(columns, "finding_count");
    select.only("state = 'open' AND findings > 0");
    narrow_common(&mut select, filter);
    select.any_of("gravity", gravities(&filter.severity));
    select.group_by("namespace, rule, gravity, action");
    let rows = select.rows(session, "ORDER BY namespace, rule, gravity, action").await?.into_iter().map(|row| {
        let mut cells = row.cells();
        Ok(OpenCount {
            namespace: cells.text()?,
            rule: cells.text()?.as_str().into(),
            severity: severity(cells.int()?)?,
            action: cells.word()?,
            findings: cells.count()?,
        })
    });
    rows.collect()
}

/// Returns the `(group, kind)` pairs of a cluster that have findings which stand, excused or not.
pub(super) async fn kinds(session: &mut dyn Session, cluster: &str) -> Stored<Vec<(String, String)>> {
    let mut select = Select::new("DISTINCT api_group, kind", "finding_count");
    select.is("cluster", cluster);
    select.only("(state = 'open' OR closed_because = 'exempt') AND findings > 0");
    let pairs = select.rows(session, "ORDER BY api_group, kind").await?.into_iter().map(|row| {
        let mut cells = row.cells();
        Ok((cells.text()?, cells.text()?))
    });
    pairs.collect()
}

/// Returns the one number that a statement finds.
pub(super) async fn one(session: &mut dyn Session, sql: &str) -> Stored<u64> {
    let row = session.rows(sql, Vec::new()).await?.into_iter().next();
    row.ok_or_else(|| unreadable("a number is missing"))?.cells().count()
}

/// Returns whether a filter asks for nothing that is not counted apart.
fn is_counted(filter: &Filter) -> bool {
    filter.policy.is_empty()
        && filter.name.is_empty()
        && filter.deliverer.is_none()
        && filter.result.is_empty()
        && filter.owner.is_empty()
        && filter.since.is_none()
        && filter.came.is_none()
        && filter.text.is_none()
}

fn column(facet: Facet) -> &'static str {
    match facet {
        Facet::Severity => "gravity",
        Facet::Namespace => "namespace",
        Facet::Rule => "rule",
        Facet::Kind => "kind",
        Facet::Application => "application",
        Facet::Category => "category",
        Facet::State => "state",
        Facet::Action => "action",
        Facet::Owner => "owner",
    }
}
