//! Whose turn it is to do what only one of several processes may do.

use super::select::Select;
use super::session::Session;
use super::{Stored, Turn};

/// Takes a turn for a holder, or keeps it; returns who has it now. Another's is taken over where nobody has it, and where
/// it still stands as it was seen by whoever has waited long enough.
pub(super) async fn take(
    session: &mut dyn Session,
    (name, holder): (&str, &str),
    outlived: Option<&Turn>,
) -> Stored<Turn> {
    let mut select = Select::new("holder, taken", "turn");
    select.is("name", name);
    let known = match select.rows(session, "").await?.into_iter().next() {
        Some(row) => {
            let mut cells = row.cells();
            Some(Turn { holder: cells.text()?, taken: cells.int()? })
        }
        None => None,
    };
    let taken = match known {
        Some(other) if other.holder != holder && !other.holder.is_empty() && outlived != Some(&other) => {
            return Ok(other);
        }
        Some(known) => known.taken.saturating_add(1),
        None => 1,
    };
    let sql = "INSERT INTO turn (name, holder, taken) VALUES ($1, $2, $3) \
        ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, taken = excluded.taken";
    session.run(sql, vec![name.into(), holder.into(), taken.into()]).await?;
    Ok(Turn { holder: holder.to_owned(), taken })
}

/// Has nobody have a turn that this holder has.
pub(super) async fn leave(session: &mut dyn Session, (name, holder): (&str, &str)) -> Stored<()> {
    let sql = "UPDATE turn SET holder = '' WHERE name = $1 AND holder = $2";
    session.run(sql, vec![name.into(), holder.into()]).await.map(drop)
}
