//! Findings: how they are read, listed and narrowed.

use std::collections::{BTreeMap, BTreeSet};

use super::change::EXCUSED;
use super::select::{COUNT, Order, Select, page};
use super::session::{Cells, Param, Session, unreadable};
use super::{ApplicationCount, Filter, FindingSort, Page, PageQuery, ResourceCount, ResourceSort, Stored, syncs};
use crate::policy::{RuleId, Severity};
use crate::report::finding::{Application, BroughtIn, Finding, Fingerprint, ObjectKey};

/// What [`read`] reads, in its order.
const COLUMNS: &str = "id, cluster, api_group, kind, namespace, name, api_version, uid, owner, app_kind, \
    app_namespace, application, content, rule, place, result, gravity, category, policies, action, path, message, \
    state, closed_because, closed_at, first_seen, seen, reopened, brought_by, brought_user, brought_at, \
    brought_app_namespace, brought_application, brought_revision, exemption, \
    (SELECT MAX(c.seen) FROM coverage AS c WHERE c.cluster = finding.cluster AND c.api_group = finding.api_group \
    AND c.kind = finding.kind AND c.namespace IN ('*', finding.namespace))";

const OBJECT: &str = "cluster, api_group, kind, namespace, name";

/// Almost every finding is of one cluster, so that an index over it would be the worst to choose: an expression has none.
pub(super) const CLUSTER: &str = "cluster || ''";

/// Objects that one statement asks for. Its size is always the same, so that it is prepared once.
const OBJECTS: usize = 50;

/// Returns a severity as it is stored: 0 is the gravest.
pub(super) fn gravity(severity: Severity) -> i64 {
    match severity {
        Severity::Critical => 0,
        Severity::High => 1,
        Severity::Medium => 2,
        Severity::Low => 3,
        Severity::Info => 4,
    }
}

pub(super) fn severity(gravity: i64) -> Stored<Severity> {
    let found = Severity::ALL.into_iter().find(|severity| self::gravity(*severity) == gravity);
    found.ok_or_else(|| unreadable(format!("{gravity} is no severity")))
}

/// Returns severities as they are stored; a word that is none finds nothing.
pub(super) fn gravities(words: &[String]) -> Vec<i64> {
    words.iter().map(|word| word.parse().map_or(-1, gravity)).collect()
}

fn read(cells: &mut Cells) -> Stored<Finding> {
    let mut finding = Finding {
        id: Fingerprint(cells.text()?),
        object: object(cells)?,
        api_version: cells.text()?,
        uid: cells.text()?,
        owner: cells.text()?,
        application: application(cells)?,
        content: cells.text()?,
        rule: RuleId::from(cells.text()?.as_str()),
        place: cells.text()?,
        result: cells.word()?,
        severity: severity(cells.int()?)?,
        category: cells.text()?,
        policies: cells.json()?,
        action: cells.word()?,
        path: cells.text()?,
        message: cells.text()?,
        state: cells.word()?,
        closed_because: reason(cells)?,
        closed_at: cells.time_if_any()?,
        first_seen: cells.time()?,
        last_seen: cells.time()?,
        reopened: u32::try_from(cells.int()?).unwrap_or(u32::MAX),
        brought_in: syncs::brought_in(cells)?,
        exemption: cells.json_if_any()?,
    };
    let covered = cells.time_if_any()?;
    if finding.stands() {
        finding.last_seen = covered.map_or(finding.last_seen, |covered| covered.max(finding.last_seen));
    }
    Ok(finding)
}

pub(super) fn object(cells: &mut Cells) -> Stored<ObjectKey> {
    Ok(ObjectKey {
        cluster: cells.text()?,
        group: cells.text()?,
        kind: cells.text()?,
        namespace: cells.text()?,
        name: cells.text()?,
    })
}

fn application(cells: &mut Cells) -> Stored<Option<Application>> {
    let (kind, namespace, name) = (cells.text()?, cells.text()?, cells.text()?);
    Ok((!kind.is_empty()).then_some(Application { kind, namespace, name }))
}

fn reason<T: serde::de::DeserializeOwned>(cells: &mut Cells) -> Stored<Option<T>> {
    let word = cells.text()?;
    let value = serde_json::Value::from(word.as_str());
    (!word.is_empty()).then(|| serde_json::from_value(value).map_err(unreadable)).transpose()
}

/// Reads who brought something in.
pub(super) fn brought_in(cells: &mut Cells) -> Stored<Option<BroughtIn>> {
    let (decision, user, time) = (cells.text_if_any()?, cells.text_if_any()?, cells.time_if_any()?);
    let brought = decision.zip(user).zip(time);
    Ok(brought.map(|((decision, user), time)| BroughtIn { decision, user, time, application: None, revision: None }))
}

