//! Connections for statements that no client waits for, such as checkpoints.
//!
//! They are at most a part of the pool, so that many of them never make a request wait.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use sqlx::{PgConnection, Postgres, pool::PoolConnection};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::Db;

/// One permit for each connection that such statements may use: all but a quarter of the pool, and
/// all but one of a small pool. A pool of one connection has no part for requests alone.
pub(super) fn share(max_connections: u32) -> Semaphore {
    let for_requests = (max_connections / 4).max(1);
    let share = max_connections.saturating_sub(for_requests).max(1);
    Semaphore::new(usize::try_from(share).unwrap_or(usize::MAX))
}

/// A connection of the pool, and the permit to use it.
pub(crate) struct BackgroundConnection {
    connection: PoolConnection<Postgres>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Db {
    /// Takes a connection for a statement that no client waits for. Waits while such statements use
    /// their whole share of the pool.
    ///
    /// # Errors
    /// No connection is available.
    pub(crate) async fn acquire_in_background(&self) -> Result<BackgroundConnection, sqlx::Error> {
        let permit = Arc::clone(&self.background).acquire_owned().await;
        let permit = permit.map_err(|_| sqlx::Error::PoolClosed)?;
        let connection = Box::pin(self.acquire()).await?;
        Ok(BackgroundConnection {
            connection,
            permit: Some(permit),
        })
    }
}

impl Deref for BackgroundConnection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for BackgroundConnection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for BackgroundConnection {
    fn drop(&mut self) {
        if Handle::try_current().is_err() {
            return;
        }
        // The connection of a statement that timed out stays busy until the server responds. If the
        // permit were returned before, such connections would fill the pool.
        let returned = self.connection.return_to_pool();
        let permit = self.permit.take();
        #[expect(
            clippy::disallowed_methods,
            reason = "sqlx returns each connection in such a task, too"
        )]
        tokio::spawn(async move {
            returned.await;
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn a_part_of_the_pool_is_left_for_requests() {
        let shares = [1, 2, 4, 8, 32].map(|most| share(most).available_permits());
        assert_eq!(shares, [1, 1, 3, 6, 24]);
    }
}
