//! Looks at the receivers: what they are, and whether they are ready for the documents; installs the template of ours.
//!
//! Credentials that may write may not be allowed to look. What a receiver does not tell is not complained of, except where
//! the configuration asks for something that cannot be done so.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value as Json, json};

use super::answer::words;
use super::encode::escape;
use super::index::IndexName;
use super::receiver::{Known, Product, identify};
use super::survey::{Facts, Survey};
use super::template::{Decision, Template, decide, template};
use crate::config::checked::{BulkAction, Elasticsearch as Settings};
use crate::model::wall_ms;
use crate::net::text::{duration, escaped, excerpt};
use crate::output::http::Receivers;
use crate::pipeline::Request;

/// How long the look at all addresses may take, and how long the one at templates.
const LOOK_TIME_MAX: Duration = Duration::from_secs(5);

/// Characters of a receiver's sentence that are passed on.
const QUOTED_CHARS_MAX: usize = 300;

/// Whether a look may change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Sending begins after it: the template is installed.
    Start,
    /// An operator wants to know: nothing is changed, and privileges are looked at too.
    Check,
}

/// One look at the receivers of an output.
pub(super) struct Look<'a> {
    pub receivers: &'a Receivers,
    pub settings: &'a Settings,
    pub index: &'a IndexName,
    pub purpose: Purpose,
}

/// An answer: its status, and its body where that is JSON.
struct Told {
    status: u16,
    body: Json,
    /// The status and the receiver's words, for people.
    words: String,
}

