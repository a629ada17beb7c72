//! What the owner's agent used and may use: counted in the store, limited by `[budget]`, priced by
//! `[usage.prices]`.
//!
//! `GET /v1/usage?zone=Europe/Berlin`: the UTC day, the UTC week and the five-hour window as of
//! now, what work under way and work that is expected have set aside, each limit, and every instant
//! in UTC and on the clock of the zone. Days begin at midnight UTC whatever the zone.
//!
//! `GET /v1/usage/days?from=2026-11-01&to=2026-11-30`: finished days from the archive; without
//! either the last thirty.
//!
//! What is used of simulated providers is counted at the prices of the real ones, and the answer
//! names them.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use livos_agent::{
    model::{MeteredConfig, anthropic::AnthropicConfig},
    tokens,
};
use livos_core::{
    budget::{Limit, Meter, Period, Unit},
    drain::DrainSignal,
    secret::Secret,
    store::Store,
    supervise::Supervisor,
    time::{Timestamp, UtcDay},
    usage::{
        Amounts, Archiver, DrawConfig, LimitState, Limits, Metric, PeriodUsage, Prices, Report, Tally, Usage,
        UsageArchive, UsageConfig, VoicePrice, Zone,
        archive::{PostgresArchive, StoreArchive},
    },
    user::UserId,
};
use livos_voice::{
    stt::deepgram::{FluxConfig, ListenConfig},
    tts::cartesia::CartesiaConfig,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tower::BoxError;

use crate::{
    app::App,
    config::{self, Config, DeepgramApi},
};

/// Days that are shown when nobody says which.
const SHOWN_DAYS: i64 = 30;

/// Usage, and what it is shown with.
#[derive(Clone)]
pub struct Accounts {
    /// Counts and limits.
    pub usage: Usage,
    archive: Arc<dyn UsageArchive>,
    zone: Zone,
    prices: Prices,
    models: Models,
}

/// The providers' models as they are configured, by which they are priced.
#[derive(Debug, Clone)]
struct Models {
    answers: String,
    hears: String,
    speaks: String,
}

impl Models {
    /// What is not configured is the client's own default.
    fn new(config: &Config) -> Self {
        let absent = || Secret::new("");
        let hears = match config.deepgram.api {
            DeepgramApi::Listen => ListenConfig::default().model,
            DeepgramApi::Flux => FluxConfig::default().model,
        };
        let speaks = CartesiaConfig::new(absent()).model;
        Self {
            answers: config.anthropic.model.clone().unwrap_or_else(|| AnthropicConfig::new(absent()).model),
            hears: config.deepgram.model.clone().unwrap_or(hears),
            speaks: config.cartesia.model.clone().unwrap_or(speaks),
        }
    }
}

/// Counts in this store from now on. Answers the accounts, and the meter of the voice.
pub async fn open(
    config: &Config,
    store: Arc<dyn Store>,
    supervisor: &Supervisor,
    drain: &DrainSignal,
) -> Result<(Accounts, Meter), BoxError> {
    let mut usage = UsageConfig::default();
    usage.limits = limits(&config.budget);
    let (usage, bookkeeper) = Usage::new(Arc::clone(&store), usage);
    supervisor.spawn("usage bookkeeper", bookkeeper.run());

    let archive: Arc<dyn UsageArchive> = match &config.usage.archive {
        Some(address) => Arc::new(PostgresArchive::new(address)?),
        None => Arc::new(StoreArchive::new(Arc::clone(&store))),
    };
    let (archiver, signal) = (Archiver::new(store, Arc::clone(&archive)), drain.clone());
    supervisor
        .spawn_restarting("usage archiver", drain.clone(), move || archiver.clone().run(signal.clone()));

    let mut prices = Prices::default();
    prices.extend(config.usage.prices.clone());
    let accounts = Accounts {
        usage,
        archive,
        zone: Zone::find(&config.usage.zone)?,
        prices,
        models: Models::new(config),
    };
    let mut draw = DrawConfig::default();
    draw.price = accounts.voice_price();
    let (meter, keeper) = accounts.usage.meter(UserId::owner(), draw).await?;
    supervisor.spawn("voice budget", keeper.run());
    if config.budget.limits_money() {
        for model in accounts.unpriced() {
            tracing::warn!(
                model,
                "money is limited, and what this costs is not known: set it under [usage.prices]"
            );
        }
    }
    Ok((accounts, meter))
}

impl Accounts {
    /// How answers of this model are counted.
    pub fn metered(&self, model: &AnthropicConfig) -> MeteredConfig {
        let mut config = MeteredConfig::new(u64::from(model.max_tokens));
        config.overhead = tokens::estimate(&model.system) + tokens::estimate(&model.voice_style);
        config.price = self.prices.model(&model.model);
        config
    }

    fn voice_price(&self) -> VoicePrice {
        self.prices.voice(&self.models.hears, &self.models.speaks)
    }

    /// What it costs to hear by this model.
    pub fn hearing_price(&self, model: &str) -> VoicePrice {
        self.prices.voice(model, &self.models.speaks)
    }

    /// Models whose price nobody has set.
    fn unpriced(&self) -> Vec<&str> {
        let (models, voice) = (&self.models, self.voice_price());
        let all = [
            (&models.answers, self.prices.model(&models.answers).is_some()),
            (&models.hears, voice.hour.is_some()),
            (&models.speaks, voice.million_characters.is_some()),
        ];
        all.into_iter().filter(|(_, is_priced)| !is_priced).map(|(model, _)| model.as_str()).collect()
    }
}

fn limits(budget: &config::Budget) -> Limits {
    const MICRO_DOLLARS_IN_A_CENT: u64 = 10_000;
    let mut limits = Limits::default();
    for (period, allowance) in budget.periods() {
        for (unit, stop) in [
            (Unit::AudioMs, allowance.speech_minutes.saturating_mul(60_000)),
            (Unit::Characters, allowance.voice_characters),
            (Unit::Tokens, allowance.tokens),
            (Unit::MicroDollars, allowance.cents.saturating_mul(MICRO_DOLLARS_IN_A_CENT)),
        ] {
            let warn = (u128::from(stop) * u128::from(budget.warn_percent) / 100) as u64;
            if stop > 0 {
                limits = limits.with(period, unit, Limit { warn, stop });
            }
        }
    }
    limits
}

/// What a request may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UsageQuery {
    zone: Option<String>,
}

