//! Tokens for the API.

use super::select::Select;
use super::session::{Row, Session, json};
use super::{Stored, Token};

const COLUMNS: &str = "id, label, hash, scopes, namespaces, created, expires";

pub(super) async fn put(session: &mut dyn Session, token: &Token) -> Stored<()> {
    let sql = "INSERT INTO token (id, label, hash, scopes, namespaces, created, expires) \
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO UPDATE SET label = excluded.label, \
        hash = excluded.hash, scopes = excluded.scopes, namespaces = excluded.namespaces, \
        created = excluded.created, expires = excluded.expires";
    let params = vec![
        (&token.id).into(),
        (&token.label).into(),
        (&token.hash).into(),
        json(&token.scopes)?.into(),
        json(&token.namespaces)?.into(),
        token.created.into(),
        token.expires.into(),
    ];
    session.run(sql, params).await.map(drop)
}

pub(super) async fn all(session: &mut dyn Session) -> Stored<Vec<Token>> {
    let rows = Select::new(COLUMNS, "token").rows(session, "ORDER BY created DESC, id").await?;
    rows.into_iter().map(read).collect()
}

pub(super) async fn one(session: &mut dyn Session, id: &str) -> Stored<Option<Token>> {
    let mut select = Select::new(COLUMNS, "token");
    select.is("id", id);
    select.rows(session, "").await?.into_iter().next().map(read).transpose()
}

pub(super) async fn revoke(session: &mut dyn Session, id: &str) -> Stored<bool> {
    session.run("DELETE FROM token WHERE id = $1", vec![id.into()]).await.map(|gone| gone > 0)
}

fn read(row: Row) -> Stored<Token> {
    let mut cells = row.cells();
    Ok(Token {
        id: cells.text()?,
        label: cells.text()?,
        hash: cells.text()?,
        scopes: cells.json()?,
        namespaces: cells.json()?,
        created: cells.time()?,
        expires: cells.time_if_any()?,
    })
}
