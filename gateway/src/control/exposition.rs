//! The metrics as text: Prometheus's exposition format 0.0.4.

use std::fmt;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::prometheus_text::{CONTENT_TYPE as TEXT, encode};
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::Shared;
use super::error::{Error, ErrorBody};
use super::metrics::{self, Family, MetricKind, Seen, Value};

/// One scrape.
#[derive(Debug)]
struct Scrape(Vec<Family>);

/// Tells all metrics, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "watching",
    responses(
        (status = 200, description = "The metrics", body = String, content_type = "text/plain"),
        (status = "4XX", description = "Not allowed", body = ErrorBody),
        (status = "5XX", description = "Try again", body = ErrorBody),
    )
)]
pub(super) async fn show(State(control): State<Shared>) -> Result<Response, Error> {
    let place = control.answers.place().await?;
    let text = text(metrics::families_of(&Seen::of(&control))).map_err(|_| Error::confused())?;
    Ok(([(CONTENT_TYPE, TEXT)], place.keep(text.into_bytes())).into_response())
}

/// The families as text.
pub(super) fn text(families: Vec<Family>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(families)));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in &self.0 {
            let kind = match family.kind {
                MetricKind::Counter => MetricType::Counter,
                MetricKind::Gauge => MetricType::Gauge,
                MetricKind::Histogram => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(&family.name, &family.help, None, kind)?;
            for sample in &family.samples {
                let labels: Vec<(&str, &str)> =
                    sample.labels.iter().map(|label| (label.name, label.value.as_str())).collect();
                write_value(metric.encode_family(&labels)?, family.kind, sample)?;
            }
        }
        Ok(())
    }
}

fn write_value(
    mut metric: MetricEncoder<'_>,
    kind: MetricKind,
    sample: &metrics::Sample,
) -> Result<(), fmt::Error> {
    match &sample.value {
        Value::Number(number) if kind == MetricKind::Counter => {
            metric.encode_counter::<NoLabelSet, u64, f64>(number, None)
        }
        Value::Number(number) => metric.encode_gauge(number),
        Value::Real(number) if kind == MetricKind::Counter => {
            metric.encode_counter::<NoLabelSet, f64, f64>(number, None)
        }
        Value::Real(number) => metric.encode_gauge(number),
        Value::Histogram(histogram, unit) => {
            let buckets = metrics::buckets(histogram, *unit);
            let sum = histogram.sum as f64 * unit;
            metric.encode_histogram::<NoLabelSet>(sum, histogram.count(), &buckets, None)
        }
    }
}
