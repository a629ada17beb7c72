//! The archive in a PostgreSQL server, over one connection.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio_postgres::{Client, Config, NoTls, Row, types::ToSql};

use super::{
    ArchiveError, UsageArchive, bounded,
    postgres_error::{Kind, PostgresError},
};
use crate::{
    secret::Secret,
    time::UtcDay,
    usage::{DayUsage, Tally},
    user::UserId,
};

/// How long a connection may take. 5 s: longer than any handshake that succeeds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one statement may take. 30 s: a database that is backed up or restarted takes some
/// seconds.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// The most rows of one statement.
const ROWS: usize = 5_000;

/// The table, made where it is not there. The lock keeps two processes from making it at one time,
/// which the server would refuse one of them.
const SCHEMA: &str = "
    BEGIN;
    SELECT pg_advisory_xact_lock(7811891450012746305);
    CREATE TABLE IF NOT EXISTS livos_usage_days (
        user_id text NOT NULL,
        day date NOT NULL,
        metric text NOT NULL,
        amount bigint NOT NULL,
        PRIMARY KEY (user_id, day, metric)
    );
    COMMIT;";

/// All rows or none; of a row that is there the larger figure. Sorted, so that two writers lock
/// rows in one order.
const KEEP: &str = "
    INSERT INTO livos_usage_days AS kept (user_id, day, metric, amount)
    SELECT user_id, day::date, metric, max(amount)
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS given (user_id, day, metric, amount)
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (user_id, day, metric) DO UPDATE SET amount = excluded.amount
    WHERE kept.amount < excluded.amount";

const DAYS: &str = "
    SELECT day::text, metric, amount FROM livos_usage_days
    WHERE user_id = $1 AND day BETWEEN $2::text::date AND $3::text::date ORDER BY day";

/// An archive in the table `livos_usage_days` of a PostgreSQL database, one row for each user, day
/// and metric, for reports by SQL. The metrics are those of
/// [`Metric::name`](crate::usage::Metric::name), and each with `_estimated` for how much of it is
/// an estimate. PostgreSQL 9.5 or newer.
///
/// It holds one connection, made when it is first needed and again when it was lost; callers wait
/// for each other. Nothing runs in the background. The connection is not encrypted: use a socket,
/// loopback, or a tunnel.
pub struct PostgresArchive {
    config: Config,
    link: Arc<Mutex<Option<Link>>>,
}

/// The client, and the driver of its connection that must be polled with it.
struct Link {
    client: Client,
    driver: Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send>>,
}

impl PostgresArchive {
    /// An archive in the database at this address, such as
    /// `postgres://livos:password@localhost/livos` or `host=/run/postgresql user=livos`. Only the
    /// address is checked.
    pub fn new(address: &Secret) -> Result<Self, PostgresError> {
        // The library's own error could repeat a part of the address.
        let wrong = || PostgresError::new(Kind::Refused, "the address is not one of PostgreSQL");
        let mut config: Config = address.expose().parse().map_err(|_| wrong())?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(wrong());
        }
        config.connect_timeout(CONNECT_TIMEOUT).application_name("livos");
        Ok(Self { config, link: Arc::default() })
    }

    async fn connect(&self) -> Result<Link, PostgresError> {
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, self.config.connect(NoTls)).await;
        let (client, connection) = connected.map_err(|_| PostgresError::late())??;
        let mut link = Link { client, driver: Box::pin(connection) };
        link.drive(|client| client.batch_execute(SCHEMA)).await?;
        Ok(link)
    }

    /// Asks on the connection; on a new one when the old one is lost, once, because a server that
    /// was restarted is found out only then. What is asked may be done twice.
    async fn ask(&self, statement: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, PostgresError> {
        let is_lost = |answer: &Result<Vec<Row>, PostgresError>| {
            answer.as_ref().is_err_and(PostgresError::is_temporary)
        };
        let mut slot = self.link.lock().await;
        // A call that is dropped in the middle leaves no connection behind, so nobody reads an
        // answer that was meant for it.
        let kept = slot.take();
        let was_kept = kept.is_some();
        let mut link = match kept {
            Some(link) => link,
            None => self.connect().await?,
        };
        let mut answer = link.drive(|client| client.query(statement, values)).await;
        if was_kept && is_lost(&answer) {
            link = self.connect().await?;
            answer = link.drive(|client| client.query(statement, values)).await;
        }
        if !is_lost(&answer) {
            *slot = Some(link);
        }
        answer
    }
}

impl Link {
    /// Polls the connection together with the work that waits for its answer.
    async fn drive<'a, T, F>(&'a mut self, work: impl FnOnce(&'a Client) -> F) -> Result<T, PostgresError>
    where
        F: Future<Output = Result<T, tokio_postgres::Error>>,
    {
        tokio::select! {
            biased;
            done = tokio::time::timeout(STATEMENT_TIMEOUT, work(&self.client)) => {
                Ok(done.map_err(|_| PostgresError::late())??)
            }
            ended = &mut self.driver => Err(match ended {
                Err(error) => error.into(),
                Ok(()) => PostgresError::new(Kind::Unreachable, "the server closed the connection"),
            }),
        }
    }
}

#[async_trait]
impl UsageArchive for PostgresArchive {
    async fn keep(&self, days: &[DayUsage]) -> Result<(), ArchiveError> {
        let rows: Vec<(String, String, String, i64)> = days
            .iter()
            .flat_map(|DayUsage { user, day, tally }| {
                let row = |(metric, amount)| (user.to_string(), day.to_string(), metric, amount);
                tally.named().into_iter().map(row).collect::<Vec<_>>()
            })
            .collect();
        for rows in rows.chunks(ROWS) {
            let users: Vec<&str> = rows.iter().map(|row| row.0.as_str()).collect();
            let dates: Vec<&str> = rows.iter().map(|row| row.1.as_str()).collect();
            let metrics: Vec<&str> = rows.iter().map(|row| row.2.as_str()).collect();
            let amounts: Vec<i64> = rows.iter().map(|row| row.3).collect();
            self.ask(KEEP, &[&users, &dates, &metrics, &amounts]).await?;
        }
        Ok(())
    }

    async fn days(&self, user: &UserId, first: UtcDay, last: UtcDay) -> Result<Vec<DayUsage>, ArchiveError> {
        let first = bounded(first, last);
        if first > last {
            return Ok(Vec::new());
        }
        let (first, last) = (first.to_string(), last.to_string());
        let mut days: Vec<DayUsage> = Vec::new();
        for row in self.ask(DAYS, &[&user.as_str(), &first, &last]).await? {
            let read = || -> Result<(String, String, i64), tokio_postgres::Error> {
                Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
            };
            let (date, metric, amount) = read().map_err(PostgresError::from)?;
            let day = date.parse().map_err(|_| PostgresError::new(Kind::Broken, "a day is no date"))?;
            let tally: Tally = std::iter::once((metric, amount)).collect();
            match days.last_mut().filter(|last| last.day == day) {
                Some(last) => last.tally = last.tally.plus(&tally),
                None => days.push(DayUsage { user: user.clone(), day, tally }),
            }
        }
        Ok(days)
    }
}

impl fmt::Debug for PostgresArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresArchive").finish_non_exhaustive()
    }
}
