//! Elasticsearch and OpenSearch, by `POST /_bulk`.

mod answer;
mod classify;
mod encode;
mod index;
mod plan;
mod shapes;
