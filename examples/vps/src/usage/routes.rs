//! The routes.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use livos_core::{time::UtcDay, usage::Zone, user::UserId};
use serde::Deserialize;
use serde_json::json;

use super::body::{report_body, tally_body};
use crate::accounts::Accounts;

/// Days that are shown when nobody says which.
const SHOWN_DAYS: i64 = 30;

/// What the routes show.
pub struct Ledger {
    /// Counts, limits and prices.
    pub accounts: Accounts,
    pub simulated: Vec<String>,
}

/// What a request may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UsageQuery {
    zone: Option<String>,
    /// Whose; the owner's if nothing is said. A paired person is `telegram:42`, the strangers of an
    /// app are `telegram:guests`, a webhook is `hook:repo`.
    user: Option<String>,
}

/// Answers what was used and may be used.
pub async fn show(
    State(ledger): State<Arc<Ledger>>,
    query: Result<Query<UsageQuery>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(rejection) => return refuse(StatusCode::BAD_REQUEST, &rejection.body_text()),
    };
    let zone = match query.zone.as_deref().map(Zone::find) {
        None => ledger.accounts.zone.clone(),
        Some(Ok(zone)) => zone,
        Some(Err(unknown)) => return refuse(StatusCode::BAD_REQUEST, &unknown.to_string()),
    };
    let user = match query.user.map(UserId::try_from) {
        None => UserId::owner(),
        Some(Ok(user)) => user,
        Some(Err(invalid)) => return refuse(StatusCode::BAD_REQUEST, &invalid.to_string()),
    };
    match ledger.accounts.usage.report(&user).await {
        Ok(report) => {
            let mut body = report_body(&report, &zone);
            body["user"] = json!(user.as_str());
            body["unpriced"] = json!(ledger.accounts.prices.unpriced());
            body["simulated"] = json!(ledger.simulated);
            Json(body).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "usage can't be reported");
            refuse(StatusCode::SERVICE_UNAVAILABLE, "usage can't be read now")
        }
    }
}

/// Which days are asked for, both ends included.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DaysQuery {
    from: Option<String>,
    to: Option<String>,
}

pub async fn days(
    State(ledger): State<Arc<Ledger>>,
    query: Result<Query<DaysQuery>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(rejection) => return refuse(StatusCode::BAD_REQUEST, &rejection.body_text()),
    };
    let today = ledger.accounts.usage.now().day();
    let day = |text: Option<String>, otherwise: UtcDay| text.map_or(Ok(otherwise), |text| text.parse());
    let (first, last) = match (day(query.from, today.plus_days(-SHOWN_DAYS)), day(query.to, today)) {
        (Ok(first), Ok(last)) => (first, last),
        (Err(invalid), _) | (_, Err(invalid)) => {
            return refuse(StatusCode::BAD_REQUEST, &invalid.to_string());
        }
    };
    match ledger.accounts.archive.days(&UserId::owner(), first, last).await {
        Ok(days) => {
            let days = days.iter().map(|day| {
                let mut body = tally_body(&day.tally);
                body["day"] = json!(day.day.to_string());
                body
            });
            Json(json!({ "days": days.collect::<Vec<_>>() })).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "the archive can't be read");
            refuse(StatusCode::SERVICE_UNAVAILABLE, "the archive can't be read now")
        }
    }
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "kind": "rejected", "message": message }))).into_response()
}
