//! Reading a kind page by page and judging its objects, a few batches ahead of whoever takes them in.

use std::sync::Arc;

use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::judge::{Desk, Seen};
use super::judges::{Items, Judges, Slice};
use super::list::{Lister, PageError, PageMeta, PageSize, Reached};
use super::owner::Owner;
use super::pass::Progress;

/// Objects that are taken in at once, at least, but for the last of a page.
const BATCH: usize = 300;

/// Objects that are to be taken in.
pub(super) type Batch = Vec<Seen>;

/// How a list ended.
pub(super) enum ListEnd {
    Complete,
    Cancelled,
    Forbidden(String),
    Unread(String),
}

/// A workload that makes others.
pub(super) struct Maker {
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) owner: Owner,
}

/// What was learnt of a list beside its objects.
pub(super) struct Read {
    pub(super) end: ListEnd,
    /// The state of the cluster that the first page shows; empty where none came.
    pub(super) version: String,
    pub(super) makers: Vec<Maker>,
}

/// A list that is to be read, with what its objects are judged by.
pub(super) struct Reading {
    pub(super) lister: Arc<Lister>,
    pub(super) client: Client,
    pub(super) judges: Arc<Judges>,
    pub(super) cancel: CancellationToken,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) url: String,
    pub(super) desk: Desk,
}

impl Reading {
    /// Reads the list to its end, or until nobody takes its objects in any more.
    pub(super) async fn run(self, batches: mpsc::Sender<Batch>) -> Read {
        let (mut version, mut makers) = (String::new(), Vec::new());
        let end = self.pages(&batches, &mut version, &mut makers).await.err().unwrap_or(ListEnd::Complete);
        Read { end, version, makers }
    }

    /// Reads page after page; the error says how the list ended before its end.
    async fn pages(
        &self,
        batches: &mpsc::Sender<Batch>,
        version: &mut String,
        makers: &mut Vec<Maker>,
    ) -> Result<(), ListEnd> {
        let (mut size, mut reached, mut unnamed) = (PageSize::FIRST, Reached::default(), Ok(()));
        let mut fetch = self.lister.fetch(&self.client, &self.url, size, None);
        loop {
            let page = tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(ListEnd::Cancelled),
                page = fetch.page() => page,
            };
            let text = match page {
                Ok(text) => text,
                // What comes after a list that grew too old is read as it is now: enough, for each object is judged by itself.
                Err(error) => match reached.go_on(error) {
                    Ok(()) => {
                        fetch = self.lister.fetch(&self.client, &self.url, size, reached.at.as_deref());
                        continue;
                    }
                    // Not in the middle of a list: what was read of it already closes nothing.
                    Err(PageError::Forbidden(cause)) if reached.at.is_none() => return Err(ListEnd::Forbidden(cause)),
                    Err(error) => return Err(ListEnd::Unread(error.cause())),
                },
            };
            let bytes = text.len();
            let (objects, metadata, slices) =
                judging(&self.judges, self.desk.clone(), text).await.map_err(ListEnd::Unread)?;
            size = PageSize::after(objects, bytes);
            // The API server makes the next page while this one is judged.
            let next =
                metadata.next.as_deref().map(|next| self.lister.fetch(&self.client, &self.url, size, Some(next)));
            // An object that nobody can name closes nothing of its kind, and keeps no other from being judged.
            unnamed = unnamed.and(gather(slices, batches.clone(), makers).await);
            if batches.is_closed() {
                return Err(ListEnd::Unread("nobody takes it in".to_owned()));
            }
            if reached.at.is_none() {
                *version = metadata.resource_version;
            }
            let remaining = metadata.remaining_item_count.unwrap_or_default();
            self.progress.send_modify(|progress| progress.remaining = remaining);
            reached.at = metadata.next;
            match next {
                Some(next) => fetch = next,
                None => return unnamed.map_err(ListEnd::Unread),
            }
        }
    }
}

/// How many objects a page has, what it says of the list, and what is said of its objects while they are judged.
type Judging = (usize, PageMeta, mpsc::Receiver<Slice>);

/// Begins to judge a page, or says why it cannot be read.
pub(super) async fn judging(judges: &Judges, desk: Desk, text: String) -> Result<Judging, String> {
    let read = tokio::task::spawn_blocking(move || Items::read(text)).await;
    let (items, metadata) = read.unwrap_or_else(|_| Err("reading the list panicked".to_owned()))?;
    Ok((items.count(), metadata, judges.judge(desk, items)))
}

/// Gathers what is said of a page's objects, as long as somebody takes it in; the error says what could not be read of them.
pub(super) async fn gather(
    mut slices: mpsc::Receiver<Slice>,
    batches: mpsc::Sender<Batch>,
    makers: &mut Vec<Maker>,
) -> Result<(), String> {
    let (mut batch, mut unnamed) = (Vec::new(), Ok(()));
    while let Some(slice) = slices.recv().await {
        for object in slice {
            match object {
                Ok(mut object) => {
                    makers.extend(object.owner.take().map(|owner| Maker {
                        uid: std::mem::take(&mut object.uid),
                        namespace: object.namespace.clone(),
                        owner,
                    }));
                    batch.push(object);
                }
                Err(cause) => unnamed = unnamed.and(Err(cause)),
            }
        }
        // Why nobody takes it in, they say themselves.
        if batch.len() >= BATCH && batches.send(std::mem::take(&mut batch)).await.is_err() {
            return unnamed;
        }
    }
    let _ = batches.send(batch).await;
    unnamed
}