impl Look<'_> {
    /// Looks at all of them. Returns what is known now, and a sentence for each thing that is doubtful.
    pub(super) async fn run(&self) -> (Known, Vec<String>) {
        // The first one that will do, which is the one that stays: they are nodes of one cluster.
        let chosen = &OnceLock::new();
        let identify = |at| async move {
            let (product, doubt) = self.identify(at).await.unwrap_or_else(|doubt| (None, Some(doubt)));
            if product.is_some() || doubt.is_none() {
                let _ = chosen.set((at, product));
            }
            doubt
        };
        let mut doubts = self.receivers.look_at_each(LOOK_TIME_MAX, "no answer to GET /", identify).await;
        let Some(&(at, product)) = chosen.get() else { return (Known::default(), doubts) };
        let urls = self.receivers.urls();
        let known = match tokio::time::timeout(LOOK_TIME_MAX, self.survey(at, product)).await {
            Ok((known, missing)) => {
                doubts.extend(missing.into_iter().map(|doubt| format!("{}: {doubt}", urls[at])));
                known
            }
            Err(_) => {
                doubts.push(format!("{}: no answer about templates within {}", urls[at], duration(LOOK_TIME_MAX)));
                Known { product, ..Known::default() }
            }
        };
        (known, doubts)
    }

    async fn identify(&self, url: usize) -> Result<(Option<Product>, Option<String>), String> {
        let request = Request { path_and_query: "/".to_owned(), headers: HeaderMap::new(), body: Bytes::new() };
        let answer = self.receivers.send(url, Method::GET, request).await.map_err(|failure| failure.message)?;
        Ok(identify(&self.receivers.credentials(), &answer))
    }

    async fn survey(&self, url: usize, product: Option<Product>) -> (Known, Vec<String>) {
        let mut doubts = Vec::new();
        let mut wanted = None;
        if self.settings.manages_template {
            match template(self.settings, product) {
                Err(doubt) => doubts.push(doubt),
                Ok(template) => {
                    doubts.extend(template.left_out.iter().cloned());
                    match self.manage(url, &template).await {
                        Ok(is_wanted) => wanted = is_wanted.then_some(template),
                        Err(doubt) => doubts.push(doubt),
                    }
                }
            }
        }
        let name = self.index.at(wall_ms());
        let survey = Survey {
            index: self.index_facts(url, &name).await,
            template: self.template_facts(url, &name, wanted.as_ref()).await,
        };
        doubts.extend(survey.doubts(self.settings, product, &name, wall_ms()));
        if self.settings.require_data_stream && !product.is_none_or(Product::has_require_data_stream) {
            doubts.push("require_data_stream is left out: this version does not know it".to_owned());
        }
        doubts.extend(self.pipeline_doubt(url).await);
        if self.purpose == Purpose::Check {
            doubts.extend(self.privilege_doubt(url, &name, survey.index.as_ref().is_some_and(Option::is_some)).await);
        }
        (survey.known(product), doubts)
    }

    /// Installs the template where that is due and the purpose allows it. Returns whether it is due and was not.
    async fn manage(&self, url: usize, template: &Template) -> Result<bool, String> {
        let path = format!("/_index_template/{}", escape(&template.name));
        let shown = escaped(&template.name);
        // Another process may be faster: then what it made is looked at.
        for _ in 0..2 {
            let told = self.ask(url, Method::GET, &path, None).await?;
            let found = match told.status {
                200 => Some(&told.body),
                404 => None,
                _ => return Err(format!("does not show the index template {shown}: {}", told.words)),
            };
            let decision = decide(template, found);
            let query = match decision {
                Decision::Keep => return Ok(false),
                Decision::LeaveAlone(doubt) => return Err(doubt),
                Decision::Create => "?create=true",
                Decision::Update => "",
            };
            if self.purpose == Purpose::Check {
                return Ok(true);
            }
            let told = self.ask(url, Method::PUT, &format!("{path}{query}"), Some(&template.body)).await?;
            if told.status == 200 {
                tracing::info!(template = template.name, "index template installed");
                return Ok(false);
            }
            if !told.words.contains("already exists") {
                return Err(format!("does not take the index template {shown}: {}", told.words));
            }
        }
        Err(format!("the index template {shown} changes all the time"))
    }

    /// What documents meet now; `None` where the receiver does not say.
    async fn index_facts(&self, url: usize, name: &str) -> Option<Option<Facts>> {
        let path = format!(
            "/{}?flat_settings=true&filter_path=*.settings,*.data_stream,*.mappings.dynamic_templates",
            escape(name)
        );
        let told = self.ask(url, Method::GET, &path, None).await.ok()?;
        match told.status {
            200 => Some(Facts::of_index(&told.body)),
            404 => Some(None),
            _ => None,
        }
    }

    /// What a new index would be, by the templates that are there and one that is to be installed.
    async fn template_facts(&self, url: usize, name: &str, wanted: Option<&Template>) -> Option<Option<Facts>> {
        let path = format!("/_index_template/_simulate_index/{}", escape(name));
        let told = self.ask(url, Method::POST, &path, wanted.map(|template| &template.body)).await.ok()?;
        (told.status == 200).then(|| Facts::of_template(&told.body))
    }

    async fn pipeline_doubt(&self, url: usize) -> Option<String> {
        let pipeline = self.settings.pipeline.as_ref()?;
        let path = format!("/_ingest/pipeline/{}?filter_path=*.description", escape(pipeline));
        let told = self.ask(url, Method::GET, &path, None).await.ok()?;
        (told.status == 404)
            .then(|| format!("there is no ingest pipeline {}; documents wait for it", escaped(pipeline)))
    }

    /// What the credentials may not do, where the receiver knows such a thing.
    async fn privilege_doubt(&self, url: usize, name: &str, is_there: bool) -> Option<String> {
        let mut wanted = Vec::from([match self.settings.action {
            BulkAction::Create => "create_doc",
            BulkAction::Index => "index",
        }]);
        if !is_there {
            wanted.push("auto_configure");
        }
        let cluster: &[&str] = if self.settings.manages_template { &["manage_index_templates"] } else { &[] };
        let body = json!({"cluster": cluster, "index": [{"names": [name], "privileges": wanted}]});
        let told = self.ask(url, Method::POST, "/_security/user/_has_privileges", Some(&body)).await.ok()?;
        if told.status != 200 || told.body["has_all_requested"] != false {
            return None;
        }
        let of_index = wanted.iter().map(|privilege| (privilege, &told.body["index"][name][privilege]));
        let of_cluster = cluster.iter().map(|privilege| (privilege, &told.body["cluster"][privilege]));
        let missing: Vec<&str> =
            of_index.chain(of_cluster).filter(|(_, has)| **has == false).map(|(privilege, _)| *privilege).collect();
        let credentials = self.receivers.credentials();
        Some(format!("{credentials}: privileges for {} are missing: {}", escaped(name), missing.join(", ")))
    }

    /// # Errors
    /// When no answer came.
    async fn ask(&self, url: usize, method: Method, path: &str, body: Option<&Json>) -> Result<Told, String> {
        let json = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let request = Request {
            path_and_query: path.to_owned(),
            headers: body.map(|_| json).into_iter().collect(),
            body: body.map_or_else(Bytes::new, |body| body.to_string().into()),
        };
        let answer = self.receivers.send(url, method, request).await.map_err(|failure| failure.message)?;
        let status = answer.status.as_u16();
        let said = excerpt(words(&answer.body).as_bytes(), QUOTED_CHARS_MAX);
        Ok(Told {
            status,
            body: serde_json::from_slice(&answer.body).unwrap_or_default(),
            words: if said.is_empty() { status.to_string() } else { format!("{said} ({status})") },
        })
    }
}
