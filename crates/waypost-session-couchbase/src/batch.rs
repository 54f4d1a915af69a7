//! Many small calls at once: the SDK has no batches, and calls on one connection are pipelined.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::fault::Fault;

/// How many calls of one batch are under way at a time.
const AT_ONCE: usize = 64;

/// Runs `call` for each item, some at a time, and gives the answers in the items' order. The first failure ends it: calls
/// under way are dropped.
pub(crate) fn each<'a, I, T, F>(
    items: impl IntoIterator<Item = I>,
    call: impl FnMut(I) -> F,
) -> BoxFuture<'a, Result<Vec<T>, Fault>>
where
    T: Send + 'a,
    F: Future<Output = Result<T, Fault>> + Send + 'a,
{
    let calls: Vec<_> = items.into_iter().map(call).collect();
    stream::iter(calls).buffered(AT_ONCE).try_collect().boxed()
}
