//! Which format a body has, and in which one the answer is wanted.

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};

use crate::http::error::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Parquet,
    Arrow,
}

impl Format {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }

    fn of(media_type: &str) -> Option<Self> {
        match media_type.trim().to_ascii_lowercase().as_str() {
            "application/json" => Some(Self::Json),
            "application/vnd.apache.parquet" | "application/x-parquet" | "application/parquet" => {
                Some(Self::Parquet)
            }
            "application/vnd.apache.arrow.stream" => Some(Self::Arrow),
            _ => None,
        }
    }

    /// No content type is taken as JSON.
    pub(super) fn of_body(headers: &HeaderMap) -> Result<Self, Error> {
        let Some(value) = headers.get(CONTENT_TYPE) else {
            return Ok(Self::Json);
        };
        let text = value.to_str().unwrap_or_default();
        let media_type = text.split(';').next().unwrap_or_default();
        Self::of(media_type).ok_or_else(|| Error::HistoricalContentType {
            actual: text.to_owned(),
        })
    }

    /// The first of the wanted formats that there is, by their weights; whoever does not mind gets what was sent.
    pub(super) fn of_answer(headers: &HeaderMap, sent: Self) -> Result<Self, Error> {
        let mut wanted: Vec<(f32, Self)> = Vec::new();
        let mut is_any = true;
        for value in headers.get_all(ACCEPT) {
            for item in value.to_str().unwrap_or_default().split(',') {
                let mut parts = item.split(';').map(str::trim);
                let media_type = parts.next().unwrap_or_default();
                if media_type.is_empty() {
                    continue;
                }
                is_any = false;
                let weight = parts.find_map(|part| part.strip_prefix("q="));
                let weight = weight.and_then(|text| text.parse().ok()).unwrap_or(1.0);
                let format = match media_type {
                    "*/*" | "application/*" => Some(sent),
                    other => Self::of(other),
                };
                wanted.extend(format.map(|format| (weight, format)));
            }
        }
        if is_any {
            return Ok(sent);
        }
        // Stable: of equal weights the first.
        wanted.sort_by(|a, b| b.0.total_cmp(&a.0));
        match wanted.first() {
            Some((weight, format)) if *weight > 0.0 => Ok(*format),
            _ => Err(Error::Accept {
                known: [Self::Json, Self::Parquet, Self::Arrow].map(Self::content_type),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn answer(accept: &'static str, sent: Format) -> Option<Format> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
        Format::of_answer(&headers, sent).ok()
    }

    #[test]
    fn the_answer_is_what_is_wanted_most() {
        assert_eq!(
            Format::of_answer(&HeaderMap::new(), Format::Arrow).ok(),
            Some(Format::Arrow)
        );
        assert_eq!(answer("*/*", Format::Parquet), Some(Format::Parquet));
        assert_eq!(
            answer("application/json", Format::Parquet),
            Some(Format::Json)
        );
        let weighed = "application/json;q=0.5, application/vnd.apache.arrow.stream, */*;q=0.1";
        assert_eq!(answer(weighed, Format::Json), Some(Format::Arrow));
        assert_eq!(answer("text/csv", Format::Json), None);
        assert_eq!(answer("application/json;q=0", Format::Json), None);
    }

    #[test]
    fn a_body_says_what_it_is() {
        let body = |kind| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
            Format::of_body(&headers).ok()
        };
        assert_eq!(Format::of_body(&HeaderMap::new()).ok(), Some(Format::Json));
        assert_eq!(body("Application/JSON; charset=utf-8"), Some(Format::Json));
        assert_eq!(body("application/x-parquet"), Some(Format::Parquet));
        assert_eq!(body("text/csv"), None);
    }
}