pub(super) async fn one(session: &mut dyn Session, id: &str) -> Stored<Option<Finding>> {
    let mut select = Select::new(COLUMNS, "finding");
    select.is("id", id);
    let rows = select.rows(session, "").await?;
    rows.into_iter().next().map(|row| read(&mut row.cells())).transpose()
}

pub(super) async fn of_objects(session: &mut dyn Session, objects: &[ObjectKey]) -> Stored<Vec<Finding>> {
    let mut found = Vec::new();
    for some in objects.chunks(OBJECTS) {
        let mut select = Select::new(COLUMNS, "finding");
        let padding = some.iter().cycle().skip(some.len());
        let rows: Vec<String> = some.iter().chain(padding).take(OBJECTS).map(|key| tuple(&mut select, key)).collect();
        select.only(format!("({OBJECT}) IN (VALUES {})", rows.join(", ")));
        for row in select.rows(session, "ORDER BY id").await? {
            found.push(read(&mut row.cells())?);
        }
    }
    Ok(found)
}

/// Returns an object as a row of parameters, in the order of [`OBJECT`].
fn tuple(select: &mut Select, key: &ObjectKey) -> String {
    let parts = [&key.cluster, &key.group, &key.kind, &key.namespace, &key.name].map(|part| select.bind(part));
    format!("({})", parts.join(", "))
}

pub(super) async fn objects(
    session: &mut dyn Session,
    (cluster, group, kind): (&str, &str, &str),
    after: Option<&ObjectKey>,
    limit: usize,
) -> Stored<Vec<ObjectKey>> {
    let mut found = BTreeSet::new();
    // One after the other: each has its index, and both together have none.
    for stands in ["state = 'open'", EXCUSED] {
        let mut select = Select::new(format!("DISTINCT {OBJECT}"), "finding");
        select.is("cluster", cluster);
        select.is("api_group", group);
        select.is("kind", kind);
        select.only(stands.to_owned());
        if let Some(key) = after {
            let parts = [&key.namespace, &key.name].map(|part| select.bind(part));
            select.only(format!("(namespace, name) > ({})", parts.join(", ")));
        }
        for row in select.rows(session, &format!("ORDER BY {OBJECT} LIMIT {limit}")).await? {
            found.insert(object(&mut row.cells())?);
        }
    }
    Ok(found.into_iter().take(limit).collect())
}

pub(super) async fn list(session: &mut dyn Session, query: &PageQuery<FindingSort>) -> Stored<Page<Finding>> {
    let order = order(query.sort);
    let by_gravity = query.sort == FindingSort::Severity && !query.filter.severity.is_empty();
    let mut parts = Vec::new();
    for part in by_state(&query.filter) {
        if by_gravity {
            let mut gravities = gravities(&query.filter.severity);
            gravities.sort_unstable();
            gravities.dedup();
            parts.extend(gravities.into_iter().map(|gravity| with_gravity(&part, &query.filter, &[gravity])));
        } else {
            parts.push(with_gravity(&part, &query.filter, &gravities(&query.filter.severity)));
        }
    }
    page(session, parts, order, (query.cursor.as_deref(), query.limit), read).await
}

fn with_gravity(part: &Select, filter: &Filter, gravities: &[i64]) -> Select {
    let mut part = part.clone();
    part.any_of("gravity", gravities.iter().copied());
    narrow(&mut part, filter);
    part
}

fn order(sort: FindingSort) -> Order {
    let (tag, columns, is_descending): (_, &[&str], _) = match sort {
        FindingSort::Severity => ("severity", &["gravity", "number"], false),
        FindingSort::FirstSeen => ("firstSeen", &["first_seen", "number"], true),
        FindingSort::Oldest => ("oldest", &["first_seen", "number"], false),
        FindingSort::Object => ("object", &["namespace", "kind", "name", "number"], false),
        FindingSort::Rule => ("rule", &["rule", "gravity", "number"], false),
    };
    Order { tag, columns, is_descending }
}

/// Returns one query for each state that is asked for.
fn by_state(filter: &Filter) -> Vec<Select> {
    let asks = |word: &str| filter.state.is_empty() || filter.state.iter().any(|state| state == word);
    let mut parts = Vec::new();
    if asks("open") {
        let mut open = Select::new(COLUMNS, "finding");
        open.only("state = 'open'");
        parts.push(open);
    }
    let reasons: Vec<&String> = filter.state.iter().filter(|state| *state != "open").collect();
    if asks("closed") || !reasons.is_empty() {
        let mut closed = Select::new(COLUMNS, "finding");
        closed.only("state = 'closed'");
        if !asks("closed") {
            closed.within("closed_because", reasons);
        }
        parts.push(closed);
    }
    parts
}

