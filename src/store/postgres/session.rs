//! Statements on a connection to PostgreSQL.

use std::error::Error;
use std::future::{self, Future as _};
use std::task::Poll;

use async_trait::async_trait;
use deadpool_postgres::Transaction;
use futures::future::maybe_done;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::failed;
use crate::store::Stored;
use crate::store::session::{Param, Row, Session, unreadable};

/// Statements that are under way at a time: whoever waited for each answer would wait for the network most of the time.
const UNDER_WAY: usize = 256;

/// Runs statements in a transaction.
pub(super) struct Statements<'a>(pub(super) &'a Transaction<'a>);

#[async_trait]
impl Session for Statements<'_> {
    async fn rows(&mut self, sql: &str, params: Vec<Param>) -> Stored<Vec<Row>> {
        let reading = "reading the store";
        let statement = self.0.prepare_cached(sql).await.map_err(failed(reading))?;
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|param| param as _).collect();
        let rows = self.0.query(&statement, &params).await.map_err(failed(reading))?;
        rows.iter().map(row).collect()
    }

    async fn run(&mut self, sql: &str, params: Vec<Param>) -> Stored<u64> {
        self.run_each(sql, vec![params]).await
    }

    async fn run_each(&mut self, sql: &str, each: Vec<Vec<Param>>) -> Stored<u64> {
        let writing = "writing to the store";
        if each.is_empty() {
            return Ok(0);
        }
        let statement = self.0.prepare_cached(sql).await.map_err(failed(writing))?;
        let mut changed = 0_u64;
        for some in each.chunks(UNDER_WAY) {
            let run = |params: &Vec<Param>| Box::pin(maybe_done(self.0.execute_raw(&statement, params.clone())));
            let mut under_way: Vec<_> = some.iter().map(run).collect();
            // Each is sent when it is first polled, and so they arrive in this order.
            future::poll_fn(|context| {
                for run in &mut under_way {
                    let _ = run.as_mut().poll(context);
                }
                Poll::Ready(())
            })
            .await;
            for mut run in under_way {
                run.as_mut().await;
                let rows = run.as_mut().take_output().transpose().map_err(failed(writing))?;
                changed = changed.saturating_add(rows.unwrap_or_default());
            }
        }
        Ok(changed)
    }
}

fn row(row: &tokio_postgres::Row) -> Stored<Row> {
    let cells = row.columns().iter().enumerate().map(|(at, column)| {
        let cell = match *column.type_() {
            Type::INT8 => row.try_get::<_, Option<i64>>(at).map(Param::from),
            Type::INT4 => row.try_get::<_, Option<i32>>(at).map(|number| number.map(i64::from).into()),
            Type::TEXT | Type::VARCHAR => row.try_get::<_, Option<String>>(at).map(Param::from),
            ref other => return Err(unreadable(format!("{} is of type {other}", column.name()))),
        };
        cell.map_err(failed("reading the store"))
    });
    cells.collect::<Stored<_>>().map(Row)
}

impl ToSql for Param {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match (self, ty) {
            (Self::Null, _) => Ok(IsNull::Yes),
            (Self::Int(number), &Type::INT8) => number.to_sql(ty, out),
            (Self::Int(number), &Type::INT4) => i32::try_from(*number)?.to_sql(ty, out),
            (Self::Text(text), &(Type::TEXT | Type::VARCHAR)) => text.to_sql(ty, out),
            (other, ty) => Err(format!("{other:?} does not go into {ty}").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
