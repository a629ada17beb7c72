//! Usage as JSON.

use livos_core::{
    budget::Period,
    time::Timestamp,
    usage::{Amounts, LimitState, Metric, PeriodUsage, Report, Tally, Zone},
};
use serde_json::{Map, Value, json};

/// What was used and may be used as of now.
pub fn report_body(report: &Report, zone: &Zone) -> Value {
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

/// What was counted, and how much of it is an estimate.
pub fn tally_body(tally: &Tally) -> Value {
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