/// Keeps what a filter asks for, but for state and severity.
pub(super) fn narrow(select: &mut Select, filter: &Filter) {
    narrow_common(select, filter);
    let quoted: Vec<String> =
        filter.policy.iter().map(|name| serde_json::Value::from(name.as_str()).to_string()).collect();
    select.holds_one("policies", &quoted);
    select.any_of("name", &filter.name);
    if let Some((kind, namespaces)) = &filter.deliverer {
        select.is("app_kind", kind);
        select.within("app_namespace", namespaces);
    }
    select.any_of("result", &filter.result);
    select.any_of("owner", &filter.owner);
    select.since("first_seen", filter.since);
    select.came("opened_at", filter.came);
    select.words(&["name", "rule", "message", "path"], filter.text.as_deref());
}

/// Keeps what a filter asks for of the columns that findings and their counts share, but for state and severity.
pub(super) fn narrow_common(select: &mut Select, filter: &Filter) {
    select.any_of(CLUSTER, &filter.cluster);
    select.any_of("namespace", &filter.namespace);
    if let Some(visible) = &filter.visible {
        select.within("namespace", visible);
    }
    select.any_of("application", &filter.application);
    select.any_of("rule", &filter.rule);
    select.any_of("kind", &filter.kind);
    select.any_of("action", &filter.action);
}

/// Keeps the states that a filter asks for.
pub(super) fn narrow_state(select: &mut Select, filter: &Filter) {
    if filter.state.is_empty() {
        return;
    }
    let states: Vec<String> = filter.state.iter().map(|state| select.bind(state)).collect();
    let states = states.join(", ");
    select.only(format!("(state IN ({states}) OR closed_because IN ({states}))"));
}

pub(super) async fn resources(
    session: &mut dyn Session,
    query: &PageQuery<ResourceSort>,
) -> Stored<Page<ResourceCount>> {
    let mut select = Select::new(format!("{OBJECT}, {}", severities()), "finding");
    select.only("state = 'open'");
    select.any_of("gravity", gravities(&query.filter.severity));
    narrow(&mut select, &query.filter);
    let order = match query.sort {
        ResourceSort::Object => Order {
            tag: "resource",
            columns: &["cluster", "api_group", "kind", "namespace", "name"],
            is_descending: false,
        },
        ResourceSort::Findings => Order {
            tag: "resource-findings",
            columns: &[COUNT, "cluster", "api_group", "kind", "namespace", "name"],
            is_descending: true,
        },
    };
    select.group_by(OBJECT);
    page(session, vec![select], order, (query.cursor.as_deref(), query.limit), resource).await
}

fn resource(cells: &mut Cells) -> Stored<ResourceCount> {
    Ok(ResourceCount { object: object(cells)?, open: by_severity(cells)? })
}

/// Returns the columns that count by severity.
fn severities() -> String {
    let counts = (0..5).map(|gravity| format!("COUNT(CASE WHEN gravity = {gravity} THEN 1 END)"));
    counts.collect::<Vec<_>>().join(", ")
}

fn by_severity(cells: &mut Cells) -> Stored<BTreeMap<String, u64>> {
    let mut open = BTreeMap::new();
    for gravity in 0..5 {
        let count = cells.count()?;
        if count > 0 {
            open.insert(severity(gravity)?.to_string(), count);
        }
    }
    Ok(open)
}

pub(super) async fn applications(session: &mut dyn Session, filter: &Filter) -> Stored<Vec<ApplicationCount>> {
    let columns = "app_kind, app_namespace, application";
    let [denied, warned] = ["deny", "warn"].map(|action| format!("COUNT(CASE WHEN action = '{action}' THEN 1 END)"));
    let mut select = Select::new(format!("{columns}, {}, {denied}, {warned}", severities()), "finding");
    select.only("state = 'open' AND application <> ''");
    narrow(&mut select, filter);
    select.group_by(columns);
    let counts = select.rows(session, &format!("ORDER BY {columns}")).await?.into_iter().map(|row| {
        let mut cells = row.cells();
        let (kind, namespace, name) = (cells.text()?, cells.text()?, cells.text()?);
        let application = Application { kind, namespace, name };
        let open = by_severity(&mut cells)?;
        Ok(ApplicationCount { application, open, denied: cells.count()?, warned: cells.count()? })
    });
    counts.collect()
}

/// Returns the columns of a finding that a decision brought in.
pub(super) fn brought_params(brought: Option<&BroughtIn>) -> [Param; 3] {
    [
        brought.map(|brought| brought.decision.as_str()).into(),
        brought.map(|brought| brought.user.as_str()).into(),
        brought.map(|brought| brought.time).into(),
    ]
}

pub(super) async fn content(session: &mut dyn Session, digest: &str) -> Stored<Option<String>> {
    let mut select = Select::new("text", "content");
    select.is("digest", digest);
    select.rows(session, "").await?.into_iter().next().map(|row| row.cells().text()).transpose()
}