/// Answers what was used and may be used.
pub async fn show(State(app): State<App>, query: Result<Query<UsageQuery>, QueryRejection>) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(rejection) => return refuse(StatusCode::BAD_REQUEST, &rejection.body_text()),
    };
    let zone = match query.zone.as_deref().map(Zone::find) {
        None => app.accounts.zone.clone(),
        Some(Ok(zone)) => zone,
        Some(Err(unknown)) => return refuse(StatusCode::BAD_REQUEST, &unknown.to_string()),
    };
    let user = UserId::owner();
    match app.accounts.usage.report(&user).await {
        Ok(report) => {
            let mut body = report_body(&report, &zone);
            body["user"] = json!(user.as_str());
            body["unpriced"] = json!(app.accounts.unpriced());
            body["simulated"] = json!(app.voice.simulated);
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

/// Answers finished days.
pub async fn days(State(app): State<App>, query: Result<Query<DaysQuery>, QueryRejection>) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(rejection) => return refuse(StatusCode::BAD_REQUEST, &rejection.body_text()),
    };
    let today = app.accounts.usage.now().day();
    let day = |text: Option<String>, otherwise: UtcDay| text.map_or(Ok(otherwise), |text| text.parse());
    let (first, last) = match (day(query.from, today.plus_days(-SHOWN_DAYS)), day(query.to, today)) {
        (Ok(first), Ok(last)) => (first, last),
        (Err(invalid), _) | (_, Err(invalid)) => {
            return refuse(StatusCode::BAD_REQUEST, &invalid.to_string());
        }
    };
    match app.accounts.archive.days(&UserId::owner(), first, last).await {
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

fn report_body(report: &Report, zone: &Zone) -> Value {
    let instant = |at: Timestamp| json!({ "utc": Zone::utc().show(at), "local": zone.show(at) });
    let period = |usage: &PeriodUsage| {
        let mut body = tally_body(&usage.tally);
        body["since"] = instant(usage.since);
        body["resets_at"] = instant(usage.resets_at);
        body
    };
    let limit = |limit: &LimitState| {
        json!({
            "period": limit.period.name(),
            "unit": limit.unit.name(),
            "warn": limit.limit.warn,
            "stop": limit.limit.stop,
            "spent": limit.spent,
            "held": limit.held,
            "left": limit.left(),
            "standing": limit.standing(),
            "resets_at": instant(limit.resets_at),
        })
    };
    let of = |wanted: Period| report.periods.iter().find(|usage| usage.period == wanted).map(period);
    json!({
        "zone": zone.name(),
        "now": instant(report.now),
        "today": of(Period::Day),
        "week": of(Period::Week),
        "window": of(Period::Window),
        "held": amounts_body(&report.held),
        "limits": report.limits.iter().map(limit).collect::<Vec<_>>(),
    })
}

fn tally_body(tally: &Tally) -> Value {
    json!({ "used": amounts_body(&tally.counted), "estimated": amounts_body(&tally.estimated) })
}

/// Every metric by its name, and audio in seconds.
fn amounts_body(amounts: &Amounts) -> Value {
    let named = Metric::ALL.into_iter().map(|metric| match metric {
        Metric::SttMs => ("stt_seconds".to_owned(), json!(amounts.get(metric) as f64 / 1000.0)),
        _ => (metric.name().to_owned(), json!(amounts.get(metric))),
    });
    Value::Object(named.collect::<Map<_, _>>())
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "kind": "rejected", "message": message }))).into_response()
}
